# SPDX-License-Identifier: Apache-2.0
"""The ledger's DuckDB file: opened by one process, appended to by one thread, read by many."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb
import pyarrow as pa

from microdollar_exporter.entry import Entry
from microdollar_exporter.errors import StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.batches import ledger_batch, price_rows_batch, spans_batch
from microdollar_exporter.store.decisions import Change, decisions_in
from microdollar_exporter.store.file import open_file, unusable
from microdollar_exporter.store.known import Known
from microdollar_exporter.store.links import Links
from microdollar_exporter.store.migrations import migrate
from microdollar_exporter.store.profiles import Profiles
from microdollar_exporter.store.registered import registered

__all__ = ["ENTRY_ID", "Appended", "Booker", "Booking", "Store"]

log = logging.getLogger(__name__)

class Booking(NamedTuple):
    """The entries that new evidence calls for: some as such, some as a table of the same columns.

    `superseded` of them take earlier ones back.
    """

    entries: Sequence[Entry]
    table: pa.Table | None = None
    superseded: int = 0


Booker = Callable[[Sequence[Evidence], Known], Booking]
"""Gives the ledger entries of evidence that was really new, knowing what is there already."""


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


ENTRY_ID = """
    md5(concat_ws('|', kind, trace_id, span_id, epoch_us(started_at), position, revision))"""
"""An entry's id in SQL: it follows from what is booked, so the same books have the same ids."""
_INSERT_ENTRIES = f"""
    INSERT INTO ledger BY NAME SELECT *, ? AS recorded_at, {ENTRY_ID} AS entry_id FROM batch"""  # noqa: S608 - our words

_LAST_RECORDED = """
    SELECT max(moment) FROM (
        SELECT max(recorded_at) AS moment FROM ledger
        UNION ALL SELECT max(in_force_from) FROM price_book_in_force
        UNION ALL SELECT max(made_at) FROM decision
    )"""

CHECKPOINT_BYTES = 256 * 1024 * 1024
"""A write-ahead log of this size is folded into the file; DuckDB's own 16 MB would stall commits
for a second at 20 million rows."""

_SPELL_GAP = 3_600_000_000
_MAX_SPELLS = 16

_TRANSIENT = (
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.InterruptException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
    MemoryError,
)
"""What is not the batch's fault."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch.

    `new` and `duplicates` count spans, `entries` and `superseded` ledger entries booked and taken
    back; `unpriced` and `unassigned` count the calls among the entries.
    """

    new: int
    duplicates: int
    entries: int
    superseded: int
    unpriced: int
    unassigned: int


