# SPDX-License-Identifier: Apache-2.0
"""Calls of the past at other prices: corrections that add up, say who and why, and are provable."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microdollar_exporter import connect
from microdollar_exporter.ask.as_of import AsOf
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.cli import main
from microdollar_exporter.errors import QueryRefused, StoreUnavailable, UsageError
from microdollar_exporter.operate.assign import assign, unassign
from microdollar_exporter.operate.close import close_period
from microdollar_exporter.operate.erase import erase
from microdollar_exporter.operate.reprice import reprice
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.rules import Rule
from microdollar_exporter.store import Store
from microdollar_exporter.store.removed import archived_days
from tests.exporter.ledgers import DAY, evidence_of
from tests.exporter.small_books import keeper
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request

WHO = {"by": "ada", "reason": "the rate came"}
NEW: Mapping[str, Any] = {
    "gen_ai__request__model": "nova-9",
    "gen_ai__response__model": "nova-9",
}
"""A call of a model that only some books know."""
OTHER = "opentelemetry.instrumentation.openai_v2"
MONTH = 30 * DAY


def book(version: str = "1", /, **models: PriceRow | int) -> Book:
    """A book of models of OpenAI, `_` for `-`: microdollars per token of output, or a row."""
    rows, known = [], []
    for name, price in models.items():
        model = name.replace("_", "-")
        known.append(Model(id=model, rule=Rule("equals", model)))
        rates = {"input_uncached": 2, "cache_read": 1, "output": price}
        rows.append(price if isinstance(price, PriceRow) else rate(model, rates))
    provider = Provider(id="openai", models=tuple(known))
    return Book(source="test", source_version=version, providers=[provider], rows=rows)


def rate(model: str, rates: Mapping[str, Any], **more: Any) -> PriceRow:
    """A row of rates in microdollars per token."""
    scaled = {name: int(rate * 10**12) for name, rate in rates.items()}
    return PriceRow(provider="openai", model=model, rates=scaled, **more)


OLD = book(gpt_6_luna=10)
KNOWS = book(gpt_6_luna=10, nova_9=3)
"""The same and a model more."""
LUNA = 900 * 2 + 100 * 1 + 50 * 10
"""What an ordinary call costs, in microdollars."""
NOVA = 900 * 2 + 100 * 1 + 50 * 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A ledger that is kept by the old book."""
    opened = Store(tmp_path / "meter.duckdb")
    opened.record_book(OLD)
    yield opened
    opened.close()


def append(store: Store, prices: Book, *spans: Any, **of_request: Any) -> None:
    """Append calls, booked by these prices."""
    store.append(evidence_of(request(*spans, **of_request)), keeper(prices))


