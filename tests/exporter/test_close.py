# SPDX-License-Identifier: Apache-2.0
"""A period that is closed has figures that stay, and takes what comes late beside them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result

from microdollar_exporter import connect
from microdollar_exporter.ask.closed import settled
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.assign import assign
from microdollar_exporter.operate.close import close_period, closed_periods
from microdollar_exporter.operate.erase import erase
from microdollar_exporter.operate.retain import retain
from microdollar_exporter.store import Store
from tests.exporter.ledgers import entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

WHO = {"by": "ada", "reason": "invoices are written"}
OCTOBER, NOVEMBER = datetime(2026, 10, 1), datetime(2026, 11, 1)
MICROSECOND = timedelta(microseconds=1)


class At(Store):
    """A ledger at a time of our choosing, by default in November."""

    now = datetime(2026, 11, 3)

    def _clock(self) -> datetime:
        self._recorded_at = max(self._recorded_at + MICROSECOND, self.now)
        return self._recorded_at


@pytest.fixture
def store(tmp_path: Path) -> Iterator[At]:
    """A fresh ledger."""
    opened = At(tmp_path / "meter.duckdb")
    yield opened
    opened.close()


def append(store: Store, at: datetime, customer: str | None = "acme", **changes: Any) -> None:
    """Append a call that began at a moment; it costs 50 times 2.000001 microdollars."""
    micros = (at - datetime(1970, 1, 1)) // MICROSECOND
    store.append(evidence_of(request(call(customer, started_at=micros, **changes))), entries)


def close(store: Store, **arguments: Any) -> dict[str, Any]:
    """Close a period."""
    return close_period(store, {**arguments, "apply": True, **WHO})


def test_a_month_is_closed_with_its_sums(store: At) -> None:
    """From its first instant until just before the next month's, UTC; who, why and when is kept."""
    append(store, OCTOBER - MICROSECOND)
    append(store, OCTOBER)
    append(store, NOVEMBER - MICROSECOND, None, gen_ai__response__model="nebula-1")
    append(store, NOVEMBER)
    found = close(store, month="2026-10")
    assert found == {
        "decision": found["decision"], "period": "2026-10",
        "from": "2026-10-01 00:00:00", "to": "2026-11-01 00:00:00",
        "as_of": "2026-11-03T00:00:00.000004", "entries": 2, "calls": 2, "tokens": 2100,
        "cost": "100.000050", "unpriced": 1, "unpriced_tokens": 1050, "missing": 0, "estimated": 0,
        "partial": 0, "fallback": 0, "refused": 0, "unassigned": 1, "unassigned_tokens": 1050,
    }  # fmt: skip
    [decision] = store.decisions
    assert (decision.kind, decision.made_by, decision.reason) == (
        "close-period", "ada", "invoices are written",
    )  # fmt: skip
    [closed] = closed_periods(store.decisions)
    assert (closed.name, closed.decision) == ("2026-10", found["decision"])


def test_a_period_that_is_not_over_is_refused(store: At) -> None:
    """Until the instant of its end, which is its last plus one microsecond."""
    store.now = NOVEMBER - MICROSECOND
    with pytest.raises(UsageError, match="2026-10 is not over: it ends at 2026-11-01 00:00:00 UTC"):
        close(store, month="2026-10")
    assert store.decisions == ()
    store.now = NOVEMBER
    assert close(store, month="2026-10")["calls"] == 0


def test_a_look_at_a_period_that_is_not_over_is_refused_too(store: At) -> None:
    """By the clock, for nothing is recorded."""
    this_month = f"{datetime.now(UTC):%Y-%m}"
    with pytest.raises(UsageError, match="is not over"):
        close_period(store, {"month": this_month})


