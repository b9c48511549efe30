# SPDX-License-Identifier: Apache-2.0
"""The price rows of a book that a provider and a model mean, by the names that spans have."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.names import Names

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
    now = time.time_ns() // 1000 if at is None else at
    found = names.provider(provider)
    if found is None:
        raise UsageError(
            f"provider {provider!r} is not in the book: `microdollar prices show` lists those that "
            "are, and [providers] in the overrides gives one another name"
        )
    if model is None:
        rows = [row for row in book.rows if row.provider == found and _holds(row, now)]
        return Rates(tuple(sorted(rows, key=_order)), ())
    match = names.model(found, model, now)
    if match is None:
        raise UsageError(
            f"model {model!r} of {found} is not in the book, so its calls are unpriced"
        )
    notes = []
    if (match.provider, match.model) != (provider, model):
        notes.append(f"{provider} {model} is priced as {match.provider} {match.model}")
    if match.doubt:
        notes.append(f"in doubt: {match.doubt}")
    rows = list(_all_of(book, found, match.provider, match.model))
    if at is not None:
        rows = [row for row in rows if _holds(row, at)]
    if not rows:
        notes.append("the book has no price for it" + (" then" if at is not None else ""))
    return Rates(tuple(sorted(rows, key=_order)), tuple(notes))


def _all_of(book: Book, asked: str, provider: str, model: str) -> Iterator[PriceRow]:
    """The rows of a model, each with those that an operator's adjustments make of it."""
    for row in book.rows:
        if (row.provider, row.model) == (provider, model) and not row.adjustments:
            yield row
            yield from book.adjusted(asked, row.price_row)


def _holds(row: PriceRow, at: int) -> bool:
    return (row.effective_from is None or row.effective_from <= at) and (
        row.effective_to is None or at < row.effective_to
    )


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
