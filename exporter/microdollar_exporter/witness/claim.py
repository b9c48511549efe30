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
    made = Claim(
        evidence.trace_id,
        evidence.span_id,
        evidence.parent_span_id,
        evidence.started_at,
        evidence.ended_at,
        profile.scope or "",
        profile.role,
        profile.service,
    )
    if profile.role == "other":
        return made
    row = rows[0]
    none = row.source == md.USAGE_SOURCE_NONE
    from_cache = none and any(evidence.usage.values())
    made = made._replace(
        rank=by_rule(profile.rule).rank,
        model=_model(row.response_model or row.request_model),
        source=row.source,
        failed=none and not from_cache,
    )
    overcount, guessed = _doubts(profile)
    if from_cache:
        return made._replace(has_usage=True, output=_shown_output(evidence), from_cache=True)
    usage = row.usage
    made = made._replace(
        input=_sum(
            *(usage.input_uncached, usage.cache_read, usage.cache_write_5m),
            *(usage.cache_write_1h, usage.cache_write, usage.input_tool),
        ),
        output=usage.output,
        has_usage=not none and any(_has_counts(one.usage) for one in rows),
        cache_split=_cache_split(usage),
        overcount=overcount,
        guessed=guessed,
    )
    if profile.role == "agent":
        return made
    return made._replace(
        response_key=response_key(evidence),
        request_key=request_key(evidence),
        family=family(row.provider, evidence.response_id),
    )


def _doubts(profile: Profile) -> tuple[int, bool]:
    """How much an emitter may have counted twice, and whether it may have guessed."""
    match by_rule(profile.rule).output:
        case Output.HIGH_IN_STREAMS:
            # Its spans do not say whether they are streams.
            return _FIRST_EVENT, False
        case Output.GUESSED_IN_STREAMS if facts(profile).streamed:
            return 0, True
        case _:
            return 0, False


@lru_cache(_MAX_REMEMBERED)
def _model(name: str | None) -> str | None:
    return plain_model(name)


def _sum(*counts: int | None) -> int | None:
    """The sum of what was reported; None when nothing was."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _has_counts(usage: Usage) -> bool:
    *counts, units = usage
    return bool(units) or any(count is not None for count in counts)


def _cache_split(usage: Usage) -> int:
    written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0) + (usage.cache_write or 0)
    return bool(usage.cache_read) + bool(written)


def _shown_output(evidence: Evidence) -> int | None:
    """The output of an answer from a cache, which is in no bucket since nobody bought it."""
    name = _reading(evidence.profile.rule, tuple(evidence.usage)).output
    return evidence.usage.get(name) if name is not None else None


@lru_cache(_MAX_REMEMBERED)
def _reading(rule: str, names: tuple[str, ...]) -> Reading:
    return read(by_rule(rule).families, names)
