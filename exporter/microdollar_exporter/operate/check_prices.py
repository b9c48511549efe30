# SPDX-License-Identifier: Apache-2.0
"""Check what calls are priced by: the books in a ledger, and the operator's overrides."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from microdollar_exporter.ask.books import IN_FORCE, LISTED, find_book
from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.prices import overrides_beside
from microdollar_exporter.price.overrides import read
from microdollar_exporter.price.reader import read_book

__all__ = ["Checked", "check_prices"]


class Checked(NamedTuple):
    """What holds and what does not, a line each."""

    sound: tuple[str, ...]
    wrong: tuple[str, ...]


def check_prices(ledger: Answers | None, db: Path, file: Path | None) -> Checked:
    """Check every book of a ledger, and a file of overrides as it would be laid over the prices.

    Without a file it is the one beside the ledger in `db`, if there is one.
    """
    sound: list[str] = []
    wrong: list[str] = []
    if ledger is not None:
        _check_books(ledger, sound, wrong)
    path = file or overrides_beside(db)
    if file is None and not path.exists():
        sound.append(f"no overrides: there is no file {path}")
        return Checked(tuple(sound), tuple(wrong))
    try:
        listed = find_book(LISTED, ledger).book
        laid = read(path).over(listed)
        sound.append(f"{path}: the overrides hold over book {listed.id[:16]}, as {laid.id[:16]}")
        if ledger is not None and laid.id != find_book(IN_FORCE, ledger).book.id:
            sound.append("they are not in force yet: see `microdollar prices reload`")
    except UsageError as error:
        wrong.append(str(error))
    return Checked(tuple(sound), tuple(wrong))


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
