# SPDX-License-Identifier: Apache-2.0
"""A book has one answer at every moment: which rows of one key contradict each other."""

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby, pairwise
from typing import TYPE_CHECKING

from microdollar_exporter.price.validity import holds_throughout

if TYPE_CHECKING:
    from microdollar_exporter.price.book import PriceRow

__all__ = ["contradictions", "in_force"]


def contradictions(rows: Sequence["PriceRow"]) -> Iterator[str]:
    """What is wrong with the rows of one provider, model and context, in words.

    Two rows for the same time, time of day and threshold; rates above a threshold only; two
    times of day that overlap.
    """
    if len(rows) == 1 and not rows[0].over_input_tokens:
        return
    edges = {edge for row in rows for edge in (row.effective_from, row.effective_to)}
    for start, end in pairwise([None, *sorted(edge for edge in edges if edge is not None), None]):
        yield from _at_once(in_force(rows, start, end))


def in_force(rows: Sequence["PriceRow"], start: int | None, end: int | None) -> list["PriceRow"]:
    """The rows that hold over the whole of a period; None is unbounded."""
    return [
        row for row in rows if holds_throughout(row.effective_from, row.effective_to, start, end)
    ]


def _at_once(rows: list["PriceRow"]) -> Iterator[str]:
    windows = []
    for _, same in groupby(sorted(rows, key=_window), key=_window):
        steps = sorted(same, key=lambda row: row.over_input_tokens)
        windows.append(steps[0])
        if steps[0].over_input_tokens:
            yield f"{_named(steps[0])} has rates above {steps[0].over_input_tokens} tokens only"
        for one, other in pairwise(steps):
            if one.over_input_tokens == other.over_input_tokens:
                yield f"{_named(one)} and {_named(other)} hold at the same time"
    for one, other in combinations(windows, 2):
        if _overlap(one, other):
            yield f"{_named(one)} and {_named(other)} hold at the same time of day"


def _window(row: "PriceRow") -> tuple[tuple[int, int], tuple[int, ...]]:
    return row.time_of_day or (0, 0), row.weekdays or ()


def _overlap(one: "PriceRow", other: "PriceRow") -> bool:
    """Whether two rows have a time of day in common, of which a row for all hours has none.

    The first does not begin after the other.
    """
    (_, end), (begin, _) = one.time_of_day or (0, 0), other.time_of_day or (0, 0)
    days = one.weekdays is None or other.weekdays is None or set(one.weekdays) & set(other.weekdays)
    return bool(days) and begin < end


def _named(row: "PriceRow") -> str:
    return f"{row.provider} {row.model} {row.context} {row.price_row}"
