# SPDX-License-Identifier: Apache-2.0
"""Reports: the same from a file at rest and from a running exporter."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import microdollar_exporter
from microdollar_exporter import Connection, connect
from microdollar_exporter.ask.report import Report, report_on
from microdollar_exporter.entry import Entry, reversal
from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store import Booking, Known, Store
from tests.exporter.ledgers import DAY, InTime, booked, entries, evidence_of, price
from tests.fakes.otlp import STARTED_AT, call, request


def test_a_report_sums_calls_tokens_and_cost_per_customer(connection: Connection) -> None:
    """Cost is exact, absent sums are absent, and `unassigned` is a row of its own, the last."""
    frame = report_on(connection).rows
    assert list(frame["customer"]) == ["acme", "globex", "unassigned"]
    assert list(frame["calls"]) == [4, 2, 1]
    assert list(frame["input_uncached"]) == [3600, 900, 900]
    assert list(frame["cache_read"]) == [400, 100, 100]
    assert list(frame["output"]) == [157, 50, 50]
    assert frame["reasoning"].isna().all()
    assert list(frame["cost"]) == [Decimal("314.000157"), None, Decimal("100.000050")]
    assert list(frame["cost_usd"]) == [Decimal("0.000314000157"), None, Decimal("0.000100000050")]
    assert list(frame["unpriced"]) == [0, 1, 0]
    assert list(frame["missing"]) == [0, 1, 0]


def test_the_total_and_its_honesty_line(connection: Connection) -> None:
    """What the sums leave out stands beside them."""
    made = report_on(connection)
    assert (made.total["calls"], made.total["cost"]) == (7, Decimal("414.000207"))
    assert made.honesty == (
        "Of 7 calls: 1 unpriced (1,050 tokens), 1 with usage missing, 1 unassigned (1,050 tokens)."
    )


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("feature", {("chat",): 2, ("search",): 1, (None,): 4}),
        ("tag:feature", {("chat",): 2, ("search",): 1, (None,): 4}),
        ("customer,day", {
            ("acme", "2026-11-21"): 3,
            ("acme", "2026-11-22"): 1,
            ("globex", "2026-11-21"): 2,
            ("unassigned", "2026-11-21"): 1,
        }),
        ("model", {("gpt-6-luna",): 6, ("nebula-1",): 1}),
        ("user", {("u1",): 1, (None,): 6}),
        ("month,provider", {("2026-11", "openai"): 7}),
        ("service,environment,operation", {("shop", None, "chat"): 7}),
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
        (None, None, 7),
        ("2026-11-21", "2026-11-22", 6),
        ("2026-11-22", None, 1),
        (date(2026, 11, 22), None, 1),
        ("2026-11-21T23:59:59.999999", "2026-11-22T00:00:00", 1),
        ("2026-11-22T00:59:59.999999+01:00", "2026-11-22T01:00:00+01:00", 1),
        (datetime(2026, 11, 21, 0, 0, 0, 1, UTC), None, 3),
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
    assert report_on(connection, customer="acme").total["calls"] == 4
    assert report_on(connection, customer="unassigned").total["calls"] == 1
    empty = report_on(connection, customer="' OR true --")
    assert (empty.rows.empty, empty.total["calls"], empty.total["cost"]) == (True, 0, None)
    assert empty.honesty == (
        "Of 0 calls: each priced from reported usage, and assigned. "
        'There is no customer "\' OR true --" in the ledger.'
    )


def test_a_name_that_the_ledger_does_not_have_is_said(connection: Connection) -> None:
    """It is likely a slip; a name that has no calls in the period is none."""
    asked = report_on(connection, customer="ACME", provider="OpenAI")
    assert asked.honesty.endswith(
        "There is no customer 'ACME' in the ledger. There is no provider 'OpenAI' in the ledger."
    )
    for customer, provider in (("acme", None), (None, "openai"), ("unassigned", None)):
        made = report_on(connection, customer=customer, provider=provider, to="2026-01-01")
        assert "There is no" not in made.honesty


def test_the_books_of_a_moment_to_come_are_refused(connection: Connection) -> None:
    """They would not be settled; what is recorded was, whatever this clock says."""
    [latest] = connection.sql("SELECT max(recorded_at) AS at FROM ledger").to_pylist()
    assert report_on(connection, as_of=latest["at"]).total["calls"] == 7
    with pytest.raises(UsageError) as refused:
        report_on(connection, as_of="2226-01-01")
    assert str(refused.value) == (
        "as-of is 2226-01-01 00:00:00 UTC, which is yet to come, and until then the figures can "
        "change: leave it out for those of now"
    )


def test_further_models_have_tokens_and_are_no_calls(tmp_path: Path) -> None:
    """One call with a price, and two models inside it that have none."""
    further = '[{"model":"nebula-1","output":1},{"model":"nebula-1","output":2}]'
    made = _reported(
        tmp_path, evidence_of(request(call("acme", microdollar__usage__additional=further)))
    )
    assert made.honesty == "Of 1 call: 3 tokens unpriced."


class Books:
    """A ledger whose entries a test makes up, one call a day."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._day = 0
        self._store = InTime(path)

    def book(self, **facts: Any) -> Entry:
        """Book a call of acme that costs 7 microdollars and has 10 tokens, but for these facts."""
        [evidence] = evidence_of(request(call("acme", started_at=STARTED_AT - self._day * DAY)))
        [entry] = booked([evidence], price)
        made = entry._replace(
            **{"input_uncached": 4, "cache_read": 3, "output": 3, "cost": Decimal(7), **facts}
        )
        self._append(evidence, lambda _: [made])
        return made

    def take_back(self, entry: Entry) -> None:
        """Reverse an entry, as when a better witness of the call comes late."""
        [evidence] = evidence_of(request(call("acme", started_at=entry.started_at)))

        def reverse(known: Known) -> Sequence[Entry]:
            [standing] = known.standing([entry.identity])[entry.identity]
            return [reversal(standing, "a better witness")]

        self._append(evidence, reverse)

    def _append(self, evidence: Evidence, book: Any) -> None:
        self._store.append([evidence], lambda _, known: Booking(book(known)))

    def report(self) -> Report:
        """The whole report."""
        self._store.close()
        return report_on(connect(self.path))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A fresh ledger."""
    return Books(tmp_path / "meter.duckdb")


DOUBTS: Sequence[tuple[dict[str, Any], str]] = [
    ({"cost": None, "price_status": "unpriced_model"}, "1 unpriced (10 tokens)"),
    ({"cost": None, "usage_source": "missing", "input_uncached": None, "cache_read": None,
      "output": None}, "1 with usage missing"),
    ({"usage_source": "estimated"}, "1 estimated"),
    ({"price_status": "partial"}, "1 priced in part"),
    ({"price_status": "fallback"}, "1 with a price or count in doubt"),
    ({"usage_source": "none", "cost": Decimal(0)}, "1 refused or never sent (free)"),
    ({"customer_id": None}, "1 unassigned (10 tokens)"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "said"), DOUBTS)
def test_each_doubt_is_said(books: Books, facts: dict[str, Any], said: str) -> None:
    """In calls, and in tokens where there are some."""
    books.book()
    books.book(**facts)
    assert books.report().honesty == f"Of 2 calls: {said}."


@pytest.mark.parametrize(("facts", "said"), DOUBTS)
def test_an_entry_that_was_taken_back_is_in_no_figure(
    books: Books, facts: dict[str, Any], said: str
) -> None:
    """It is in the ledger, twice with opposite signs."""
    books.book()
    books.take_back(books.book(**facts))
    made = books.report()
    assert made.honesty == "Of 1 call: each priced from reported usage, and assigned."
    kept = {name: value for name, value in made.total.items() if value}
    assert kept == {
        "calls": 1, "input_uncached": 4, "cache_read": 3, "output": 3,
        "cost": Decimal(7), "cost_usd": Decimal("0.000007"),
    }  # fmt: skip


def test_a_call_is_late_that_was_recorded_more_than_a_day_after_it_began(tmp_path: Path) -> None:
    """A closed month may have changed with it. A day to the microsecond is in time."""
    written = STARTED_AT + DAY - 1_000_000

    def at(microseconds: int, customer: str) -> Evidence:
        [evidence] = evidence_of(request(call(customer, started_at=written - DAY + microseconds)))
        return evidence

    late, in_time = at(-1, "acme"), at(0, "globex")
    assert _reported(tmp_path, [late, in_time]).honesty == "Of 2 calls: 1 recorded late."
    by_customer = report_on(connect(tmp_path / "meter.duckdb")).rows
    assert list(by_customer["late"]) == [1, 0]


def test_a_reversal_is_as_late_as_what_it_takes_back(tmp_path: Path) -> None:
    """What is taken back after a week leaves no late call behind, nor one less than none."""
    books = Books(tmp_path / "meter.duckdb")
    entry = books.book()
    books.book(customer_id="globex")
    with_clock(books, days=7)
    books.take_back(entry)
    late = books.book(customer_id="initech")
    books.take_back(late)
    made = books.report()
    assert (made.total["calls"], made.total["late"]) == (1, 0)


def with_clock(books: Books, *, days: int) -> None:
    """Write from now on as many days later."""
    books._store._recorded_at += timedelta(days=days)


def test_evidence_of_a_call_that_no_entry_stands_for_is_said_as_a_fault(tmp_path: Path) -> None:
    """Not that of a call which another span stands for.

    That shares its trace or its response id, or began at the same time in the same service.
    """
    trace, other = b"t" * 16, b"o" * 16
    response = "chatcmpl-9AbCdEfGh1JkLmN0pQr5"
    facts: dict[str, Any] = {"gen_ai__response__id": response}
    booked_one = evidence_of(request(call(trace_id=trace, **facts)))
    beside = evidence_of(request(call(trace_id=trace), scope="com.anthropic.sdk.python"))
    elsewhere = evidence_of(
        request(call(trace_id=other, **facts), scope="com.anthropic.sdk.python")
    )
    at_once = evidence_of(request(call(started_at=STARTED_AT + 110_000), scope="logfire.openai"))
    lost = [
        *evidence_of(request(call(started_at=STARTED_AT + 110_001), scope="logfire.openai")),
        *evidence_of(request(call(), scope="litellm", resource={"service.name": "other"})),
    ]
    store = InTime(tmp_path / "meter.duckdb")
    store.append(booked_one, entries)
    store.append([*beside, *elsewhere, *at_once, *lost], lambda _, __: Booking(()))
    [held] = evidence_of(request(call(), scope="litellm"))
    store.hold_back(held)
    store.close()
    made = report_on(connect(tmp_path / "meter.duckdb"))
    assert made.unbooked == {"litellm": 2, "logfire.openai": 1}
    assert made.honesty.endswith(
        " Not booked: 3 calls of litellm, logfire.openai; the exporter's log says why."
    )


def _reported(folder: Path, evidence: Sequence[Evidence]) -> Report:
    store: Store = InTime(folder / "meter.duckdb")
    store.append(evidence, entries)
    store.close()
    return report_on(connect(folder / "meter.duckdb"))


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
    assert frame["cost"].sum() == Decimal("314.000157")
    assert frame.attrs["honesty"].startswith("Of 4 calls:")
