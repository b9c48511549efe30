# SPDX-License-Identifier: Apache-2.0
"""The order of things that are inside each other: the innermost first."""

from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["innermost_first"]


def innermost_first(
    items: Iterable[int], inside: Mapping[int, Collection[int]]
) -> Iterator[list[int]]:
    """The items in groups, each after all that is inside it.

    A group has more than one item where they are inside each other. This is Tarjan's algorithm for
    strongly connected components, without recursion.
    """
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    open_items: list[int] = []
    is_open: set[int] = set()
    path: list[tuple[int, Iterator[int]]] = []

    def enter(item: int) -> None:
        number[item] = lowest[item] = len(number)
        open_items.append(item)
        is_open.add(item)
        path.append((item, iter(sorted(inside.get(item, ())))))

    for first in items:
        if first not in number:
            enter(first)
        while path:
            item, rest = path[-1]
            inner = next(rest, None)
            if inner is not None:
                if inner not in number:
                    enter(inner)
                elif inner in is_open:
                    lowest[item] = min(lowest[item], number[inner])
                continue
            path.pop()
            if path:
                outer = path[-1][0]
                lowest[outer] = min(lowest[outer], lowest[item])
            if lowest[item] == number[item]:
                group = [open_items.pop()]
                while group[-1] != item:
                    group.append(open_items.pop())
                is_open.difference_update(group)
                yield group
