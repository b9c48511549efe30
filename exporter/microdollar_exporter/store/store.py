# SPDX-License-Identifier: Apache-2.0
"""The ledger's DuckDB file: opened by one process, appended to by one thread, read by many."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from microdollar_exporter.batch import Batch
from microdollar_exporter.entry import Entry
from microdollar_exporter.errors import StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.batches import (
    ledger_table,
    numbered,
    spans_batch,
)
from microdollar_exporter.store.books import PriceBook, keep_book, put_in_force
from microdollar_exporter.store.decisions import Change, closed_before, decisions_in
from microdollar_exporter.store.file import open_file, unusable
from microdollar_exporter.store.known import Known
from microdollar_exporter.store.links import Links
from microdollar_exporter.store.migrations import migrate
from microdollar_exporter.store.profiles import Profiles
from microdollar_exporter.store.reading import EvidenceReader
from microdollar_exporter.store.registered import registered
from microdollar_exporter.store.removed import Removed
from microdollar_exporter.store.spells import spells

__all__ = ["ENTRY_ID", "Appended", "Booker", "Booking", "Store"]

log = logging.getLogger(__name__)


class Booking(NamedTuple):
    """The entries that new evidence calls for: some as such, some as a table of the same columns.

    `superseded` of them take earlier ones back.
    """

    entries: Sequence[Entry]
    table: pa.Table | None = None
    superseded: int = 0


Booker = Callable[[Batch, Known], Booking]
"""Gives the ledger entries of evidence that was really new, knowing what is there already."""


ENTRY_ID = """
    md5(concat_ws('|', kind, trace_id, span_id, epoch_us(started_at), position, revision))"""
"""An entry's id in SQL: it follows from what is booked, so the same books have the same ids."""
_INSERT_ENTRIES = f"""
    INSERT INTO ledger BY NAME SELECT *, ? AS recorded_at, {ENTRY_ID} AS entry_id FROM batch"""  # noqa: S608 - our words

_INSERT_SPANS = """
    INSERT INTO span BY NAME SELECT * EXCLUDE position, ? AS received_at FROM batch"""

_SAID = ", ".join(
    f"{{0}}.{column}"
    for column in (
        *("parent_span_id", "ended_at", "profile_id", "boot_id", "call_sequence"),
        *("response_id", "details", "usage"),
    )
)
"""What a span says beside what it is known by."""

_LAST_RECORDED = """
    SELECT max(moment) FROM (
        SELECT max(recorded_at) AS moment FROM ledger
        UNION ALL SELECT max(received_at) FROM span
        UNION ALL SELECT max(received_at) FROM held_span
        UNION ALL SELECT max(in_force_from) FROM price_book_in_force
        UNION ALL SELECT max(made_at) FROM decision
    )"""

CHECKPOINT_BYTES = 1024 * 1024 * 1024
"""A write-ahead log of this size is folded into the file; DuckDB's own 16 MB would stall commits
for a second at 20 million rows."""

_QUIET_SECONDS = 5.0
"""How long a question may go on when the file is to be closed; then it is interrupted."""
_SPELL_GAP = 3_600_000_000

_OF_THE_BATCH = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
"""What DuckDB says of values. All else is the disk's fault, the file's or ours: a damaged block of
the file, for one, is a plain `duckdb.Error`."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch.

    `new`, `duplicates` and `held` count spans, `entries` and `superseded` ledger entries booked and
    taken back; `unpriced` and `unassigned` count the calls among the entries. What is held back
    is kept, and cannot be decided on before evidence in the archive has been brought back.
    `expired` counts spans that began before the books were closed; they are not kept.
    `contradictory` counts the duplicates that say something else than what came first, and stands.
    """

    new: int
    duplicates: int
    entries: int
    superseded: int
    unpriced: int
    unassigned: int
    held: int = 0
    expired: int = 0
    contradictory: int = 0


