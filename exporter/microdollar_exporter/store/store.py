# SPDX-License-Identifier: Apache-2.0
"""The ledger's DuckDB file: opened by one process, appended to by one thread, read by many."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from microdollar_exporter.entry import Entry
from microdollar_exporter.errors import StoreError, StoreLocked, StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.batches import ledger_batch, price_rows_batch, spans_batch
from microdollar_exporter.store.migrations import migrate

__all__ = ["Appended", "Store", "open_file"]

log = logging.getLogger(__name__)

Booker = Callable[[Sequence[Evidence]], Sequence[Entry]]
"""Gives the ledger entries of evidence that was really new."""

_WRITER_CONFIG: Mapping[str, str | int] = {
    # DuckDB 1.5 and 2.x can both open a file of this storage version.
    "storage_compatibility_version": "v1.5.0",
    # The default of 16 MB stalls commits for a second at 20 million rows.
    "checkpoint_threshold": "256MB",
    "memory_limit": "2GB",
}


def open_file(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open a ledger file with no way from its SQL to anything outside it.

    Raises:
        StoreLocked: another process has the file open.
        StoreError: the file is not a DuckDB database, or cannot be read or created.
    """
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent}: create it, or choose a file with --db")
    config: dict[str, Any] = {} if read_only else dict(_WRITER_CONFIG)
    try:
        con = duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
            raise StoreLocked(
                f"{path} is open in another process; stop that process, or choose another file "
                "with --db"
            ) from error
        raise StoreError(
            f"cannot open {path}: {error}; the file is left as it is: put a copy of the ledger in "
            "its place, or choose another file with --db"
        ) from error
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


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


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch: spans that were new, spans already known, entries booked."""

    new: int
    duplicates: int
    entries: int


class Store:
    """An open ledger file.

    `append` must be called from one thread at a time: finding redelivered spans is exact only
    because nothing else writes. `cursor` may be called from any thread.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file and bring its schema up to date.

        Raises:
            StoreLocked: another process has the file open.
            StoreError: the file cannot be used; the message says why and what to do.
        """
        self.path = path
        self._con = open_file(path, read_only=False)
        try:
            migrate(self._con)
            [(last,)] = self._con.execute("SELECT max(recorded_at) FROM ledger").fetchall()
        except BaseException:
            self._con.close()
            raise
        self._recorded_at: datetime = last or datetime.min
        self._dirty = False
        self._broken = False

    def close(self) -> None:
        """Checkpoint and close the file."""
        self._con.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same file; it sees the last commit."""
        return self._con.cursor()

    def append(self, evidence: Sequence[Evidence], book: Booker) -> Appended:
        """Store what is new of `evidence` and its ledger entries; durable on return.

        A span that is known already, in the file or earlier in the batch, changes nothing.

        Raises:
            StoreUnavailable: nothing was stored (disk full, I/O fault); try again later.
        """
        unique: dict[tuple[str, str], Evidence] = {}
        for item in evidence:
            unique.setdefault((item.trace_id, item.span_id), item)
        try:
            if self._broken:
                self._reopen()
            with self._transaction():
                new = self._unknown(list(unique.values()))
                entries = book(new)
                now = self._clock()
                if new:
                    self._insert("spans", spans_batch(new), "received_at", now)
                if entries:
                    self._insert("ledger", ledger_batch(entries), "recorded_at", now)
        except duckdb.Error as error:
            # After a fatal error DuckDB answers nothing more until the file is opened again.
            self._broken = isinstance(error, duckdb.FatalException)
            raise StoreUnavailable(f"cannot write to {self.path}: {error}") from error
        self._dirty = self._dirty or bool(new)
        return Appended(len(new), len(evidence) - len(new), len(entries))

    def record_book(self, book: PriceBook) -> None:
        """Keep a price book, once: whole, to compute from again, and as rows, to look up."""
        known = "SELECT 1 FROM price_book WHERE book_id = ?"
        if self._con.execute(known, [book.id]).fetchall():
            return
        content = book.canonical_json().decode()
        with self._transaction():
            self._insert("price_row", price_rows_batch(book.table_rows()), "book_id", book.id)
            self._con.execute(
                "INSERT INTO price_book VALUES (?, ?, ?, ?, ?)",
                [book.id, book.source, book.source_version, self._clock(), content],
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
            self._broken = isinstance(error, duckdb.FatalException)
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

    def _reopen(self) -> None:
        self._con.close()
        self._con = open_file(self.path, read_only=False)
        self._broken = False
        log.warning("opened %s again after a fatal error of DuckDB", self.path)

    def _unknown(self, evidence: Sequence[Evidence]) -> list[Evidence]:
        """The evidence that the file does not hold yet.

        A span's start time is its own, so a redelivered span falls into the same range: the
        bound prunes what is read and never the answer.
        """
        if not evidence:
            return []
        times = [item.started_at for item in evidence]
        keys = pa.table(
            {
                "position": range(len(evidence)),
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
                f"INSERT INTO {table} BY NAME SELECT *, ? AS {column} FROM batch",  # noqa: S608
                [value],
            )
        finally:
            self._con.unregister("batch")

    def _clock(self) -> datetime:
        """UTC now, never earlier than anything recorded before: the books are ordered by it."""
        self._recorded_at = max(self._recorded_at, datetime.now(UTC).replace(tzinfo=None))
        return self._recorded_at
