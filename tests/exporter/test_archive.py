# SPDX-License-Identifier: Apache-2.0
"""`microdollar archive`: evidence of closed days lies in files, and no call is booked twice."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.ask.completeness import completeness_on
from microdollar_exporter.cli import main
from microdollar_exporter.errors import ActFailed, StoreError, StoreUnavailable, UsageError
from microdollar_exporter.operate import archive as archive_module
from microdollar_exporter.operate.archive import (
    archive,
    archive_of,
    bring_back,
    day_before,
    remove_sealed,
)
from microdollar_exporter.operate.arguments import Who
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.store import Store
from tests.exporter.ledgers import DAY, evidence_of
from tests.exporter.small_books import book, keeper
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request

SECOND = 1_000_000
OTHER = "opentelemetry.instrumentation.openai_v2"
MONDAY, TUESDAY, WEDNESDAY = date(2026, 11, 16), date(2026, 11, 17), date(2026, 11, 18)
BEGIN = STARTED_AT - 5 * DAY
"""Midnight before Monday."""
TRACE, FAR = b"trace of a call.", b"another one far."
PRICES = book(10)
ENTRIES = keeper(PRICES)
WHO = Who("ops", "a test")
ANSWER = "chatcmpl-BQ3nY7zKf0aXw2LtVd8R1cMh"
"""What no other response is called by chance."""


def on(day: date, second: int = 0, **changes: Any) -> Span:
    """A call of ours on a day."""
    return call(started_at=BEGIN + (day - MONDAY).days * DAY + second * SECOND, **changes)


def append(db: Path, *requests: ExportTraceServiceRequest) -> tuple[int, int, int]:
    """Take each request in, in a commit of its own; returns new, known and held back spans."""
    store = Store(db)
    store.record_book(PRICES)
    appended = [store.append(evidence_of(batch), ENTRIES) for batch in requests]
    store.close()
    return (
        sum(a.new for a in appended),
        sum(a.duplicates for a in appended),
        sum(a.held for a in appended),
    )


ORDINARY = [
    request(
        *(on(MONDAY, n, customer=f"c{n % 3}", gen_ai__usage__input_tokens=n) for n in range(40, 80))
    ),
    request(*(on(TUESDAY, n, customer="c1") for n in range(5))),
    request(on(WEDNESDAY)),
    request(on(MONDAY, 7, customer=None), scope=OTHER),
]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Calls of three days."""
    append(tmp_path / "meter.duckdb", *ORDINARY)
    return tmp_path / "meter.duckdb"


