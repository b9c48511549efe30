# SPDX-License-Identifier: Apache-2.0
"""The price rows of a book that a provider and a model mean, by the names that spans have."""

import time
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import NamedTuple

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.names import Match, Names
from microdollar_exporter.price.validity import holds_at
from microdollar_exporter.price.words import reach

__all__ = ["Rates", "rates_of"]


class Rates(NamedTuple):
    """Price rows, and what to know about how the names led to them."""

    rows: tuple[PriceRow, ...]
    notes: tuple[str, ...]


def rates_of(book: Book, provider: str, model: str | None, at: int | None) -> Rates:
    """The rows of a provider that hold at a moment, or those of one model.

    `at` is microseconds since 1970 UTC; None is now for a provider, and all time for a model.

    Raises:
        UsageError: the book does not know them.
    """
    names = Names(book)
    found = names.provider(provider)
    if found is None:
        raise UsageError(
            f"provider {provider!r} is not in the book: `microdollar prices show` lists those that "
            "are, and [providers] in the overrides gives one another name"
        )
    if model is None:
        now = time.time_ns() // 1000 if at is None else at
        sold = [
            row
            for row in book.rows
            if row.provider == found and holds_at(row.effective_from, row.effective_to, now)
        ]
        return Rates(tuple(sorted(_not_replaced(sold), key=_order)), ())
    stretches = _stretches(names, found, model, at)
    if not any(stretch.match for stretch in stretches):
        raise UsageError(
            f"model {model!r} of {found} is not in the book, so its calls are unpriced"
        )
    rows = {
        row.price_row: row
        for stretch in stretches
        for row in (_all_of(book, found, stretch.match) if stretch.match else ())
        if at is None or holds_at(row.effective_from, row.effective_to, at)
    }
    kept = rows.values() if at is None else _not_replaced(rows.values())
    notes = [note for stretch in stretches for note in _notes(provider, model, stretch)]
    if not rows:
        notes.append("the book has no price for it" + (" then" if at is not None else ""))
    return Rates(tuple(sorted(kept, key=_order)), tuple(notes))


def _not_replaced(rows: Collection[PriceRow]) -> list[PriceRow]:
    """The rows of one moment without those of which adjustments make another for all calls."""
    adjusted = {(row.base_row, row.context) for row in rows if row.adjustments}
    return [row for row in rows if row.adjustments or (row.price_row, row.context) not in adjusted]


class _Stretch(NamedTuple):
    """What a name means from a moment until another; None is without bound."""

    since: int | None
    until: int | None
    match: Match | None


def _stretches(names: Names, provider: str, model: str, at: int | None) -> list[_Stretch]:
    """What a name means at a moment, or over all time: an alias begins and ends."""
    if at is not None:
        return [_Stretch(None, None, names.model(provider, model, at))]
    found: list[_Stretch] = []
    for since, until in pairwise([None, *names.edges(provider, model), None]):
        match = names.model(provider, model, since)
        if found and found[-1].match == match:
            found[-1] = found[-1]._replace(until=until)
        else:
            found.append(_Stretch(since, until, match))
    return found


def _notes(provider: str, model: str, stretch: _Stretch) -> Iterator[str]:
    """What to know about a name, and when that is so unless it is always."""
    match = stretch.match
    when = "".join(f" {part}" for part in [reach(stretch.since, stretch.until)] if part)
    if match is None:
        yield f"{provider} {model} is not in the book{when}, so its calls are unpriced"
        return
    if (match.provider, match.model) != (provider, model):
        yield f"{provider} {model} is priced as {match.provider} {match.model}{when}"
    if match.doubt:
        yield f"in doubt{when}: {match.doubt}"


def _all_of(book: Book, asked: str, match: Match) -> Iterator[PriceRow]:
    """The rows of a model, each with those that an operator's adjustments make of it."""
    own = (row for row in book.rows if not row.adjustments)
    rows = book.lent(match.provider, match.model) if match.lent else own
    for row in rows:
        if (row.provider, row.model) == (match.provider, match.model):
            yield row
            yield from book.adjusted(asked, row.price_row)


def _order(row: PriceRow) -> tuple[object, ...]:
    return (
        row.model,
        row.context != "std",
        row.context,
        row.effective_from or -(2**63),
        row.time_of_day or (-1, -1),
        row.over_input_tokens,
        bool(row.adjustments),
    )
