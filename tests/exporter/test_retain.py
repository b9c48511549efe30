# SPDX-License-Identifier: Apache-2.0
"""What is older than it has to be kept goes, and every sum stays."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from microdollar_exporter import connect
from microdollar_exporter.ask.completeness import completeness_on
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.assign import assign
from microdollar_exporter.operate.erase import erase
from microdollar_exporter.operate.retain import retain
from microdollar_exporter.store import Store, Writer
from tests.exporter.ledgers import DAY, entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

WHO = {"by": "ada", "reason": "policy"}
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MIDNIGHT = int(TODAY.timestamp()) * 1_000_000


def days_ago(days: int, microseconds: int = 0) -> int:
    """So long before the last midnight (UTC)."""
    return MIDNIGHT - days * DAY + microseconds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh ledger."""
    opened = Store(tmp_path / "meter.duckdb")
    yield opened
    opened.close()


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with store.cursor() as cursor:
        return cursor.execute(query).fetchall()


def append(store: Store, *spans: Any, **of_request: Any) -> None:
    """Append spans."""
    store.append(evidence_of(request(*spans, **of_request)), entries)


def keep(store: Store, evidence: int, ledger: int | None = None) -> dict[str, Any]:
    """Let go of what is older."""
    return retain(store, {"evidence": evidence, "ledger": ledger, "apply": True, **WHO})


def sums(store: Store) -> list[tuple[Any, ...]]:
    """Every sum by the day, the customer and the tag."""
    return rows(
        store,
        """
        SELECT started_at::DATE, customer_id, tags, sum(calls), sum(input_uncached), sum(output),
            sum(cost), sum(map_extract_value(units, 'web_search'))
        FROM ledger GROUP BY ALL ORDER BY ALL""",
    )


def history(store: Store) -> None:
    """Calls of a hundred days, some of them of nobody, refused, unpriced and moved."""
    for ago in (100, 61, 60, 59, 31, 30, 29, 1, 0):
        append(
            store,
            call("acme", started_at=days_ago(ago), microdollar__tag__feature="chat",
                 microdollar__user__id="u1", microdollar__usage__units__web_search=2),
            call("acme", started_at=days_ago(ago, 5), microdollar__tag__feature="chat"),
            call("acme", started_at=days_ago(ago, -1), gen_ai__response__model="nebula-1"),
            call(None, started_at=days_ago(ago, 9), microdollar__usage__source="none"),
        )  # fmt: skip
    rule = {"to": f"{TODAY - timedelta(days=40):%Y-%m-%d}"}
    assign(store, {"customer": "globex", "rule": rule, "apply": True, **WHO})


def test_evidence_goes_by_whole_days_and_entries_stay(store: Store) -> None:
    """Before the midnight so many days ago."""
    history(store)
    before = rows(store, "SELECT * FROM ledger ORDER BY entry_id")
    found = keep(store, 30)
    assert found["spans"] == 4 * 5 + 1
    assert rows(store, "SELECT * FROM ledger ORDER BY entry_id") == before
    [(oldest,)] = rows(store, "SELECT epoch_us(min(started_at)) FROM spans")
    assert oldest == days_ago(30)
    assert rows(
        store,
        "SELECT count(*) FROM profile WHERE profile_id NOT IN (FROM (SELECT profile_id FROM span))",
    ) == [(0,)]


def test_entries_that_are_too_old_become_sums_by_the_day(store: Store) -> None:
    """Which name no call and no user; customers and tags stay."""
    history(store)
    before = sums(store)
    found = keep(store, 30, 60)
    assert sums(store) == before
    assert (found["entries"], found["calls"]) == (13, 9)
    old = rows(
        store,
        f"""
        SELECT count(*), count(user_id), count(response_id), min(trace_id), max(trace_id)
        FROM ledger WHERE started_at < make_timestamp({days_ago(60)})""",
    )
    [(count, users, responses, first, last)] = old
    assert (users, responses, first, last) == (0, 0, "", "")
    assert rows(
        store,
        f"""
        SELECT count(*) FROM ledger WHERE trace_id = ''
        AND started_at >= make_timestamp({days_ago(60)})""",
    ) == [(0,)]
    [(one, calls)] = rows(
        store,
        f"""
        SELECT count(*), sum(calls) FROM ledger WHERE customer_id = 'acme'
        AND started_at = make_timestamp({days_ago(100)}) AND tags = MAP {{'feature': 'chat'}}""",
    )
    assert (one, calls) == (1, 2)
    assert count > 0


