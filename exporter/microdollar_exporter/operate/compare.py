# SPDX-License-Identifier: Apache-2.0
"""Compare a stretch of a ledger with what its evidence calls for, and with its own law.

The entries of the stretch are in the temporary table `mine`, those that were worked out anew in
`anew`. An entry that a reversal takes back stands no longer.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from microdollar_exporter.entry import Entry
from microdollar_exporter.operate.findings import Findings
from microdollar_exporter.store import ENTRY_ID
from microdollar_exporter.store.registered import registered
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = ["Stretch", "against_evidence", "against_law", "call_of", "load", "stretches"]

_EPOCH: Final = datetime(1970, 1, 1)
_HOUR: Final = 3_600_000_000

_KEY: Final = ("trace_id", "span_id", "started_at", "position")
_COSTS: Final = ("cost", "list_cost")
_SUMS: Final = ("calls", *BUCKETS, *PARTS, *_COSTS)
_PRICE: Final = (*_COSTS, "price_status", "price_row")
_FACTS: Final = tuple(
    name
    for name in Entry._fields
    if name not in {*_KEY, *_PRICE, "kind", "revision", "price_book", "reverses", "decision"}
    and name not in {"assigned_by", "reason", "price_note", "tags", "units"}
)
"""What an entry says of a call, whenever and why ever it was booked."""


class Stretch(NamedTuple):
    """A stretch of time, [`first`, `last`) in microseconds since 1970 UTC."""

    first: int
    last: int

    def of(self, column: str) -> str:
        """The condition that a moment lies in it."""
        return (
            f"{column} >= make_timestamp({self.first}) AND {column} < make_timestamp({self.last})"
        )


def stretches(con: duckdb.DuckDBPyConnection, most: int) -> Iterator[Stretch]:
    """The times of a ledger's spans and entries, in stretches of about `most` rows at most."""
    hours = con.execute(f"""
        SELECT hour, max(rows) FROM (
            SELECT epoch_us(started_at) // {_HOUR} AS hour, count(*) AS rows
            FROM spans GROUP BY hour
            UNION ALL
            SELECT epoch_us(started_at) // {_HOUR}, count(*) FROM ledger GROUP BY ALL
        ) GROUP BY hour ORDER BY hour""").fetchall()
    first: int | None = None
    gathered = 0
    for hour, rows in hours:
        if first is not None and gathered + rows > most:
            yield Stretch(first, hour * _HOUR)
            first = None
        if first is None:
            first, gathered = hour * _HOUR, 0
        gathered += rows
        if rows > most:
            parts = -(-rows // most)
            edges = [first + part * _HOUR // parts for part in range(parts + 1)]
            yield from map(Stretch, edges[:-1], edges[1:])
            first = None
    if first is not None:
        yield Stretch(first, (hours[-1][0] + 1) * _HOUR)


def load(con: duckdb.DuckDBPyConnection, stretch: Stretch) -> None:
    """Take the entries of a stretch into `mine`, and what its spans are known by into `seen`.

    The price books that prices can be worked out by are in the temporary table `sound_book`, the
    days of which evidence is not there in `unprovable`.
    The sums that are left of removed calls are no calls, and have no trace.
    """
    key = ", ".join(_KEY)
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE mine AS
        WITH entries AS (
            FROM ledger WHERE {stretch.of("started_at")} AND trace_id <> ''
            AND CAST(started_at AS DATE) NOT IN (FROM unprovable)
        )
        SELECT
            *,
            kind = 'usage' AND entry_id NOT IN (
                SELECT reverses FROM entries WHERE reverses IS NOT NULL
            ) AS stands,
            ({key}) IN (SELECT ({key}) FROM entries WHERE kind = 'correction') AS corrected,
            coalesce(price_book IN (SELECT book_id FROM sound_book), false) AS has_book
        FROM entries""")
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE seen AS
        SELECT trace_id, span_id, started_at FROM spans WHERE {stretch.of("started_at")}""")


def against_evidence(
    con: duckdb.DuckDBPyConnection, entries: Iterable[pa.Table], findings: Findings
) -> None:
    """Find what in `mine` is not what its evidence calls for: the `entries`, worked out anew.

    An entry without a known price book is compared but for its price. Decisions that give a call to
    a customer, or to nobody, are in the temporary table `decided`.
    """
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE anew AS
        SELECT {", ".join(Entry._fields)} FROM ledger LIMIT 0""")
    for table in entries:
        with registered(con, "batch", table):
            con.execute("INSERT INTO anew BY NAME FROM batch")
    con.execute("DELETE FROM anew WHERE CAST(started_at AS DATE) IN (FROM unprovable)")
    key = ", ".join(_KEY)
    same = " AND ".join(f"mine.{name} = anew.{name}" for name in _KEY)
    # A call whose rows name several books was worked out by each; every row counts by its own.
    con.execute(f"""
        DELETE FROM anew USING mine
        WHERE stands AND {same} AND mine.price_book IS DISTINCT FROM anew.price_book
        AND ({", ".join(f"anew.{name}" for name in _KEY)}) IN (
            SELECT ({key}) FROM anew GROUP BY {key} HAVING count(*) > 1)""")
    con.execute(f"""
        UPDATE anew SET customer_id = decided.customer_id
        FROM mine JOIN decided ON mine.assigned_by = decision_id
        WHERE stands AND {same}""")
    for kind, query, what in (
        (
            "entry missing",
            f"SELECT {key} FROM anew ANTI JOIN (FROM mine WHERE stands) USING ({key})",
            "its evidence calls for an entry",
        ),
        (
            "entry not called for",
            f"""SELECT {key} FROM mine ANTI JOIN anew USING ({key})
                SEMI JOIN seen USING (trace_id, span_id, started_at) WHERE stands""",
            "its evidence calls for no entry",
        ),
        (
            "entry without evidence",
            f"""SELECT {key} FROM mine ANTI JOIN seen USING (trace_id, span_id, started_at)
                WHERE stands""",
            "there is no such span",
        ),
        (
            "entry twice",
            f"SELECT {key} FROM mine WHERE stands GROUP BY ALL HAVING count(*) > 1",
            "more than one entry for it stands",
        ),
    ):
        findings.query(con, kind, query, call_of, what)
    _compare_facts(con, findings)
    _compare_sums(con, findings)


def _compare_facts(con: duckdb.DuckDBPyConnection, findings: Findings) -> None:
    """What the entries say that stand."""
    unequal = {name: f"m.{name} IS DISTINCT FROM a.{name}" for name in _FACTS}
    for name in _PRICE:
        unequal[name] = f"m.has_book AND NOT m.corrected AND m.{name} IS DISTINCT FROM a.{name}"
    for name in ("tags", "units"):
        # The order in a map says nothing, and DuckDB compares it.
        unequal[name] = f"""m.{name} IS DISTINCT FROM a.{name} AND
            list_sort(map_entries(m.{name})) IS DISTINCT FROM list_sort(map_entries(a.{name}))"""
    said = ", ".join(_said(name, condition) for name, condition in unequal.items())
    findings.query(
        con,
        "entry differs",
        f"""
        SELECT * FROM (
            SELECT {", ".join(_KEY)}, concat_ws('; ', {said}) AS said
            FROM mine m JOIN anew a USING ({", ".join(_KEY)}) WHERE m.stands
        ) WHERE said <> ''""",
        call_of,
        lambda row: str(row[4]),
    )


def _compare_sums(con: duckdb.DuckDBPyConnection, findings: Findings) -> None:
    """The sums over all that was ever booked of a call, whether it stands or not."""
    key = ", ".join(_KEY)
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _SUMS)
    unequal = {name: f"m.{name} <> coalesce(a.{name}, 0)" for name in _SUMS}
    for name in _COSTS:
        unequal[name] = f"has_book AND {unequal[name]}"
    said = ", ".join(_said(name, condition) for name, condition in unequal.items())
    findings.query(
        con,
        "sums differ",
        f"""
        WITH net AS (
            SELECT {key}, {sums}, bool_and(has_book) AS has_book
            FROM mine GROUP BY {key} HAVING count(*) > 1
        )
        SELECT * FROM (
            SELECT {key}, concat_ws('; ', {said}) AS said
            FROM net m LEFT JOIN anew a USING ({key})
        ) WHERE said <> ''""",
        call_of,
        lambda row: str(row[4]),
    )


def against_law(con: duckdb.DuckDBPyConnection, stretch: Stretch, findings: Findings) -> None:
    """Find what in `mine` breaks the law of the ledger, whatever its evidence is."""
    key = ", ".join(_KEY)
    negated = " AND ".join(f"r.{name} IS NOT DISTINCT FROM -e.{name}" for name in _SUMS)
    same = " AND ".join(
        f"r.{name} IS NOT DISTINCT FROM e.{name}"
        for name in (*_KEY, "customer_id", "revision", "price_book")
    )
    negated_units = """list_sort(map_entries(r.units)) = list_sort(list_transform(
        map_entries(e.units), lambda entry: {'key': entry.key, 'value': -entry.value}))"""
    for kind, query, what in (
        (
            "span twice",
            f"""SELECT trace_id, span_id, started_at FROM span
                WHERE {stretch.of("started_at")} GROUP BY ALL HAVING count(*) > 1""",
            "it is in the evidence more than once",
        ),
        (
            "span without a profile",
            f"""SELECT trace_id, span_id, started_at FROM span ANTI JOIN profile USING (profile_id)
                WHERE {stretch.of("started_at")}""",
            "what it shares with others is not there",
        ),
        (
            "entry id twice",
            f"SELECT {key}, entry_id FROM mine QUALIFY count(*) OVER (PARTITION BY entry_id) > 1",
            "another entry has the same id",
        ),
        (
            "reversal wrong",
            f"""SELECT {key}, r.entry_id FROM mine r WHERE r.kind = 'reversal' AND NOT EXISTS (
                    FROM mine e WHERE e.entry_id = r.reverses AND e.kind <> 'reversal'
                    AND {same} AND {negated} AND {negated_units})""",
            "it is not an earlier entry with its sums negated",
        ),
        (
            "reversal twice",
            f"""SELECT {key}, entry_id FROM mine WHERE reverses IS NOT NULL
                QUALIFY count(*) OVER (PARTITION BY reverses) > 1""",
            "another reversal takes the same entry back",
        ),
    ):
        findings.query(con, kind, query, call_of, what)
    _compare_ids(con, findings)


def _compare_ids(con: duckdb.DuckDBPyConnection, findings: Findings) -> None:
    """An entry's id follows from what it books; in version 1 it did so by another hash."""
    for *row, entry_id in con.execute(f"""
        SELECT {", ".join(_KEY)}, entry_id FROM mine
        WHERE entry_id <> {ENTRY_ID} ORDER BY ALL""").fetchall():
        trace_id, span_id, started_at, position = row
        micros = (started_at - _EPOCH) // timedelta(microseconds=1)
        identity = f"usage|{trace_id}|{span_id}|{micros}|{position}"
        if entry_id != hashlib.blake2b(identity.encode(), digest_size=16).hexdigest():
            findings.add("entry id wrong", call_of(row), f"{entry_id} does not follow from it")


def _said(name: str, condition: str) -> str:
    return f"""CASE WHEN {condition} THEN concat('{name} ',
        coalesce(CAST(m.{name} AS VARCHAR), 'unknown'), ' instead of ',
        coalesce(CAST(a.{name} AS VARCHAR), 'unknown')) END"""


def call_of(row: Sequence[Any]) -> str:
    """How a call is named: its trace, its span, when it began, and which of its rows is meant."""
    trace_id, span_id, started_at, *further = row
    began = started_at.isoformat(sep=" ") if isinstance(started_at, datetime) else started_at
    position = f" position {further[0]}" if further and further[0] else ""
    return f"trace {trace_id} span {span_id} of {began}{position}"
