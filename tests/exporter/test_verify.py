# SPDX-License-Identifier: Apache-2.0
"""`microdollar verify`: whatever in the books is not what the evidence gives is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.cli import main
from microdollar_exporter.errors import StoreError, UsageError
from microdollar_exporter.operate import verify as verify_module
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.store import Store
from tests.exporter.ledgers import evidence_of
from tests.exporter.small_books import book, keeper
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request

SECOND = 1_000_000
TRACE = b"late witness 567"
OTHER = "opentelemetry.instrumentation.openai_v2"


FIRST, SECOND_BOOK = book(10), book(20)


def fill(db: Path) -> None:
    """Calls of every kind, booked by two price books, one of them once more by a better witness."""
    store = Store(db)
    for prices, batches in ((FIRST, _early()), (SECOND_BOOK, _late())):
        store.record_book(prices)
        for batch in batches:
            store.append(evidence_of(batch), keeper(prices))
    store.close()


def _early() -> list[ExportTraceServiceRequest]:
    """Enough ordinary calls to be booked by columns, odd ones, and those of another emitter."""
    ordinary = [call(f"c{n % 3}", started_at=STARTED_AT + n * 60 * SECOND) for n in range(40)]
    odd = [
        call(None, microdollar__usage__units__web_search=2, microdollar__tag__b="1"),
        call("c1", gen_ai__request__model="nebula-1", gen_ai__response__model="nebula-1"),
        call("c2", microdollar__usage__additional='[{"model":"gpt-6-luna","output":9}]'),
    ]
    seen = call(
        "c3", trace_id=TRACE, started_at=STARTED_AT + 2 * SECOND, gen_ai__response__id="r-1"
    )
    return [request(*ordinary), request(*odd), request(seen, scope=OTHER)]


def _late() -> list[ExportTraceServiceRequest]:
    """The call that another emitter had reported, as we saw it."""
    ours = call(
        "c3", trace_id=TRACE, started_at=STARTED_AT + 2 * SECOND + 500, gen_ai__response__id="r-1"
    )
    return [request(ours), request(call("c1", started_at=STARTED_AT + 9000 * SECOND), scope=OTHER)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that is as it ought to be; not to be touched."""
    db = tmp_path_factory.mktemp("original") / "meter.duckdb"
    fill(db)
    return db


@pytest.fixture
def ledger(original: Path, tmp_path: Path) -> Path:
    """One of a test's own."""
    return Path(shutil.copy(original, tmp_path / "meter.duckdb"))


def change(db: Path, sql: str) -> None:
    """What nobody may do to a ledger."""
    with duckdb.connect(str(db)) as con:
        con.execute(sql)


def one(db: Path, sql: str) -> tuple[Any, ...]:
    """The only row of a query."""
    with duckdb.connect(str(db), read_only=True) as con:
        [row] = con.execute(sql).fetchall()
    found: tuple[Any, ...] = row
    return found


def test_a_ledger_that_is_as_it_ought_to_be_holds(ledger: Path) -> None:
    """Reversals, further models, books that changed: all of it follows from the evidence."""
    assert one(ledger, "SELECT count(*) FROM ledger WHERE kind = 'reversal'") == (1,)
    assert one(ledger, "SELECT count(DISTINCT price_book) FROM ledger") == (2,)
    verdict = verify(ledger)
    assert verdict.holds
    assert verdict.differences == {}
    assert verdict.unproven == {}
    assert verdict.rows["span"] == 46
    assert verdict.rows["ledger"] == 40 + 4 + 3 + 1
    assert (verdict.sums["calls"],) == one(ledger, "SELECT sum(calls)::VARCHAR FROM ledger")