def test_what_is_said_beside_the_sums_stays(store: Store, tmp_path: Path) -> None:
    """Calls unpriced, refused, unassigned; what was moved is where it was moved to."""
    history(store)
    store.close()
    before = report_on(connect(tmp_path / "meter.duckdb"), "customer,feature,month")
    opened = Store(tmp_path / "meter.duckdb")
    keep(opened, 30, 60)
    opened.close()
    after = report_on(connect(tmp_path / "meter.duckdb"), "customer,feature,month")
    assert after.rows.drop(columns="late").equals(before.rows.drop(columns="late"))
    assert after.unassigned_calls == before.unassigned_calls
    assert after.unbooked == {}


def test_it_can_be_done_again(store: Store) -> None:
    """A day later, and with the sums of days that are sums already."""
    history(store)
    before = sums(store)
    keep(store, 60, 100)
    keep(store, 30, 60)
    assert sums(store) == before
    again = keep(store, 30, 60)
    assert (again["decision"], again["spans"], again["entries"]) == (None, 0, 0)
    assert rows(store, "SELECT count(*) FROM decision WHERE kind = 'retain'") == [(2,)]


def test_spans_of_a_closed_time_are_refused_and_counted(store: Store) -> None:
    """Whether they were there or not; also those of the day after, whose relatives are gone."""
    history(store)
    sent = evidence_of(request(
        call("acme", started_at=days_ago(90)),
        call("acme", started_at=days_ago(29, -1)),
        call("acme", started_at=days_ago(29, 7)),
    ))  # fmt: skip
    keep(store, 30)
    before = rows(store, "SELECT count(*), sum(calls) FROM ledger")
    appended = store.append(sent, entries)
    assert (appended.expired, appended.new, appended.duplicates) == (2, 1, 0)
    assert rows(store, "SELECT count(*), sum(calls) FROM ledger") == [
        (before[0][0] + 1, before[0][1] + 1)
    ]
    assert store.append(sent[:2], entries).expired == 2
    assert store.closed_before == days_ago(29)


def test_their_sender_is_told_and_its_other_spans_are_kept(store: Store) -> None:
    """Request by request."""
    append(store, call("acme", started_at=days_ago(90)))
    keep(store, 30)
    writer = Writer(store, entries)
    old = writer.submit(
        evidence_of(request(call(started_at=days_ago(80)), call(started_at=days_ago(1))))
    )
    new = writer.submit(evidence_of(request(call(started_at=days_ago(1)))))
    assert (old.result(30), new.result(30)) == (1, 0)
    writer.close()
    assert (writer.tally.stored, writer.tally.expired) == (2, 1)


def test_the_books_stay_closed_when_the_file_is_opened_again(store: Store, tmp_path: Path) -> None:
    """It is a decision like any other."""
    append(store, call(started_at=days_ago(90)))
    found = keep(store, 30)
    store.close()
    again = Store(tmp_path / "meter.duckdb")
    assert again.closed_before == days_ago(29)
    again.close()
    [row] = connect(tmp_path / "meter.duckdb").sql("SELECT content FROM decision").to_pylist()
    assert json.loads(row["content"]) == {
        "evidence_before": f"{TODAY - timedelta(days=30):%Y-%m-%d}", "ledger_before": None,
        "spans": 1, "entries": 0, "calls": 0, "closed_before": days_ago(29),
    }  # fmt: skip
    assert found["decision"]