def rows(db: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query on a ledger at rest."""
    with duckdb.connect(str(db), read_only=True) as con:
        return con.execute(sql).fetchall()


def files(folder: Path) -> dict[str, str]:
    """What lies in a folder: the hash of each file by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


TOTALS = """
    SELECT customer_id, sum(calls), sum(cost), sum(input_uncached), sum(cache_read), sum(output)
    FROM ledger GROUP BY ALL HAVING sum(calls) <> 0 ORDER BY ALL"""


def test_every_span_of_the_closed_days_is_in_one_file_as_it_was(ledger: Path) -> None:
    """Read by DuckDB as a folder of days, and no other days are there."""
    parts = archive(ledger, WEDNESDAY)
    assert [(part.day, part.holds.rows) for part in parts] == [(MONDAY, 41), (TUESDAY, 5)]
    folder = archive_of(ledger)
    columns = [name for (name, *_) in rows(ledger, "DESCRIBE spans")]
    everything = f"SELECT {', '.join(columns)} FROM {{}} ORDER BY span_id"
    with duckdb.connect() as con:
        sealed = con.execute(
            everything.format(f"read_parquet('{folder}/*/*.parquet', hive_partitioning = true)")
        ).fetchall()
        days = con.execute(
            f"SELECT day, count(*) FROM read_parquet('{folder}/*/*.parquet') GROUP BY 1 ORDER BY 1"
        ).fetchall()
    before = f"(FROM spans WHERE started_at < TIMESTAMP '{WEDNESDAY}')"
    assert sealed == rows(ledger, everything.format(before))
    assert days == [(MONDAY, 41), (TUESDAY, 5)]


def test_a_file_is_sorted_by_customer_and_has_no_type_that_readers_refuse(ledger: Path) -> None:
    """No HUGEINT, no UUID and no nanoseconds: Spark reads it."""
    [part, _] = archive(ledger, WEDNESDAY)
    table = pq.read_table(part.path, partitioning=None)
    keys = [
        (row["customer_id"] is None, row["customer_id"], row["started_at"])
        for row in table.select(["customer_id", "started_at"]).to_pylist()
    ]
    assert keys == sorted(keys)
    kinds = {str(field.type) for field in table.schema}
    assert kinds == {
        "string",
        "bool",
        "int64",
        "timestamp[us]",
        "map<string, string ('attributes')>",
        "map<string, string ('details')>",
        "map<string, int64 ('usage')>",
    }


def test_a_manifest_says_what_its_folder_has_to_hold(ledger: Path) -> None:
    """Rows, bytes, hash, and the sums of everything that was counted."""
    [part, _] = archive(ledger, WEDNESDAY)
    said = json.loads((part.path.parent / "_manifest.json").read_text())
    assert said["day"] == "2026-11-16"
    [file] = said["files"]
    assert file["file"] == part.path.name == "spans-000001.parquet"
    assert (file["rows"], file["bytes"]) == (41, part.path.stat().st_size)
    assert file["sha256"] == hashlib.sha256(part.path.read_bytes()).hexdigest()
    assert file["sums"] == {
        "gen_ai.usage.cache_read.input_tokens": 4100,
        "gen_ai.usage.input_tokens": sum(range(40, 80)) + 1000,
        "gen_ai.usage.output_tokens": 41 * 50,
    }


def test_what_is_sealed_is_never_written_again_and_what_comes_later_lies_beside_it(
    ledger: Path,
) -> None:
    """Late spans of a sealed day go into a further file."""
    archive(ledger, WEDNESDAY)
    first = files(archive_of(ledger))
    assert archive(ledger, WEDNESDAY) == []
    assert files(archive_of(ledger)) == first
    append(ledger, request(on(MONDAY, 3), on(WEDNESDAY, 3)))
    [late] = archive(ledger, WEDNESDAY)
    assert (late.day, late.path.name, late.holds.rows) == (MONDAY, "spans-000002.parquet", 1)
    manifest = "day=2026-11-16/_manifest.json"
    after = files(archive_of(ledger))
    del first[manifest], after[manifest], after[f"day=2026-11-16/{late.path.name}"]
    assert after == first
    assert archive(ledger, WEDNESDAY) == []


def test_many_spans_of_a_day_lie_in_several_files(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed together stays together, though it be too much for a file."""
    monkeypatch.setattr(archive_module, "PART_ROWS", 3)
    append(ledger, *(request(on(TUESDAY, 100 + n)) for n in range(7)))
    parts = archive(ledger, WEDNESDAY)
    assert [part.holds.rows for part in parts] == [40, 1, 5, 3, 3, 1]


def test_a_day_that_is_not_over_is_not_sealed(ledger: Path) -> None:
    """More of it will come."""
    today = datetime.now(UTC).date()
    with pytest.raises(UsageError, match=f"--before {today + timedelta(days=1)} is not over"):
        archive(ledger, today + timedelta(days=1))
    archive(ledger, today)


def test_before_is_a_day_or_so_many_days_ago() -> None:
    """What a cron job writes."""
    assert day_before("2026-11-01") == date(2026, 11, 1)
    assert day_before("90d") == datetime.now(UTC).date() - timedelta(days=90)
    for wrong in ("", "90", "1w", "2026-13-01", "99999999d"):
        with pytest.raises(UsageError, match="--before"):
            day_before(wrong)


@pytest.mark.parametrize("killed", ["before the manifest", "before the ledger knows"])
def test_a_sealing_that_was_killed_is_taken_up_again(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    """With the same bytes, and each span still in one file."""

    def kill(*_: object) -> None:
        raise StoreUnavailable("killed")

    with monkeypatch.context() as patched:
        target = (archive_module.DayManifest, "write")
        if killed == "before the ledger knows":
            target = (archive_module, "perform")
        patched.setattr(*target, kill)
        with pytest.raises(StoreUnavailable):
            archive(ledger, TUESDAY)
    left = files(archive_of(ledger))
    append(ledger, request(on(MONDAY, 5)))
    archive(ledger, TUESDAY)
    sealed = files(archive_of(ledger))
    name = "day=2026-11-16/spans-000001.parquet"
    if killed == "before the ledger knows":
        assert sealed[name] == left[name]
        assert len(sealed) == 3
    assert verify(ledger).holds
    assert rows(ledger, "SELECT sum(rows) FROM archive_part") == [(42,)]


def test_the_files_of_another_ledger_are_not_touched(ledger: Path, tmp_path: Path) -> None:
    """Nor those of a later state of the same one, which a backup knows nothing of."""
    (tmp_path / "second").mkdir()
    second = tmp_path / "second" / "meter.duckdb"
    append(second, request(on(MONDAY, 9)))
    archive(ledger, TUESDAY)
    before = files(archive_of(ledger))
    with pytest.raises(ActFailed, match="is not of this ledger as it is now: name another folder"):
        archive(second, TUESDAY, archive_of(ledger))
    assert files(archive_of(ledger)) == before
    assert archive(second, TUESDAY, tmp_path / "elsewhere")


def test_evidence_in_the_archive_alone_changes_no_figure_and_can_still_be_verified(
    ledger: Path,
) -> None:
    """The spans are gone from the file; the entries follow from the archive's."""
    totals = rows(ledger, TOTALS)
    archive(ledger, WEDNESDAY)
    removals = remove_sealed(ledger, WEDNESDAY, None, WHO)
    assert removals == ({MONDAY: 41, TUESDAY: 5}, 0)
    assert rows(ledger, "SELECT count(*) FROM spans") == [(1,)]
    assert rows(ledger, TOTALS) == totals
    verdict = verify(ledger)
    assert (verdict.holds, verdict.unproven) == (True, {})
    assert verdict.rows["span"] == 1
    made = "SELECT kind, made_by, reason, content FROM decision ORDER BY made_at"
    assert rows(ledger, made)[0] == (
        "remove-archived",
        "ops",
        "a test",
        '{"day": "2026-11-16"}',
    )
    assert remove_sealed(ledger, WEDNESDAY, None, WHO) == ({}, 0)


def test_a_busy_day_is_removed_hour_by_hour(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an exporter can go on between; what crosses an hour goes with the later one."""
    monkeypatch.setattr(archive_module, "_SPANS_AT_ONCE", 5)
    append(ledger, witness(OTHER, 3590), witness(OURS, 3610), request(on(MONDAY, 80_000)))
    archive(ledger, TUESDAY)
    assert remove_sealed(ledger, TUESDAY, None, WHO) == ({MONDAY: 44}, 0)
    assert verify(ledger).holds
    assert rows(ledger, "SELECT count(*) FROM decision") == [(1,)]


def test_what_is_in_the_archive_and_is_sent_again_is_known(ledger: Path) -> None:
    """Alone, and in a batch with what is new."""
    archive(ledger, WEDNESDAY)
    remove_sealed(ledger, WEDNESDAY, None, WHO)
    entries_before = rows(ledger, "FROM ledger ORDER BY entry_id")
    assert append(ledger, *ORDINARY) == (0, 47, 0)
    assert rows(ledger, "FROM ledger ORDER BY entry_id") == entries_before
    mixed = request(*ORDINARY[0].resource_spans[0].scope_spans[0].spans, on(MONDAY, 1))
    assert append(ledger, mixed) == (1, 40, 0)
    archive(ledger, WEDNESDAY)
    remove_sealed(ledger, WEDNESDAY, None, WHO)
    assert append(ledger, mixed) == (0, 41, 0)
    assert verify(ledger).holds


def witness(scope: str, second: int = 0, **changes: Any) -> ExportTraceServiceRequest:
    """A span that describes the one call of `RELATED` in some way."""
    kind = changes.pop("kind", Span.SPAN_KIND_CLIENT)
    parent = changes.pop("parent", None)
    said = {"trace_id": TRACE, "gen_ai__response__id": ANSWER, **changes}
    made = on(MONDAY, second, **said)
    made.kind = kind
    if parent is not None:
        made.parent_span_id = parent
    return request(made, scope=scope)


OURS = "microdollar"
RELATED: Mapping[str, tuple[list[ExportTraceServiceRequest], ExportTraceServiceRequest, bool]] = {
    "a better witness": ([witness(OTHER)], witness(OURS), True),
    "a worse witness": ([witness(OURS)], witness(OTHER), True),
    "a witness with only the response in common": (
        [witness(OURS)],
        witness(OTHER, trace_id=FAR),
        True,
    ),
    "an agent above it": (
        [witness(OTHER, span_id=b"the call", parent=b"an agent")],
        witness(
            OTHER,
            span_id=b"an agent",
            kind=Span.SPAN_KIND_INTERNAL,
            gen_ai__operation__name="invoke_agent",
            gen_ai__response__id=None,
        ),
        True,
    ),
    "the day after, in the same trace": ([witness(OURS, 86_300)], witness(OTHER, 86_500), True),
    "another call of ours in the same trace": (
        [witness(OURS)],
        witness(OURS, 5, gen_ai__response__id="chatcmpl-BQ3nY7zKf0aXw2LtVd8R1cMi"),
        False,
    ),
    "another call in another trace": (
        [witness(OTHER)],
        witness(OTHER, 500, trace_id=FAR, gen_ai__response__id=None),
        False,
    ),
}


@pytest.mark.parametrize(("early", "late", "held"), RELATED.values(), ids=RELATED)
def test_what_comes_late_for_a_call_in_the_archive_waits_until_it_is_back(
    tmp_path: Path,
    early: Sequence[ExportTraceServiceRequest],
    late: ExportTraceServiceRequest,
    held: bool,
) -> None:
    """Then the books are as if nothing had ever been there. What is unrelated is booked at once."""
    db, control = tmp_path / "meter.duckdb", tmp_path / "control.duckdb"
    append(control, *early, late)
    append(db, *early)
    archive(db, TUESDAY)
    assert remove_sealed(db, TUESDAY, None, WHO) == ({MONDAY: len(early)}, 0)
    totals = rows(db, TOTALS)
    assert append(db, late) == ((0, 0, 1) if held else (1, 0, 0))
    assert append(db, late) == (0, 1, 0)
    verdict = verify(db)
    assert verdict.holds, verdict.examples
    if held:
        assert rows(db, TOTALS) == totals
        assert verdict.unproven == {"spans held back until the archive's are back": 1}
    assert bring_back(db, MONDAY, None, WHO) == len(early)
    store = Store(db)
    assert store.take_in(ENTRIES) == held
    assert store.take_in(ENTRIES) == 0
    store.close()
    assert rows(db, TOTALS) == rows(control, TOTALS)
    verdict = verify(db)
    assert (verdict.holds, verdict.unproven) == (True, {}), verdict.examples
    assert append(db, *early, late) == (0, len(early) + 1, 0)


def test_what_waits_for_two_days_waits_for_both(tmp_path: Path) -> None:
    """A span may be related to calls before and after midnight."""
    db = tmp_path / "meter.duckdb"
    append(db, witness(OURS, 86_300), witness(OURS, 86_500, gen_ai__response__id="r2"))
    archive(db, WEDNESDAY)
    remove_sealed(db, WEDNESDAY, None, WHO)
    assert append(db, witness(OTHER, 86_450)) == (0, 0, 1)
    for day, left in ((TUESDAY, 1), (MONDAY, 0)):
        bring_back(db, day, None, WHO)
        store = Store(db)
        assert store.take_in(ENTRIES) == 1 - left
        store.close()
        assert rows(db, "SELECT count(*) FROM held_span") == [(left,)]
    assert verify(db).holds


def test_what_others_that_stay_are_related_to_stays(tmp_path: Path) -> None:
    """Through a trace, through a response, and through both: nothing is decided on by halves."""
    db = tmp_path / "meter.duckdb"
    append(
        db,
        # Shares a trace with a call of Tuesday, ...
        witness(OTHER, 86_000, gen_ai__response__id="chatcmpl-BQ3nY7zKf0aXw2LtVd8R1cMj"),
        witness(OURS, 86_450),
        # ... and this one shares a response with it.
        witness(
            OTHER, 80_000, trace_id=FAR, gen_ai__response__id="chatcmpl-BQ3nY7zKf0aXw2LtVd8R1cMj"
        ),
        request(on(MONDAY, 5)),
    )
    archive(db, WEDNESDAY)
    assert remove_sealed(db, TUESDAY, None, WHO) == ({MONDAY: 1}, 2)
    assert verify(db).holds
    assert remove_sealed(db, WEDNESDAY, None, WHO) == ({MONDAY: 2, TUESDAY: 1}, 0)
    assert rows(db, "SELECT count(*) FROM span") == [(0,)]
    assert verify(db).holds


def test_calls_in_the_archive_are_not_missing(tmp_path: Path) -> None:
    """Their numbers are remembered, and a gap stays one."""
    db = tmp_path / "meter.duckdb"
    numbered = [
        on(MONDAY, n, microdollar__boot__id="b", microdollar__call__sequence=n)
        for n in (1, 2, 3, 6, 7)
    ]
    append(
        db,
        request(*numbered),
        request(on(WEDNESDAY, 0, microdollar__boot__id="b", microdollar__call__sequence=8)),
    )
    before = completeness_on(connect(db))
    archive(db, TUESDAY)
    remove_sealed(db, TUESDAY, None, WHO)
    after = completeness_on(connect(db))
    assert [(gap.first, gap.last) for gap in after.gaps] == [(4, 5)]
    assert after.gaps == before.gaps
    bring_back(db, MONDAY, None, WHO)
    assert completeness_on(connect(db)).gaps == before.gaps


def test_nothing_is_removed_that_the_files_do_not_have(ledger: Path) -> None:
    """Each is read before, span by span."""
    [monday, _] = archive(ledger, WEDNESDAY)
    whole = monday.path.read_bytes()
    monday.path.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match="is not what was sealed"):
        remove_sealed(ledger, WEDNESDAY, None, WHO)
    monday.path.write_bytes(whole)
    with duckdb.connect(str(ledger)) as con:
        con.execute("UPDATE span SET call_sequence = 5 WHERE rowid = 0")
    with pytest.raises(ActFailed, match="does not have what the ledger has of 2026-11-16"):
        remove_sealed(ledger, WEDNESDAY, None, WHO)
    assert rows(ledger, "SELECT count(*) FROM span") == [(47,)]
    with pytest.raises(ActFailed, match="no evidence of 2026-11-18 is sealed"):
        perform(ledger, "archive-remove", {"day": "2026-11-18", "by": "ops", "reason": "x"})


def test_an_archive_that_is_not_there_is_named_and_says_where_to_look(
    ledger: Path, tmp_path: Path
) -> None:
    """What else there is, is verified still."""
    archive(ledger, WEDNESDAY)
    remove_sealed(ledger, TUESDAY, None, WHO)
    moved = archive_of(ledger).rename(tmp_path / "moved")
    verdict = verify(ledger)
    assert verdict.differences == {"archive part missing or altered": 1}
    assert verdict.unproven == {"entries without their archive": 41}
    assert "bring it back, or say with --archive where it lies" in verdict.examples[0].what
    assert verify(ledger, archive=moved).holds
    with pytest.raises(StoreError, match="bring it back"):
        bring_back(ledger, MONDAY, None, WHO)
    asked = {"day": "2026-11-16", "by": "ops", "reason": "late"}
    with pytest.raises(ActFailed, match="41 spans of 2026-11-16 are not back yet"):
        perform(ledger, "archive-return", asked)
    assert bring_back(ledger, MONDAY, moved, WHO) == 41
    with pytest.raises(UsageError, match="whose evidence was not removed"):
        bring_back(ledger, MONDAY, moved, WHO)
    shutil.rmtree(moved)
    assert verify(ledger).holds


def test_a_running_exporter_goes_on_meanwhile(tmp_path: Path) -> None:
    """It seals, removes, knows what is sent again, holds back what is late, and takes it in."""
    db = tmp_path / "meter.duckdb"
    with Exporter(db) as exporter:
        exporter.export(request(*(on(MONDAY, n) for n in range(40))))
        exporter.export(witness(OTHER, 50))
        said = run(
            "archive", "--db", str(db), "--before", "2026-11-17", "--delete", "--reason", "x"
        )
        assert said.exit_code == 0, said.stderr
        assert said.stdout.endswith("2026-11-16: 41 spans removed from the ledger's file\n")
        exporter.export(witness(OURS, 50))
        assert exporter.status()["spans_stored"] == 41
        assert connect(db).sql("SELECT count(*) AS n FROM held_span")["n"].to_pylist() == [1]
        said = run("unarchive", "--db", str(db), "--reason", "late", "2026-11-16")
        assert said.stdout == "41 spans of 2026-11-16 are back\n"
        exporter.export(request(on(TUESDAY)))
        calls = "SELECT sum(calls)::BIGINT AS n FROM ledger"
        assert connect(db).sql(calls)["n"].to_pylist() == [42]
        assert verify(db).holds
    assert "1 spans that were held back are taken in" in exporter.log


def test_the_commands_say_what_they_did(ledger: Path) -> None:
    """To people, to programs, and when it goes wrong."""
    said = run("archive", "--db", str(ledger), "--before", "2026-11-17")
    assert said.stdout.startswith(str(archive_of(ledger) / "day=2026-11-16/spans-000001.parquet"))
    said = run("archive", "--db", str(ledger), "--before", "2026-11-17")
    assert said.stdout == "nothing new to seal\n"
    said = run("archive", "--db", str(ledger), "--before", "2026-11-17", "--delete")
    assert said.stderr == "Error: say why with --reason: the ledger keeps it\n"
    options = ("--delete", "--reason", "x", "--format", "json")
    said = run("archive", "--db", str(ledger), "--before", "2026-11-18", *options)
    answer = json.loads(said.stdout)
    assert [(s["day"], s["rows"]) for s in answer["sealed"]] == [("2026-11-17", 5)]
    assert answer["removed"] == {"2026-11-16": 41, "2026-11-17": 5}
    assert answer["kept"] == 0
    said = run("unarchive", "--db", str(ledger), "--reason", "x", "2026-11-18")
    assert said.stderr == "Error: day is 2026-11-18, whose evidence was not removed\n"


def run(*arguments: str) -> Result:
    """The `microdollar` command."""
    return CliRunner().invoke(main, list(arguments))
