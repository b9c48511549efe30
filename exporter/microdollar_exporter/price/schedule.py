# SPDX-License-Identifier: Apache-2.0
"""What a book says on calls of one kind, over all time: compiled once, then only looked up."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Final, NamedTuple

from microdollar_exporter.price.book import ANY, Book, PriceRow
from microdollar_exporter.price.context import facts, facts_of
from microdollar_exporter.price.disjoint import in_force
from microdollar_exporter.price.names import Match, Names
from microdollar_exporter.price.tariff import Price, Tariff
from microdollar_exporter.usage import UsageRow

__all__ = ["Compiler", "Period", "Schedule", "Window"]

log = logging.getLogger(__name__)

_REPORTED: Final = 10_000
_NOT_IN_FORCE: Final = Price(
    None, None, "unpriced_model", None, "the book has no price for that time"
)


class Window(NamedTuple):
    """A time of day, microseconds since midnight UTC, and the weekdays of UTC; None is all."""

    start: int
    end: int
    weekdays: tuple[int, ...] | None
    period: "Period"


@dataclass(frozen=True, slots=True)
class Period:
    """The tariffs between two dates: by input size, and by time of day where that matters.

    A request that exceeds `thresholds[i]` input tokens has the tariff `i + 1`. `refusal` is the
    answer where there is no price; `doubts` say why a price may not be the right one.
    """

    thresholds: tuple[int, ...] = ()
    tariffs: tuple[Tariff, ...] = ()
    windows: tuple[Window, ...] = ()
    doubts: tuple[str, ...] = ()
    refusal: Price | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything a book says on calls of one kind. `periods[i]` ends before `ends[i]`."""

    ends: Sequence[int]
    periods: Sequence[Period]