def rows(store: Store, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    return store.cursor().execute(query, list(parameters)).fetchall()


def sums(store: Store) -> tuple[Any, ...]:
    """Calls, cost, and calls without a price."""
    [found] = rows(
        store,
        """SELECT sum(calls), sum(cost), sum(list_cost), sum(output),
            coalesce(sum(calls) FILTER (cost IS NULL), 0) FROM ledger""",
    )
    return found


def holds(store: Store) -> None:
    """The ledger is what its evidence, books and decisions give."""
    path = store.path
    store.close()
    verdict = verify(path)
    assert verdict.differences == {}, verdict.examples
    assert not verdict.unproven
    store._open(0.0)


def do(store: Store, **arguments: Any) -> dict[str, Any]:
    """Reprice and book it."""
    return reprice(store, {**arguments, "apply": True, **WHO})


def test_a_call_without_a_price_gets_one_by_a_reversal_and_a_new_entry(store: Store) -> None:
    """Both dated now, both under the decision; the sums are what they should have been."""
    append(store, OLD, call("acme", **NEW))
    store.record_book(KNOWS)
    assert sums(store) == (1, None, None, 50, 1)
    found = do(store)
    assert sums(store) == (1, NOVA, NOVA, 50, 0)
    names = [name for name, *_ in rows(store, "DESCRIBE ledger")]
    old, back, new = (
        dict(zip(names, row, strict=True)) for row in rows(store, "FROM ledger ORDER BY rowid")
    )
    changed = {name for name in names if old[name] != new[name]}
    assert changed == {
        *("entry_id", "recorded_at", "revision", "cost", "list_cost", "price_status"),
        *("price_note", "price_row", "price_book", "decision", "reason"),
    }
    decision = found["decision"]
    assert (new["kind"], new["revision"], new["decision"]) == ("usage", 1, decision)
    assert (new["price_status"], new["price_note"]) == ("priced", None)
    assert (new["price_book"], new["price_row"]) == (KNOWS.id, [*KNOWS.rows][1].price_row)
    assert new["reason"] == f"repriced by decision {decision} (new rate); call"
    assert (back["kind"], back["reverses"], back["decision"]) == (
        "reversal", old["entry_id"], decision,
    )  # fmt: skip
    assert (back["calls"], back["output"], back["cost"]) == (-1, -50, None)
    assert back["recorded_at"] == new["recorded_at"] > old["recorded_at"]
    holds(store)


def test_the_decision_says_who_why_when_and_by_which_books(store: Store) -> None:
    """With what was asked for and what came of it."""
    append(store, OLD, call("acme", **NEW), call("acme"))
    store.record_book(KNOWS)
    found = do(store, customer="acme", status=["unpriced"])
    [(decision, kind, by, reason, content, same_moment)] = rows(
        store,
        """SELECT decision_id, kind, made_by, reason, content,
            made_at = (SELECT max(recorded_at) FROM ledger) FROM decision""",
    )
    assert (decision, kind, by, reason, same_moment) == (
        found["decision"], "reprice", "ada", "the rate came", True,
    )  # fmt: skip
    assert json.loads(content) == {
        "filters": {"customer": "acme", "status": ["unpriced"]},
        "book": KNOWS.id, "old_books": [OLD.id], "calls": 1, "entries": 1, "tokens": 1050,
        "before": None, "after": f"{NOVA}.000000", "difference": f"{NOVA}.000000",
    }  # fmt: skip


def test_a_dry_run_says_the_difference_by_customer_and_model_and_does_nothing(
    store: Store,
) -> None:
    """With the reason, and what was looked at and stays."""
    append(store, OLD, call("acme", **NEW), call("acme", **NEW), call(None, **NEW), call("acme"))
    append(store, OLD, call("globex", gen_ai__request__model="x", gen_ai__response__model="x"))
    store.record_book(KNOWS)
    found = reprice(store, {})
    shape = ("customer", "model", "why", "calls", "before", "after", "difference")
    assert [tuple(change[name] for name in shape) for change in found["changes"]] == [
        ("acme", "nova-9", "new rate", 2, None, f"{2 * NOVA}.000000", f"{2 * NOVA}.000000"),
        ("unassigned", "nova-9", "new rate", 1, None, f"{NOVA}.000000", f"{NOVA}.000000"),
    ]
    assert found["left"] == {
        "without_evidence": 0, "beyond": 0, "still_unpriced": 1, "kept": 0, "unchanged": 0,
    }  # fmt: skip
    assert (found["decision"], found["calls"], found["closed"]) == (None, 3, [])
    assert rows(store, "SELECT * FROM decision") == []
    assert rows(store, "SELECT count(*) FROM ledger") == [(5,)]


def test_repricing_twice_books_once(store: Store) -> None:
    """The second time nothing has another price, and nothing is recorded."""
    append(store, OLD, call("acme", **NEW))
    store.record_book(KNOWS)
    assert do(store, include_priced=True)["calls"] == 1
    before = rows(store, "FROM ledger")
    again = do(store, include_priced=True)
    assert (again["decision"], again["calls"], again["left"]["unchanged"]) == (None, 0, 1)
    assert rows(store, "FROM ledger") == before
    assert rows(store, "SELECT count(*) FROM decision") == [(1,)]


def test_a_price_is_corrected_only_where_that_is_asked_for(store: Store) -> None:
    """By itself only what is missing or in doubt is priced anew."""
    append(store, OLD, call("acme"))
    store.record_book(book(gpt_6_luna=11))
    assert do(store)["calls"] == 0
    assert sums(store)[1] == LUNA
    with pytest.raises(UsageError, match="status is priced: such prices are exact; say with --inc"):
        do(store, status=["priced"])
    found = do(store, include_priced=True)
    assert (found["before"], found["after"], found["difference"]) == (
        f"{LUNA}.000000", f"{LUNA + 50}.000000", "50.000000",
    )  # fmt: skip
    assert [change["why"] for change in found["changes"]] == ["corrected rate"]
    assert sums(store) == (1, LUNA + 50, LUNA + 50, 50, 0)
    holds(store)


def test_a_price_is_never_taken_away(store: Store) -> None:
    """What the book in force does not know any more keeps its price, and is counted."""
    append(store, OLD, call("acme"))
    store.record_book(book(nova_9=3))
    found = do(store, include_priced=True)
    assert (found["calls"], found["left"]["kept"]) == (0, 1)
    assert sums(store)[1] == LUNA


def test_a_cost_that_no_entry_can_hold_is_not_booked_and_said_to_be_one(store: Store) -> None:
    """Whether the call has a price or none; it is not said that its model has no price."""
    append(store, OLD, call("acme"), call("acme", **NEW))
    store.record_book(book(gpt_6_luna=10**14, nova_9=10**14))
    found = reprice(store, {"include_priced": True})
    assert (found["calls"], found["left"]) == (0, {
        "without_evidence": 0, "beyond": 2, "still_unpriced": 0, "kept": 0, "unchanged": 0,
    })  # fmt: skip
    store.close()
    assert run(store.path, "reprice").splitlines()[1] == (
        "1 call would cost more than an entry can hold, and stays as it is: see whether its rate "
        "is right."
    )
    store._open(0.0)


def test_a_partial_price_is_completed(store: Store) -> None:
    """The bucket that had no rate is charged, and the call is no longer counted as partial."""
    part = book(gpt_6_luna=rate("gpt-6-luna", {"input_uncached": 2, "cache_read": 1}))
    store.record_book(part)
    append(store, part, call("acme"))
    assert rows(store, "SELECT price_status, cost FROM ledger") == [("partial", 1900)]
    store.record_book(OLD)
    found = do(store)
    assert [change["why"] for change in found["changes"]] == ["missing rate"]
    query = "SELECT price_status, sum(calls), sum(cost) FROM ledger GROUP BY ALL ORDER BY ALL"
    assert rows(store, query) == [("partial", 0, 0), ("priced", 1, LUNA)]
    holds(store)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"customer": "acme"}, {"acme"}),
        ({"customer": "unassigned"}, {None}),
        ({"model": "nova-9"}, {"acme", "globex", None}),
        ({"model": "nova"}, set()),
        ({"provider": "openai"}, {"acme", "globex", None}),
        ({"provider": "mistral_ai"}, set()),
        ({"status": ["unpriced"]}, {"acme", "globex", None}),
        ({"status": ["partial", "fallback"]}, set()),
        ({"from": "2026-11-22"}, {"globex"}),
        ({"from": "2026-11-22T00:00:00.000001"}, set()),
        ({"to": "2026-11-22"}, {"acme", None}),
        ({"to": "2026-11-22T00:00:00.000001"}, {"acme", "globex", None}),
    ],
)
def test_only_what_is_asked_for_is_repriced(
    filters: dict[str, Any], found: set[str | None], store: Store
) -> None:
    """All filters hold together; a period begins with its first instant, and its end is out."""
    append(
        store, OLD, call("acme", **NEW), call("globex", started_at=STARTED_AT + DAY, **NEW),
        call(None, **NEW),
    )  # fmt: skip
    store.record_book(KNOWS)
    do(store, **filters)
    query = "SELECT customer_id FROM ledger WHERE decision IS NOT NULL AND calls > 0"
    assert {customer for (customer,) in rows(store, query)} == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"status": ["partial", "unprized"]},
            "status is 'unprized': give one or more of unpriced, partial, fallback",
        ),
        ({"status": []}, "status is"),
        ({"status": "unpriced"}, "status is"),
        ({"user": "u1"}, "user"),
        ({"apply": True, "by": "ada"}, "reason"),
        ({"from": "2026-11-02", "to": "2026-11-02"}, "to is 2026-11-02"),
        ({"customer": 7}, "customer is 7"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str, store: Store) -> None:
    """By its name, its value, and what to write instead."""
    with pytest.raises(UsageError, match=message):
        reprice(store, arguments)