@pytest.mark.parametrize(
    ("asked", "overlaps"),
    [
        ({"month": "2026-10"}, True),
        ({"month": "2026-09"}, False),
        ({"from": "2026-09-01", "to": "2026-10-01"}, False),
        ({"from": "2026-09-01", "to": "2026-10-01T00:00:00.000001"}, True),
        ({"from": "2026-11-01", "to": "2026-11-02"}, False),
        ({"from": "2026-10-31T23:59:59.999999", "to": "2026-11-02"}, True),
        ({"from": "2026-10-10", "to": "2026-10-11"}, True),
        ({"from": "2026-01-01", "to": "2026-11-02"}, True),
    ],
)
def test_no_part_of_a_period_is_closed_twice(
    asked: dict[str, str], overlaps: bool, store: At
) -> None:
    """On both sides of both ends; the refusal names the decision."""
    first = close(store, month="2026-10")
    if overlaps:
        with pytest.raises(UsageError, match=f"closed already.*{first['decision']}"):
            close(store, **asked)
        with pytest.raises(UsageError, match="closed already"):
            close_period(store, asked)
    else:
        assert close(store, **asked)["decision"]
    assert len(store.decisions) == 2 - overlaps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "say which period"),
        ({"month": "2026-10", "from": "2026-10-01"}, "say which period"),
        ({"from": "2026-10-01"}, "say which period"),
        ({"month": "2026-13"}, "month is '2026-13': write a month like 2026-10"),
        ({"month": "2026-1"}, "month is '2026-1'"),
        ({"month": "october"}, "month is 'october'"),
        ({"month": "2026-10-01"}, "month is '2026-10-01'"),
        ({"from": "2026-10-02", "to": "2026-10-02"}, "to is 2026-10-02"),
        ({"month": "2026-10", "before": "x"}, "before"),
        ({"month": "2026-10", "apply": True, "by": "ada"}, "reason"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str, store: At) -> None:
    """With what to write instead."""
    with pytest.raises(UsageError, match=message):
        close_period(store, arguments)


def test_a_year_ends_with_december(store: At) -> None:
    """The month after is that of the next year."""
    assert close(store, month="2025-12")["to"] == "2026-01-01 00:00:00"


def test_what_comes_late_is_booked_beside_the_closed_figures(store: At) -> None:
    """Neither a late call nor an assignment changes what the books say as of the closing."""
    append(store, OCTOBER, None)
    found = close(store, month="2026-10")
    path = store.path
    month = {"from_": found["from"], "to": found["to"]}
    before = report_on(connect_after(store), **month, as_of=found["as_of"])
    store._open(0.0)
    store.now = datetime(2026, 11, 20)
    append(store, OCTOBER + timedelta(days=3))
    assign(store, {"customer": "globex", "rule": {"service": "shop"}, "apply": True, **WHO})
    asked = connect_after(store)
    after = report_on(asked, **month, as_of=found["as_of"])
    assert after.rows.equals(before.rows)
    assert (after.total, after.honesty) == (before.total, before.honesty)
    now = report_on(asked, **month)
    assert sorted(now.rows["customer"]) == ["acme", "globex"]
    [closed] = settled(asked)
    assert (closed.calls, closed.cost) == (1, "100.000050")
    assert (closed.calls_since, closed.cost_since) == (1, "100.000050")
    assert closed.as_of == found["as_of"]
    assert path == store.path
    store._open(0.0)


def test_a_closing_says_what_its_sums_leave_out_as_the_report_does(store: At) -> None:
    """A call whose usage nobody reported is missing, and not unpriced as well."""
    append(store, OCTOBER, microdollar__usage__source="missing")
    append(store, OCTOBER, None, gen_ai__response__model="nebula-1")
    append(store, OCTOBER, microdollar__usage__source="estimated")
    append(store, OCTOBER)
    store.close()
    closed = run(store.path, "close", "2026-10", "--dry-run").stdout.splitlines()
    month = ("--from", "2026-10-01", "--to", "2026-11-01")
    reported = run(store.path, "report", *month).stdout.splitlines()
    assert closed[1] == reported[-1].replace(" 4 recorded late,", "")
    assert closed[1].startswith("Of 4 calls: 1 unpriced (1,050 tokens), 1 with usage missing, ")
    store._open(0.0)


