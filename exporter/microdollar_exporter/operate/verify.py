# SPDX-License-Identifier: Apache-2.0
"""Prove that a ledger is what its evidence, its price books and its operator's decisions give.

What is verified is a copy as of one moment, so that an exporter goes on writing, and may start and
stop, however long it takes. The copy is read a stretch of time after the other, and what every call
of it has to say in the books is worked out anew and compared, to the picodollar.
"""

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from microdollar_exporter.ask.connect import ledger_file
from microdollar_exporter.errors import StoreError
from microdollar_exporter.evidence import Identity
from microdollar_exporter.operate.assign import ASSIGN, UNASSIGN
from microdollar_exporter.operate.compare import (
    against_evidence,
    against_law,
    load,
    stretches,
)
from microdollar_exporter.operate.copying import copy_ledger
from microdollar_exporter.operate.figures import rows, schema_version, sums
from microdollar_exporter.operate.findings import Difference, Findings
from microdollar_exporter.operate.recompute import Recomputer
from microdollar_exporter.operate.sealed import archive_days, parts_of, put_back
from microdollar_exporter.price import Book
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.store import Store
from microdollar_exporter.store.decisions import closed_before, decisions_in
from microdollar_exporter.store.file import open_file
from microdollar_exporter.store.registered import registered
from microdollar_exporter.store.removed import archived_days

__all__ = ["Verdict", "verify"]

_STRETCH_ROWS = 100_000
"""About how much is looked at together; the memory that is needed goes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was checked, and what was found.

    `rows` counts by table and `sums` are the ledger's. `differences` counts by kind, `examples`
    are the first of each. `unproven` counts, by what it is, what no evidence is left to prove.
    """

    schema_version: int
    rows: Mapping[str, int]
    sums: Mapping[str, str | None]
    differences: Mapping[str, int]
    examples: tuple[Difference, ...]
    unproven: Mapping[str, int]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.differences


def verify(
    db: str | Path,
    *,
    scratch: Path | None = None,
    archive: Path | None = None,
    limit: int = 10,
    progress: Callable[[float], object] = lambda _: None,
) -> Verdict:
    """Check all of a ledger; `limit` differences of each kind are named.

    `scratch` is the folder for the copy, which is removed afterwards: that of the ledger unless
    said. `archive` is where the sealed evidence lies now: where it was written unless said.
    `progress` is told, now and then, which part of the ledger is done.

    Raises:
        UsageError: there is no such ledger.
        StoreError: it cannot be read, or not be copied.
        ActFailed: the copy was not whole.
    """
    source = ledger_file(db)
    folder = scratch or source.parent
    if not folder.is_dir():
        raise StoreError(f"there is no folder {folder}: create it, or choose another")
    free, size = shutil.disk_usage(folder).free, source.stat().st_size
    if free < size:
        raise StoreError(
            f"{folder} has {free:,} bytes free, and a copy needs {size:,}: choose another folder "
            "with --scratch"
        )
    with tempfile.TemporaryDirectory(prefix=".microdollar-verify-", dir=folder) as name:
        copy = Path(name) / source.name
        copy_ledger(source, copy)
        with closing(open_file(copy, read_only=True)) as con:
            version = schema_version(con)
        Store(copy).close()
        with closing(open_file(copy, read_only=False)) as con:
            return _Verification(con, version, limit).run(progress, archive)


