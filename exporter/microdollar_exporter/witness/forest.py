# SPDX-License-Identifier: Apache-2.0
"""Which spans are inside which: the trees that parent ids make of the spans of a trace."""

from collections.abc import Sequence

from microdollar_exporter.witness.claim import Claim

__all__ = ["Forest"]

_NONE = -1


class Forest:
    """The trees of a sequence of claims. All results are positions in that sequence.

    Only parents that are among the claims are known. Parent ids that run in a circle are cut at
    the claim of the circle that stands first in the sequence. `above[i]` is the nearest claim
    around claim `i` that can be billed, or -1; `depth[i]` counts how many there are.
    `outermost_first` holds every position after that of its parent, each tree in one piece.
    `alone` maps each claim that begins its trace, or is in one that does and cannot be billed
    itself, to the span that begins the trace.
    """

    def __init__(self, claims: Sequence[Claim]) -> None:
        parents = _parents(claims)
        order = _leaves_first(parents)
        if len(order) < len(claims):
            _cut_circles(parents, set(range(len(claims))).difference(order))
            order = _leaves_first(parents)
        self._extent = [1] * len(claims)
        for i in order:
            if parents[i] != _NONE:
                self._extent[parents[i]] += self._extent[i]
        self._place(claims, parents, order)
        self.alone = {
            i: first
            for i, claim in enumerate(claims)
            if claim.billable and (first := _beginning(claims, parents, i)) is not None
        }

    def _place(self, claims: Sequence[Claim], parents: list[int], order: list[int]) -> None:
        """Number the claims so that those inside one follow it without a gap."""
        size = len(claims)
        self.above = [_NONE] * size
        self.depth = [0] * size
        self._number = [0] * size
        free = [0] * size
        next_root = 0
        for i in reversed(order):
            parent = parents[i]
            if parent == _NONE:
                self._number[i] = next_root
                next_root += self._extent[i]
            else:
                self.above[i] = parent if claims[parent].billable else self.above[parent]
                self.depth[i] = self.depth[parent] + claims[parent].billable
                self._number[i] = free[parent]
                free[parent] += self._extent[i]
            free[i] = self._number[i] + 1
        self.outermost_first = sorted(range(size), key=self._number.__getitem__)

    def contains(self, outer: int, inner: int) -> bool:
        """Whether one claim is inside another, at any depth; none is inside itself."""
        into = self._number[inner] - self._number[outer]
        return 0 < into < self._extent[outer]


def _parents(claims: Sequence[Claim]) -> list[int]:
    """The position of each claim's parent. Where a span was reported twice, one that bills."""
    found: dict[tuple[str, str], int] = {}
    for i, claim in enumerate(claims):
        key = claim.trace_id, claim.span_id
        there = found.get(key)
        if there is None or (claim.billable and not claims[there].billable):
            found[key] = i
    return [
        _NONE
        if claim.parent_span_id is None
        else found.get((claim.trace_id, claim.parent_span_id), _NONE)
        for claim in claims
    ]


def _beginning(claims: Sequence[Claim], parents: Sequence[int], i: int) -> int | None:
    """The span that begins the trace of a claim, if that is the claim or one directly around it."""
    if claims[i].parent_span_id is None:
        return i
    first = parents[i]
    if first == _NONE or claims[first].billable or claims[first].parent_span_id is not None:
        return None
    return first


def _leaves_first(parents: Sequence[int]) -> list[int]:
    """Every position before that of its parent; those on circles are left out."""
    children = [0] * len(parents)
    for parent in parents:
        if parent != _NONE:
            children[parent] += 1
    order = [i for i, count in enumerate(children) if not count]
    for i in order:
        parent = parents[i]
        if parent != _NONE:
            children[parent] -= 1
            if not children[parent]:
                order.append(parent)
    return order


def _cut_circles(parents: list[int], within: set[int]) -> None:
    """Make the first of each circle a root. All of `within` are on circles."""
    for first in sorted(within):
        if first not in within:
            continue
        i = first
        while i in within:
            within.discard(i)
            i = parents[i]
        parents[first] = _NONE
