# SPDX-License-Identifier: Apache-2.0
"""Price books in a ledger's file: each kept whole and once, and since when which was in force."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import duckdb

from microdollar_exporter.store.batches import price_rows_batch
from microdollar_exporter.store.registered import registered

__all__ = ["PriceBook", "in_force", "keep_book", "put_in_force"]


class PriceBook(Protocol):
    """What the store asks of a price book; `id` is a hash of `canonical_json`.

    `table_rows` gives the columns of the `price_row` table but for `book_id`, with rates as
    decimal text and times as microseconds.
    """

    @property
    def id(self) -> str:
        """The hash of the content."""

    @property
    def source(self) -> str:
        """Where the prices came from."""

    @property
    def source_version(self) -> str:
        """Which edition of the source."""

    def canonical_json(self) -> bytes:
        """The content."""

    def table_rows(self) -> Sequence[Mapping[str, Any]]:
        """The price rows."""


def keep_book(con: duckdb.DuckDBPyConnection, book: PriceBook, at: datetime) -> None:
    """Keep a book, once: whole, to compute from again, and as rows, to look up."""
    if con.execute("SELECT 1 FROM price_book WHERE book_id = ?", [book.id]).fetchall():
        return
    with registered(con, "batch", price_rows_batch(book.table_rows())):
        con.execute("INSERT INTO price_row BY NAME SELECT *, ? AS book_id FROM batch", [book.id])
    con.execute(
        "INSERT INTO price_book VALUES (?, ?, ?, ?, ?)",
        [book.id, book.source, book.source_version, at, book.canonical_json().decode()],
    )


def put_in_force(con: duckdb.DuckDBPyConnection, book_id: str, at: datetime) -> None:
    """From `at` on the ledger is kept by this book, unless it is already."""
    if in_force(con) != book_id:
        con.execute("INSERT INTO price_book_in_force VALUES (?, ?)", [book_id, at])


def in_force(con: duckdb.DuckDBPyConnection) -> str | None:
    """The id of the book that the ledger is kept by; None before the first."""
    [(last,)] = con.execute(
        "SELECT arg_max(book_id, in_force_from) FROM price_book_in_force"
    ).fetchall()
    return None if last is None else str(last)
