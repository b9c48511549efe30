# SPDX-License-Identifier: Apache-2.0
"""A file of any earlier version is brought up to date, and what it says stays as it was.

`version_1.json` has the rows of a file that version 0.1 wrote, and the requests it was sent.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.errors import StoreError
from microdollar_exporter.operate.backup import back_up
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.price import Engine
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.reduce import reduce
from microdollar_exporter.store import Store, migrations
from microdollar_exporter.store.migrations import MIGRATIONS
from tests.exporter.ledgers import evidence_of
from tests.fakes.otlp import STARTED_AT, call, request

VERSION_1: Mapping[str, Any] = json.loads(
    Path(__file__).with_name("version_1.json").read_text("utf-8")
)
EARLIER = range(1, len(MIGRATIONS))
PINNED = {"storage_version": "v1.5.0+"}


def write(db: Path, version: int) -> None:
    """The file of version 1, brought to a later one."""
    with duckdb.connect(str(db), config={"storage_compatibility_version": "v1.5.0"}) as con:
        con.execute(
            "CREATE TABLE schema_version (version INTEGER, name VARCHAR, applied_at TIMESTAMP)"
        )
        MIGRATIONS[0](con)
        for table in ("schema_version", "spans", "ledger", "price_book", "price_row"):
            insert(con, table)
        insert(con, "price_book_in_force")
        for number in range(2, version + 1):
            MIGRATIONS[number - 1](con)
            con.execute("INSERT INTO schema_version VALUES (?, 'm', now())", [number])


def insert(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """The rows of a table, in their order."""
    kinds = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE {table}").fetchall()}
    for row in VERSION_1[table]:
        values = [value_of(row.get(name), kind) for name, kind in kinds.items()]
        con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(kinds))})", values)


def value_of(value: Any, kind: str) -> Any:
    """A value of JSON as DuckDB takes it for a column."""
    if kind.startswith("MAP"):
        values = [Decimal(v) if "DECIMAL" in kind else v for v in value.values()]
        return {"key": list(value), "value": values}
    return Decimal(value) if value is not None and kind.startswith("DECIMAL") else value


@pytest.fixture(params=EARLIER)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each earlier version."""
    write(tmp_path / "meter.duckdb", request.param)
    return tmp_path / "meter.duckdb"


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A file of version 1."""
    write(tmp_path / "meter.duckdb", 1)
    return tmp_path / "meter.duckdb"


def read(db: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with duckdb.connect(str(db), read_only=True) as con:
        return con.execute(sql).fetchall()


SUMS = """
    SELECT customer_id, request_model, price_status, count(*), sum(calls), sum(cost),
        sum(input_uncached), sum(cache_read), sum(cache_write_5m), sum(cache_write_1h),
        sum(cache_write), sum(input_tool), sum(output), sum(reasoning)
    FROM ledger GROUP BY ALL ORDER BY ALL"""
ENTRIES = """
    SELECT entry_id, kind, recorded_at, started_at, trace_id, span_id, customer_id, user_id, tags,
        service, environment, provider, operation, request_model, response_model, response_id,
        service_tier, calls, input_uncached, output, units, usage_source, cost, price_status,
        price_row, reason
    FROM ledger ORDER BY entry_id"""


def test_every_total_and_every_entry_stays_as_it_was(old: Path) -> None:
    """An entry keeps its id, by which others know it."""
    sums, entries = read(old, SUMS), read(old, ENTRIES)
    Store(old).close()
    assert read(old, SUMS) == sums
    assert read(old, ENTRIES) == entries
    assert len(entries) == len(VERSION_1["ledger"])


def test_every_span_shows_what_it_showed(old: Path) -> None:
    """Its attributes lie in three places now; together they are the same."""
    Store(old).close()
    names = ["trace_id", "span_id", "parent_span_id", "started_at", "ended_at", "received_at"]
    names += ["service", "environment", "scope", "scope_version", "rule", "status", "boot_id"]
    names += ["call_sequence", "usage"]
    columns = ", ".join([*names, "attributes", "details", "response_id"])
    shown = read(old, f"SELECT {columns} FROM spans ORDER BY span_id")
    before = sorted(VERSION_1["spans"], key=lambda row: row["span_id"])
    assert len(shown) == len(before)
    for row, was in zip(shown, before, strict=True):
        *same, attributes, details, response_id = row
        times = {n: datetime.fromisoformat(was[n]) for n in names if n.endswith("_at")}
        expected = {name: was.get(name) for name in names} | times
        assert dict(zip(names, same, strict=True)) == expected
        answered = {"gen_ai.response.id": response_id} if response_id else {}
        assert {**attributes, **details, **answered} == was["attributes"]


def test_a_migrated_ledger_follows_from_its_evidence(old: Path) -> None:
    """To the picodollar: prices by the book that was in force when each call was booked."""
    Store(old).close()
    verdict = verify(old)
    assert verdict.holds, verdict.examples
    assert verdict.unproven == {}
    books = read(old, "SELECT price_book, count(*) FROM ledger GROUP BY 1 ORDER BY 2")
    assert [count for _, count in books] == [4, len(VERSION_1["ledger"]) - 4]


def test_before_there_were_adjustments_the_list_cost_was_the_cost(old: Path) -> None:
    """Of entries without a cost it is as unknown, and of reversals as negative."""
    Store(old).close()
    same = "SELECT count(*) FROM ledger WHERE list_cost IS NOT DISTINCT FROM cost"
    assert read(old, same) == [(len(VERSION_1["ledger"]),)]
    assert read(old, "SELECT count(list_cost) FROM ledger") == read(
        old, "SELECT count(cost) FROM ledger"
    )
    assert read(old, "SELECT count(price_note) FROM ledger") == [(0,)]


def test_no_row_of_an_old_price_book_is_an_override(old: Path) -> None:
    """Nor made of another one."""
    Store(old).close()
    [(rows, *others)] = read(
        old,
        """SELECT count(*), count(layer), count(base_row), count(multiplier),
            count(unit_multiplier), count(weekdays), count(reason) FROM price_row""",
    )
    assert rows == len(VERSION_1["price_row"])
    assert others == [0] * 6


def test_an_old_file_is_verified_and_backed_up_as_it_is(version_1: Path, tmp_path: Path) -> None:
    """Before an upgrade is when one wants a backup."""
    before = version_1.read_bytes()
    verdict = verify(version_1)
    assert (verdict.holds, verdict.schema_version) == (True, 1)
    _, manifest = back_up(version_1, tmp_path / "copy.duckdb")
    assert manifest.schema_version == 1
    assert manifest.rows["spans"] == len(VERSION_1["spans"])
    assert version_1.read_bytes() == before


def test_what_was_sent_before_the_migration_and_is_sent_again_changes_nothing(old: Path) -> None:
    """A sender's queue may outlive an upgrade."""
    store, keeper = opened(old)
    appended = [
        store.append(reduce(bytes.fromhex(body)).evidence, keeper)
        for bodies in VERSION_1["sent"]
        for body in bodies
    ]
    store.close()
    assert sum(a.new for a in appended) == 0
    assert sum(a.duplicates for a in appended) == len(VERSION_1["spans"])
    assert len(read(old, "FROM ledger")) == len(VERSION_1["ledger"])


