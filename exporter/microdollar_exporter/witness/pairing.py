# SPDX-License-Identifier: Apache-2.0
"""Spans beside each other: which of them are about the same call.

Two instrumentations that wrap streams, or a gateway whose parent was never recorded, leave spans
that are not inside each other and share no strong id. They are paired when two scopes report the
same at the same moment. A scope reports a call once: as many calls remain as the scope that
reports most of them has, so parallel calls that look the same are never made one.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from microdollar_exporter.witness.alone import NEAR, model_in_service, same_alone
from microdollar_exporter.witness.calls import Calls
from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.forest import Forest
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
_Alike = Callable[[Claim, Claim], bool]


class _Way(NamedTuple):
    """One way to know claims about the same call: a fact, the times to compare, and the rest."""

    fact: _Fact
    since: Time
    until: Time
    alike: _Alike


def pair(calls: Calls, standing: Collection[int], forest: Forest) -> None:
    """Unite those of the standing calls that are the same, the surest first.

    Those with the same weak id; then those of the same model that report the same counts; then the
    same output; then the same input, and an output that one may have counted twice; then no usage
    at all; last, a call without usage and one that has some. Only claims that are alone in a trace
    are compared across traces, and only with what was not paired within one.
    """
    if len({calls.scopes(calls.of(i)) for i in standing}) > 1:
        pairing = _Pairing(calls, forest)
        for way in _WITHIN_TRACES:
            pairing.find(standing, calls.members, way)
        if len({calls.of(i) for i in standing}) > 1:
            for way in _ACROSS_TRACES:
                pairing.find(standing, pairing.alone, way)


class _Pairing:
    """A search for pairs in the trees of a forest."""

    def __init__(self, calls: Calls, forest: Forest) -> None:
        self._calls = calls
        self._forest = forest

    def find(
        self, standing: Collection[int], members: Callable[[int], Iterable[int]], way: _Way
    ) -> None:
        """Pair the calls that some of their members show to be the same in one way."""
        calls = self._calls
        found: dict[Hashable, dict[int, list[int]]] = {}
        for call in sorted({calls.of(i) for i in standing}):
            for i in members(call):
                if (fact := way.fact(calls.claims[i])) is not None:
                    found.setdefault(fact, {}).setdefault(call, []).append(i)
        for alike in found.values():
            if len(alike) > 1:
                views = [self._view(call, claims, way) for call, claims in alike.items()]
                pair_under_way(calls, views, self._beside(way.alike))

    def alone(self, call: int) -> list[int]:
        """The claims about a call in traces that it is alone in."""
        claims, members = self._calls.claims, self._calls.members(call)
        traces = {claims[i].trace_id for i in members if i in self._forest.alone}
        return [i for i in members if claims[i].trace_id in traces]

    def _view(self, call: int, members: Sequence[int], way: _Way) -> View:
        claims = self._calls.claims
        ordered = sorted(members, key=lambda i: (way.since(claims[i]), i))
        until = max(way.until(claims[i]) for i in members)
        return View(way.since(claims[ordered[0]]), until, call, ordered[0], ordered[-1])

    def _beside(self, alike: _Alike) -> Alike:
        """Whether claims are alike and neither is inside the other."""
        claims, contains = self._calls.claims, self._forest.contains

        def beside(one: int, other: int) -> bool:
            return (
                alike(claims[one], claims[other])
                and not contains(one, other)
                and not contains(other, one)
            )

        return beside


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


def _one_is_silent(one: Claim, other: Claim) -> bool:
    return one.has_usage != other.has_usage


class _Step(NamedTuple):
    """What claims about one call report alike, wherever and whenever."""

    fact: _Fact
    alike: _Alike


_STEPS: Final = (
    _Step(_counts, _always),
    _Step(_output, _always),
    _Step(_input, _always),
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


def _and(one: _Alike, other: _Alike) -> _Alike:
    return lambda a, b: one(a, b) and other(a, b)


def _one_is_the_end(one: Claim, other: Claim) -> bool:
    """Whether one is a moment, and the other ended then."""
    return (is_moment(one) or is_moment(other)) and ended_together(one, other)


def _ends(time: int) -> Time:
    return lambda claim: end(claim) + time


def _begins(time: int) -> Time:
    return lambda claim: start(claim) + time


def _ways(place: _Fact, until: tuple[Time, Time], alike: tuple[_Alike, _Alike]) -> Iterator[_Way]:
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
