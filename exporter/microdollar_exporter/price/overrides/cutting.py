# SPDX-License-Identifier: Apache-2.0
"""What a rule leaves of a price row: the time before and after it, and the rest of the day."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from microdollar_exporter.price.book import PriceRow
from microdollar_exporter.price.overrides.rules import Rule, Window
from microdollar_exporter.price.validity import common

__all__ = ["left"]

_Span = tuple[int, int]
_Hours = tuple[_Span | None, tuple[int, ...] | None]
"""A time of day and weekdays, as a row has them."""


def left(row: PriceRow, rule: Rule, windows: Sequence[Window] = ()) -> Iterator[PriceRow]:
    """The parts of a row of the source that a rule is not about; the row itself if that is all.

    With `windows` the rule is about these times of day alone. A row for all hours stays then:
    rates for some hours are laid over it.
    """
    both = common(row.effective_from, row.effective_to, rule.start, rule.end)
    hours = (row.time_of_day, row.weekdays)
    rest = list(_rest(hours, windows)) if windows else []
    if both is None or rest == [hours]:
        yield row
        return
    first, last = row.effective_from, row.effective_to
    source = row.base_row or row.price_row
    if rule.start is not None and (first is None or first < rule.start):
        yield replace(row, effective_to=rule.start, base_row=source)
    if rule.end is not None and (last is None or rule.end < last):
        yield replace(row, effective_from=rule.end, base_row=source)
    for span, weekdays in rest:
        yield replace(
            row,
            effective_from=both[0],
            effective_to=both[1],
            time_of_day=span,
            weekdays=weekdays,
            base_row=source,
        )


def _rest(hours: _Hours, windows: Sequence[Window]) -> Iterator[_Hours]:
    """The hours that are in none of the windows; weekdays with the same ones stay together."""
    whole, weekdays = hours
    if whole is None:
        yield hours
        return
    days = range(7) if weekdays is None else weekdays
    alike: dict[tuple[_Span, ...], list[int]] = {}
    for day in days:
        taken = [one.span for one in windows if one.weekdays is None or day in one.weekdays]
        alike.setdefault(tuple(_outside(whole, taken)), []).append(day)
    for spans, same in alike.items():
        for span in spans:
            yield span, weekdays if len(same) == len(days) else tuple(same)


def _outside(whole: _Span, taken: Iterable[_Span]) -> Iterator[_Span]:
    """The parts of a span that are in none of others."""
    start, end = whole
    for first, last in sorted(taken):
        if start < min(first, end):
            yield start, min(first, end)
        start = max(start, last)
    if start < end:
        yield start, end