def opened(db: Path) -> tuple[Store, Bookkeeper]:
    """The ledger, and who books by its last price book."""
    store = Store(db)
    [(content,)] = (
        store.cursor()
        .execute("""SELECT content FROM price_book JOIN price_book_in_force USING (book_id)
            ORDER BY in_force_from DESC LIMIT 1""")
        .fetchall()
    )
    book = read_book(content)
    engine = Engine(book)
    return store, Bookkeeper(engine.price, engine.flat, book.id)


def test_a_call_of_before_is_not_billed_again_when_another_emitter_reports_it(old: Path) -> None:
    """What an old file holds is as good a witness as what came since."""
    before = read(old, SUMS)
    [trace_id] = {r["trace_id"] for r in VERSION_1["spans"] if r.get("call_sequence") == 2}
    again = call(
        "acme",
        trace_id=bytes.fromhex(trace_id),
        started_at=STARTED_AT + 1_000_200,
        gen_ai__response__id="chatcmpl-0002",
    )
    store, keeper = opened(old)
    batch = request(again, scope="opentelemetry.instrumentation.openai_v2")
    assert store.append(evidence_of(batch), keeper).entries == 0
    store.close()
    assert read(old, SUMS) == before
    assert verify(old).holds


def test_a_migration_is_done_once(old: Path) -> None:
    """And recorded."""
    for _ in range(2):
        Store(old).close()
        versions = read(old, "SELECT version FROM schema_version ORDER BY version")
        assert versions == [(number,) for number in range(1, len(MIGRATIONS) + 1)]