class Store:
    """An open ledger file.

    `append` must be called from one thread at a time: finding redelivered spans is exact only
    because nothing else writes. `cursor` may be called from any thread. `broken` says that DuckDB
    has given up: the process has to start again. `decisions` are those of the operator;
    `closed_before` is the moment before which they close the books, in microseconds since 1970
    UTC.
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
        self._away = threading.Event()
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._recorded_at = datetime.min
        self._open(patience)
        self._received_at = self._recorded_at
        self._dirty = False
        self.broken = False

    def _open(self, patience: float) -> None:
        # What cannot be used has to stay as it is, though it be closed again.
        self._con = open_file(self.path, read_only=False, patience=patience, fold_at_close=False)
        try:
            migrate(self._con)
            [(last,)] = self._con.execute(_LAST_RECORDED).fetchall()
            self._links = Links(self._con)
            self._profiles = Profiles(self._con)
            self._read_decisions()
        except duckdb.Error as error:
            self._con.close()
            raise unusable(self.path, error) from error
        except BaseException:
            self._con.close()
            raise
        self._recorded_at = max(self._recorded_at, last or datetime.min)

    def _read_decisions(self) -> None:
        self.decisions = decisions_in(self._con)
        self.closed_before = closed_before(self.decisions)
        self._removed = Removed(self._con, self.decisions)

    def close(self) -> None:
        """Checkpoint and close the file; what was acknowledged is safe whether or not it can."""
        try:
            if self.wal_bytes and not self.broken:
                self._con.execute("CHECKPOINT")
        except (duckdb.Error, MemoryError) as error:
            log.warning("%s could not be closed in order: %s", self.path, error)
        with suppress(duckdb.Error):
            self._con.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same file; it sees the last commit.

        Raises:
            StoreUnavailable: the file is being rewritten.
        """
        if self._away.is_set():
            raise StoreUnavailable(f"{self.path.name} is being rewritten: ask again later")
        cursor = self._con.cursor()
        self._cursors.add(cursor)
        return cursor

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Have the file closed for the time of the block, and nothing of it in another file.

        Meanwhile no question is answered. Those that run are waited for, and then interrupted.

        Raises:
            StoreUnavailable: it cannot be closed now: it is being copied, or the disk is full.
        """
        self._away.set()
        try:
            self._quieten()
            if time.monotonic() < self._still_until:
                raise StoreUnavailable(f"{self.path.name} is being copied: try again later")
            self._con.execute("CHECKPOINT")
            self._con.close()
            try:
                yield
            finally:
                self._open(0.0)
        except duckdb.Error as error:
            self._note(error)
            raise StoreUnavailable(f"cannot write to {self.path}: {error}") from error
        finally:
            self._away.clear()

    def _quieten(self) -> None:
        """Wait until no question is being answered."""
        begun = time.monotonic()
        while cursors := [cursor for cursor in list(self._cursors) if _is_open(cursor)]:
            waited = time.monotonic() - begun
            if waited > 2 * _QUIET_SECONDS:
                raise StoreUnavailable("a question is being answered: try again later")
            if waited > _QUIET_SECONDS:
                for cursor in cursors:
                    with suppress(duckdb.ConnectionException):
                        cursor.interrupt()
            time.sleep(_QUIET_SECONDS / 100)

    def append(self, evidence: Sequence[Evidence], book: Booker) -> Appended:
        """Store what is new of `evidence` and its ledger entries; durable on return.

        A span that is known already, in the file or earlier in the batch, changes nothing.

        Raises:
            StoreUnavailable: nothing was stored (disk full, I/O fault); try again later.
            Exception: nothing was stored, because something in the batch cannot be.
        """
        if not evidence:
            return Appended(0, 0, 0, 0, 0, 0)
        batch = Batch.of(evidence)
        came = len(batch)
        if self.closed_before is not None:
            batch = batch.only(np.flatnonzero(batch.starts >= self.closed_before).tolist())
        expired = came - len(batch)
        if not batch:
            return Appended(0, 0, 0, 0, 0, 0, expired=expired)
        once = batch.only(batch.first_positions())
        with self._writing(), self._transaction():
            new, held, contradictory = self._insert_new(once)
            booking = self._book(new, book) if new else Booking(())
        self._profiles.commit()
        self._dirty = self._dirty or bool(new) or bool(held)
        if self.wal_bytes >= CHECKPOINT_BYTES:
            self.checkpoint()
        if len(once) < len(batch):
            contradictory += batch.contradictions()
        duplicates = len(batch) - len(new) - held
        appended = _appended(booking, len(new), duplicates, held)
        return replace(appended, expired=expired, contradictory=contradictory)

    def hold_back(self, item: Evidence) -> None:
        """Keep a span that cannot be booked, until the file is opened or changed by an operator.

        Raises:
            StoreUnavailable: nothing was changed; try again later.
            Exception: it cannot even be kept.
        """
        batch = Batch.of([item])
        with self._writing(), self._transaction():
            table = spans_batch(batch, self._profiles.numbers(batch.distinct_profiles))
            self._insert("held_span", table, "received_at", self._clock())
        self._profiles.commit()
        self._removed.holds = True
        self._dirty = True

    def take_in(self, book: Booker) -> int:
        """Take in the spans that were held back and need not be any more; returns how many.

        Raises:
            StoreUnavailable: not all could be; try again later.
        """
        if not self._removed.may_be_free:
            return 0
        with self._writing():
            waiting = Batch.of(EvidenceReader(self._con).read("held_span"))
        try:
            taken = self._take_in(waiting, book)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("spans that were held back are tried one by one")
            taken = self._take_in_each(waiting, book)
        self._removed.may_be_free = False
        return taken

    def _take_in_each(self, waiting: Batch, book: Booker) -> int:
        taken = 0
        for item in waiting:
            try:
                taken += self._take_in(Batch.of([item]), book)
            except StoreUnavailable:
                raise
            except Exception as error:
                log.error("a span cannot be booked yet, and stays so: %s", type(error).__name__)  # noqa: TRY400 - said whole above
        return taken

    def _take_in(self, waiting: Batch, book: Booker) -> int:
        with self._writing(), self._transaction():
            batch = spans_batch(waiting, self._profiles.numbers(waiting.distinct_profiles))
            if len(self._removed.related(waiting, batch)) == len(waiting):
                return 0
            with registered(self._con, "batch", batch):
                self._con.execute("""
                    DELETE FROM held_span WHERE (trace_id, span_id, started_at) IN (
                        SELECT (trace_id, span_id, started_at) FROM batch)""")
            new, held, _ = self._insert_new(waiting)
            if new:
                self._book(new, book)
        self._profiles.commit()
        self._dirty = True
        return len(waiting) - held

    def _insert_new(self, evidence: Batch) -> tuple[Batch, int, int]:
        """Insert the evidence that the file does not hold yet.

        Returns what is to be booked, how many spans are held back, and how many of the known ones
        say something else now.

        A span is known by its trace, its id and its start, so a redelivered one falls into the
        same range: the bound prunes what is read and never the answer.
        """
        batch = spans_batch(evidence, self._profiles.numbers(evidence.distinct_profiles))
        self._received_at = self._clock()
        # Lending a batch takes DuckDB as long as a query on it: as a rule it is lent once.
        with registered(self._con, "batch", numbered(batch)):
            known = self._known_positions(evidence) | self._removed.known(evidence, batch)
            late = self._removed.related(evidence, batch) - known
            if not known and not late:
                self._links.note(evidence)
                self._con.execute(_INSERT_SPANS, [self._received_at])
                return evidence, 0, 0
            contradictory = self._contradictions(evidence, known)
        if late:
            held = batch.take(pa.array(sorted(late), pa.int64()))
            self._insert("held_span", held, "received_at", self._received_at)
        kept = [place for place in range(len(evidence)) if place not in known | late]
        evidence = evidence.only(kept)
        if evidence:
            self._links.note(evidence)
            batch = batch.take(pa.array(kept, pa.int64()))
            self._insert("span", batch, "received_at", self._received_at)
        return evidence, len(late), contradictory

    def _known_positions(self, evidence: Batch) -> set[int]:
        """Where in the `batch` that DuckDB has been lent there are spans that the file holds."""
        known: set[int] = set()
        for first, last in spells(evidence.starts, _SPELL_GAP):
            # Constants, because row groups are skipped only when the bounds are known.
            rows = self._con.execute(f"""
                SELECT position FROM batch SEMI JOIN (
                    SELECT trace_id, span_id, started_at FROM span
                    WHERE started_at BETWEEN make_timestamp({first}) AND make_timestamp({last})
                ) USING (trace_id, span_id, started_at)""").fetchall()  # noqa: S608 - integers
            known.update(position for (position,) in rows)
        return known

    def _contradictions(self, evidence: Batch, known: Collection[int]) -> int:
        """How many spans of the `batch` that DuckDB has been lent the file has otherwise."""
        if not known:
            return 0
        times = evidence.starts[list(known)]
        [(count,)] = self._con.execute(f"""
            SELECT count(*) FROM batch AS came JOIN (
                FROM span WHERE started_at
                BETWEEN make_timestamp({times.min()}) AND make_timestamp({times.max()})
            ) AS kept USING (trace_id, span_id, started_at)
            WHERE ({_SAID.format("came")}) IS DISTINCT FROM ({_SAID.format("kept")})""").fetchall()  # noqa: S608 - integers and our names
        return int(count)

    def _book(self, new: Batch, book: Booker) -> Booking:
        around = min(new.started_at), max(new.started_at)
        known = Known(
            self._con,
            self._links,
            self._profiles,
            around,
            received_at=self._received_at,
            decisions=self.decisions,
        )
        booking = book(new, known)
        table = ledger_table(booking.entries, booking.table)
        if table is not None:
            with registered(self._con, "batch", table):
                self._con.execute(_INSERT_ENTRIES, [self._received_at])
        return booking

    def record_book(self, book: PriceBook) -> None:
        """Keep a price book, once: whole, to compute from again, and as rows, to look up.

        From now on it is the one in force, and the file says since when.

        Raises:
            StoreUnavailable: nothing was changed (disk full, I/O fault); try again later.
        """
        with self._writing(), self._transaction():
            at = self._clock()
            keep_book(self._con, book, at)
            put_in_force(self._con, book.id, at)

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Change the books in one transaction, as an operator's act; durable after the block.

        Raises:
            StoreUnavailable: nothing was changed (disk full, I/O fault); try again later.
        """
        with self._writing(), self._transaction():
            yield Change(self._con, self._clock())
        self._read_decisions()
        self._dirty = True

    def read_links(self) -> None:
        """See the spans that an act has inserted."""
        self._links = Links(self._con)

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
    def _writing(self) -> Iterator[None]:
        """Tell faults of the file and of the machine from those of what is written."""
        try:
            yield
        except _OF_THE_BATCH:
            raise
        except (duckdb.Error, MemoryError) as error:
            self._note(error)
            raise StoreUnavailable(f"cannot write to {self.path}: {error}") from error

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


def _is_open(cursor: duckdb.DuckDBPyConnection) -> bool:
    try:
        cursor.query_progress()
    except duckdb.ConnectionException:
        return False
    return True


def _appended(booking: Booking, new: int, duplicates: int, held: int) -> Appended:
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
        held=held,
    )
