# SPDX-License-Identifier: Apache-2.0
"""Reports: the same from a file at rest and from a running exporter."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import microdollar_exporter
from microdollar_exporter import Connection, connect
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.errors import UsageError
from microdollar_exporter.reduce import reduce
from microdollar_exporter.store import Store
from tests.exporter.ledgers import DAY, entries
from tests.fakes.otlp import STARTED_AT, call, request


def test_a_report_sums_calls_tokens_and_cost_per_customer(connection: Connection) -> None:
    """Cost is exact, absent sums are absent, and `unassigned` is a row of its own, the last."""
    frame = report_on(connection).rows
    assert list(frame["customer"]) == ["acme", "globex", "unassigned"]
    assert list(frame["calls"]) == [3, 2, 1]
    assert list(frame["input_uncached"]) == [2700, 900, 900]
    assert list(frame["cache_read"]) == [300, 100, 100]
    assert list(frame["output"]) == [107, 50, 50]
    assert frame["reasoning"].isna().all()
    assert list(frame["cost"]) == [Decimal("214.000107"), None, Decimal("100.000050")]
    assert list(frame["cost_usd"]) == [Decimal("0.000214000107"), None, Decimal("0.000100000050")]
    assert list(frame["unpriced"]) == [0, 1, 0]
    assert list(frame["missing"]) == [0, 1, 0]


def test_the_total_and_its_honesty_line(connection: Connection) -> None:
    """What the sums leave out stands beside them."""
    made = report_on(connection)
    assert (made.total["calls"], made.total["cost"]) == (6, Decimal("314.000157"))
    assert made.honesty == (
        "Of 6 calls: 1 unpriced (1,050 tokens), 1 with usage missing, 1 unassigned. "
        "Not booked: 1 span of other emitters (com.anthropic.sdk.python)."
    )


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("feature", {("chat",): 2, ("search",): 1, (None,): 3}),
        ("tag:feature", {("chat",): 2, ("search",): 1, (None,): 3}),
        ("customer,day", {
            ("acme", "2026-11-21"): 2,
            ("acme", "2026-11-22"): 1,
            ("globex", "2026-11-21"): 2,
            ("unassigned", "2026-11-21"): 1,
        }),
        ("model", {("gpt-6-luna",): 5, ("nebula-1",): 1}),
        ("user", {("u1",): 1, (None,): 5}),
        ("month,provider", {("2026-11", "openai"): 6}),
        ("service,environment,operation", {("shop", None, "chat"): 6}),
    ],
)  # fmt: skip
def test_a_report_groups_by_any_of_its_words(
    connection: Connection, by: str, expected: dict[tuple[str | None, ...], int]
) -> None:
    """Each group once; what a call does not say is a group too."""
    made = report_on(connection, by)
    keys = [
        tuple(None if pd.isna(v) else v for v in key) for key in made.rows[list(made.by)].values
    ]
    assert dict(zip(keys, made.rows["calls"], strict=True)) == expected


@pytest.mark.parametrize(
    ("from_", "to", "calls"),
    [
        (None, None, 6),
        ("2026-11-21", "2026-11-22", 5),
        ("2026-11-22", None, 1),
        (date(2026, 11, 22), None, 1),
        ("2026-11-21T23:59:59.999999", "2026-11-22T00:00:00", 1),
        ("2026-11-22T00:59:59.999999+01:00", "2026-11-22T01:00:00+01:00", 1),
        (datetime(2026, 11, 21, 0, 0, 0, 1, UTC), None, 2),
        ("2026-11-23", None, 0),
    ],
)
def test_a_period_begins_with_from_and_ends_before_to(
    connection: Connection, from_: str | date | None, to: str | date | None, calls: int
) -> None:
    """To the microsecond, in UTC; a time with a zone is converted."""
    assert report_on(connection, from_=from_, to=to).total["calls"] == calls


def test_a_report_can_be_about_one_customer_or_about_nobody(connection: Connection) -> None:
    """A customer that never called has an empty report."""
    assert report_on(connection, customer="acme").total["calls"] == 3
    assert report_on(connection, customer="unassigned").total["calls"] == 1
    empty = report_on(connection, customer="' OR true --")
    assert (empty.rows.empty, empty.total["calls"], empty.total["cost"]) == (True, 0, None)
    assert empty.honesty == "Of 0 calls: each priced from reported usage, and assigned."


def test_calls_that_were_numbered_and_never_arrived_are_said(tmp_path: Path) -> None:
    """A process numbers its calls from 1; what a period does not begin with is not its own."""

    def numbered(boot: str, sequence: int, day: int) -> Span:
        return call(
            started_at=STARTED_AT + day * DAY,
            microdollar__boot__id=boot,
            microdollar__call__sequence=sequence,
        )

    calls = [numbered("a", 2, 0), numbered("a", 5, 0), numbered("a", 7, 1), numbered("b", 1, 1)]
    store = Store(tmp_path / "meter.duckdb")
    store.append(reduce(request(*calls)).evidence, entries)
    store.close()
    connection = connect(tmp_path / "meter.duckdb")
    assert report_on(connection).absent == 4  # 1, 3, 4 and 6
    assert "4 further calls not arrived, or still running." in report_on(connection).honesty
    assert report_on(connection, to="2026-11-22").absent == 3  # 1, 3 and 4
    assert report_on(connection, from_="2026-11-22").absent == 0
    assert report_on(connection, customer="acme").absent == 0


def test_further_models_are_entries_and_not_calls(tmp_path: Path) -> None:
    """One call, of which two models have no price."""
    further = '[{"model":"nebula-1","output":1},{"model":"nebula-1","output":2}]'
    store = Store(tmp_path / "meter.duckdb")
    one = call("acme", microdollar__usage__additional=further)
    store.append(reduce(request(one)).evidence, entries)
    store.close()
    made = report_on(connect(tmp_path / "meter.duckdb"))
    assert made.honesty == "Of 1 call (3 entries): 2 unpriced (3 tokens)."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "colour"}, "cannot group by 'colour': choose from customer, user, model"),
        ({"by": "model,model"}, "different words; this is 'model,model'"),
        ({"from_": "yesterday"}, "from is 'yesterday': write a day like 2026-11-01"),
        ({"to": "2026-13-01"}, "to is '2026-13-01'"),
        ({"from_": "0001-01-01T00:00:00+05:00"}, "from is '0001-01-01T00:00:00.05:00'"),
        ({"from_": "2026-12-01", "to": "2026-12-01"}, "to is 2026-12-01, which is not after"),
        ({"by": "tag:"}, "cannot group by 'tag:'"),
        ({"by": "feature,tag:feature"}, "different words"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_accepted(
    ledger: Path, arguments: dict[str, str], message: str
) -> None:
    """In one sentence."""
    with pytest.raises(UsageError, match=message):
        microdollar_exporter.report(**{"db": ledger, **arguments})  # type: ignore[arg-type]


def test_the_python_call_returns_a_data_frame(asked: Path) -> None:
    """Counts are integers that can be absent, money is Decimal."""
    frame = microdollar_exporter.report(["customer", "model"], db=asked, customer="acme")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns[:3]) == ["customer", "model", "calls"]
    assert str(frame["calls"].dtype) == "Int64"
    assert frame["cost"].sum() == Decimal("214.000107")
    assert frame.attrs["honesty"].startswith("Of 3 calls:")
