# SPDX-License-Identifier: Apache-2.0
"""What an emitter reported about a call, reduced to allow-listed metadata."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RESOURCE_CUSTOMER_ID", "UNREAD_USAGE", "Evidence"]

RESOURCE_CUSTOMER_ID = "resource.microdollar.customer.id"
"""Where evidence keeps a customer that was declared for the whole process."""

UNREAD_USAGE = "unread.usage"
"""Where evidence keeps the names of usage attributes whose values could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One span, as the `spans` table keeps it.

    Ids are lower-case hexadecimal (32 and 16 digits), times microseconds since 1970 UTC. `rule`
    names the dialect rule that recognised the span and its version. `boot_id` and
    `call_sequence` number the calls of one process from 1, so that gaps show. `attributes` holds
    metadata as text and `usage` the numbers the emitter reported, both under the names they came
    with.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    started_at: int
    ended_at: int
    service: str | None
    environment: str | None
    scope: str | None
    scope_version: str | None
    rule: str
    status: str | None
    boot_id: str | None
    call_sequence: int | None
    attributes: Mapping[str, str]
    usage: Mapping[str, int]