def test_a_ledger_without_a_book_has_nothing_to_price_by(tmp_path: Path) -> None:
    """It says where a book comes from."""
    store = Store(tmp_path / "fresh.duckdb")
    with pytest.raises(UsageError, match="no price book yet"):
        reprice(store, {})
    store.close()


@pytest.mark.parametrize(
    ("overrides", "why", "cost"),
    [
        (
            "[[alias]]\nprovider = 'openai'\nmodel = 'nova-9'\nis = { model = 'gpt-6-luna' }",
            "alias",
            LUNA,
        ),
        (
            "[[rate]]\nprovider = 'openai'\nmodel = 'nova-9'\nper_mtok = { input = 2, "
            "cache_read = 1, output = 3 }\nreason = 'r'",
            "override (rate)",
            NOVA,
        ),
        (
            "[[free]]\nprovider = 'openai'\nmodel = 'nova-9'\nreason = 'r'",
            "override (free)",
            0,
        ),
    ],
)
def test_an_override_of_the_past_is_named(
    overrides: str, why: str, cost: int, store: Store
) -> None:
    """By its kind: another name, a rate of the operator's own, no charge."""
    append(store, OLD, call("acme", **NEW))
    store.record_book(parse(f"schema = 1\n{overrides}\n", "own.toml").over(OLD))
    found = do(store)
    assert [change["why"] for change in found["changes"]] == [why]
    assert sums(store)[1] == cost
    holds(store)


HALF = "[[adjust]]\nname = 'half'\nprovider = 'openai'\nmultiply = 0.5\n"
THIRD = HALF.replace("0.5", "0.3")
LUNA_RATE = (
    "[[rate]]\nprovider = 'openai'\nmodel = 'gpt-6-luna'\n"
    "per_mtok = { input = 4, cache_read = 2, output = 20 }\n"
)
EVERYTHING_ELSE = "[default]\nper_mtok = { input = 9, output = 9 }\n"


def laid(rules: str, over: Book = OLD) -> Book:
    """A book with rules over it."""
    return parse(f"schema = 1\n{rules}", "own.toml").over(over) if rules else over


@pytest.mark.parametrize(
    ("before", "after", "model", "why"),
    [
        (OLD, laid(LUNA_RATE), "gpt-6-luna", "override (rate)"),
        (laid(LUNA_RATE), OLD, "gpt-6-luna", "override (rate) removed"),
        (laid(HALF), OLD, "gpt-6-luna", "override (adjust) removed"),
        (laid(HALF), laid(THIRD), "gpt-6-luna", "override (adjust)"),
        (laid(HALF), laid(HALF + LUNA_RATE), "gpt-6-luna", "override (rate)"),
        (OLD, laid(HALF + LUNA_RATE), "gpt-6-luna", "override (rate, adjust)"),
        (laid(HALF + LUNA_RATE), OLD, "gpt-6-luna", "override (rate, adjust) removed"),
        (
            laid(HALF),
            laid(LUNA_RATE),
            "gpt-6-luna",
            "override (rate), override (adjust) removed",
        ),
        (laid(HALF), laid(HALF, book(gpt_6_luna=11)), "gpt-6-luna", "corrected rate"),
        (
            OLD,
            laid(HALF, book(gpt_6_luna=11)),
            "gpt-6-luna",
            "corrected rate, override (adjust)",
        ),
        (laid(HALF), laid(HALF, KNOWS), "nova-9", "new rate, override (adjust)"),
        (laid(EVERYTHING_ELSE), laid(EVERYTHING_ELSE, KNOWS), "nova-9", "doubt settled"),
        (OLD, laid(EVERYTHING_ELSE), "nova-9", "override (default)"),
    ],
)
def test_every_layer_of_a_price_that_changed_is_named_and_no_other(
    before: Book, after: Book, model: str, why: str, store: Store
) -> None:
    """The source's rate, a rate of the operator's own, a multiplier: come, gone or another."""
    store.record_book(before)
    names: dict[str, Any] = {"gen_ai__request__model": model, "gen_ai__response__model": model}
    append(store, before, call("acme", **names))
    store.record_book(after)
    found = do(store, include_priced=True)
    assert [change["why"] for change in found["changes"]] == [why]
    assert do(store, include_priced=True)["calls"] == 0


