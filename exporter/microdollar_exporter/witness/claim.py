# SPDX-License-Identifier: Apache-2.0
"""What a span says that matters to whether it stands for a call."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from microdollar_exporter.dialects import by_rule, family, plain_model
from microdollar_exporter.dialects.conventions import Output
from microdollar_exporter.dialects.facts import facts
from microdollar_exporter.dialects.reading import Reading, read
from microdollar_exporter.evidence import Evidence, Identity, Profile, Role
from microdollar_exporter.usage import Usage, UsageRow
from microdollar_exporter.witness.keys import Key, request_key, response_key
from microdollar_semconv import attributes as md

__all__ = ["Claim", "claim"]

_MAX_REMEMBERED: Final = 10_000
_FIRST_EVENT: Final = 16
"""More output tokens than Anthropic counts in the first event of a stream."""


class Claim(NamedTuple):
    """A span as the choice of witnesses sees it. Times are microseconds since 1970 UTC.

    `rank` says how far its dialect is believed, the lowest most. `family` and `model` are only for
    comparing. `input` and `output` are the tokens of the span's own model, None where not reported.
    `has_usage`: somebody counted what was consumed, be it nothing because a gateway's cache
    answered (`from_cache`; the counts are then those of the answer). `cache_split` is how many of
    cache reads and cache writes are told apart from the rest of the input. `overcount`: up to so
    many tokens of the output may be counted twice. `source` is one of `microdollar.usage.source`;
    `guessed` says that it may also be the emitter's own guess. `failed` says that the call consumed
    nothing because it failed.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    started_at: int
    ended_at: int
    scope: str
    role: Role
    service: str | None = None
    rank: int = 0
    response_key: Key | None = None
    request_key: Key | None = None
    family: str | None = None
    model: str | None = None
    input: int | None = None
    output: int | None = None
    has_usage: bool = False
    cache_split: int = 0
    overcount: int = 0
    guessed: bool = False
    source: str = md.USAGE_SOURCE_MISSING
    failed: bool = False
    from_cache: bool = False

    @property
    def identity(self) -> Identity:
        """What the span is known by."""
        return self.trace_id, self.span_id, self.started_at

    @property
    def billable(self) -> bool:
        """Whether the span may be billed: a call, or an agent elsewhere that says what it used."""
        return self.role == "call" or (self.role == "agent" and self.has_usage)

    @property
    def size(self) -> int:
        """How much was consumed, to compare spans by: output, or input where there is none."""
        return self.output or self.input or 0


def claim(evidence: Evidence, rows: Sequence[UsageRow]) -> Claim:
    """The claim of a span, from its evidence and the usage rows made of it.

    A span that stands for nothing needs no rows.

    Raises:
        UnknownRule: this version does not have the dialect rule that the evidence names.
    """
    profile = evidence.profile
    place = (
        *(evidence.trace_id, evidence.span_id, evidence.parent_span_id),
        *(evidence.started_at, evidence.ended_at, profile.scope or "", profile.role),
        profile.service,
    )
    if profile.role == "other":
        return Claim(*place)
    row = rows[0]
    none = row.source == md.USAGE_SOURCE_NONE
    from_cache = none and any(evidence.usage.values())
    rank, overcount, guessed = _trust(profile)
    input_tokens, output, cache_split = _counts(row.usage)
    # An agent may carry the id of the last response inside it, and a cache that of an earlier one.
    has_ids = profile.role == "call" and not from_cache
    return Claim(
        *place,
        rank=rank,
        response_key=response_key(evidence) if has_ids else None,
        request_key=request_key(evidence) if has_ids else None,
        family=family(row.provider, evidence.response_id),
        model=_model(row.response_model or row.request_model),
        input=input_tokens,
        output=_shown_output(evidence) if from_cache else output,
        has_usage=from_cache or (not none and any(_has_counts(one.usage) for one in rows)),
        cache_split=cache_split,
        overcount=overcount,
        guessed=guessed,
        source=row.source,
        failed=none and not from_cache,
        from_cache=from_cache,
    )


@lru_cache(_MAX_REMEMBERED)
def _trust(profile: Profile) -> tuple[int, int, bool]:
    """The rank of a dialect, how much it may count twice, and whether it may have guessed."""
    dialect = by_rule(profile.rule)
    # OpenLLMetry does not say which of its spans are streams.
    overcount = _FIRST_EVENT if dialect.output is Output.HIGH_IN_STREAMS else 0
    guessed = dialect.output is Output.GUESSED_IN_STREAMS and facts(profile).streamed
    return dialect.rank, overcount, guessed


@lru_cache(_MAX_REMEMBERED)
def _model(name: str | None) -> str | None:
    return plain_model(name)


def _counts(usage: Usage) -> tuple[int | None, int | None, int]:
    """All input and output, None where not reported, and how many kinds of cache are told apart."""
    uncached, read, write_5m, write_1h, write, tool, output, *_ = usage
    written = (write_5m or 0) + (write_1h or 0) + (write or 0)
    whole = (uncached or 0) + (read or 0) + written + (tool or 0)
    unsaid = uncached is None and not whole
    return None if unsaid else whole, output, bool(read) + bool(written)


def _has_counts(usage: Usage) -> bool:
    *counts, units = usage
    return bool(units) or any(count is not None for count in counts)


def _shown_output(evidence: Evidence) -> int | None:
    """The output of an answer from a cache, which is in no bucket since nobody bought it."""
    name = _reading(evidence.profile.rule, tuple(evidence.usage)).output
    return evidence.usage.get(name) if name is not None else None


@lru_cache(_MAX_REMEMBERED)
def _reading(rule: str, names: tuple[str, ...]) -> Reading:
    return read(by_rule(rule).families, names)
