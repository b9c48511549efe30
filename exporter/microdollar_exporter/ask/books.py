# SPDX-License-Identifier: Apache-2.0
"""Find a price book by what an operator calls it: a word, its id in the ledger, or a file."""

import re
import time
from pathlib import Path
from typing import Final, NamedTuple

from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.errors import UsageError
from microdollar_exporter.price import Book
from microdollar_exporter.price.obtain import open_feed
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.price.shipped import shipped

__all__ = ["INSTALLED", "IN_FORCE", "LISTED", "SHIPPED", "Found", "find_book", "kept_book"]

IN_FORCE: Final = "in-force"
LISTED: Final = "listed"
SHIPPED: Final = "shipped"
INSTALLED: Final = "installed"

_ID = re.compile(r"[0-9a-f]{6,64}")
_KEPT: Final = """
    SELECT book_id, source, source_version, content, epoch_us(imported_at) AS known_at
    FROM price_book WHERE """
_LAST: Final = "SELECT arg_max(book_id, in_force_from) FROM price_book_in_force"
_LAST_LISTED: Final = f"""
    SELECT coalesce(content->>'$.base', book_id) FROM price_book WHERE book_id = ({_LAST})"""  # noqa: S608 - our words


class Found(NamedTuple):
    """A book, and when it came into the ledger, in microseconds since 1970 UTC: now if never."""

    book: Book
    known_at: int


def find_book(name: str, ledger: Answers | None) -> Found:
    """The book that a word means.

    `in-force` is what the ledger is kept by, `listed` the list prices in it without the operator's
    overrides; where there is no ledger both are the shipped one. `shipped` came with this release;
    `installed` is made from the installed genai-prices. Other words are the id
    of a book in the ledger, or its beginning, or a file of the genai-prices feed.

    Raises:
        UsageError: there is no such book, or it cannot be read.
        StoreError: the ledger cannot be reached.
    """
    match name:
        case "shipped":
            return Found(shipped(), _now())
        case "installed":
            from microdollar_exporter.price.importer import (  # noqa: PLC0415 - loads pydantic
                import_genai_prices,
            )

            return Found(import_genai_prices(), _now())
        case "in-force" | "listed":
            which = _LAST if name == IN_FORCE else _LAST_LISTED
            kept = kept_book(ledger, f"book_id = ({which})") if ledger else None
            return kept or Found(shipped(), _now())
    path = Path(name)
    if path.is_file():
        return Found(_of_file(path), _now())
    if _ID.fullmatch(name) and ledger:
        found = kept_book(ledger, "starts_with(book_id, ?)", name)
        if found:
            return found
    raise UsageError(
        f"there is no price book {name!r}: name one by {IN_FORCE}, {LISTED}, {SHIPPED} or "
        f"{INSTALLED}, by at least six characters of the id of a book in the ledger, or by a file "
        "of the genai-prices feed"
    )


def kept_book(ledger: Answers, condition: str, *parameters: str) -> Found | None:
    """The one book in the ledger that meets a condition in SQL; None when none does.

    Raises:
        UsageError: several do.
    """
    rows = ledger.sql(_KEPT + condition, parameters).to_pylist()
    if not rows:
        return None
    if len(rows) > 1:
        ids = ", ".join(sorted(row["book_id"][:16] for row in rows))
        raise UsageError(f"several books are meant, {ids}: write more of the id")
    row = rows[0]
    book = read_book(row["content"], source=row["source"], source_version=row["source_version"])
    return Found(book, row["known_at"])


def _of_file(path: Path) -> Book:
    from microdollar_exporter.price.feed import read_feed  # noqa: PLC0415 - loads pydantic

    return read_feed(open_feed(path)).imported.book


def _now() -> int:
    return time.time_ns() // 1000