KILLED = """if True:
    import sys, time
    from pathlib import Path
    from microdollar_exporter.store import Store, migrations

    def stalled(step):
        def run(con):
            step(con)
            print(flush=True)
            time.sleep(60)
        run.__name__ = step.__name__
        return run

    number = int(sys.argv[2])
    steps = list(migrations.MIGRATIONS)
    steps[number] = stalled(steps[number])
    migrations.MIGRATIONS = tuple(steps)
    Store(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("number", EARLIER)
def test_a_migration_that_was_killed_leaves_the_version_before_it(
    version_1: Path, number: int
) -> None:
    """Whole, and usable: also by the exporter that wrote it."""
    sums = read(version_1, SUMS)
    command = [sys.executable, "-c", KILLED, str(version_1), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    with duckdb.connect(str(version_1)) as con:
        assert con.execute("SELECT max(version) FROM schema_version").fetchone() == (number,)
        assert con.execute(SUMS).fetchall() == sums
        if number == 1:
            insert(con, "spans")
    Store(version_1).close()
    assert read(version_1, SUMS) == sums


def test_a_migration_that_fails_leaves_the_version_before_it(
    version_1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is not swallowed."""

    def full(con: duckdb.DuckDBPyConnection) -> None:
        MIGRATIONS[1](con)
        raise duckdb.IOException("disk full")

    monkeypatch.setattr(migrations, "MIGRATIONS", (MIGRATIONS[0], full))
    sums = read(version_1, SUMS)
    with pytest.raises((StoreError, duckdb.IOException), match="disk full"):
        Store(version_1)
    assert read(version_1, SUMS) == sums
    assert read(version_1, "SELECT version FROM schema_version") == [(1,)]


def test_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """With the way out."""
    db = tmp_path / "meter.duckdb"
    Store(db).close()
    newer = len(MIGRATIONS) + 1
    with duckdb.connect(str(db)) as con:
        con.execute("INSERT INTO schema_version VALUES (?, 'm', now())", [newer])
    before = db.read_bytes()
    with pytest.raises(StoreError, match=f"schema version {newer}.*upgrade microdollar-exporter"):
        Store(db)
    assert db.read_bytes() == before


def test_files_stay_readable_for_duckdb_1_5(version_1: Path, tmp_path: Path) -> None:
    """New ones, migrated ones and backups alike: the storage version is pinned."""
    new, copy = tmp_path / "new.duckdb", tmp_path / "copy.duckdb"
    Store(new).close()
    Store(version_1).close()
    back_up(version_1, copy)
    for db in (new, version_1, copy):
        with duckdb.connect(str(db), read_only=True) as con:
            tags = "SELECT tags FROM duckdb_databases() WHERE path IS NOT NULL"
            assert con.execute(tags).fetchall() == [(PINNED,)]