def test_no_call_counts_as_missing_for_having_been_removed(store: Store, tmp_path: Path) -> None:
    """What was missing before is missing still, for processes that go on and that are over."""
    for boot, ago, number, dropped in (
        ("over", 80, 1, 0), ("over", 79, 3, 1),
        ("on", 50, 2, 0), ("on", 31, 3, 0), ("on", 20, 4, 0), ("on", 1, 6, 2),
    ):  # fmt: skip
        append(
            store,
            call(
                started_at=days_ago(ago),
                microdollar__boot__id=boot,
                microdollar__call__sequence=number,
                microdollar__boot__dropped_calls=dropped,
            ),
        )
    store.close()
    before = completeness_on(connect(tmp_path / "meter.duckdb"))
    opened = Store(tmp_path / "meter.duckdb")
    keep(opened, 30, 60)
    opened.close()
    after = completeness_on(connect(tmp_path / "meter.duckdb"))
    assert [(gap.boot_id, gap.first, gap.last) for gap in after.gaps] == [
        ("over", 2, 2), ("on", 1, 1), ("on", 5, 5),
    ]  # fmt: skip
    assert after.gaps == before.gaps
    assert after.dropped == before.dropped == 3


def test_an_erased_customer_stays_erased(store: Store) -> None:
    """Its spans and responses were known by hashes; those of a closed time need none."""
    append(store, call("zebra", started_at=days_ago(90)), call("zebra", started_at=days_ago(5)))
    erase(store, {"customer": "zebra", "apply": True, **WHO})
    append(store, call(started_at=days_ago(90)))
    assert rows(store, "SELECT count(*) FROM removed_span") == [(4,)]
    before = sums(store)
    keep(store, 30, 60)
    assert rows(store, "SELECT count(*) FROM removed_span") == [(2,)]
    assert sums(store) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "evidence is None: give 14 days or more"),
        ({"evidence": 13}, "evidence is 13: give 14 days or more"),
        ({"evidence": "90d"}, "evidence is '90d'"),
        ({"evidence": True}, "evidence is True"),
        ({"evidence": 90, "ledger": 89}, "ledger is 89: give 90 days or more"),
        ({"evidence": 10**9}, "evidence is 1000000000"),
        ({"evidence": 90, "apply": True}, "by is None"),
    ],
)
def test_a_wrong_argument_is_refused(
    store: Store, arguments: Mapping[str, Any], message: str
) -> None:
    """What may come late has to find its relatives, and an entry its evidence."""
    append(store, call(started_at=days_ago(100)))
    with pytest.raises(UsageError, match=message):
        retain(store, arguments)
    assert rows(store, "SELECT count(*) FROM span") == [(1,)]


def test_retain_on_the_command_line_and_through_a_running_exporter(tmp_path: Path) -> None:
    """First what would go; then gone, and a late span is refused with a reason."""
    db = tmp_path / "meter.duckdb"
    with Exporter(db) as exporter:
        exporter.export(request(call(started_at=days_ago(90)), call(started_at=days_ago(1))))
        options = ["retain", "--db", str(db), "--evidence", "30d", "--ledger", "60d"]
        day = f"{TODAY - timedelta(days=30):%Y-%m-%d}"
        shown = CliRunner().invoke(main, options)
        assert f"1 span from before {day} would be removed, 1 entry" in shown.output
        done = CliRunner().invoke(main, [*options, "--apply", "--reason", "policy"])
        assert f"1 span from before {day} removed, 1 entry" in done.output
        answer = exporter.export(
            request(call(started_at=days_ago(90)), call(started_at=days_ago(1)))
        )
        assert answer.partial_success.rejected_spans == 1
        assert "older than what is kept" in answer.partial_success.error_message
        wrong = CliRunner().invoke(main, ["retain", "--db", str(db), "--evidence", "90"])
        assert wrong.output == "Error: --evidence is '90': write days like 90d\n"
        assert report_on(connect(db)).total["calls"] == 3