class Compiler:
    """Works out what a book says on the names and facts of a call."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._names = Names(book)
        self._tariffs: dict[str, Tariff] = {}
        self._reported: set[tuple[str, str | None]] = set()

    def schedule(self, row: UsageRow) -> Schedule:
        """What the book says on all calls with these names and facts."""
        provider = self._names.provider(row.provider)
        if provider is None:
            note = f"provider {row.provider} is not in the book" if row.provider else "no provider"
            return self._otherwise(Price(None, None, "unpriced_provider", None, note))
        named = (row.response_model, row.request_model)
        edges = self._names.edges(provider, *named)
        ends: list[int] = []
        periods: list[Period] = []
        for start, end in pairwise([None, *edges, None]):
            part = self._between(provider, row, start, end)
            ends += [*part.ends, *([] if end is None else [end])]
            periods += part.periods
        return Schedule(tuple(ends), tuple(periods))

    def _between(
        self, provider: str, row: UsageRow, start: int | None, end: int | None
    ) -> Schedule:
        """What the book says over a time in which every name means the same."""
        found, doubts = self._model(provider, row, start)
        if found is None:
            name = row.response_model or row.request_model
            note = f"model {name} is not in the book" if name else "no model"
            return self._otherwise(Price(None, None, "unpriced_model", None, note), start, end)
        call = _Call(provider, found, _facts(row, found), tuple(doubts))
        rows_of = self._book.lent if found.lent else self._book.lookup
        standard = rows_of(found.provider, found.model)
        variants = self._variants(call)
        if not standard and not variants:
            note = f"the book lists {found.provider} {found.model} without a price"
            return self._otherwise(Price(None, None, "unpriced_model", None, note), start, end)
        rows = [*standard, *(row for same in variants.values() for row in same)]
        rows += [made for base in rows for made in self._book.adjusted(provider, base.price_row)]
        rows += self._book.lookup(ANY, ANY)
        ends = _edges(rows, start, end)
        periods = []
        for first, last in pairwise([start, *ends, end]):
            missed = []
            for context, same in variants.items():
                if chosen := in_force(same, first, last):
                    break
                missed.append(context)
            else:
                chosen = in_force(standard, first, last)
            periods.append(self._period(call, chosen, missed, first, last))
        return Schedule(tuple(ends), tuple(periods))

    def _model(
        self, provider: str, row: UsageRow, at: int | None
    ) -> tuple[Match | None, list[str]]:
        """The model that answered, if the book knows it, else the one that was asked for.

        An alias goes before both: the name of a deployment is only in the request.
        """
        named = (row.response_model, row.request_model)
        for name in named:
            if found := self._names.alias(provider, name, at):
                return found, []
        found = self._names.model(provider, row.response_model, at)
        doubts = []
        if found is None:
            found = self._names.model(provider, row.request_model, at)
            if found and row.response_model:
                doubts.append(f"model {row.response_model} is not in the book, request model used")
        if found and found.doubt:
            doubts.append(found.doubt)
            self._report(provider, row, found.doubt)
        return found, doubts

    def _report(self, provider: str, row: UsageRow, doubt: str) -> None:
        """Say once in the log that a name was not matched exactly."""
        name = row.response_model or row.request_model
        if (provider, name) not in self._reported and len(self._reported) < _REPORTED:
            self._reported.add((provider, name))
            log.warning("model %r at %s is priced as a fallback: %s", name, provider, doubt)

    def _variants(self, call: "_Call") -> dict[str, tuple[PriceRow, ...]]:
        """The contexts that a call asked for and the book ever has, and their rows; best first.

        Facts stack only where the book has them together: as many as it has, the first before the
        later ones. A source lends standard rates only.
        """
        if call.found.lent:
            return {}
        contexts = (
            ",".join(sorted(together))
            for size in range(len(call.facts), 0, -1)
            for together in combinations(call.facts, size)
        )
        found = {
            one: self._book.lookup(call.found.provider, call.found.model, one) for one in contexts
        }
        return {context: rows for context, rows in found.items() if rows}

    def _period(
        self,
        call: "_Call",
        rows: Sequence[PriceRow],
        missed: Sequence[str],
        start: int | None,
        end: int | None,
    ) -> Period:
        """The tariffs of rows that hold over a whole period, in which no row of `missed` does."""
        if not rows:
            return self._or_default(_NOT_IN_FORCE, start, end)
        if rows[0].layer == "free":
            return Period(*self._ladder(rows), doubts=call.doubts)
        adjusted = [self._adjusted(call, row, start, end) for row in rows]
        covered = facts_of(adjusted[0].context)
        doubts = list(call.doubts)
        for context in missed:
            if not facts_of(context) <= covered:
                doubts.append(f"{context} has no price of its own at that time")
                covered |= facts_of(context)
        doubts += [f"{fact} has no price of its own" for fact in call.facts if fact not in covered]
        otherwise = self._or_default(_NOT_IN_FORCE, start, end)
        return self._with_windows(adjusted, tuple(doubts), otherwise)

    def _adjusted(
        self, call: "_Call", row: PriceRow, start: int | None, end: int | None
    ) -> PriceRow:
        """The row with all the operator's adjustments that this call asks for."""
        known = facts_of(row.context) | set(call.facts)
        made = [
            one
            for one in in_force(self._book.adjusted(call.provider, row.price_row), start, end)
            if facts_of(one.context) <= known
        ]
        return max(made, key=lambda one: len(facts_of(one.context)), default=row)

    def _with_windows(
        self, rows: Sequence[PriceRow], doubts: tuple[str, ...], otherwise: Period
    ) -> Period:
        """The tariffs of rows; `otherwise` holds where they are for other times of day only."""
        of_window: dict[tuple[tuple[int, int] | None, tuple[int, ...] | None], list[PriceRow]] = {}
        for row in rows:
            of_window.setdefault((row.time_of_day, row.weekdays), []).append(row)
        windows = tuple(
            Window(*span, weekdays, Period(*self._ladder(same), doubts=doubts))
            for (span, weekdays), same in of_window.items()
            if span is not None
        )
        plain = of_window.get((None, None))
        if plain is None:
            return replace(otherwise, windows=windows)
        return Period(*self._ladder(plain), windows, doubts)

    def _ladder(self, rows: Iterable[PriceRow]) -> tuple[tuple[int, ...], tuple[Tariff, ...]]:
        steps = sorted(rows, key=lambda row: row.over_input_tokens)
        return tuple(r.over_input_tokens for r in steps[1:]), tuple(self._tariff(r) for r in steps)

    def _tariff(self, row: PriceRow) -> Tariff:
        tariff = self._tariffs.get(row.price_row)
        if tariff is None:
            tariff = self._tariffs[row.price_row] = Tariff.of(row)
        return tariff

    def _otherwise(
        self, refusal: Price, start: int | None = None, end: int | None = None
    ) -> Schedule:
        """No price over a time, or the operator's rate for what the book does not list."""
        ends = _edges(self._book.lookup(ANY, ANY), start, end)
        edges = pairwise([start, *ends, end])
        periods = [self._or_default(refusal, first, last) for first, last in edges]
        return Schedule(tuple(ends), tuple(periods))

    def _or_default(self, refusal: Price, start: int | None, end: int | None) -> Period:
        rows = in_force(self._book.lookup(ANY, ANY), start, end)
        if not rows:
            return Period(refusal=refusal)
        return Period(*self._ladder(rows), doubts=(f"{refusal.note}, default rate used",))


class _Call(NamedTuple):
    """What is known of the calls that are being compiled."""

    provider: str
    found: Match
    facts: tuple[str, ...]
    doubts: tuple[str, ...]


def _facts(row: UsageRow, found: Match) -> tuple[str, ...]:
    """The facts of a call, and those that its alias adds; what the call says goes before."""
    own = facts(row)
    said = {fact.partition("=")[0] for fact in own}
    return (*own, *(fact for fact in found.context if fact.partition("=")[0] not in said))


def _edges(rows: Iterable[PriceRow], start: int | None, end: int | None) -> list[int]:
    """The moments within a time at which a row begins or ends to hold."""
    moments = {edge for row in rows for edge in (row.effective_from, row.effective_to)}
    return sorted(
        edge
        for edge in moments
        if edge is not None and (start is None or start < edge) and (end is None or edge < end)
    )
