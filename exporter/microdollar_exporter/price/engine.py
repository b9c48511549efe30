# SPDX-License-Identifier: Apache-2.0
"""Price usage rows by one book: find the tariff in force when a call began, and charge it."""

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import Any, Final, NamedTuple

from microdollar_exporter.price.book import Book
from microdollar_exporter.price.schedule import Compiler, Period, Schedule
from microdollar_exporter.price.tariff import Price, contradiction, input_tokens
from microdollar_exporter.usage import BUCKETS, Usage, UsageRow
from microdollar_semconv import attributes as md

__all__ = ["Engine", "Flat"]

_COUNTED: Final = md.USAGE_SOURCE_PROVIDER
_CACHED_KEYS: Final = 10_000
_DAY: Final = 86_400_000_000
_THURSDAY: Final = 3
"""The weekday of 1970-01-01."""

_names_and_facts = itemgetter(
    slice(UsageRow._fields.index("provider"), UsageRow._fields.index("inference_geo") + 1)
)
"""The fields of a usage row that decide which prices there are for it."""

_Key = tuple[Any, ...]


class Flat(NamedTuple):
    """A price that is the sum of tokens times rates, for calls of one key.

    `rates` are picodollars per token in the order of `BUCKETS`, None where not known to be right;
    `list_rates` are the same before an operator's adjustments. It holds for calls that began in
    [`since`, `until`) with at most `most_input` input tokens, of whom input and output were
    reported whole; None is without bound.
    """

    rates: tuple[int | None, ...]
    list_rates: tuple[int | None, ...]
    price_row: str
    since: int | None
    until: int | None
    most_input: int | None


class Engine:
    """Prices usage rows by one book. Safe to call from several threads.

    What a key of names and facts means is compiled once and kept, unknown keys included. Names
    come from the callers' customers, so the cache is bounded: when full it starts anew.
    """

    def __init__(self, book: Book) -> None:
        self.book: Final = book
        self._compiler = Compiler(book)
        self._schedules: dict[_Key, Schedule] = {}

    def price(self, row: UsageRow) -> Price:
        """The exact cost of a usage row at the prices in force when the call started.

        Never raises for anything a span can say; the status tells what is wrong.
        """
        usage = row.usage
        ordinary = row.source == _COUNTED and usage.input_uncached is not None
        if not ordinary and (answer := _nothing_to_price(row)):
            return answer
        key = _names_and_facts(row)
        schedule = self._schedules.get(key) or self._schedule(key, row)
        period = schedule.periods[bisect_right(schedule.ends, row.started_at)]
        if period.windows:
            period = _at_time_of_day(period, row.started_at)
        if period.refusal is not None:
            return _refuse(period.refusal, usage)
        tariff = period.tariffs[0]
        if period.thresholds:
            tariff = period.tariffs[bisect_left(period.thresholds, input_tokens(usage))]
        return tariff.charge(row, period.doubts)

    def flat(self, row: UsageRow) -> Flat | None:
        """The price of calls like this one where it is nothing but tokens times rates, else None.

        For every usage it holds for, it is what `price` says, with the status `priced`.
        """
        period, since, until = self._period(row)
        if period.refusal is not None or period.windows or period.doubts:
            return None
        rates = period.tariffs[0].flat_rates()
        if rates is None:
            return None
        return Flat(
            *rates,
            price_row=period.tariffs[0].price_row,
            since=since,
            until=until,
            most_input=period.thresholds[0] if period.thresholds else None,
        )

    def unpriced(self, row: UsageRow) -> tuple[int | None, int | None] | None:
        """From when until when calls like this one have no price, whatever they used; else None.

        As in `Flat`, the end is excluded and None is without bound.
        """
        period, since, until = self._period(row)
        return None if period.refusal is None or period.windows else (since, until)

    def _period(self, row: UsageRow) -> tuple[Period, int | None, int | None]:
        """What holds when a call began, and from when until when."""
        key = _names_and_facts(row)
        schedule = self._schedules.get(key) or self._schedule(key, row)
        position = bisect_right(schedule.ends, row.started_at)
        since = schedule.ends[position - 1] if position else None
        until = schedule.ends[position] if position < len(schedule.ends) else None
        return schedule.periods[position], since, until

    def _schedule(self, key: _Key, row: UsageRow) -> Schedule:
        if len(self._schedules) >= _CACHED_KEYS:
            self._schedules.clear()
        schedule = self._schedules[key] = self._compiler.schedule(row)
        return schedule


def _nothing_to_price(row: UsageRow) -> Price | None:
    """The answer for a call that consumed nothing, or whose consumption nobody reported."""
    usage = row.usage
    counts = [getattr(usage, name) for name in BUCKETS]
    some_units = any(usage.units.values())
    if row.source == md.USAGE_SOURCE_NONE and not any(counts) and not some_units:
        return Price(0, 0, "free", None, "nothing was consumed")
    if row.source == md.USAGE_SOURCE_MISSING or not (
        some_units or any(count is not None for count in counts)
    ):
        return Price(None, None, "bad_usage", None, "usage not reported")
    return None


def _refuse(refusal: Price, usage: Usage) -> Price:
    """No price; but a usage that cannot be true is the first thing to put right."""
    if flaw := contradiction(usage):
        return Price(None, None, "bad_usage", None, flaw)
    return refusal


def _at_time_of_day(period: Period, moment: int) -> Period:
    """The part of a period that holds at a moment, by the clock and the calendar of UTC."""
    day, since_midnight = divmod(moment, _DAY)
    weekday = (day + _THURSDAY) % 7
    for start, end, weekdays, window in period.windows:
        if start <= since_midnight < end and (weekdays is None or weekday in weekdays):
            return window
    return period