class _Verification:
    """One verification of a copy that nobody else has."""

    def __init__(self, con: duckdb.DuckDBPyConnection, version: int, limit: int) -> None:
        self._con = con
        self._version = version
        self._findings = Findings(limit)
        self._unproven: Counter[str] = Counter()

    def run(
        self, progress: Callable[[float], object] = lambda _: None, archive: Path | None = None
    ) -> Verdict:
        """Check all of it, with the evidence that lies in the archive put back."""
        con, findings = self._con, self._findings
        held = rows(con)
        self._put_back(archive)
        self._leave_out_closed()
        books = self._books()
        self._decisions()
        recomputer = Recomputer(con, books)
        whole = list(stretches(con, _STRETCH_ROWS))
        for number, stretch in enumerate(whole, start=1):
            load(con, stretch)
            against_law(con, stretch, findings)
            named, ordinary = self._books_named()
            against_evidence(con, recomputer.entries(*stretch, named, ordinary), findings)
            progress(number / len(whole))
        self._count_unproven()
        return Verdict(
            schema_version=self._version,
            rows=held,
            sums=sums(con),
            differences=dict(findings.counts),
            examples=tuple(findings.examples),
            unproven=dict(self._unproven),
        )

    def _put_back(self, archive: Path | None) -> None:
        """The evidence in the archive, file by file; what is not there is named."""
        con = self._con
        con.execute("CREATE TEMP TABLE unprovable (day DATE)")
        gone = archived_days(decisions_in(con))
        for day in archive_days(con):
            for part in parts_of(con, day):
                if day not in gone and not part.path(archive).exists():
                    continue
                try:
                    sealed = part.read(archive)
                except StoreError as error:
                    where = f"{part.file} of {day}"
                    self._findings.add("archive part missing or altered", where, str(error))
                    if day in gone:
                        con.execute("INSERT INTO unprovable VALUES (?)", [day])
                else:
                    if day in gone:
                        put_back(con, sealed)

    def _leave_out_closed(self) -> None:
        """The days whose evidence was removed for its age prove nothing any more."""
        closed = closed_before(decisions_in(self._con))
        before = "false" if closed is None else f"started_at < make_timestamp({closed})"
        self._con.execute(f"""
            CREATE TEMP TABLE closed AS
            SELECT DISTINCT CAST(started_at AS DATE) AS day FROM (
                SELECT started_at FROM ledger UNION ALL SELECT started_at FROM span
            ) WHERE {before}""")
        self._con.execute("INSERT INTO unprovable FROM closed")
        [(entries,)] = self._con.execute("""
            SELECT count(*) FROM ledger
            WHERE trace_id <> '' AND CAST(started_at AS DATE) IN (FROM closed)""").fetchall()
        if entries:
            self._unproven["entries of a time whose evidence was not kept"] = entries

    def _books(self) -> dict[str, Book]:
        """The price books, each of which has to be what its id is the hash of."""
        books = {}
        for book_id, content in self._con.execute(
            "SELECT book_id, content FROM price_book ORDER BY book_id"
        ).fetchall():
            where = f"price book {book_id}"
            if hashlib.sha256(content.encode()).hexdigest() != book_id:
                self._findings.add("price book altered", where, "its id is not its content's hash")
                continue
            try:
                books[book_id] = read_book(content)
            except ValueError as error:
                self._findings.add("price book altered", where, str(error))
        with registered(self._con, "sound", {"book_id": pa.array(books, pa.string())}):
            self._con.execute("CREATE TEMP TABLE sound_book AS FROM sound")
        self._findings.query(
            self._con,
            "price book unknown",
            """SELECT DISTINCT book_id FROM (
                SELECT book_id FROM price_book_in_force
                UNION ALL SELECT price_book FROM ledger WHERE price_book IS NOT NULL
            ) ANTI JOIN price_book USING (book_id)""",
            lambda row: f"price book {row[0]}",
            "the ledger names it and does not have it",
        )
        return books

    def _decisions(self) -> None:
        """The decisions that say whose calls are; each that is named has to be there."""
        made = decisions_in(self._con)
        undone = {decision.undoes for decision in made}
        given = {
            decision.decision_id: decision.content["customer"]
            for decision in made
            if decision.kind == ASSIGN and decision.decision_id not in undone
        }
        taken = [decision.decision_id for decision in made if decision.kind == UNASSIGN]
        decided = {
            "decision_id": pa.array([*given, *taken], pa.string()),
            "customer_id": pa.array([*given.values(), *(None for _ in taken)], pa.string()),
        }
        with registered(self._con, "decisions", decided):
            self._con.execute("CREATE TEMP TABLE decided AS FROM decisions")
        self._findings.query(
            self._con,
            "decision unknown",
            """SELECT DISTINCT decision_id FROM (
                SELECT decision AS decision_id FROM ledger WHERE decision IS NOT NULL
                UNION ALL SELECT assigned_by FROM ledger WHERE assigned_by IS NOT NULL
                UNION ALL SELECT undoes FROM decision WHERE undoes IS NOT NULL
            ) ANTI JOIN decision USING (decision_id)""",
            lambda row: f"decision {row[0]}",
            "it is named and not there",
        )

    def _books_named(self) -> tuple[dict[Identity, list[str | None]], str | None]:
        """The price book that most entries of the stretch name, and those of the others.

        The rows of one call may name several: those that were repriced another than the rest.
        """
        con = self._con
        found = con.execute(
            "SELECT price_book FROM mine WHERE stands GROUP BY price_book ORDER BY count(*) DESC"
        ).fetchall()
        if not found:
            return {}, None
        ordinary = found[0][0]
        if len(found) == 1:
            return {}, ordinary
        named = con.execute(
            """SELECT trace_id, span_id, epoch_us(started_at), list_distinct(
                list(coalesce(price_book, '')))
            FROM mine WHERE stands GROUP BY ALL HAVING bool_or(price_book IS DISTINCT FROM ?)""",
            [ordinary],
        ).fetchall()
        return {
            (trace, span, start): [book or None for book in books]
            for trace, span, start, books in named
        }, ordinary

    def _count_unproven(self) -> None:
        for what, query in (
            ("sums left of removed calls", "SELECT count(*) FROM ledger WHERE trace_id = ''"),
            ("spans held back until the archive's are back", "SELECT count(*) FROM held_span"),
            (
                "entries without their archive",
                """SELECT count(*) FROM ledger WHERE CAST(started_at AS DATE) IN (
                    FROM unprovable EXCEPT FROM closed)""",
            ),
            (
                "prices without a price book",
                "SELECT count(*) FROM ledger WHERE price_book IS NULL AND trace_id <> ''",
            ),
        ):
            [(count,)] = self._con.execute(query).fetchall()
            if count:
                self._unproven[what] = count
