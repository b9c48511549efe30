# SPDX-License-Identifier: Apache-2.0
"""What one price book says otherwise than another, and whether that is too much to be true."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple, Self

from microdollar_exporter.price.book import STANDARD, Book, PriceRow
from microdollar_exporter.price.decimals import decimal
from microdollar_exporter.price.disjoint import in_force
from microdollar_exporter.price.renamed import Way, renamed

__all__ = ["MOST_FACTOR", "MOST_SHARE", "Difference", "Move", "difference"]

MOST_SHARE: Final = Fraction(5, 100)
"""A book in which more than this share of the known rates moved is not taken unseen."""
MOST_FACTOR: Final = Fraction(5)
"""Nor is one in which a single rate moved by more than this factor, up or down."""

_Key = tuple[str, str, str]
_Model = tuple[str, str]
"""A provider and a model."""
_Contexts = Mapping[str, Sequence[PriceRow]]
"""The rows of a model by their contexts."""
_Rates = Mapping[str, int]
_Time = tuple[int | None, int | None]
_Span = tuple[int, int, int | None] | None
"""A part of the day and the weekday that it is one of; None is every other time."""
_Pair = tuple[int | None, int | None]
_Pairs = Mapping[str, _Pair]


class Move(NamedTuple):
    """One rate that two books do not agree on, and for which calls.

    `old` and `new` are 10⁻¹⁸ USD per token or unit, None where a book has no such rate; in a
    context that a book does not have, they are the standard ones there. `model` is a name where
    that leads to another model than before. `weekday` is 0 on Monday, None on every day. The other
    fields are those of a `PriceRow`.
    """

    provider: str
    model: str
    context: str
    rate: str
    since: int | None
    until: int | None
    over_input_tokens: int
    time_of_day: tuple[int, int] | None
    weekday: int | None
    old: int | None
    new: int | None

    @property
    def factor(self) -> Fraction | None:
        """How much dearer or cheaper, as a number over one; None where that is without bound."""
        if self.old is None or self.new is None:
            return Fraction(1)
        low, high = sorted((self.old, self.new))
        return Fraction(high, low) if low else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a new book says otherwise than an old one.

    `new_models` and `gone_models` are pairs of provider and model. `later` are changes for calls
    from a moment on, which is normal; `past` are changes that reach further back, which is a
    correction of what was said before. `otherwise` are models that other names lead to than before,
    that have a context more or less at no other rates, or whose cost an operator adjusts otherwise,
    and with an empty model providers that have other names or other lenders of prices.
    `known_rates` counts the rates of the old book by provider, model, context and name, also by
    the names that lead elsewhere now, and `moved_rates` those of them that are otherwise or gone,
    at any time and for any request.
    """

    new_models: tuple[tuple[str, str], ...]
    gone_models: tuple[tuple[str, str], ...]
    later: tuple[Move, ...]
    past: tuple[Move, ...]
    otherwise: tuple[tuple[str, str], ...]
    known_rates: int
    moved_rates: int

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What `as_json` said."""
        pairs = ("new_models", "gone_models", "otherwise")
        return cls(
            **{name: tuple((provider, model) for provider, model in said[name]) for name in pairs},
            later=tuple(_move_of(move) for move in said["later"]),
            past=tuple(_move_of(move) for move in said["past"]),
            known_rates=said["known_rates"],
            moved_rates=said["moved_rates"],
        )

    @property
    def is_empty(self) -> bool:
        """Whether both books say the same."""
        return not (
            self.new_models or self.gone_models or self.later or self.past or self.otherwise
        )

    def refusal(self, share: Fraction = MOST_SHARE, factor: Fraction = MOST_FACTOR) -> str | None:
        """Why the new book should not be taken unseen; None when it may be."""
        reasons = []
        if self.moved_rates > share * self.known_rates:
            reasons.append(
                f"{self.moved_rates:,} of {self.known_rates:,} known rates moved, which is more "
                f"than {_percent(share)} %"
            )
        leaps = [
            move
            for move in (*self.later, *self.past)
            if move.factor is None or move.factor > factor
        ]
        if leaps:
            worst = max(leaps, key=lambda move: (move.factor is None, move.factor or 0))
            by = "from or to zero" if worst.factor is None else f"{_short(worst.factor)}-fold"
            reasons.append(
                f"{len(leaps):,} rates moved by more than a factor of {_short(factor)}, most "
                f"{worst.rate} of {worst.provider} {worst.model}, {by}"
            )
        return "; ".join(reasons) or None

    def as_json(self) -> dict[str, Any]:
        """The same in plain JSON: rates as decimal text of USD per token or unit."""
        return {
            "new_models": [list(pair) for pair in self.new_models],
            "gone_models": [list(pair) for pair in self.gone_models],
            "later": [_move_json(move) for move in self.later],
            "past": [_move_json(move) for move in self.past],
            "otherwise": [list(pair) for pair in self.otherwise],
            "known_rates": self.known_rates,
            "moved_rates": self.moved_rates,
        }


def difference(old: Book, new: Book, since: int) -> Difference:
    """What `new` says otherwise than `old`.

    `since` parts the later changes from the rewritten past, in microseconds since 1970 UTC: best
    when the old book came, because nothing after that was known to it.
    """
    before, after = _by_model(old), _by_model(new)
    had, has = _models(old), _models(new)
    ways = [Way(*model, model, model) for model in sorted(had & has)]
    ways += [way for way in renamed(old, new) if way.means or way.meant in has]
    moves: list[Move] = []
    known = {(*model, *rate) for model, rows in before.items() for rate in _known(rows)}
    same_rates: set[_Model] = set()
    for way in ways:
        was, now = before.get(way.meant, {}), after.get(way.means, {}) if way.means else {}
        known |= {(way.provider, way.name, *rate) for rate in _known(was)}
        for context in {**was, **now}:
            key = (way.provider, way.name, context)
            found = list(_moves(key, _charged(was, context), _charged(now, context)))
            moves += found
            if not found and (context in was) is not (context in now):
                same_rates.add((way.provider, way.name))
    moves.sort(key=lambda move: _order(move[:3]))
    gone = sorted(had - has)
    moved = {move[:4] for move in moves if move.old is not None} & known
    moved |= {rate for rate in known if rate[:2] in set(gone)}
    elsewhere = {place for place, _ in set(_ways(old)) ^ set(_ways(new))}
    elsewhere -= {(provider, "") for provider in old.providers.keys() ^ new.providers.keys()}
    return Difference(
        new_models=tuple(sorted(has - had)),
        gone_models=tuple(gone),
        later=tuple(move for move in moves if move.since is not None and move.since >= since),
        past=tuple(move for move in moves if move.since is None or move.since < since),
        otherwise=tuple(sorted((elsewhere | same_rates) - (has ^ had))),
        known_rates=len(known),
        moved_rates=len(moved),
    )


def _by_model(book: Book) -> Mapping[_Model, _Contexts]:
    """The rows of each model, but for those that are adjusted."""
    found: dict[_Model, dict[str, list[PriceRow]]] = {}
    for row in book.rows:
        if not row.adjustments:
            of_model = found.setdefault((row.provider, row.model), {})
            of_model.setdefault(row.context, []).append(row)
    return found


def _charged(rows: _Contexts, context: str) -> Sequence[PriceRow]:
    """The rows that a context is charged by: what has no price of its own costs the standard."""
    return rows.get(context) or rows.get(STANDARD, ())


def _known(rows: _Contexts) -> Iterator[tuple[str, str]]:
    """The contexts of a model, each with the names of the rates it has there."""
    for context, same in rows.items():
        for row in same:
            for name in _rates(row):
                yield context, name


def _models(book: Book) -> set[_Model]:
    """The models a book lists, and those it only has prices of."""
    listed = {(p.id, model.id) for p in book.providers.values() for model in p.models}
    return listed | {(row.provider, row.model) for row in book.rows}


def _order(key: _Key) -> tuple[str, str, bool, str]:
    """The ordinary context before the others."""
    provider, model, context = key
    return provider, model, context != STANDARD, context


def _rates(row: PriceRow) -> dict[str, int]:
    return {**row.rates, **row.unit_rates}


def _ways(book: Book) -> Iterator[tuple[tuple[str, str], object]]:
    """What leads from a name to a price, and from a price to a cost, by provider and model."""
    for provider in book.providers.values():
        yield (provider.id, ""), provider.fallbacks
        for model in provider.models:
            yield (provider.id, model.id), model.rule
    for name, provider_id in book.provider_names.items():
        yield (provider_id, ""), name
    for alias in book.aliases:
        yield (alias.provider, alias.model), alias
    for row in book.rows:
        if row.adjustments:
            yield (row.provider, row.model), row.price_row


def _moves(key: _Key, old: Sequence[PriceRow], new: Sequence[PriceRow]) -> Iterator[Move]:
    """The rates of one key that differ, each over the longest time and for all it holds for."""
    if {row.price_row for row in old} == {row.price_row for row in new}:
        return
    rows = (*old, *new)
    names = {name for row in rows for name in _rates(row)}
    times = _times(rows)

    def said(span: _Span, over: int) -> list[_Pairs]:
        """What both books say of a request of just over so many input tokens, time by time."""
        pairs: list[_Pairs] = []
        for time in times:
            was, now = _in_force(old, time, span, over), _in_force(new, time, span, over)
            pairs.append({name: (was.get(name), now.get(name)) for name in names})
        return pairs

    for span in _spans(rows):
        smaller: list[_Pairs] = [{} for _ in times]
        for over in sorted({row.over_input_tokens for row in rows}):
            here = said(span, over)
            usual = said(None, over) if span else smaller
            for name in sorted(names):
                cells = [
                    # What holds for smaller requests or at any time of day is said there.
                    None if cell[name] in (less.get(name), plain.get(name)) else cell[name]
                    for cell, less, plain in zip(here, smaller, usual, strict=True)
                ]
                of_day, weekday = (span[:2], span[2]) if span else (None, None)
                for first, last, pair in _stretches(cells):
                    since, until = times[first][0], times[last][1]
                    yield Move(*key, name, since, until, over, of_day, weekday, *pair)
            smaller = here


def _stretches(cells: Sequence[_Pair | None]) -> Iterator[tuple[int, int, _Pair]]:
    """The first and last position of neighbours that differ in the same way."""
    for pair, run in groupby(enumerate(cells), key=itemgetter(1)):
        positions = [position for position, _ in run]
        if pair is not None and pair[0] != pair[1]:
            yield positions[0], positions[-1], pair


def _in_force(rows: Sequence[PriceRow], time: _Time, span: _Span, over: int) -> _Rates:
    """The rates of a request of just over so many input tokens, throughout a stretch of time."""
    holding = [row for row in in_force(rows, *time) if row.over_input_tokens <= over]
    timed = [
        row
        for row in holding
        if span and row.time_of_day and row.time_of_day[0] <= span[0] < row.time_of_day[1]
        if row.weekdays is None or span[2] in row.weekdays
    ]
    found = timed or [row for row in holding if row.time_of_day is None]
    return _rates(max(found, key=lambda row: row.over_input_tokens)) if found else {}


def _times(rows: Sequence[PriceRow]) -> list[_Time]:
    edges = {edge for row in rows for edge in (row.effective_from, row.effective_to)}
    return list(pairwise([None, *sorted(edge for edge in edges if edge is not None), None]))


def _spans(rows: Sequence[PriceRow]) -> list[_Span]:
    """The ordinary time, and each part of the day that has rates of its own, day by day if so."""
    windows = {row.time_of_day for row in rows if row.time_of_day}
    edges = sorted({edge for window in windows for edge in window})
    weekdays = range(7) if any(row.weekdays for row in rows) else [None]
    parts = [
        (start, end, weekday)
        for start, end in pairwise(edges)
        if any(window[0] <= start and end <= window[1] for window in windows)
        for weekday in weekdays
    ]
    return [None, *parts]


def _percent(share: Fraction) -> str:
    return _short(share * 100)


def _short(number: Fraction) -> str:
    """A number to at most three decimals."""
    return decimal(round(number * 1000), 3)


def _move_of(said: Mapping[str, Any]) -> Move:
    rates = {
        name: None if said[name] is None else int(Fraction(said[name]) * 10**18)
        for name in ("old", "new")
    }
    of_day = said["time_of_day"]
    return Move(**{**said, **rates, "time_of_day": tuple(of_day) if of_day else None})


def _move_json(move: Move) -> dict[str, Any]:
    said = move._asdict()
    for name in ("old", "new"):
        said[name] = None if said[name] is None else decimal(said[name], 18)
    return said
