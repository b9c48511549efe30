# SPDX-License-Identifier: Apache-2.0
"""Pair what is under way at the same time, so that the least remains unpaired."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from microdollar_exporter.witness.calls import Calls
from microdollar_exporter.witness.times import is_moment

__all__ = ["Alike", "View", "pair_under_way"]

_MAX_LANES: Final = 32
"""Nobody runs so many instrumentations at once. Where it seems so, nothing is paired."""

Alike = Callable[[int, int], bool]
"""Whether two claims can be about the same call."""

_Lane = tuple[frozenset[str], bool]


class View(NamedTuple):
    """A call as some of its claims show it: the first and the last, and from when until when."""

    since: int
    until: int
    call: int
    first: int
    last: int


def pair_under_way(calls: Calls, views: Iterable[View], alike: Alike) -> None:
    """Unite calls of different scopes that are alike and under way at the same time."""
    under_way = _UnderWay(calls, alike)
    ordered = sorted(views)
    if not 1 < len({under_way.lane(view) for view in ordered}) <= _MAX_LANES:
        return
    for view in ordered:
        under_way.end_before(view.since)
        under_way.begin(view)
    under_way.end_before(None)


class _UnderWay:
    """The calls under way, in lanes of those that the same scopes report.

    A call is paired when it ends, with the one of another lane that ends next. That leaves the
    fewest calls unpaired.
    """

    def __init__(self, calls: Calls, alike: Alike) -> None:
        self._calls = calls
        self._alike = alike
        self._views: list[View] = []
        self._gone: set[int] = set()
        self._ends: list[tuple[int, int]] = []
        self._lanes: dict[_Lane, list[tuple[int, int]]] = {}

    def lane(self, view: View) -> _Lane:
        """The lane of a call: that of its scopes, and another for spans without length."""
        scopes = self._calls.scopes(self._calls.of(view.call))
        return scopes, is_moment(self._calls.claims[view.last])

    def begin(self, view: View) -> None:
        """Let a call begin. Calls begin in the order of their `since`."""
        ending = view.until, len(self._views)
        self._views.append(view)
        heapq.heappush(self._ends, ending)
        heapq.heappush(self._lanes.setdefault(self.lane(view), []), ending)

    def end_before(self, moment: int | None) -> None:
        """Let the calls end that are over by a moment, or all."""
        while self._ends and (moment is None or self._ends[0][0] < moment):
            _, number = heapq.heappop(self._ends)
            if number not in self._gone:
                self._gone.add(number)
                self._end(self._views[number])

    def _end(self, view: View) -> None:
        for number in self._next_of_each_lane():
            other = self._views[number]
            if self._are_one(view, other):
                self._gone.add(number)
                call = self._calls.unite(view.call, other.call)
                first, last = sorted((view, other))
                until = max(view.until, other.until)
                self.begin(View(first.since, until, call, first.first, last.last))
                return

    def _next_of_each_lane(self) -> Sequence[int]:
        """The calls that end next in each lane, the first of them first."""
        heads = []
        for lane in self._lanes.values():
            while lane and lane[0][1] in self._gone:
                heapq.heappop(lane)
            if lane:
                heads.append(lane[0])
        return [number for _, number in sorted(heads)]

    def _are_one(self, one: View, other: View) -> bool:
        of = self._calls.of
        return self._calls.may_be_one(of(one.call), of(other.call)) and any(
            self._alike(claim, another)
            for claim in (one.first, one.last)
            for another in (other.first, other.last)
        )