REMOVALS = {
    "erased": lambda store: erase(store, {"customer": "acme", "apply": True, **WHO}),
    "too old": lambda store: retain(store, {"evidence": 14, "ledger": 14, "apply": True, **WHO}),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
def test_closed_figures_stay_when_their_calls_become_sums(
    store: At, remove: Callable[[Store], object]
) -> None:
    """No sum spans a closing, nor an edge of a closed period, though all is of one day."""
    noon, hour = datetime(2026, 10, 12, 12), timedelta(hours=1)
    append(store, noon - hour, gen_ai__usage__output_tokens=7)
    append(store, noon)
    append(store, noon + hour)
    found = close(store, **{"from": "2026-10-12T12:00", "to": "2026-10-12T13:00"})
    also = close(store, **{"from": "2026-10-12T13:00", "to": "2026-11-01"})
    append(store, noon + hour / 2)
    append(store, noon + 2 * hour)

    def figures() -> list[tuple[Any, ...]]:
        asked = connect_after(store)
        totals = [
            report_on(asked, from_=one["from"], to=one["to"], as_of=one["as_of"]).total
            for one in (found, also)
        ]
        listed = [(one.calls, one.cost, one.calls_since, one.cost_since) for one in settled(asked)]
        store._open(0.0)
        return [*listed, *((total["calls"], total["cost"]) for total in totals)]

    each = "100.000050"
    expected = [
        *((1, each, 1, each), (1, each, 1, each)),
        *((1, Decimal(each)), (1, Decimal(each))),
    ]
    assert figures() == expected
    remove(store)
    assert store.cursor().execute("SELECT count(*) FROM ledger").fetchall() == [(5,)]
    assert figures() == expected


def connect_after(store: Store) -> Any:
    """A ledger at rest to ask."""
    store.close()
    return connect(store.path)


def run(db: Path, *arguments: str) -> Result:
    """The command."""
    return CliRunner().invoke(main, [*arguments, "--db", str(db)])


def test_the_command_closes_and_says_how_the_figures_are_had_for_ever(store: At) -> None:
    """Its own words print the same figures after more has come."""
    append(store, OCTOBER)
    path = store.path
    store.close()
    looked = run(path, "close", "2026-10", "--dry-run")
    assert looked.stdout == (
        "2026-10: 1 call (1,050 tokens), $0.000100000050.\n"
        "Of 1 call: each priced from reported usage, and assigned.\n"
        "Nothing is closed yet: leave --dry-run out.\n"
    )
    closed = run(path, "close", "2026-10", "--by", "ada")
    assert closed.exit_code == 0, closed.output
    [words] = [line.split() for line in closed.stdout.splitlines() if line.startswith("  ")]
    assert words[1:6] == ["report", "--from", "2026-10-01", "--to", "2026-11-01"]
    first = run(path, *words[1:], "--format", "csv").stdout_bytes
    store._open(0.0)
    append(store, OCTOBER, "globex")
    store.close()
    assert run(path, *words[1:], "--format", "csv").stdout_bytes == first
    listed = json.loads(run(path, "close", "--list", "--format", "json").stdout)
    assert [(row["period"], row["calls"], row["calls_since"], row["reason"]) for row in listed] == [
        ("2026-10", 1, 1, "the period is over")
    ]
    [row] = listed
    assert {name: row[name] for name in row if name.startswith("cost")} == {
        "cost": "100.000050", "cost_usd": "0.000100000050",
        "cost_since": "100.000050", "cost_since_usd": "0.000100000050",
    }  # fmt: skip
    heads, units = run(path, "close", "--list").stdout.splitlines()[:2]
    assert heads.split()[-5:] == ["cost", "cost", "calls_since", "cost_since", "cost_since"]
    assert units.split() == ["µ$", "$", "µ$", "$"]
    again = run(path, "close", "2026-10")
    assert again.exit_code == 1
    assert "closed already" in again.stderr
    store._open(0.0)


def test_a_running_exporter_closes_and_answers_as_of(tmp_path: Path) -> None:
    """The command acts through it, and its report takes the moment."""
    db = tmp_path / "meter.duckdb"
    at = (OCTOBER - datetime(1970, 1, 1)) // MICROSECOND
    with Exporter(db) as exporter:
        exporter.export(request(call("acme", started_at=at)))
        said = json.loads(run(db, "close", "2026-10", "--format", "json").stdout)
        exporter.export(request(call("acme", started_at=at)))
        month = ["--from", "2026-10-01", "--to", "2026-11-01", "--format", "json"]
        now = json.loads(run(db, "report", *month).stdout)
        then = json.loads(run(db, "report", *month, "--as-of", said["as_of"]).stdout)
        query = urlencode({"from": "2026-10-01", "to": "2026-11-01", "as_of": said["as_of"]})
        over_http = exporter.send("GET", f"/v1/report?{query}", token=exporter.card.token)
    assert (now["total"]["calls"], then["total"]["calls"]) == (2, 1)
    assert over_http.json() == then