ENTRY = "rowid = (SELECT min(rowid) FROM ledger WHERE customer_id = 'c2')"
FALSIFIED = {
    "a picodollar more": (
        f"UPDATE ledger SET cost = cost + 0.000001 WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "a price where there is none": (
        "UPDATE ledger SET cost = 0 WHERE cost IS NULL",
        {"entry differs": 1},
    ),
    "no price where there is one": (
        f"UPDATE ledger SET cost = NULL WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "another customer": (
        f"UPDATE ledger SET customer_id = 'c0' WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "no customer": (
        f"UPDATE ledger SET customer_id = NULL WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "another model": (
        f"UPDATE ledger SET response_model = 'gpt-7' WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "another price status": (
        f"UPDATE ledger SET price_status = 'fallback' WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "a bucket more": (
        f"UPDATE ledger SET cache_write = 0 WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "other units": (
        "UPDATE ledger SET units = MAP {'web_search': 3} WHERE cardinality(units) > 0",
        {"entry differs": 1},
    ),
    "other tags": (
        "UPDATE ledger SET tags = MAP {'b': '2'} WHERE cardinality(tags) > 0",
        {"entry differs": 1},
    ),
    "the price of another book": (
        f"UPDATE ledger SET price_book = '{SECOND_BOOK.id}' WHERE {ENTRY}",
        {"entry differs": 1},
    ),
    "an entry gone": (f"DELETE FROM ledger WHERE {ENTRY}", {"entry missing": 1}),
    "a span gone": (
        "DELETE FROM span WHERE rowid = (SELECT min(rowid) FROM span)",
        {"entry without evidence": 1},
    ),
    "an entry twice": (
        f"INSERT INTO ledger SELECT * FROM ledger WHERE {ENTRY}",
        {"entry id twice": 2, "entry twice": 1, "sums differ": 1},
    ),
    "an entry for nothing": (
        f"INSERT INTO ledger SELECT * REPLACE (1 AS position) FROM ledger WHERE {ENTRY}",
        {"entry id twice": 2, "entry id wrong": 1, "entry not called for": 1},
    ),
    "a span twice": (
        "INSERT INTO span SELECT * FROM span WHERE rowid = (SELECT min(rowid) FROM span)",
        {"span twice": 1},
    ),
    "a reversal of less": (
        "UPDATE ledger SET output = output + 1 WHERE kind = 'reversal'",
        {"reversal wrong": 1, "sums differ": 1},
    ),
    "a reversal of nothing": (
        "UPDATE ledger SET reverses = 'x' WHERE kind = 'reversal'",
        {"reversal wrong": 1, "entry not called for": 1},
    ),
    "a reversal gone": (
        "DELETE FROM ledger WHERE kind = 'reversal'",
        {"entry not called for": 1},
    ),
    "a reversal twice": (
        "INSERT INTO ledger SELECT * FROM ledger WHERE kind = 'reversal'",
        {"entry id twice": 2, "reversal twice": 2, "sums differ": 1},
    ),
    "another id": (
        f"UPDATE ledger SET entry_id = md5('x') WHERE {ENTRY}",
        {"entry id wrong": 1},
    ),
    "another rate in a price book": (
        "UPDATE price_book SET content = replace(content, '20000000000000', '3')",
        {"price book altered": 1},
    ),
    "a price book gone": (
        f"DELETE FROM price_book WHERE book_id = '{FIRST.id}'",
        {"price book unknown": 1},
    ),
    "a decision that nobody made": (
        f"UPDATE ledger SET decision = 'd1' WHERE {ENTRY}",
        {"decision unknown": 1},
    ),
}


@pytest.mark.parametrize(("sql", "found"), FALSIFIED.values(), ids=FALSIFIED)
def test_what_was_falsified_is_found(ledger: Path, sql: str, found: dict[str, int]) -> None:
    """And nothing else."""
    change(ledger, sql)
    verdict = verify(ledger)
    assert dict(verdict.differences) == found
    assert not verdict.holds


def test_a_difference_is_named_with_what_is_there_and_what_ought_to_be(ledger: Path) -> None:
    """By trace, span and start, and to the picodollar."""
    change(ledger, f"UPDATE ledger SET cost = cost + 0.000001, output = 51 WHERE {ENTRY}")
    trace, span, start = one(
        ledger, f"SELECT trace_id, span_id, started_at::VARCHAR FROM ledger WHERE {ENTRY}"
    )
    [example] = verify(ledger).examples
    assert example == (
        "entry differs",
        f"trace {trace} span {span} of {start}",
        "output 51 instead of 50; cost 2400.000001 instead of 2400.000000",
    )


