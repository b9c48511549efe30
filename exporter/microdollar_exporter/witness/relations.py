# SPDX-License-Identifier: Apache-2.0
"""When two spans have to be decided together, because they may be about the same call.

Five relations, each of which can be looked up from one span:

* `same_span`: the same span id in the same trace;
* `same_response`: the same response or request id. A strong one counts in any trace within a day,
  a weak one only at the same time in the same trace and from another scope;
* inside: one is an ancestor of the other by parent ids, through whatever spans are recorded
  between them;
* `same_moment`: the same model in the same trace from two scopes, overlapping and begun within a
  second of each other, or ended within a second of each other;
* `same_alone`: the only calls in traces that they begin, alike in all that they report.

Only calls, and agents that report usage, are related; agents only by being inside or around. All
other spans merely carry parent ids from one to the next. Spans that no chain of relations connects
have no say in each other's fate.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter

from microdollar_exporter.witness import alone
from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.forest import Forest
from microdollar_exporter.witness.keys import Key
from microdollar_exporter.witness.sets import DisjointSets
from microdollar_exporter.witness.sweep import meeting_across_scopes
from microdollar_exporter.witness.times import (
    DAY,
    SECOND,
    Time,
    begun_together,
    end,
    ended_together,
    meet,
    soon,
    start,
)

__all__ = [
    "components",
    "keys",
    "model_in_trace",
    "ordered",
    "same_moment",
    "same_response",
    "same_span",
    "united_by_key",
    "weak_id_in_trace",
]

_Pairs = Iterator[tuple[int, int]]


def same_span(one: Claim, other: Claim) -> bool:
    """Whether both are reports of one span, with two starts."""
    return one.trace_id == other.trace_id and one.span_id == other.span_id


def same_response(one: Claim, other: Claim) -> bool:
    """Whether both say that they are about the same response or request."""
    if abs(one.started_at - other.started_at) <= DAY and _strong(one) & _strong(other):
        return True
    return (
        weak_id_in_trace(one) is not None
        and weak_id_in_trace(one) == weak_id_in_trace(other)
        and one.scope != other.scope
        and meet(one, other, end)
    )


def same_moment(one: Claim, other: Claim) -> bool:
    """Whether two scopes report the same model at the same moment in the same trace."""
    return (
        model_in_trace(one) is not None
        and model_in_trace(one) == model_in_trace(other)
        and one.scope != other.scope
        and (begun_together(one, other) or ended_together(one, other))
    )


def ordered(claims: Iterable[Claim]) -> list[Claim]:
    """The claims in the order of their identities, each once."""
    return sorted({claim.identity: claim for claim in claims}.values(), key=attrgetter("identity"))


def components(claims: Collection[Claim]) -> list[list[Claim]]:
    """The claims that have to be decided together, component by component.

    With each component come the spans that connect it but cannot be billed, and those that begin a
    trace directly around a call: the same one may come with several components.
    """
    every = ordered(claims)
    forest = Forest(every)
    sets = DisjointSets(len(every))
    billable = [i for i, claim in enumerate(every) if claim.billable]
    for one, other in _related(every, billable, forest):
        sets.unite(one, other)
    found: dict[int, set[int]] = {}
    for i, claim in enumerate(every):
        near = i if claim.billable else forest.above[i]
        if near >= 0:
            found.setdefault(sets.find(near), set()).add(i)
    for i, first in forest.alone.items():
        found[sets.find(i)].add(first)
    return [[every[i] for i in sorted(component)] for component in found.values()]


def united_by_key(every: Sequence[Claim], calls: Iterable[int]) -> _Pairs:
    """Pairs that connect all reports of one span, and all calls with the same strong key."""
    spans: dict[tuple[str, str], int] = {}
    alike: dict[Key, list[int]] = {}
    for i in calls:
        claim = every[i]
        yield i, spans.setdefault((claim.trace_id, claim.span_id), i)
        for key in _strong(claim):
            alike.setdefault(key, []).append(i)
    for claims in alike.values():
        claims.sort(key=lambda i: every[i].started_at)
        for one, other in pairwise(claims):
            if every[other].started_at - every[one].started_at <= DAY:
                yield one, other


def _related(every: Sequence[Claim], billable: Sequence[int], forest: Forest) -> _Pairs:
    """Pairs whose chains connect exactly what the relations connect."""
    yield from united_by_key(every, billable)
    yield from ((i, forest.above[i]) for i in billable if forest.above[i] >= 0)
    yield from _meeting(every, billable, weak_id_in_trace, (start, end))
    yield from _meeting(every, billable, model_in_trace, (start, soon), (end, _a_second_later))
    yield from alone.related(every, forest.alone)


def _meeting(
    every: Sequence[Claim],
    billable: Iterable[int],
    place: Callable[[Claim], Hashable],
    *times: tuple[Time, Time],
) -> _Pairs:
    """Pairs that connect claims of the same place and of different scopes that meet in time."""
    places: dict[Hashable, list[int]] = {}
    for i in billable:
        at = place(every[i])
        if at is not None:
            places.setdefault(at, []).append(i)
    for there in places.values():
        if len(there) > 1 and len({every[i].scope for i in there}) > 1:
            for since, until in times:
                yield from meeting_across_scopes(every, there, since, until)


def _a_second_later(claim: Claim) -> int:
    return end(claim) + SECOND


def keys(claim: Claim) -> set[Key]:
    """The ids of the response and of the request that a span is about, as far as it says them."""
    return {key for key in (claim.response_key, claim.request_key) if key is not None}


def _strong(claim: Claim) -> set[Key]:
    return {key for key in keys(claim) if key.strong}


def weak_id_in_trace(claim: Claim) -> tuple[str, str | None, str] | None:
    """A weak response id and where it says something: in a trace, of a family of providers."""
    key = claim.response_key
    if key is None or key.strong:
        return None
    return claim.trace_id, claim.family, key.text


def model_in_trace(claim: Claim) -> tuple[str, str] | None:
    """The model of a call and its trace; None for what is no call, or of an unknown model."""
    if claim.role != "call" or claim.model is None:
        return None
    return claim.trace_id, claim.model
