# SPDX-License-Identifier: Apache-2.0
"""What an emitter reported about a call, reduced to allow-listed metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

__all__ = ["RESOURCE", "SPAN_NAME", "UNREAD_USAGE", "Evidence", "Identity", "Profile", "Role"]

RESOURCE = "resource."
"""What the names of attributes begin with that were declared for a whole process."""

SPAN_NAME = "span.name"
"""Where a profile keeps the name of its spans, if a dialect knows its spans by it."""

UNREAD_USAGE = "unread.usage"
"""Where `details` keeps the names of usage attributes whose values could not be read."""

Role = Literal["call", "agent", "other"]
"""What a span can stand for.

`call`: a physical call, or a witness of one. `agent`: an agent that runs elsewhere, whose usage may
be the only one reported. `other`: nothing to bill: an agent loop here, a chain, a tool, a counter.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What many spans of one emitter have in common, kept once.

    `rule` names the dialect rule that recognised the spans, and its version. `kind` is the span
    kind in OpenTelemetry's word (`client`, `internal`, …), `status` is `ok`, `error` or None.
    `attributes` holds metadata as text under the names it came with; those of the resource begin
    with `resource.`. `direct` says that the call was seen on the wire to a provider's own host,
    with what it consumed: nothing can know better. `detail_names` and `usage_names` are the keys
    of the spans' `details` and `usage`, in their order.
    """

    service: str | None
    environment: str | None
    scope: str | None
    scope_version: str | None
    kind: str | None
    status: str | None
    rule: str
    role: Role
    direct: bool
    attributes: Mapping[str, str]
    detail_names: tuple[str, ...]
    usage_names: tuple[str, ...]


Identity = tuple[str, str, int]
"""What a span is known by: its trace, its id and its start."""


class Evidence(NamedTuple):
    """One span, as the `spans` table keeps it.

    Ids are lower-case hexadecimal (32 and 16 digits), times microseconds since 1970 UTC.
    `boot_id` is the run of a process, and `call_sequence` numbers its calls from 1, so that gaps
    show. `details` holds the
    texts that differ from call to call (whom it was for, conversation, request id) and `usage` the
    numbers the emitter reported, both under the names they came with.
    """

    profile: Profile
    trace_id: str
    span_id: str
    parent_span_id: str | None
    started_at: int
    ended_at: int
    response_id: str | None
    boot_id: str | None
    call_sequence: int | None
    details: Mapping[str, str]
    usage: Mapping[str, int]

    @property
    def identity(self) -> Identity:
        """What the span is known by."""
        return self.trace_id, self.span_id, self.started_at

    def says_the_same_as(self, other: "Evidence") -> bool:
        """Whether two spans are alike in everything, their profiles too, though there be two."""
        return self[1:] == other[1:] and all(
            getattr(self.profile, field.name) == getattr(other.profile, field.name)
            for field in fields(Profile)
        )