def test_a_price_that_becomes_one_for_a_part_is_said_with_its_status(store: Store) -> None:
    """In the changes, and how many calls those are."""
    store.record_book(laid(EVERYTHING_ELSE))
    append(store, laid(EVERYTHING_ELSE), call("acme", **NEW), call("acme"))
    own = "[[rate]]\nprovider = 'openai'\nmodel = 'nova-9'\nper_mtok = { input = 1 }\n"
    store.record_book(laid(own))
    found = reprice(store, {})
    shape = ("before", "after", "old_status", "new_status", "why")
    assert [tuple(change[name] for name in shape) for change in found["changes"]] == [
        ("9450.000000", "1000.000000", "fallback", "partial", "override (rate)")
    ]
    assert found["becoming_partial"] == 1
    store.close()
    shown = run(store.path, "reprice").splitlines()
    assert shown[0].split() == [
        *("customer", "model", "why", "status", "calls", "before", "after", "difference")
    ]
    assert "fallback → partial" in shown[3]
    assert "1 call becomes partial: a rate is missing, so the cost is too low." in shown
    store._open(0.0)


def test_list_cost_and_adjusted_cost_are_both_corrected(store: Store) -> None:
    """A discount on the past changes what is paid, and not the list price."""
    append(store, OLD, call("acme"))
    discount = "name = 'half'\nprovider = 'openai'\nmultiply = 0.5\nreason = 'r'"
    store.record_book(parse(f"schema = 1\n[[adjust]]\n{discount}\n", "own.toml").over(OLD))
    found = do(store, include_priced=True)
    assert [change["why"] for change in found["changes"]] == ["override (adjust)"]
    assert sums(store)[:3] == (1, LUNA / 2, LUNA)
    holds(store)


def test_each_call_gets_the_price_in_force_when_it_ran(store: Store) -> None:
    """On both sides of the instant at which the new rate begins, ends, and has a size limit."""
    began, ended = STARTED_AT, STARTED_AT + DAY
    append(
        store, OLD, *(call(name, started_at=at, **NEW) for name, at in (
            ("before", began - 1), ("first", began), ("last", ended - 1), ("after", ended),
        )),
        call("small", gen_ai__usage__input_tokens=2000, started_at=began, **NEW),
        call("large", gen_ai__usage__input_tokens=2001, started_at=began, **NEW),
    )  # fmt: skip
    low = {"input_uncached": 2, "cache_read": 1, "output": 3}
    high = {name: 2 * price for name, price in low.items()}
    limits: dict[str, Any] = {"effective_from": began, "effective_to": ended}
    dated = Book(
        source="test",
        source_version="2",
        providers=book(nova_9=1).providers.values(),
        rows=[
            rate("nova-9", low, **limits),
            rate("nova-9", high, over_input_tokens=2000, **limits),
        ],
    )
    store.record_book(dated)
    do(store)
    query = "SELECT customer_id, sum(cost) FROM ledger GROUP BY ALL ORDER BY ALL"
    assert rows(store, query) == [
        ("after", None), ("before", None), ("first", NOVA), ("large", 2 * (1901 * 2 + 100 + 150)),
        ("last", NOVA), ("small", 1900 * 2 + 100 + 150),
    ]  # fmt: skip
    holds(store)


