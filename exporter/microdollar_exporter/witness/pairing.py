# SPDX-License-Identifier: Apache-2.0
"""Spans beside each other: which of them are about the same call.

Two instrumentations that wrap streams, or a gateway whose parent was never recorded, leave spans
that are not inside each other and share no strong id. They are paired when two scopes report the
same at the same moment. A scope reports a call once: as many calls remain as the scope that
reports most of them has, so parallel calls that look the same are never made one.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import Final, NamedTuple

from microdollar_exporter.witness.alone import NEAR, model_in_service, same_alone
from microdollar_exporter.witness.calls import Calls
from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.relations import (
    model_in_trace,
    same_response,
    weak_id_in_trace,
)
from microdollar_exporter.witness.times import (
    SECOND,
    Time,
    begun_together,
    end,
    ended_together,
    is_moment,
    soon,
    start,
)
from microdollar_exporter.witness.under_way import Alike, View, pair_under_way

__all__ = ["pair"]

_TELLING: Final = 16
"""An output of fewer tokens than this says little of which call it was."""

_Fact = Callable[[Claim], Hashable]
"""What two claims about one call have in common; None where a claim does not say it."""


class _Way(NamedTuple):
    """One way to know claims about the same call: a fact, the times to compare, and the rest."""

    fact: _Fact
    since: Time
    until: Time
    alike: Alike


def pair(calls: Calls, standing: Collection[int], alone: Collection[int]) -> None:
    """Unite those of the standing calls that are the same, the surest first.

    Those with the same weak id; then those of the same model that report the same counts; then the
    same output; then as much of it as one may have counted twice; then no usage at all; last, a
    call without usage and one that has some. Only claims that are `alone`, each in a trace of its
    own, are compared across traces, and only with what was not paired within one.
    """
    if len({calls.scopes(calls.of(i)) for i in standing}) < 2:
        return
    for way in _WITHIN_TRACES:
        _pair(calls, standing, way, None)
    if len({calls.of(i) for i in standing}) > 1:
        for way in _ACROSS_TRACES:
            _pair(calls, standing, way, alone)


def _pair(
    calls: Calls, standing: Collection[int], way: _Way, among: Collection[int] | None
) -> None:
    for views in list(_views(calls, standing, way, among)):
        pair_under_way(calls, views, way.alike)


def _views(
    calls: Calls, standing: Collection[int], way: _Way, among: Collection[int] | None
) -> Iterator[Sequence[View]]:
    """The calls that have a fact in common, fact by fact.

    With `among`, only claims in the traces of those are looked at.
    """
    found: dict[Hashable, dict[int, list[Claim]]] = {}
    for call in sorted({calls.of(i) for i in standing}):
        members = [calls.claims[i] for i in calls.members(call)]
        if among is not None:
            traces = {calls.claims[i].trace_id for i in calls.members(call) if i in among}
            members = [claim for claim in members if claim.trace_id in traces]
        for claim in members:
            if (fact := way.fact(claim)) is not None:
                found.setdefault(fact, {}).setdefault(call, []).append(claim)
    for alike in found.values():
        if len(alike) > 1:
            yield [_view(call, claims, way) for call, claims in alike.items()]


def _view(call: int, claims: Sequence[Claim], way: _Way) -> View:
    ordered = sorted(claims, key=lambda claim: (way.since(claim), claim.identity))
    first, last = ordered[0], ordered[-1]
    return View(way.since(first), max(map(way.until, claims)), call, first, last)


def _counts(claim: Claim) -> Hashable:
    return (claim.output, claim.input) if claim.has_usage else None


def _output(claim: Claim) -> Hashable:
    return claim.output if claim.has_usage and (claim.output or 0) >= _TELLING else None


def _input(claim: Claim) -> Hashable:
    return (claim.input,) if claim.has_usage else None


def _silence(claim: Claim) -> Hashable:
    return None if claim.has_usage else (claim.failed,)


def _no_failure(claim: Claim) -> Hashable:
    return None if claim.failed else ()


def _always(_: Claim, __: Claim) -> bool:
    return True


def _same_but_for_the_overcount(one: Claim, other: Claim) -> bool:
    more = (one.output or 0) - (other.output or 0)
    return -other.overcount <= more <= one.overcount


def _one_is_silent(one: Claim, other: Claim) -> bool:
    return one.has_usage != other.has_usage


class _Step(NamedTuple):
    """What claims about one call report alike, wherever and whenever."""

    fact: _Fact
    alike: Alike


_STEPS: Final = (
    _Step(_counts, _always),
    _Step(_output, _always),
    _Step(_input, _same_but_for_the_overcount),
    _Step(_silence, _always),
    _Step(_no_failure, _one_is_silent),
)


def _of_model(place: _Fact, step: _Step, *, lasting: bool) -> _Fact:
    """A fact about a model in a place; of spans with a length alone, if `lasting`."""

    def fact(claim: Claim) -> Hashable:
        at, what = place(claim), step.fact(claim)
        if at is None or what is None or (lasting and is_moment(claim)):
            return None
        return at, what

    return fact


def _and(one: Alike, other: Alike) -> Alike:
    return lambda a, b: one(a, b) and other(a, b)


def _one_is_the_end(one: Claim, other: Claim) -> bool:
    """Whether one is a moment, and the other ended then."""
    return (is_moment(one) or is_moment(other)) and ended_together(one, other)


def _ends(time: int) -> Time:
    return lambda claim: end(claim) + time


def _begins(time: int) -> Time:
    return lambda claim: start(claim) + time


def _ways(place: _Fact, until: tuple[Time, Time], alike: tuple[Alike, Alike]) -> Iterator[_Way]:
    """Each step in a place: by when spans with a length began, then by when any ended."""
    for step in _STEPS:
        for lasting, since, last, near in (
            (True, start, until[0], alike[0]),
            (False, end, until[1], alike[1]),
        ):
            fact = _of_model(place, step, lasting=lasting)
            yield _Way(fact, since, last, _and(near, step.alike))


_WITHIN_TRACES: Final = (
    _Way(weak_id_in_trace, start, end, same_response),
    *_ways(model_in_trace, (soon, _ends(SECOND)), (begun_together, _one_is_the_end)),
)
_ACROSS_TRACES: Final = tuple(
    _ways(model_in_service, (_begins(NEAR), _ends(NEAR)), (same_alone, same_alone))
)