class Store:
    """An open ledger file.

    `append` must be called from one thread at a time: finding redelivered spans is exact only
    because nothing else writes. `cursor` may be called from any thread. `broken` says that DuckDB
    has given up: the process has to start again. `decisions` are those of the operator.
    """

    def __init__(self, path: Path, *, patience: float = 0.0) -> None:
        """Open or create the file and bring its schema up to date.

        Waits up to `patience` seconds for another process to close it.

        Raises:
            StoreLocked: another process has the file open.
            StoreError: the file cannot be used; the message says why and what to do.
        """
        self.path = path
        self._wal = path.with_name(path.name + ".wal")
        self._still_until = 0.0
        self._con = open_file(path, read_only=False, patience=patience)
        try:
            migrate(self._con)
            [(last,)] = self._con.execute(_LAST_RECORDED).fetchall()
            self._links = Links(self._con)
            self._profiles = Profiles(self._con)
            self.decisions = decisions_in(self._con)
        except duckdb.Error as error:
            self._con.close()
            raise unusable(path, error) from error
        except BaseException:
            self._con.close()
            raise
        self._recorded_at: datetime = last or datetime.min
        self._received_at = self._recorded_at
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
        if not evidence:
            return Appended(0, 0, 0, 0, 0, 0)
        once = list({item.identity: item for item in reversed(evidence)}.values())
        once.reverse()
        try:
            with self._transaction():
                new = self._insert_new(once)
                booking = self._book(new, book) if new else Booking(())
        except _TRANSIENT as error:
            self._note(error)
            raise StoreUnavailable(f"cannot write to {self.path}: {error}") from error
        self._profiles.commit()
        self._dirty = self._dirty or bool(new)
        if self.wal_bytes >= CHECKPOINT_BYTES:
            self.checkpoint()
        return _appended(booking, len(new), len(evidence) - len(new))

    def _insert_new(self, evidence: Sequence[Evidence]) -> Sequence[Evidence]:
        """Insert the evidence that the file does not hold yet, and return it.

        A span is known by its trace, its id and its start, so a redelivered one falls into the
        same range: the bound prunes what is read and never the answer.
        """
        profile_ids = self._profiles.numbers(item.profile for item in evidence)
        batch = spans_batch(evidence, profile_ids)
        known = self._known_positions(evidence, batch)
        if known:
            fresh = [position for position in range(len(evidence)) if position not in known]
            evidence = [evidence[position] for position in fresh]
            batch = batch.take(pa.array(fresh, pa.int64()))
        if evidence:
            self._links.note(evidence)
            self._received_at = self._clock()
            self._insert("span", batch, "received_at", self._received_at)
        return evidence

    def _known_positions(self, evidence: Sequence[Evidence], batch: pa.Table) -> set[int]:
        times = [item.started_at for item in evidence]
        keys = batch.select(["trace_id", "span_id", "started_at"])
        keys = keys.append_column("position", pa.array(range(len(evidence)), pa.int64()))
        known: set[int] = set()
        for first, last in _spells(times):
            with registered(self._con, "batch", keys):
                # Constants, because row groups are skipped only when the bounds are known.
                rows = self._con.execute(f"""
                    SELECT position FROM batch SEMI JOIN (
                        SELECT trace_id, span_id, started_at FROM span
                        WHERE started_at BETWEEN make_timestamp({first}) AND make_timestamp({last})
                    ) USING (trace_id, span_id, started_at)""").fetchall()  # noqa: S608 - integers
            known.update(position for (position,) in rows)
        return known

    def _book(self, new: Sequence[Evidence], book: Booker) -> Booking:
        times = [item.started_at for item in new]
        around = min(times), max(times)
        known = Known(self._con, self._links, around, self._received_at, self.decisions)
        booking = book(new, known)
        tables = [ledger_batch(booking.entries)] if booking.entries else []
        for table in (*tables, booking.table):
            if table is not None:
                with registered(self._con, "batch", table):
                    self._con.execute(_INSERT_ENTRIES, [self._received_at])
        return booking

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

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Change the books in one transaction, as an operator's act; durable after the block.

        Raises:
            StoreUnavailable: nothing was changed (disk full, I/O fault); try again later.
        """
        try:
            with self._transaction():
                yield Change(self._con, self._clock())
        except _TRANSIENT as error:
            self._note(error)
            raise StoreUnavailable(f"cannot write to {self.path}: {error}") from error
        self.decisions = decisions_in(self._con)
        self._dirty = True

    @property
    def wal_bytes(self) -> int:
        """The size of the write-ahead log; between two commits it holds whole commits only."""
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0

    def hold_still(self, seconds: float) -> None:
        """Put checkpoints off for so long, so that the file can be copied.

        What the file holds then stays where it is; commits go to the write-ahead log.
        """
        self._still_until = max(self._still_until, time.monotonic() + seconds)

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file; for quiet moments."""
        if not self._dirty or time.monotonic() < self._still_until:
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
        try:
            self._con.begin()
            yield
            self._con.commit()
        except BaseException:
            # A commit that failed has rolled back already, and says so.
            with suppress(duckdb.Error):
                self._con.rollback()
            raise

    def _note(self, error: Exception) -> None:
        # After a fatal error DuckDB answers nothing more until the process has let go of the file.
        self.broken = self.broken or isinstance(error, duckdb.FatalException)

    def _insert(self, table: str, batch: pa.Table, column: str, value: datetime | str) -> None:
        """Insert a batch with one more column that is the same in every row."""
        with registered(self._con, "batch", batch):
            self._con.execute(
                f"INSERT INTO {table} BY NAME SELECT *, ? AS {column} FROM batch",  # noqa: S608 - our names
                [value],
            )

    def _clock(self) -> datetime:
        """UTC now, and later than anything recorded before: the books are ordered by it."""
        now = datetime.now(UTC).replace(tzinfo=None)
        self._recorded_at = max(self._recorded_at + timedelta(microseconds=1), now)
        return self._recorded_at


def _appended(booking: Booking, new: int, duplicates: int) -> Appended:
    entries, table = booking.entries, booking.table
    unpriced = sum([entry.calls for entry in entries if entry.cost is None])
    unassigned = sum([entry.calls for entry in entries if entry.customer_id is None])
    return Appended(
        new=new,
        duplicates=duplicates,
        entries=len(entries) + (0 if table is None else table.num_rows),
        superseded=booking.superseded,
        unpriced=unpriced,
        unassigned=unassigned + (0 if table is None else table["customer_id"].null_count),
    )


def _spells(times: Sequence[int]) -> list[tuple[int, int]]:
    """The stretches of time that a batch covers, so that one old span does not widen the rest."""
    moments = sorted(set(times))
    spells = [[moments[0], moments[0]]]
    for moment in moments[1:]:
        if moment - spells[-1][1] > _SPELL_GAP:
            spells.append([moment, moment])
        spells[-1][1] = moment
    if len(spells) > _MAX_SPELLS:
        return [(moments[0], moments[-1])]
    return [(first, last) for first, last in spells]
