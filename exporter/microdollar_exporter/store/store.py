# SPDX-License-Identifier: Apache-2.0
"""The ledger's DuckDB file: opened by one process, appended to by one thread, read by many."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from microdollar_exporter.entry import Entry
from microdollar_exporter.errors import StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.batches import ledger_batch, price_rows_batch, spans_batch
from microdollar_exporter.store.file import open_file
from microdollar_exporter.store.migrations import migrate

__all__ = ["Appended", "Store"]

log = logging.getLogger(__name__)

Booker = Callable[[Sequence[Evidence]], Sequence[Entry]]
"""Gives the ledger entries of evidence that was really new."""


class PriceBook(Protocol):
    """What the store asks of a price book; `id` is a hash of `canonical_json`.

    `table_rows` gives the columns of the `price_row` table but for `book_id`, with rates as
    decimal text and times as microseconds.
    """

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def source_version(self) -> str: ...
    def canonical_json(self) -> bytes: ...
    def table_rows(self) -> Sequence[Mapping[str, Any]]: ...


_LAST_RECORDED = """
    SELECT max(moment) FROM (
        SELECT max(recorded_at) AS moment FROM ledger
        UNION ALL SELECT max(in_force_from) FROM price_book_in_force
    )"""

_TRANSIENT = (
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.InterruptException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
)
"""What is not the batch's fault."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch: spans that were new, spans already known, entries booked."""

    new: int
    duplicates: int
    entries: int


class Store:
    """An open ledger file.

    `append` must be called from one thread at a time: finding redelivered spans is exact only
    because nothing else writes. `cursor` may be called from any thread. `broken` says that DuckDB
    has given up: the process has to start again.
    """

    def __init__(self, path: Path, *, patience: float = 0.0) -> None:
        """Open or create the file and bring its schema up to date.

        Waits up to `patience` seconds for another process to close it.

        Raises:
            StoreLocked: another process has the file open.
            StoreError: the file cannot be used; the message says why and what to do.
        """
        self.path = path
        self._con = open_file(path, read_only=False, patience=patience)
        try:
            migrate(self._con)
            [(last,)] = self._con.execute(_LAST_RECORDED).fetchall()
        except BaseException:
            self._con.close()
            raise
        self._recorded_at: datetime = last or datetime.min
        self._dirty = False
        self.broken = False

    def close(self) -> None:
        """Checkpoint and close the file; what was acknowledged is safe whether or not it can."""
        try:
            self._con.close()
        except duckdb.Error as error:
            log.warning("%s could not be closed in order: %s", self.path, error)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same file; it sees the last commit."""
        return self._con.cursor()

    def append(self, evidence: Sequence[Evidence], book: Booker) -> Appended:
        """Store what is new of `evidence` and its ledger entries; durable on return.

        A span that is known already, in the file or earlier in the batch, changes nothing.

        Raises:
            StoreUnavailable: nothing was stored (disk full, I/O fault); try again later.
            Exception: nothing was stored, because something in the batch cannot be.
        """
        unique: dict[tuple[str, str, int], Evidence] = {}
        for item in evidence:
            unique.setdefault((item.trace_id, item.span_id, item.started_at), item)
        try:
            with self._transaction():
                new = self._unknown(list(unique.values()))
                entries = book(new)
                now = self._clock()
                if new:
                    self._insert("spans", spans_batch(new), "received_at", now)
                if entries:
                    self._insert("ledger", ledger_batch(entries), "recorded_at", now)
        except _TRANSIENT as error:
            self._note(error)
            raise StoreUnavailable(f"cannot write to {self.path}: {error}") from error
        self._dirty = self._dirty or bool(new)
        return Appended(len(new), len(evidence) - len(new), len(entries))

    def record_book(self, book: PriceBook) -> None:
        """Keep a price book, once: whole, to compute from again, and as rows, to look up.

        From now on it is the one in force, and the file says since when.
        """
        known = "SELECT 1 FROM price_book WHERE book_id = ?"
        last = "SELECT arg_max(book_id, in_force_from) FROM price_book_in_force"
        with self._transaction():
            if not self._con.execute(known, [book.id]).fetchall():
                self._insert("price_row", price_rows_batch(book.table_rows()), "book_id", book.id)
                self._con.execute(
                    "INSERT INTO price_book VALUES (?, ?, ?, ?, ?)",
                    [
                        *(book.id, book.source, book.source_version, self._clock()),
                        book.canonical_json().decode(),
                    ],
                )
            if self._con.execute(last).fetchall() != [(book.id,)]:
                self._con.execute(
                    "INSERT INTO price_book_in_force VALUES (?, ?)", [book.id, self._clock()]
                )

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file; for quiet moments."""
        if not self._dirty:
            return
        try:
            self._con.execute("CHECKPOINT")
            self._dirty = False
        except duckdb.TransactionException:
            log.debug("checkpoint put off: a transaction is open")
        except duckdb.Error as error:
            self._note(error)
            log.warning("checkpoint failed; what was acknowledged is in the log: %s", error)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._con.begin()
        try:
            yield
            self._con.commit()
        except BaseException:
            # A commit that failed has rolled back already, and says so.
            with suppress(duckdb.Error):
                self._con.rollback()
            raise

    def _note(self, error: duckdb.Error) -> None:
        # After a fatal error DuckDB answers nothing more until the process has let go of the file.
        self.broken = self.broken or isinstance(error, duckdb.FatalException)

    def _unknown(self, evidence: Sequence[Evidence]) -> list[Evidence]:
        """The evidence that the file does not hold yet.

        A span is known by its trace, its id and its start, so a redelivered one falls into the
        same range: the bound prunes what is read and never the answer.
        """
        if not evidence:
            return []
        times = [item.started_at for item in evidence]
        keys = pa.table(
            {
                "position": range(len(evidence)),
                "started_at": pa.array(times, pa.timestamp("us")),
                "trace_id": [item.trace_id for item in evidence],
                "span_id": [item.span_id for item in evidence],
            }
        )
        self._con.register("batch", keys)
        try:
            # Constants, because row groups are skipped only when the bounds are known.
            rows = self._con.execute(
                f"""
                SELECT position FROM batch WHERE NOT EXISTS (
                    SELECT 1 FROM spans
                    WHERE spans.started_at BETWEEN make_timestamp({min(times)})
                        AND make_timestamp({max(times)})
                    AND spans.started_at = batch.started_at
                    AND spans.trace_id = batch.trace_id AND spans.span_id = batch.span_id
                ) ORDER BY position"""  # noqa: S608 - two integers
            ).fetchall()
        finally:
            self._con.unregister("batch")
        return [evidence[position] for (position,) in rows]

    def _insert(self, table: str, batch: pa.Table, column: str, value: datetime | str) -> None:
        """Insert a batch with one more column that is the same in every row."""
        self._con.register("batch", batch)
        try:
            self._con.execute(
                f"INSERT INTO {table} BY NAME SELECT *, ? AS {column} FROM batch",  # noqa: S608 - our names
                [value],
            )
        finally:
            self._con.unregister("batch")

    def _clock(self) -> datetime:
        """UTC now, and later than anything recorded before: the books are ordered by it."""
        now = datetime.now(UTC).replace(tzinfo=None)
        self._recorded_at = max(self._recorded_at + timedelta(microseconds=1), now)
        return self._recorded_at
