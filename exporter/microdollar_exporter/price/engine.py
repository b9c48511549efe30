# SPDX-License-Identifier: Apache-2.0
"""Find the price row for a usage row, and what makes the find uncertain."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from microdollar_exporter.price.book import STANDARD, Book, PriceRow
from microdollar_exporter.price.context import doubtful_geo, facts
from microdollar_exporter.price.names import Match, Names
from microdollar_exporter.price.tariff import Price, Tariff, contradiction, input_tokens
from microdollar_exporter.usage import BUCKETS, Usage, UsageRow
from microdollar_semconv import attributes as md

__all__ = ["Engine", "Flat"]

_CACHED_KEYS: Final = 10_000
_DAY: Final = 86_400_000_000
_NOT_IN_FORCE: Final = Price(None, "unpriced_model", None, "the book has no price for that time")

_Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Period:
    """The tariffs between two dates: by input size, and by time of day where that matters."""

    thresholds: tuple[int, ...]
    """Input tokens that a request must exceed for the second, third … tariff."""
    tariffs: tuple[Tariff, ...]
    windows: tuple[tuple[int, int, "_Period"], ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Schedule:
    """Everything the book says on one key, over all time. `periods[i]` ends before `ends[i]`.

    `refusal` is the answer when the book says nothing at all; `doubts` hold at every time.
    """

    ends: Sequence[int] = ()
    periods: Sequence[_Period] = ()
    doubts: tuple[str, ...] = ()
    refusal: Price | None = None


class Flat(NamedTuple):
    """A price that is the sum of tokens times rates, for calls of one key.

    `rates` are picodollars per token in the order of `BUCKETS`, None where not known to be right.
    It holds for calls that began in [`since`, `until`) with at most `most_input` input tokens, of
    whom input and output were reported whole; None is without bound.
    """

    rates: tuple[int | None, ...]
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
        self._names = Names(book)
        self._schedules: dict[_Key, _Schedule] = {}
        self._tariffs: dict[str, Tariff] = {}

    def price(self, row: UsageRow) -> Price:
        """The exact cost of a usage row at the prices in force when the call started.

        Never raises for anything a span can say; the status tells what is wrong.
        """
        usage = row.usage
        ordinary = row.source == md.USAGE_SOURCE_PROVIDER and usage.input_uncached is not None
        if not ordinary and (answer := _nothing_to_price(row)):
            return answer
        key = _key(row)
        schedule = self._schedules.get(key) or self._schedule(key, row)
        if schedule.refusal is not None:
            return _refuse(schedule.refusal, usage)
        period = schedule.periods[bisect_right(schedule.ends, row.started_at)]
        if period.windows:
            period = _at_time_of_day(period, row.started_at % _DAY)
        if not period.tariffs:
            return _refuse(_NOT_IN_FORCE, usage)
        tariff = period.tariffs[0]
        if period.thresholds:
            tariff = period.tariffs[bisect_left(period.thresholds, input_tokens(usage))]
        return tariff.charge(row, schedule.doubts + period.doubts)

    def flat(self, row: UsageRow) -> Flat | None:
        """The price of calls like this one where it is nothing but tokens times rates, else None.

        For every usage it holds for, it is what `price` says, with the status `priced`.
        """
        key = _key(row)
        schedule = self._schedules.get(key) or self._schedule(key, row)
        if schedule.refusal is not None or schedule.doubts:
            return None
        position = bisect_right(schedule.ends, row.started_at)
        period = schedule.periods[position]
        if period.windows or period.doubts or not period.tariffs:
            return None
        rates = period.tariffs[0].flat_rates()
        if rates is None:
            return None
        return Flat(
            rates=rates,
            price_row=period.tariffs[0].price_row,
            since=schedule.ends[position - 1] if position else None,
            until=schedule.ends[position] if position < len(schedule.ends) else None,
            most_input=period.thresholds[0] if period.thresholds else None,
        )

    def _schedule(self, key: _Key, row: UsageRow) -> _Schedule:
        if len(self._schedules) >= _CACHED_KEYS:
            self._schedules.clear()
        schedule = self._schedules[key] = self._compile(row)
        return schedule

    def _compile(self, row: UsageRow) -> _Schedule:
        provider = self._names.provider(row.provider)
        if provider is None:
            note = f"provider {row.provider} is not in the book" if row.provider else "no provider"
            return _Schedule(refusal=Price(None, "unpriced_provider", None, note))
        doubts: list[str] = []
        found = self._model(provider, row, doubts)
        if found is None:
            name = row.response_model or row.request_model
            note = f"model {name} is not in the book" if name else "no model"
            return _Schedule(refusal=Price(None, "unpriced_model", None, note))
        standard = self.book.lookup(found.provider, found.model)
        if not standard:
            note = f"the book lists {found.provider} {found.model} without a price"
            return _Schedule(refusal=Price(None, "unpriced_model", None, note))
        context, variant = self._variant(provider, found.model, facts(row), doubts)
        if geo := doubtful_geo(row):
            doubts.append(f"inference_geo={geo} has no price of its own")

        edges = {e for r in (*standard, *variant) for e in (r.effective_from, r.effective_to)}
        ends = sorted(edge for edge in edges if edge is not None)
        periods = []
        for start, end in pairwise([None, *ends, None]):
            in_force = _in_force(variant, start, end)
            if variant and not in_force:
                why = (f"{context} has no price of its own at that time",)
                periods.append(self._period(_in_force(standard, start, end), why))
            else:
                periods.append(self._period(in_force or _in_force(standard, start, end)))
        return _Schedule(tuple(ends), tuple(periods), tuple(doubts))

    def _model(self, provider: str, row: UsageRow, doubts: list[str]) -> Match | None:
        """The model that answered, if the book knows it, else the one that was asked for."""
        found = self._names.model(provider, row.response_model)
        if found is None:
            found = self._names.model(provider, row.request_model)
            if found and row.response_model:
                doubts.append(f"model {row.response_model} is not in the book, request model used")
        if found and found.doubt:
            doubts.append(found.doubt)
        return found

    def _variant(
        self, provider: str, model: str, asked: tuple[str, ...], doubts: list[str]
    ) -> tuple[str, tuple[PriceRow, ...]]:
        """The context that a call asked for, and its rows; no rows for the standard one.

        Facts do not stack: several are one context only if the book has it, else the first that
        it has counts. A model whose price is lent has no contexts at `provider`: the source
        lends standard rates only.
        """
        chosen: tuple[str, tuple[PriceRow, ...]] = (STANDARD, ())
        for context in (",".join(sorted(asked)), *asked) if asked else ():
            if rows := self.book.lookup(provider, model, context):
                chosen = (context, rows)
                break
        applied = chosen[0].split(",")
        doubts += [f"{fact} has no price of its own" for fact in asked if fact not in applied]
        return chosen

    def _period(self, rows: Sequence[PriceRow], doubts: tuple[str, ...] = ()) -> _Period:
        plain = self._ladder(r for r in rows if r.time_of_day is None)
        windows = tuple(
            (*span, _Period(*self._ladder(r for r in rows if r.time_of_day == span), doubts=doubts))
            for span in sorted({r.time_of_day for r in rows if r.time_of_day})
        )
        return _Period(*plain, windows=windows, doubts=doubts)

    def _ladder(self, rows: Iterable[PriceRow]) -> tuple[tuple[int, ...], tuple[Tariff, ...]]:
        steps = sorted(rows, key=lambda row: row.over_input_tokens)
        return tuple(r.over_input_tokens for r in steps[1:]), tuple(self._tariff(r) for r in steps)

    def _tariff(self, row: PriceRow) -> Tariff:
        tariff = self._tariffs.get(row.price_row)
        if tariff is None:
            tariff = self._tariffs[row.price_row] = Tariff.of(row)
        return tariff


def _key(row: UsageRow) -> _Key:
    return (
        row.provider,
        row.response_model,
        row.request_model,
        row.service_tier,
        row.speed,
        row.inference_geo,
    )


def _nothing_to_price(row: UsageRow) -> Price | None:
    """The answer for a call that consumed nothing, or whose consumption nobody reported."""
    usage = row.usage
    counts = [getattr(usage, name) for name in BUCKETS]
    some_units = any(usage.units.values())
    if row.source == md.USAGE_SOURCE_NONE and not any(counts) and not some_units:
        return Price(0, "free", None, "nothing was consumed")
    if row.source == md.USAGE_SOURCE_MISSING or not (
        some_units or any(count is not None for count in counts)
    ):
        return Price(None, "bad_usage", None, "usage not reported")
    return None


def _refuse(refusal: Price, usage: Usage) -> Price:
    """No price; but a usage that cannot be true is the first thing to put right."""
    if flaw := contradiction(usage):
        return Price(None, "bad_usage", None, flaw)
    return refusal


def _in_force(rows: Sequence[PriceRow], start: int | None, end: int | None) -> list[PriceRow]:
    """The rows that hold over the whole of a period; None is unbounded."""
    return [
        row
        for row in rows
        if (row.effective_from is None or (start is not None and row.effective_from <= start))
        and (row.effective_to is None or (end is not None and row.effective_to >= end))
    ]


def _at_time_of_day(period: _Period, since_midnight: int) -> _Period:
    """The part of a period that holds at a time of day, in microseconds since midnight UTC."""
    for start, end, window in period.windows:
        if start <= since_midnight < end:
            return window
    return period
