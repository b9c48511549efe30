# SPDX-License-Identifier: Apache-2.0
"""Disjoint sets of numbers, united step by step."""

__all__ = ["DisjointSets"]


class DisjointSets:
    """Numbers from 0, each in a set of its own until united. A set is known by its smallest."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def find(self, item: int) -> int:
        """The smallest member of the item's set."""
        above = self._above
        while above[item] != item:
            above[item] = above[above[item]]
            item = above[item]
        return item

    def unite(self, one: int, other: int) -> int:
        """Make the sets of two items one, and return its smallest member."""
        first, second = self.find(one), self.find(other)
        if first > second:
            first, second = second, first
        self._above[second] = first
        return first
