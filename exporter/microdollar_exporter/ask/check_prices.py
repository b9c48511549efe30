# SPDX-License-Identifier: Apache-2.0
"""Check what calls are priced by: the books in a ledger, and the operator's overrides."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from microdollar_exporter.ask.books import IN_FORCE, LISTED, find_book
from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.errors import UsageError
from microdollar_exporter.price.book import ANY
from microdollar_exporter.price.overrides import Overrides, read
from microdollar_exporter.price.overrides.in_use import PRICES, Named, beside, file_in_use
from microdollar_exporter.price.reader import read_book

__all__ = ["Checked", "check_prices"]


class Checked(NamedTuple):
    """What holds and what does not, a line each."""

    sound: tuple[str, ...]
    wrong: tuple[str, ...]


def check_prices(ledger: Answers | None, db: Path, file: Path | None) -> Checked:
    """Check every book of a ledger, and a file of overrides as it would be laid over the prices.

    Without a file it is the one that the ledger in `db` is kept by, if there is one.
    """
    sound: list[str] = []
    wrong: list[str] = []
    if ledger is not None:
        _check_books(ledger, sound, wrong)
    try:
        path = file or file_in_use(db.absolute(), _decided(ledger))
        if not path:
            none = "it was so decided" if path is False else f"there is no file {beside(db)}"
            sound.append(f"no overrides: {none}")
            return Checked(tuple(sound), tuple(wrong))
        listed = find_book(LISTED, ledger).book
        overrides = read(path)
        laid = overrides.over(listed)
        sound.append(f"{path}: the overrides hold over book {listed.id[:16]}, as {laid.id[:16]}")
        sound += _without_output(path, overrides)
        if ledger is not None and laid.id != find_book(IN_FORCE, ledger).book.id:
            sound.append("they are not in force yet: see `microdollar prices reload`")
    except UsageError as error:
        wrong.append(str(error))
    return Checked(tuple(sound), tuple(wrong))


def _without_output(path: Path, overrides: Overrides) -> Iterator[str]:
    """Rates that may be meant as they are, as those of embeddings, or have been forgotten."""
    rates = [*overrides.rates, *([overrides.default] if overrides.default else [])]
    for rate in sorted(rates, key=lambda rate: rate.at.line):
        if any(step.rates and "output" not in step.rates for step in rate.steps):
            whose = "" if rate.model == ANY else f" for {rate.provider} {rate.model}"
            yield (
                f"{path}:{rate.at.line}: {rate.at.head}{whose} has no rate for output: calls with "
                "output will be partial"
            )


def _decided(ledger: Answers | None) -> Named:
    if ledger is None:
        return None
    found = ledger.sql(
        "SELECT content FROM decision WHERE kind = ? ORDER BY made_at DESC LIMIT 1", [PRICES]
    ).to_pylist()
    decided: Named = json.loads(found[0]["content"])["overrides"] if found else None
    return decided


def _check_books(ledger: Answers, sound: list[str], wrong: list[str]) -> None:
    books = ledger.sql("SELECT book_id, content FROM price_book ORDER BY book_id").to_pylist()
    whole = 0
    for book in books:
        if hashlib.sha256(book["content"].encode()).hexdigest() != book["book_id"]:
            wrong.append(
                f"price book {book['book_id'][:16]} was altered: its id is not the hash of its "
                "content; restore a backup"
            )
            continue
        try:
            read_book(book["content"])
        except ValueError as error:
            wrong.append(f"price book {book['book_id'][:16]} cannot be read: {error}")
        else:
            whole += 1
    sound.append(f"{whole:,} of {len(books):,} price books in the ledger are what their ids say")