def test_all_differences_are_counted_and_the_first_of_each_kind_named(ledger: Path) -> None:
    """A broken ledger may have millions."""
    change(ledger, "UPDATE ledger SET customer_id = 'x' WHERE customer_id <> 'c3'")
    change(ledger, "DELETE FROM span WHERE started_at > make_timestamp(1795219260000000)")
    verdict = verify(ledger, limit=2)
    kinds = [example.kind for example in verdict.examples]
    assert sorted(kinds) == ["entry differs"] * 2 + ["entry without evidence"] * 2
    assert verdict.differences["entry without evidence"] == 39


def test_stretches_that_are_looked_at_one_by_one_give_the_same(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that are one are found to be so across the edge between two."""
    for rows in (2, 7):
        monkeypatch.setattr(verify_module, "_STRETCH_ROWS", rows)
        assert verify(ledger).holds
    change(ledger, f"UPDATE ledger SET cost = cost + 0.000001 WHERE {ENTRY}")
    assert verify(ledger).differences == {"entry differs": 1}


def test_what_nothing_is_left_to_prove_is_counted(ledger: Path) -> None:
    """Entries without a price book, and the sums that are left of removed calls."""
    change(ledger, f"UPDATE ledger SET price_book = NULL, cost = 7 WHERE {ENTRY}")
    change(
        ledger,
        f"""INSERT INTO ledger SELECT * REPLACE ('' AS trace_id, '' AS span_id, 'e' AS entry_id)
        FROM ledger WHERE {ENTRY}""",
    )
    verdict = verify(ledger)
    assert verdict.holds
    assert verdict.unproven == {
        "prices without a price book": 1,
        "sums left of removed calls": 1,
    }


def test_a_ledger_is_verified_while_an_exporter_writes_it(tmp_path: Path) -> None:
    """What is left afterwards is the ledger alone."""
    db = tmp_path / "meter.duckdb"
    with Exporter(db) as exporter:
        exporter.export(request(*(call(started_at=STARTED_AT + n) for n in range(50))))
        exporter.export(request(call(), scope=OTHER))
        verdict = verify(db)
        exporter.export(request(call()))
    assert (verdict.holds, verdict.rows["span"]) == (True, 51)
    assert verify(db).rows["span"] == 52
    assert {file.name for file in tmp_path.iterdir()} == {"meter.duckdb"}


def test_the_command_says_what_it_has_checked_and_its_status_is_the_verdict(
    ledger: Path, tmp_path: Path
) -> None:
    """For people and for programs."""
    said = run("verify", "--db", str(ledger), "--scratch", str(tmp_path))
    assert said.exit_code == 0
    assert said.stdout == (
        "46 spans, 48 ledger entries, 2 price books, 0 decisions: 45 calls, 106190.000000 µ$\n"
        "The ledger holds.\n"
    )
    change(ledger, f"UPDATE ledger SET output = 51 WHERE {ENTRY}")
    said = run("verify", "--db", str(ledger))
    assert said.exit_code == 1
    assert "output 51 instead of 50\n1 x entry differs\nThe ledger does not hold.\n" in said.stdout
    said = run("verify", "--db", str(ledger), "--format", "json", "--limit", "0")
    assert said.exit_code == 1
    answer = json.loads(said.stdout)
    assert (answer["holds"], answer["differences"]) == (False, {"entry differs": 1})
    assert answer["examples"] == []


def run(*arguments: str) -> Result:
    """The `microdollar` command."""
    return CliRunner().invoke(main, list(arguments))


def test_a_ledger_that_cannot_be_copied_is_said_to_be(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the way out."""
    with pytest.raises(UsageError, match="there is no ledger"):
        verify(tmp_path / "none.duckdb")
    with pytest.raises(StoreError, match="there is no folder"):
        verify(ledger, scratch=tmp_path / "none")
    total, used, _ = shutil.disk_usage(tmp_path)
    full = type(shutil.disk_usage(tmp_path))(total, used, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StoreError, match="choose another folder with --scratch"):
        verify(ledger)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"providers": [], "rows": [[1]]}', "{"])
def test_what_is_no_price_book_is_not_read_as_one(content: str) -> None:
    """It is an error of one kind."""
    with pytest.raises(ValueError):
        read_book(content)


def test_a_price_book_is_read_back_as_it_was() -> None:
    """Its id, which is a hash of all of it, is the same."""
    assert read_book(FIRST.canonical_json().decode()).id == FIRST.id
