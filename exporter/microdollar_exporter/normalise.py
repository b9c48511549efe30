# SPDX-License-Identifier: Apache-2.0
"""Turn evidence into usage rows with disjoint buckets: the one place that does.

What a span means follows from its profile, which thousands of spans share, and from which counts
it has. Both are worked out once and kept; per span only the counts themselves are read.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from microdollar_exporter.dialects.buckets import disjoint, extra
from microdollar_exporter.dialects.conventions import Output
from microdollar_exporter.dialects.dialect import Dialect
from microdollar_exporter.dialects.facts import Facts, facts
from microdollar_exporter.dialects.reading import Reading, read
from microdollar_exporter.evidence import UNREAD_USAGE, Evidence, Profile
from microdollar_exporter.usage import BUCKETS, PARTS, Usage, UsageRow
from microdollar_semconv import attributes as md

__all__ = ["normalise"]

_SOURCES: Final = frozenset(
    {
        md.USAGE_SOURCE_PROVIDER,
        md.USAGE_SOURCE_PROVIDER_PARTIAL,
        md.USAGE_SOURCE_ESTIMATED,
        md.USAGE_SOURCE_MISSING,
        md.USAGE_SOURCE_NONE,
    }
)

# What is kept is of the senders' making, so it is bounded; when full it starts anew.
_MAX_KEPT: Final = 10_000

_facts: dict[Profile, Facts] = {}
_readings: dict[tuple[Dialect, tuple[str, ...]], Reading] = {}

_NOTHING: Final = Usage()

_SAY_CACHE_READS: Final = frozenset({"openai", "anthropic"})
"""The providers whose counts, where they are theirs, always come with one of cache reads.
Source: openlit 1.45.0."""


def normalise(evidence: Evidence) -> list[UsageRow]:
    """The usage rows of a call: its own model's first, then those of other models inside it.

    Whatever counts a span has, this gives at least one row and raises nothing.

    Raises:
        UnknownRule: this version does not have the dialect rule that the evidence names.
    """
    profile, counts = evidence.profile, evidence.usage
    known = _facts.get(profile) or _learn(profile)
    key = (known.dialect, tuple(counts))
    reading = _readings.get(key) or _read(key)
    notes = [*known.notes]
    usage = disjoint(counts, reading, known.dialect, reading.cache or known.cache, notes)
    if known.dialect.is_ours:
        source = known.source
        if source not in _SOURCES:
            notes.append("the usage source is not said")
            source = md.USAGE_SOURCE_MISSING
    else:
        source, usage = _source(evidence, known, reading, usage, notes)
    details = evidence.details
    if details and (unread := details.get(UNREAD_USAGE)):
        notes.append(f"not read: {unread}")
    rows = [
        UsageRow(
            0,
            1,
            evidence.started_at,
            known.provider,
            known.operation,
            known.request_model,
            known.response_model,
            known.service_tier,
            known.speed,
            known.inference_geo,
            source,
            usage,
            tuple(notes),
        )
    ]
    if reading.extra_input or reading.extra_output or md.USAGE_ADDITIONAL in details:
        rows += _further(rows[0], counts, reading, details)
    return rows


def _learn(profile: Profile) -> Facts:
    if len(_facts) >= _MAX_KEPT:
        _facts.clear()
    known = _facts[profile] = facts(profile)
    return known


def _read(key: tuple[Dialect, tuple[str, ...]]) -> Reading:
    if len(_readings) >= _MAX_KEPT:
        _readings.clear()
    dialect, names = key
    reading = _readings[key] = read(dialect.families, names)
    return reading


def _source(
    evidence: Evidence, known: Facts, reading: Reading, usage: Usage, notes: list[str]
) -> tuple[str, Usage]:
    """Where the counts of someone else's span come from, and what of them was bought."""
    counts, dialect = evidence.usage, known.dialect
    if reading.not_understood:
        notes.append(f"not understood: {','.join(reading.not_understood)}")
    if known.from_cache:
        notes.append(f"answered from the gateway's cache: {sum(counts.values())} tokens not bought")
        return md.USAGE_SOURCE_NONE, _NOTHING
    if not reading.reported or (known.failed and not any(counts.values())):
        return _without_usage(evidence, known, reading, notes), _NOTHING
    if dialect.hides_cache and reading.input and not reading.splits_cache:
        notes.append("this emitter does not say how much of the input was cached")
    if known.streamed and reading.output:
        if dialect.output is Output.HIGH_IN_STREAMS:
            notes.append("this emitter counts a few tokens of a stream's output twice")
        elif dialect.output is Output.GUESSED_IN_STREAMS and not reading.splits_cache:
            notes.append("this emitter guesses the tokens of streams that report none")
            if known.provider in _SAY_CACHE_READS:
                return md.USAGE_SOURCE_ESTIMATED, usage
    if known.estimated:
        return md.USAGE_SOURCE_ESTIMATED, usage
    return md.USAGE_SOURCE_PROVIDER_PARTIAL if known.failed else md.USAGE_SOURCE_PROVIDER, usage


def _without_usage(evidence: Evidence, known: Facts, reading: Reading, notes: list[str]) -> str:
    """Whether a call that reports no usage consumed nothing, or nobody knows how much."""
    if reading.total:
        notes.append(f"only a total of {evidence.usage[reading.total]} tokens is reported")
        return md.USAGE_SOURCE_MISSING
    if known.pending:
        notes.append("the response was not ready; its usage was to come later")
        return md.USAGE_SOURCE_MISSING
    if not known.failed or UNREAD_USAGE in evidence.details:
        return md.USAGE_SOURCE_MISSING
    if known.cut_off:
        notes.append("ended by a timeout or by the caller: may have been billed")
        return md.USAGE_SOURCE_MISSING
    if known.answered and (evidence.response_id or known.response_model != known.request_model):
        notes.append("failed after the answer had begun: may have been billed")
        return md.USAGE_SOURCE_MISSING
    return md.USAGE_SOURCE_NONE


def _further(
    own: UsageRow, counts: Mapping[str, int], reading: Reading, details: Mapping[str, str]
) -> list[UsageRow]:
    """Rows for what else was billed with a call: extra tokens of its model, and other models."""
    rows = []
    if more := extra(counts, reading):
        rows.append(own._replace(position=1, calls=0, usage=more, notes=()))
    # A further model was not asked for by the caller: only the response names it.
    for row in _additional(details):
        rows.append(
            own._replace(
                position=len(rows) + 1,
                calls=0,
                request_model=None,
                response_model=row.get("model"),
                usage=Usage(**{name: row[name] for name in (*BUCKETS, *PARTS) if name in row}),
                notes=(),
            )
        )
    return rows


def _additional(details: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of other models; `reduce` has checked their form."""
    text = details.get(md.USAGE_ADDITIONAL)
    return json.loads(text) if text else []
