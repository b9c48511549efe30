# SPDX-License-Identifier: Apache-2.0
"""What a file of overrides says otherwise than before, apart from the list prices under it."""

from dataclasses import replace
from typing import Any, NamedTuple

from microdollar_exporter.price.book import Book
from microdollar_exporter.price.difference import Difference

__all__ = ["Factor", "beyond", "factors"]


class Factor(NamedTuple):
    """A multiplier of the overrides by its name, its `old` and `new` text: None where not there."""

    name: str
    old: str | None
    new: str | None


def factors(old: Book, new: Book) -> list[Factor]:
    """The multipliers that two books do not agree on, as far as they are about any price."""
    was, now = _multipliers(old), _multipliers(new)
    names = sorted(was.keys() | now.keys())
    found = [Factor(name, was.get(name), now.get(name)) for name in names]
    return [factor for factor in found if factor.old != factor.new]


def _multipliers(book: Book) -> dict[str, str]:
    said: dict[str, set[str]] = {}
    for row in book.rows:
        for each in row.adjustments:
            of_what = " (tokens only)" if each.tokens_only else ""
            said.setdefault(each.name, set()).add(f"{each.multiply}{of_what}")
    return {name: ", ".join(sorted(texts)) for name, texts in said.items()}


def beyond(whole: Difference, listed: Difference) -> Difference:
    """What of the difference of two books is none of the list prices that they were made of."""
    moved = {(move.provider, move.model) for move in (*listed.later, *listed.past)}
    known: dict[str, set[Any]] = {
        "new_models": {*listed.new_models},
        "gone_models": {*listed.gone_models},
        "later": {*listed.later},
        "past": {*listed.past},
        # What is adjusted moves with its list price.
        "otherwise": {*listed.otherwise, *moved},
    }
    left: dict[str, Any] = {
        name: tuple(one for one in getattr(whole, name) if one not in known[name]) for name in known
    }
    return replace(whole, **left)