def test_between_prices_that_are_known_lies_one_in_doubt(store: Store) -> None:
    """A time of the day decides for a while; before and after it tokens times rates do."""
    began, ended = STARTED_AT, STARTED_AT + DAY
    rates = {"input_uncached": 2, "cache_read": 1, "output": 3}
    night = {name: 2 * price for name, price in rates.items()}
    middle: dict[str, Any] = {"effective_from": began, "effective_to": ended}
    windowed = Book(
        source="test",
        source_version="2",
        providers=book(nova_9=1).providers.values(),
        rows=[
            rate("nova-9", rates, effective_to=began),
            rate("nova-9", rates, **middle),
            rate("nova-9", night, time_of_day=(0, DAY // 2), **middle),
            rate("nova-9", rates, effective_from=ended),
        ],
    )
    starts = {"before": began - 1, "night": began, "day": began + DAY // 2, "after": ended}
    append(store, OLD, *(call(name, started_at=at, **NEW) for name, at in starts.items()))
    store.record_book(windowed)
    do(store)
    query = "SELECT customer_id, sum(cost) FROM ledger GROUP BY ALL ORDER BY ALL"
    assert rows(store, query) == [
        ("after", NOVA), ("before", NOVA), ("day", NOVA), ("night", 2 * NOVA),
    ]  # fmt: skip
    holds(store)


def test_what_else_a_call_used_is_not_forgotten(store: Store) -> None:
    """Searches without a price leave the call partial, as when it is booked."""
    append(store, OLD, call("acme", microdollar__usage__units__web_search=2, **NEW))
    store.record_book(KNOWS)
    do(store)
    query = "SELECT price_status, price_note, cost FROM ledger ORDER BY rowid DESC LIMIT 1"
    assert rows(store, query) == [("partial", "web_search has no price", NOVA)]
    holds(store)


def test_a_row_of_a_call_is_repriced_without_the_others(store: Store) -> None:
    """The call's own model keeps its price and book, and all of it can be proven."""
    further = '[{"model":"nova-9","output":9}]'
    append(store, OLD, call("acme", microdollar__usage__additional=further))
    store.record_book(book(gpt_6_luna=20, nova_9=3))
    found = do(store)
    assert (found["calls"], found["entries"], found["tokens"]) == (0, 1, 9)
    assert sums(store)[:2] == (1, LUNA + 27)
    books = "SELECT position, price_book FROM ledger WHERE calls >= 0 ORDER BY rowid DESC LIMIT 1"
    assert rows(store, books) != [(1, OLD.id)]
    holds(store)


def test_a_better_witness_leaves_each_row_of_a_call_its_own_book(store: Store) -> None:
    """What was repriced stays so, and what was not stays as it was, whatever is in force."""
    seen: dict[str, Any] = {"trace_id": b"late witness 567", "gen_ai__response__id": "r-1"}
    further = '[{"model":"nova-9","output":9}]'
    append(store, OLD, call("acme", microdollar__usage__additional=further, **seen))
    store.record_book(KNOWS)
    assert do(store)["entries"] == 1
    store.record_book(book(gpt_6_luna=90, nova_9=90))
    append(
        store, book(gpt_6_luna=90, nova_9=90),
        call(None, started_at=STARTED_AT + 500, user__id="u7", **seen), scope=OTHER,
    )  # fmt: skip
    query = "SELECT position, sum(cost), price_book FROM ledger GROUP BY ALL ORDER BY ALL"
    found = [row for row in rows(store, query) if row[1]]
    assert found == [(0, LUNA, OLD.id), (1, 27, KNOWS.id)]
    assert sums(store)[:2] == (1, LUNA + 27)
    holds(store)


def test_prices_that_only_the_evidence_decides_are_worked_out_from_it(store: Store) -> None:
    """How fast, and where: the ledger does not say it, the span does."""
    fast: dict[str, Any] = {"microdollar__response__speed": "fast"}
    there: dict[str, Any] = {"microdollar__response__inference_geo": "us"}
    append(
        store, OLD, call("plain", **NEW), call("fast", **NEW, **fast), call("us", **NEW, **there)
    )
    dearer = rate(
        "nova-9", {"input_uncached": 4, "cache_read": 2, "output": 6}, context="speed=fast"
    )
    with_speed = Book(
        source="test", source_version="2", providers=KNOWS.providers.values(),
        rows=[*KNOWS.rows, dearer],
    )  # fmt: skip
    store.record_book(with_speed)
    do(store)
    query = """SELECT customer_id, price_status, cost FROM ledger
        WHERE decision IS NOT NULL AND calls > 0 ORDER BY ALL"""
    assert rows(store, query) == [
        ("fast", "priced", 2 * NOVA), ("plain", "priced", NOVA), ("us", "fallback", NOVA),
    ]  # fmt: skip
    holds(store)


def test_an_entry_without_its_evidence_is_left_and_counted(store: Store) -> None:
    """What decides its price may be in what is gone."""
    append(store, OLD, call("acme", **NEW), call("globex", **NEW))
    store.record_book(KNOWS)
    with store.change() as change:
        change.con.execute("DELETE FROM span WHERE rowid = 0")
        day = {"day": str(date(2026, 11, 21))}
        change.decide(kind="remove-archived", made_by="ada", reason="r", content=day)
    assert archived_days(store.decisions) == [date(2026, 11, 21)]
    found = do(store)
    assert (found["calls"], found["left"]["without_evidence"]) == (1, 1)
    query = "SELECT customer_id FROM ledger WHERE kind = 'usage' AND cost IS NOT NULL"
    assert rows(store, query) == [("globex",)]


def test_an_assigned_call_stays_assigned_and_can_be_returned(store: Store) -> None:
    """Whose it is and what it costs are decided apart, in either order."""
    append(store, OLD, call(None, **NEW))
    store.record_book(KNOWS)
    by = assign(store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO})
    do(store)
    query = """SELECT customer_id, assigned_by, decision, reason, cost FROM ledger
        WHERE kind = 'usage' ORDER BY rowid DESC LIMIT 1"""
    [(customer, assigned, decision, reason, cost)] = rows(store, query)
    assert (customer, assigned, cost) == ("acme", by["decision"], NOVA)
    assert decision not in (None, by["decision"])
    assert reason == (
        f"repriced by decision {decision} (new rate); assigned by decision {by['decision']}; call"
    )
    holds(store)
    back = unassign(store, {"decision": by["decision"], "apply": True, **WHO})
    assert (back["calls"], back["cost"]) == (1, f"{NOVA}.000000")
    [(customer, _, _, reason, cost)] = rows(store, query)
    assert (customer, cost) == (None, NOVA)
    assert reason == (
        f"returned by decision {back['decision']}; repriced by decision {decision} (new rate); call"
    )
    assert sums(store) == (1, NOVA, NOVA, 50, 0)
    holds(store)


def test_a_repriced_call_belongs_to_the_customer_that_a_better_witness_names(store: Store) -> None:
    """A decision on the price is none on whose call it is; the correction is taken back with it."""
    seen: dict[str, Any] = {"trace_id": b"late witness 567", "gen_ai__response__id": "r-1"}
    append(store, OLD, call("acme", started_at=STARTED_AT + 500, **seen, **NEW), scope=OTHER)
    store.record_book(KNOWS)
    assert do(store)["calls"] == 1
    append(store, KNOWS, call("globex", started_at=STARTED_AT + 600, **seen, **NEW))
    query = "SELECT customer_id, sum(calls), sum(cost) FROM ledger GROUP BY ALL ORDER BY ALL"
    assert rows(store, query) == [("acme", 0, 0), ("globex", 1, NOVA)]
    assert sums(store) == (1, NOVA, NOVA, 50, 0)
    holds(store)


def test_an_erased_customer_s_corrections_become_sums(store: Store) -> None:
    """No total changes, and the decision names the customer no longer."""
    append(store, OLD, call("acme", **NEW), call("globex", **NEW))
    store.record_book(KNOWS)
    do(store, customer="acme")
    before = sums(store)
    erase(store, {"customer": "acme", "apply": True, **WHO})
    assert sums(store) == before
    contents = rows(store, "SELECT content FROM decision WHERE kind = 'reprice'")
    assert "acme" not in contents[0][0]


def test_the_books_as_of_an_earlier_moment_are_what_they_were(store: Store) -> None:
    """On both sides of the moment at which the correction was booked."""
    append(store, OLD, call("acme", **NEW), call("acme"))
    store.record_book(KNOWS)
    do(store)
    [(booked,)] = rows(store, "SELECT made_at FROM decision")
    path = store.path
    store.close()
    asked = connect(path)
    old = report_on(asked, as_of=booked - timedelta(microseconds=1))
    new = report_on(asked, as_of=booked)
    assert (old.total["cost"], old.total["unpriced"], old.total["calls"]) == (LUNA, 1, 2)
    assert (new.total["cost"], new.total["unpriced"], new.total["calls"]) == (LUNA + NOVA, 0, 2)
    assert new.total == report_on(asked).total
    store._open(0.0)


def test_a_repriced_call_is_as_late_as_it_was(tmp_path: Path) -> None:
    """Late is what was recorded late, not what was corrected afterwards."""

    class Later(Store):
        """A ledger whose clock goes on by two days between two acts."""

        ahead = timedelta(hours=1)

        def _clock(self) -> Any:
            at = rows(self, f"SELECT make_timestamp({STARTED_AT})")[0][0] + self.ahead
            self._recorded_at = max(self._recorded_at + timedelta(microseconds=1), at)
            return self._recorded_at

    store = Later(tmp_path / "later.duckdb")
    store.record_book(OLD)
    append(store, OLD, call("in time", **NEW), call(None, **NEW))
    store.ahead = timedelta(days=2)
    append(store, OLD, call("late", **NEW))
    store.record_book(KNOWS)
    do(store)
    assign(store, {"customer": "given", "rule": {"service": "shop"}, "apply": True, **WHO})
    path = store.path
    store.close()
    found = report_on(connect(path)).rows
    assert dict(zip(found["customer"], found["late"], strict=True)) == {
        "given": 0, "in time": 0, "late": 1,
    }  # fmt: skip


def test_a_fault_in_the_middle_books_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is the last statement that fails; later all goes well."""
    append(store, OLD, call("acme", **NEW))
    store.record_book(KNOWS)
    before = rows(store, "FROM ledger")
    module = sys.modules["microdollar_exporter.operate.reprice"]
    real = module._book

    def fail(*arguments: Any) -> None:
        real(*arguments)
        raise duckdb.IOException("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(module, "_book", fail)
        do(store)
    assert rows(store, "FROM ledger") == before
    assert rows(store, "FROM decision") == []
    assert do(store)["calls"] == 1
    holds(store)


_KILLED: Final = """
import os, signal, sys
from pathlib import Path
import microdollar_exporter.operate
from microdollar_exporter.store import Store

module = sys.modules["microdollar_exporter.operate.reprice"]
dies_in, real = sys.argv[2], None
def die(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
if dies_in != "end":
    real = getattr(module, dies_in)
    setattr(module, dies_in, die)
module.reprice(Store(Path(sys.argv[1])), {"apply": True, "by": "ada", "reason": "r"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("dies_in", "entries"), [("_look", 2), ("_book", 2), ("end", 6)])
def test_a_process_that_is_killed_has_booked_all_or_nothing(
    dies_in: str, entries: int, store: Store
) -> None:
    """Before it commits nothing is there, and once it has answered everything is."""
    append(store, OLD, call("acme", **NEW), call("globex", **NEW))
    store.record_book(KNOWS)
    store.close()
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(store.path), dies_in], check=False)
    assert killed.returncode == -signal.SIGKILL
    store._open(0.0)
    assert rows(store, "SELECT count(*) FROM ledger") == [(entries,)]
    assert rows(store, "SELECT count(*) FROM decision") == [(int(entries > 2),)]
    holds(store)


def test_a_closed_period_keeps_its_figures_and_its_corrections_are_named(store: Store) -> None:
    """The correction is dated after the closing, and the answer says which period it concerns."""
    append(store, OLD, call("acme", started_at=STARTED_AT - MONTH, **NEW), call("acme", **NEW))
    closed = close_period(store, {"month": "2026-10", "apply": True, **WHO})
    store.record_book(KNOWS)
    found = do(store)
    assert found["calls"] == 2
    assert [(period["period"], period["calls"]) for period in found["closed"]] == [("2026-10", 1)]
    path = store.path
    store.close()
    of_month = {"from_": closed["from"], "to": closed["to"]}
    assert report_on(connect(path), **of_month, as_of=closed["as_of"]).total["cost"] is None
    assert report_on(connect(path), **of_month).total["cost"] == NOVA
    store._open(0.0)


_TOKENS = st.none() | st.sampled_from([0, 1, 99, 10**6, 2**31]) | st.integers(0, 10**5)


@given(
    calls=st.lists(
        st.fixed_dictionaries(
            {
                "gen_ai__usage__input_tokens": _TOKENS,
                "gen_ai__usage__output_tokens": _TOKENS,
                "gen_ai__usage__cache_read__input_tokens": _TOKENS,
                "gen_ai__usage__cache_creation__input_tokens": _TOKENS,
                "gen_ai__usage__reasoning__output_tokens": _TOKENS,
                "microdollar__usage__units__web_search": st.sampled_from([None, 0, 2]),
                "gen_ai__operation__name": st.sampled_from(["chat", "embeddings"]),
                "microdollar__response__speed": st.sampled_from([None, "fast"]),
                "gen_ai__response__model": st.sampled_from(["nova-9", "luna-mini", None]),
                "started_at": st.integers(STARTED_AT - 2, STARTED_AT + 2),
            }
        ),
        min_size=1,
        max_size=40,
    ),
    rates=st.fixed_dictionaries(
        {"input_uncached": st.integers(1, 9)},
        optional={
            "output": st.integers(0, 10**4),
            "cache_read": st.sampled_from([Decimal("0.000001"), Decimal("0.3"), 1]),
            "reasoning": st.integers(1, 9),
        },
    ),
    starts=st.sampled_from([None, STARTED_AT]),
    over=st.sampled_from([0, 99]),
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_repricing_gives_what_booking_by_the_new_prices_would_have(
    calls: list[dict[str, Any]],
    rates: dict[str, Any],
    starts: int | None,
    over: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Entry by entry, to the picodollar, whatever the calls and the rates are."""
    listed = [rate("nova-9", rates, effective_from=starts)]
    if over:
        twice = {name: 2 * price for name, price in rates.items()}
        listed.append(rate("nova-9", twice, effective_from=starts, over_input_tokens=over))
    prices = Book(
        source="test", source_version="3", providers=book(nova_9=1).providers.values(), rows=listed
    )
    folder = tmp_path_factory.mktemp("both")
    spans = [call(f"c{number % 3}", **said) for number, said in enumerate(calls)]
    repriced, booked = Store(folder / "repriced.duckdb"), Store(folder / "booked.duckdb")
    repriced.record_book(book(other=1))
    append(repriced, book(other=1), *spans)
    append(booked, prices, *spans)
    repriced.record_book(prices)
    do(repriced, include_priced=True)
    standing = """
        SELECT trace_id, position, coalesce(cost, -1), coalesce(list_cost, -1),
            if(cost IS NULL, 'none', price_status), if(cost IS NULL, '', coalesce(price_row, ''))
        FROM ledger WHERE kind = 'usage' AND entry_id NOT IN (
            SELECT reverses FROM ledger WHERE reverses IS NOT NULL) ORDER BY ALL"""
    assert rows(repriced, standing) == rows(booked, standing)
    holds(repriced)
    repriced.close()
    booked.close()


def run(db: Path, *arguments: str) -> str:
    """What the command prints."""
    result = CliRunner().invoke(main, [*arguments, "--db", str(db)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_shows_first_and_books_when_told(store: Store) -> None:
    """The table names customer, model and reason; then who decided is recorded."""
    append(store, OLD, call("acme", **NEW), call("acme", started_at=STARTED_AT - MONTH, **NEW))
    close_period(store, {"month": "2026-10", "apply": True, **WHO})
    store.record_book(KNOWS)
    path = store.path
    store.close()
    shown = run(path, "reprice", "--dry-run", "--customer", "acme")
    assert "Nothing is booked yet: add --apply and --reason." in shown
    [line] = [line.split() for line in shown.splitlines() if line.startswith("acme")]
    assert line == [
        "acme", "nova-9", "new", "rate", "unpriced_model", "→", "priced", "2", "unknown",
        f"{2 * NOVA}.000000", f"{2 * NOVA}.000000",
    ]  # fmt: skip
    [total] = [line.split() for line in shown.splitlines() if line.startswith("TOTAL")]
    assert total == ["TOTAL", "2", "unknown", f"{2 * NOVA}.000000", f"{2 * NOVA}.000000"]
    assert "Of the closed period 2026-10: 1 call, +$0.002050000000, dated now" in shown
    done = run(path, "reprice", "--apply", "--reason", "the rate came", "--by", "ada")
    assert "2 calls (2,100 tokens), no known cost before and $0.004100000000 by book" in done
    assert "by decision " in done
    assert "No call gets another price." in run(path, "reprice")
    said = json.loads(run(path, "reprice", "--all", "--format", "json"))
    assert said["left"]["unchanged"] == 2
    store._open(0.0)


def test_the_command_wants_a_reason(store: Store) -> None:
    """Before anything is looked at."""
    store.close()
    result = CliRunner().invoke(main, ["reprice", "--apply", "--db", str(store.path)])
    assert result.exit_code == 1
    assert "say why with --reason" in result.stderr
    store._open(0.0)


def test_sql_as_of_a_moment_reads_the_books_as_they_stood(store: Store) -> None:
    """Whatever the form of the query, WITH or not."""
    append(store, OLD, call("acme", **NEW))
    [(moment,)] = rows(store, "SELECT max(recorded_at) FROM ledger")
    store.record_book(KNOWS)
    do(store)
    path = store.path
    store.close()
    asked = AsOf(connect(path), moment)
    for query in (
        "SELECT count(*) AS n FROM ledger",
        "WITH l AS (FROM ledger) SELECT count(*) AS n FROM l",
        "SELECT count(*) AS n FROM spans",
        "SELECT count(*) AS n FROM price_book_in_force",
        "SELECT 1 + count(*) AS n FROM decision",
        "SELECT count(*) AS n FROM price_book",
        "SELECT count(DISTINCT book_id) AS n FROM price_row",
        "-- by day\n/* or\nnot */ WITH l AS (FROM ledger) SELECT count(*) AS n FROM l;",
        """WITH RECURSIVE few AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM few WHERE a < 3)
        SELECT count(DISTINCT entry_id) AS n FROM few, ledger""",
        "SELECT count(*) AS n FROM ledger WHERE service <> 'main'",
    ):
        assert asked.sql(query).to_pylist() == [{"n": 1}], query
    early = AsOf(connect(path), moment - timedelta(microseconds=1))
    assert early.sql("SELECT count(*) AS n FROM ledger WHERE calls = ?", [1]).to_pylist() == [
        {"n": 0}
    ]
    for table in ("main.ledger", '"MAIN" . "ledger"', "(FROM x, main.ledger)"):
        with pytest.raises(QueryRefused) as refused:
            asked.sql(f"WITH x AS (FROM {table}) SELECT count(*) FROM x")
        assert "ledger has what was recorded later, too: as of a moment" in str(refused.value)
    with pytest.raises(QueryRefused, match="cannot be parsed"):
        asked.sql("main SELECT")
    out = run(path, "sql", "--as-of", moment.isoformat(), "SELECT count(*) AS n FROM ledger")
    assert out.split()[-1] == "1"
    store._open(0.0)


RATE = """
schema = 1

[[rate]]
provider = "openai"
model = "nova-9"
from = 2026-11-01T00:00:00Z
per_mtok = { input = 2, cache_read = 1, output = 3 }
reason = "as the provider told us"
"""


def test_an_unknown_model_is_reported_gets_a_rate_and_is_repriced_with_an_audit_trail(
    tmp_path: Path,
) -> None:
    """Through a running exporter, by commands alone; the totals are right at every step."""
    db = tmp_path / "meter.duckdb"
    trace = b"the first of all"
    with Exporter(db) as exporter:
        exporter.export(request(call("acme", trace_id=trace, **NEW), call("globex", **NEW)))
        before = json.loads(run(db, "report", "--format", "json"))
        [unknown] = json.loads(run(db, "prices", "unpriced", "--format", "json"))
        (tmp_path / "meter.prices.toml").write_text(RATE, "utf-8")
        run(db, "prices", "reload", "--reason", "nova-9 has a rate", "--by", "ada")
        dry = json.loads(run(db, "reprice", "--model", "nova-9", "--format", "json"))
        who = ["--reason", "nova-9 has a rate", "--by", "ada"]
        done = json.loads(
            run(db, "reprice", "--model", "nova-9", "--apply", *who, "--format", "json")
        )
        after = json.loads(run(db, "report", "--format", "json"))
        exporter.export(request(call("acme", **NEW)))
        told = run(db, "prices", "explain", trace.hex())
    shape = ("model", "calls", "tokens", "customers")
    assert tuple(unknown[name] for name in shape) == ("nova-9", 2, 2100, 2)
    assert (before["total"]["cost"], before["total"]["unpriced"]) == (None, 2)
    assert [(change["customer"], change["why"]) for change in dry["changes"]] == [
        ("acme", "override (rate)"),
        ("globex", "override (rate)"),
    ]
    assert (dry["decision"], done["difference"]) == (None, f"{2 * NOVA}.000000")
    assert (after["total"]["cost"], after["total"]["unpriced"]) == (f"{2 * NOVA}.000000", 0)
    for said in (done["decision"], "nova-9 has a rate", "ada", "reversal", "unpriced_model"):
        assert said in told, told
    assert verify(db).differences == {}
    assert connect(db).sql("SELECT sum(cost) AS cost FROM ledger").to_pylist() == [
        {"cost": 3 * NOVA}
    ]
