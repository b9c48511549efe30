# SPDX-License-Identifier: Apache-2.0
"""Reports with what customers pay, rounded or not, over real ledgers."""

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from wcwidth import wcswidth

import microdollar_exporter
from microdollar_exporter import connect
from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.ask.render import render, render_rows
from microdollar_exporter.ask.report import Report, report_on
from microdollar_exporter.ask.rows import AMOUNTS
from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.cli import main
from microdollar_exporter.entry import Entry, Standing, reversal
from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.markup import parse
from microdollar_exporter.rounding import Unit
from microdollar_exporter.store import Booking, Store
from microdollar_exporter.store.file import open_file
from microdollar_exporter.usage import BUCKETS
from tests.exporter.ledgers import booked, evidence_of, price
from tests.fakes.exporter import Answer, Exporter
from tests.fakes.otlp import call, request

NOW = datetime(2026, 12, 31)
RULES = """\
schema = 1
[[markup]]
name = "standard"
percent = 20
[[markup]]
name = "luna for acme"
customer = "acme"
model = "gpt-6-luna"
from = 2026-11-10T12:00:00Z
per_mtok = { input = 1.7, cache_read = 0.1, output = 9 }
per_call = 0.0013
per_unit = { web_search = 0.02 }
[[markup]]
name = "for initech"
customer = "initech"
per_call = 0.01
[[allowance]]
name = "included"
tokens = 5000
[[allowance]]
name = "daily for globex"
customer = "globex"
usd = 0.0001
per = "day"
[[minimum]]
name = "at least"
customer = ["acme", "silent"]
usd = 0.25
from = 2026-10-01
[[minimum]]
name = "who calls"
usd = 0.0005
"""


def run(*arguments: str) -> tuple[int, str, str]:
    """The `microdollar` command: exit status, stdout, stderr."""
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


EPOCH = datetime(1970, 1, 1)
KINDS: Sequence[dict[str, Any]] = [
    *[{}] * 8,
    {"cost": None, "price_status": "unpriced_model"},
    {"cost": None, "usage_source": "missing"} | dict.fromkeys(BUCKETS),
    {"cost": None, "price_status": "bad_usage"},
    {"cost": Decimal(0), "usage_source": "none"} | dict.fromkeys(BUCKETS),
    {"calls": 0},
]


Calls = list[tuple[Evidence, Entry]]


def calls_made() -> Calls:
    """300 calls in two months, of every kind there is."""
    draw = random.Random(4)
    made: Calls = []
    [first] = booked(evidence_of(request(call())), price)
    for number in range(300):
        moment = datetime(2026, 11, 1) + timedelta(seconds=draw.randrange(61 * 86_400))
        started_at = (moment - EPOCH) // timedelta(microseconds=1)
        trace, span = number.to_bytes(16, "big"), number.to_bytes(8, "big")
        [evidence] = evidence_of(
            request(call(started_at=started_at, trace_id=b"t" + trace[1:], span_id=b"s" + span[1:]))
        )
        tokens = [draw.choice([None, 0, draw.randrange(2000)]) for _ in BUCKETS]
        facts: dict[str, Any] = {
            **dict(zip(("trace_id", "span_id", "started_at"), evidence.identity, strict=True)),
            "customer_id": draw.choice(["acme", "globex", "initech", None]),
            "user_id": draw.choice(["u1", "u2", None]),
            "response_model": draw.choice(["gpt-6-luna", "nebula-1"]),
            "provider": draw.choice(["openai", "anthropic"]),
            **dict(zip(BUCKETS, tokens, strict=True)),
            "units": draw.choice([{}, {"web_search": draw.randrange(4)}]),
            "cost": Decimal(draw.randrange(10**9)).scaleb(-6),
            **draw.choice(KINDS),
        }
        made.append((evidence, first._replace(**facts)))
    return made


def write(path: Path, *bookings: Calls) -> Path:
    """A ledger of them."""
    store = Store(path)
    for calls in bookings:
        _book(store, calls)
    store.close()
    return path


def _book(store: Store, calls: Calls) -> None:
    entries = [entry for _, entry in calls]
    store.append([evidence for evidence, _ in calls], lambda _, __: Booking(entries))


class Opened:
    """A ledger that is opened once for many questions."""

    def __init__(self, path: Path) -> None:
        self._con = open_file(path, read_only=True)

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT."""
        return self._con.sql(query, params=list(parameters)).to_arrow_table()


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """That ledger."""
    return Opened(write(tmp_path_factory.mktemp("varied") / "meter.duckdb", calls_made()))


def made_of(ledger: Path | Answers, by: str, unit: Unit | None = None, **more: Any) -> Report:
    """A report by the rules above."""
    answers = connect(ledger) if isinstance(ledger, Path) else ledger
    return report_on(answers, by, markup=parse(RULES), unit=unit, now=NOW, **more)


Exact = Mapping[str | None, Mapping[str, Fraction]]


@pytest.fixture(scope="module")
def exact(varied: Answers) -> Exact:
    """What each customer of it pays and costs, in picodollars, call by call and by hand."""
    return worked_out(varied)


def worked_out(ledger: Answers) -> Exact:
    """The same of any ledger."""
    exact: defaultdict[str | None, defaultdict[str, Fraction]]
    exact = defaultdict(lambda: defaultdict(Fraction))
    charges: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
    tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
    daily: defaultdict[str, Fraction] = defaultdict(Fraction)
    for entry in ledger.sql("SELECT * FROM ledger").to_pylist(maps_as_pydicts="strict"):
        customer, cost = entry["customer_id"], entry["cost"]
        if cost is not None:
            exact[customer]["cost"] += Fraction(cost) * 10**6
        if customer is None:
            continue
        month, all_tokens = f"{entry['started_at']:%Y-%m}", sum(entry[b] or 0 for b in BUCKETS)
        measured = entry["usage_source"] != "missing" and entry["price_status"] != "bad_usage"
        paid = 0 if entry["usage_source"] == "none" else entry["calls"]
        luna = customer == "acme" and entry["response_model"] == "gpt-6-luna"
        charge: Fraction | None = None
        if luna and entry["started_at"] >= datetime(2026, 11, 10, 12):
            if measured:
                outputs, read = entry["output"] or 0, entry["cache_read"] or 0
                micro = Fraction("1.7") * (all_tokens - outputs - read) + Fraction("0.1") * read
                micro += 9 * outputs + 1300 * paid
                micro += 20_000 * entry["units"].get("web_search", 0)
                charge = micro * 10**6
        elif customer == "initech":
            charge = Fraction(paid) * 10**10
        elif cost is not None:
            charge = Fraction(cost) * 10**6 * Fraction(6, 5)
        exact[customer]["charge"] += charge or 0
        charges[customer, month] += charge or 0
        tokens[customer, month] += all_tokens
        daily[f"{entry['started_at']:%Y-%m-%d}"] += (charge or 0) if customer == "globex" else 0
    for (customer, month), used in sorted(tokens.items()):
        included = charges[customer, month] * min(Fraction(1), Fraction(5000, used))
        if customer == "globex":
            included = sum(
                (min(due, Fraction(10**8)) for day, due in daily.items() if day[:7] == month),
                Fraction(),
            )
        exact[customer]["allowance"] -= included
        least = 25 * 10**10 if customer == "acme" else 5 * 10**8
        exact[customer]["minimum"] += max(Fraction(), least - charges[customer, month] + included)
    for customer, months in (("acme", 1), ("silent", 3)):
        exact[customer]["minimum"] += months * 25 * 10**10
    return {customer: dict(found) for customer, found in exact.items()}


def picodollars(value: Decimal | None) -> int:
    """Microdollars as an integer."""
    return 0 if value is None else int(Fraction(value) * 10**6)


BY = ["customer", "customer,model,day", "month,provider", "user,feature"]
UNITS = [None, Unit.MICRODOLLAR, Unit.CENT]


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("unit", UNITS)
def test_every_report_adds_up_to_what_each_customer_owes(
    varied: Answers, exact: Exact, by: str, unit: Unit | None
) -> None:
    """To each customer's exact total, rounded half-even once; its parts add up to its amount."""
    made = made_of(varied, by, unit)
    size = (unit or Unit.PICODOLLAR).value
    owed = [
        sum(
            (found.get(part, Fraction()) for part in ("charge", "allowance", "minimum")), Fraction()
        )
        for found in exact.values()
    ]
    costs = [found.get("cost", Fraction()) for found in exact.values()]
    assert picodollars(made.total["amount"]) == sum(round(due / size) * size for due in owed)
    assert picodollars(made.total["cost"]) == sum(round(cost / size) * size for cost in costs)
    for column in ("cost", "charge", "allowance", "minimum", "amount", "margin"):
        rows = sum(map(picodollars, made.rows[column]))
        assert rows == picodollars(made.total[column])
    for _, row in made.rows.iterrows():
        parts = sum(picodollars(row[part]) for part in ("charge", "allowance", "minimum"))
        assert parts == picodollars(row["amount"])
    if unit is not None:
        assert made.exact is not None
        assert picodollars(made.exact["amount"]) == round(sum(owed, Fraction()))
        assert picodollars(made.exact["cost"]) == sum(costs)


@pytest.mark.parametrize("unit", UNITS)
def test_each_customer_pays_its_parts(varied: Answers, exact: Exact, unit: Unit | None) -> None:
    """Each within a unit of what it is exactly; the silent customer's minimum is a row, too."""
    made = made_of(varied, "customer", unit)
    size = (unit or Unit.PICODOLLAR).value
    assert list(made.rows["customer"]) == ["acme", "globex", "initech", "silent", "unassigned"]
    assert list(made.rows["line"]) == ["usage", "usage", "usage", "minimum", "usage"]
    for _, row in made.rows.iterrows():
        found: Mapping[str, Fraction] = exact[
            None if row["customer"] == "unassigned" else row["customer"]
        ]
        for part in ("charge", "allowance", "minimum"):
            assert abs(picodollars(row[part]) - found.get(part, Fraction())) < size
    assert list(made.rows["rules"]) == [
        ("standard", "luna for acme", "included", "at least"),
        ("standard", "daily for globex"),
        ("for initech", "included"),
        ("at least",),
        None,
    ]


@pytest.mark.parametrize("customer", ["acme", "globex", "silent"])
def test_a_statement_does_not_depend_on_other_customers(
    varied: Answers, tmp_path: Path, customer: str
) -> None:
    """The same lines in a report about all, in one about the customer, and without the others."""
    by = "customer,model,day"
    its_own = [(e, entry) for e, entry in calls_made() if entry.customer_id == customer]
    alone = Opened(write(tmp_path / "meter.duckdb", its_own))
    for unit in UNITS:
        among_all = lines_of(made_of(varied, by, unit), customer)
        assert among_all
        assert lines_of(made_of(varied, by, unit, customer=customer), customer) == among_all
        assert lines_of(made_of(alone, by, unit), customer) == among_all


def lines_of(made: Report, customer: str) -> list[str]:
    """The customer's lines of a report by customer, as CSV."""
    return [line for line in render(made, "csv").splitlines() if line.startswith(f"{customer},")]


def test_the_order_of_the_books_is_of_no_effect(varied: Answers, tmp_path: Path) -> None:
    """Not a byte of the report; nor of a second run."""
    backwards = write(tmp_path / "meter.duckdb", calls_made()[::-1])
    for unit in UNITS:
        made, again = (made_of(varied, "model,user", unit) for _ in range(2))
        other = made_of(backwards, "model,user", unit)
        for form in ("csv", "json", "table"):
            assert render(made, form) == render(again, form) == render(other, form)


def test_a_rule_holds_for_the_calls_that_begin_while_it_is_in_force(tmp_path: Path) -> None:
    """From its first moment on: a microsecond before, the general rule holds."""
    edge = (datetime(2026, 11, 10, 12) - EPOCH) // timedelta(microseconds=1)
    evidence = list(evidence_of(request(*(call(started_at=edge - n) for n in (0, 1)))))
    path = write(
        tmp_path / "meter.duckdb", list(zip(evidence, booked(evidence, price), strict=True))
    )
    rules = parse(RULES.replace("percent = 20", "percent = 0"))
    for from_, to, charge in (
        ("2026-11-10T12:00", None, 900 * Decimal("1.7") + 100 * Decimal("0.1") + 50 * 9 + 1300),
        (None, "2026-11-10T12:00", Decimal("100.000050")),
    ):
        made = report_on(connect(path), from_=from_, to=to, markup=rules, now=NOW, customer="acme")
        assert (made.total["calls"], made.total["charge"]) == (1, charge)


def test_a_unit_is_charged_under_whatever_name_it_was_reported(tmp_path: Path) -> None:
    """The ledger keeps the emitter's word, and a rule any of them."""
    reported: list[dict[str, int]] = [
        *({"web_search": 7}, {"search_queries": 3}, {"google_search": 1, "web_search": 1}, {})
    ]
    calls = [
        (evidence, entry._replace(units=units))
        for (evidence, entry), units in zip(calls_made()[:4], reported, strict=True)
    ]
    path = write(tmp_path / "meter.duckdb", calls)
    for written in ("web_search", "num_search_queries"):
        rules = f'schema = 1\n[[markup]]\nname = "a"\nper_unit = {{ {written} = 0.02 }}\n'
        for_all = rules.replace(
            "per_unit", 'customer = ["acme", "globex", "initech", "unassigned"]\nper_unit'
        )
        made = report_on(connect(path), markup=parse(for_all), now=NOW)
        assert made.total["amount"] == Decimal(12 * 20_000)


def test_a_minimum_is_owed_as_far_as_the_books_are_asked_of(varied: Answers) -> None:
    """Of an earlier moment: a month that had not begun had none then."""
    made = report_on(varied, "month", markup=parse(RULES), customer="silent", as_of="2026-11-01")
    assert list(made.rows["month"]) == ["2026-10", "2026-11"]
    assert list(made.rows["amount"]) == [Decimal(250_000)] * 2
    before = report_on(varied, "month", markup=parse(RULES), as_of="2026-10-31T23:59:59.999999")
    assert (list(before.rows["month"]), before.total["calls"]) == (["2026-10"], 0)


def test_the_margin_is_the_amount_without_the_cost(varied: Answers) -> None:
    """Of the calls for which both are known; rounded, it is that of the rounded figures."""
    for unit in UNITS:
        rows = made_of(varied, "customer,month", unit).rows
        known = rows[(rows["unpriced"] == 0) & (rows["missing"] == 0) & (rows["unbilled"] == 0)]
        assert len(known)
        for _, row in known.iterrows():
            margin = picodollars(row["amount"]) - picodollars(row["cost"])
            assert picodollars(row["margin"]) == margin


def test_what_was_taken_back_is_in_no_amount(tmp_path: Path) -> None:
    """Whatever kind of call it was: nothing is owed, and nothing is said to be left out."""
    calls = [(e, entry) for e, entry in calls_made() if entry.customer_id == "globex"]
    later = evidence_of(request(*(call() for _ in calls)))
    back = [reversal(Standing(f"{n}", entry), "a mistake") for n, (_, entry) in enumerate(calls)]
    path = write(tmp_path / "meter.duckdb", calls, list(zip(later, back, strict=True)))
    made = made_of(path, "customer", customer="globex")
    assert (made.total["calls"], made.total["charge"], made.total["amount"]) == (0, 0, 0)
    assert made.honesty == "Of 0 calls: each priced from reported usage, and assigned."


class Meanwhile:
    """A connection beside which a call is booked after every question."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer, and book a call."""
        answer = connect(self._path).sql(query, parameters)
        [evidence] = evidence_of(request(call("globex")))
        [entry] = booked([evidence], price)
        write(self._path, [(evidence, entry)])
        return answer


def test_amounts_and_counts_are_of_the_same_calls(tmp_path: Path) -> None:
    """Though they are two questions, and the exporter books calls between them."""
    path = write(tmp_path / "meter.duckdb", calls_made()[:9])
    before = made_of(path, "customer,model")
    made = report_on(Meanwhile(path), "customer,model", markup=parse(RULES), now=NOW)
    assert render(made, "csv") == render(before, "csv")
    assert made.total == before.total
    assert made_of(path, "customer,model").total["calls"] > before.total["calls"]


MARKUP = """\
schema = 1
[[markup]]
name = "standard"
percent = 20
customer = ["acme", "globex"]
[[allowance]]
name = "included"
customer = "acme"
calls = 1
[[minimum]]
name = "at least"
customer = "acme"
usd = 0.01
from = 2026-11-01
"""


@pytest.fixture
def marked_up(ledger: Path) -> Path:
    """The small ledger with a markup file beside it."""
    ledger.with_name("meter.markup.toml").write_text(MARKUP, "utf-8")
    return ledger


NOVEMBER = ("--from", "2026-11-01", "--to", "2026-12-01")


def test_the_table_has_what_is_paid_beside_what_it_costs(marked_up: Path) -> None:
    """By the file beside the ledger; the honesty line says what has no amount."""
    status, out, _ = run("report", "--db", str(marked_up), "--by", "customer,model", *NOVEMBER)
    assert status == 0
    lines = [line.rstrip() for line in out.splitlines()]
    assert [line.split()[0] for line in lines if line][:-1] == [
        *("customer", "uncached", "----------"),
        *("acme", "acme", "acme", "globex", "globex", "unassigned", "TOTAL"),
    ]
    columns = lines[0].split()
    assert columns[:3] == ["customer", "model", "line"]
    assert columns[-16:] == [
        *("cost", "cost", "charge", "charge", "allowance", "allowance", "minimum", "minimum"),
        *("amount", "amount", "margin", "margin"),
        *("unpriced", "unbilled", "missing", "rules"),
    ]
    assert lines[4].split() == [
        *("acme", "allowance", "0"),
        *("-94.200047", "-0.000094200047") * 3,
        *("0", "0", "0", "included"),
    ]
    coarse = run("report", "--db", str(marked_up), *NOVEMBER)[1].splitlines()[0].split()
    assert "line" not in coarse
    assert "minimum" in coarse
    assert lines[-1] == (
        "Of 7 calls: 1 unpriced (1,050 tokens), 1 with usage missing, 1 unassigned (1,050 tokens). "
        "Without an amount: 1 call (1,050 tokens) that no rule is about, 2 calls (1,050 tokens) "
        "whose cost or usage is not known."
    )


def test_a_rule_about_a_name_that_the_ledger_does_not_have_is_said(ledger: Path) -> None:
    """It may be a slip; a name of another period is none, and nor is that of nobody."""
    ledger.with_name("meter.markup.toml").write_text(
        "schema = 1\n"
        '[[markup]]\nname = "globex argon"\ncustomer = ["acme", "globexx"]\npercent = 1\n'
        '[[markup]]\nname = "of nobody"\ncustomer = "unassigned"\npercent = 1\n'
        '[[markup]]\nname = "all"\nprovider = "OpenAI"\nmodel = "nebula-1"\npercent = 1\n',
        "utf-8",
    )
    _, out, _ = run("report", "--db", str(ledger), "--from", "2026-11-22")
    assert out.splitlines()[-1].endswith(
        " Rules are about names that are not in the ledger: "
        'customer globexx of "globex argon", provider OpenAI of "all".'
    )


def by_customer(path: Path, *options: str) -> dict[str, dict[str, Any]]:
    """The report's rows as JSON, and its total."""
    status, out, err = run("report", "--db", str(path), "--format", "json", *NOVEMBER, *options)
    assert (status, err) == (0, "")
    document = json.loads(out)
    rows = {row["customer"]: row for row in document["rows"]}
    return rows | {"TOTAL": document["total"], "document": document}


def test_the_json_has_exact_amounts_as_text(marked_up: Path) -> None:
    """A quarter of four calls is included, and what is missing to a cent is added."""
    found = by_customer(marked_up)
    assert {name: found["acme"][name] for name in AMOUNTS} == {
        "charge": "376.800188",
        "charge_usd": "0.000376800188",
        "allowance": "-94.200047",
        "allowance_usd": "-0.000094200047",
        "minimum": "9717.399859",
        "minimum_usd": "0.009717399859",
        "amount": "10000.000000",
        "amount_usd": "0.010000000000",
        "margin": "9685.999843",
        "margin_usd": "0.009685999843",
        "unbilled": 0,
        "rules": ["standard", "included", "at least"],
    }
    assert found["globex"]["amount"] is None
    assert (found["globex"]["unbilled"], found["unassigned"]["unbilled"]) == (2, 1)
    assert (found["TOTAL"]["amount"], found["TOTAL"]["unbilled"]) == ("10000.000000", 3)
    assert "exact_total" not in found["document"]


def test_a_file_can_be_named_and_the_one_beside_the_ledger_be_left_out(
    marked_up: Path, tmp_path: Path
) -> None:
    """Without one the report is about costs alone."""
    other = tmp_path / "other.toml"
    other.write_text('schema = 1\n[[markup]]\nname = "x"\nper_call = 1', "utf-8")
    assert by_customer(marked_up, "--markup", str(other))["acme"]["amount"] == "4000000.000000"
    bare = by_customer(marked_up, "--no-markup")
    assert "amount" not in bare["acme"]
    marked_up.with_name("meter.markup.toml").unlink()
    assert by_customer(marked_up) == bare


def test_a_wrong_file_is_one_line_with_the_way_out(marked_up: Path) -> None:
    """With its name and line."""
    file = marked_up.with_name("meter.markup.toml")
    file.write_text(MARKUP.replace("calls = 1", "calls = -1"), "utf-8")
    status, out, err = run("report", "--db", str(marked_up))
    assert (status, out) == (1, "")
    assert err == (
        f"Error: {file}:9: calls of [[allowance]] is -1: write a whole number like 1000\n"
    )


def test_a_rounded_report_has_the_exact_total_beside_it(marked_up: Path) -> None:
    """And says that it is rounded; dollars have the decimals of the unit."""
    found = by_customer(marked_up, "--round", "cent")
    assert (found["acme"]["amount"], found["acme"]["amount_usd"]) == ("10000", "0.01")
    assert (found["TOTAL"]["cost"], found["TOTAL"]["cost_usd"]) == ("0", "0.00")
    assert found["document"]["exact_total"] == {"cost": "414.000207", "amount": "10000.000000"}
    assert found["document"]["honesty"].endswith(
        "Rounded to cents, each customer's total once; exactly in $: cost 0.000414000207, amount "
        "0.010000000000."
    )
    micro = by_customer(marked_up, "--round", "microdollar", "--no-markup")
    assert (micro["acme"]["cost"], micro["acme"]["cost_usd"]) == ("314", "0.000314")
    assert micro["document"]["exact_total"] == {"cost": "414.000207"}
    table = run("report", "--db", str(marked_up), "--round", "cent", "--no-markup")[1]
    assert "acme            4     3,600    400     157     0  0.00 " in table


def test_a_bill_is_allocated_by_cost(marked_up: Path) -> None:
    """To the cent, or as it is rounded; a call without a cost has no share in it."""
    found = by_customer(marked_up, "--allocate-bill", "10.01")
    shares = {name: row["allocated_usd"] for name, row in found.items() if name != "document"}
    assert shares == {"acme": "7.59", "globex": None, "unassigned": "2.42", "TOTAL": "10.01"}
    assert found["acme"]["cost"] == "314.000157"
    fine = by_customer(marked_up, "--allocate-bill", "10.01", "--round", "microdollar")
    assert (fine["acme"]["allocated"], fine["TOTAL"]["allocated"]) == ("7592126", "10010000")
    credit = by_customer(marked_up, "--allocate-bill", "-0.01")
    assert (credit["acme"]["allocated_usd"], credit["TOTAL"]["allocated_usd"]) == ("-0.01", "-0.01")
    nothing = ("--from", "2020-01-01", "--to", "2020-01-02")
    status, _, err = run("report", "--db", str(marked_up), "--allocate-bill", "1", *nothing)
    assert (status, err[:24]) == (1, "Error: there is no cost ")


def test_a_report_can_be_about_one_provider(ledger: Path) -> None:
    """Whose bill it may be that is allocated; what has not arrived is of no known provider."""
    made = report_on(connect(ledger), provider="openai")
    assert (made.total["calls"], made.completeness) == (7, None)
    assert report_on(connect(ledger), provider="anthropic").total["calls"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--markup", "{file}", "--provider", "openai"], "a markup is about all calls of a cust"),
        (["--markup", "{file}", "--allocate-bill", "1"], "a bill is allocated over what all cust"),
        (["--customer", "acme", "--allocate-bill", "1"], "a bill is allocated over what all cust"),
        (["--allocate-bill", "1.005"], "the bill to allocate is 1.005, which is not a whole numb"),
        (["--allocate-bill", "x"], "the bill to allocate is 'x': write US dollars like 1234.56"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    marked_up: Path, options: list[str], message: str
) -> None:
    """Saying what to do instead."""
    file = str(marked_up.with_name("meter.markup.toml"))
    given = [option.format(file=file) for option in options]
    status, out, err = run("report", "--db", str(marked_up), *given)
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: {message}")


def test_the_python_call_takes_a_file_and_a_unit(marked_up: Path) -> None:
    """And refuses any other unit."""
    file = marked_up.with_name("meter.markup.toml")
    frame = microdollar_exporter.report(
        db=marked_up, markup=file, round_to="microdollar", from_="2026-11-01", to="2026-12-01"
    )
    assert list(frame["amount"]) == [Decimal(10_000), None, None]
    assert str(frame["unbilled"].dtype) == "Int64"
    with pytest.raises(UsageError, match="cannot round to 'dollar': choose microdollar or cent"):
        microdollar_exporter.report(db=marked_up, round_to="dollar")


def test_a_running_exporter_answers_alike(asked: Path) -> None:
    """Its queries pass the same gate as those of any reader."""
    frame = made_of(asked, "customer,model").rows
    acme = frame[(frame["customer"] == "acme") & (frame["line"] == "usage")]
    assert list(acme["charge"]) == [Decimal("12773.000000")]


def test_a_report_over_http_has_what_is_paid_if_it_is_asked_for(marked_up: Path) -> None:
    """In the words of the command, which has it unless told otherwise."""
    command = ("report", "--db", str(marked_up), "--format", "json", *NOVEMBER)
    with Exporter(marked_up) as exporter:

        def answer(options: str) -> Answer:
            query = f"from=2026-11-01&to=2026-12-01&{options}"
            return exporter.send("GET", f"/v1/report?{query}", token=exporter.card.token)

        assert answer("markup=true").body.decode() == run(*command)[1]
        assert answer("markup=true&round=cent").body.decode() == run(*command, "--round", "cent")[1]
        assert answer("markup=false").body.decode() == run(*command, "--no-markup")[1]
        assert answer("").body == answer("markup=false").body
        wrong = answer("markup=yes")
        assert (wrong.status, wrong.json()) == (
            400,
            {"error": "markup is 'yes': choose true or false"},
        )
        assert answer("round=dollar").status == 400
        marked_up.with_name("meter.markup.toml").unlink()
        assert "cannot read" in answer("markup=true").json()["error"]


def test_parquet_keeps_exact_decimals(varied: Answers, tmp_path: Path) -> None:
    """As decimals, and absent values as absent ones."""
    frame = made_of(varied, "customer,model").rows
    frame.to_parquet(tmp_path / "report.parquet")
    table = pq.read_table(tmp_path / "report.parquet")
    for column in ("cost", "charge", "amount", "amount_usd", "margin"):
        assert pa.types.is_decimal(table.schema.field(column).type)
        assert table[column].to_pylist() == list(frame[column])


def test_csv_and_json_keep_exact_decimals(varied: Answers) -> None:
    """Each digit of each amount."""
    made = made_of(varied, "customer,model")
    rows = list(csv.DictReader(io.StringIO(render(made, "csv"))))
    objects = json.loads(render(made, "json"))["rows"]
    for column in ("cost", "charge", "amount", "amount_usd", "margin_usd"):
        exactly = [None if value is None else f"{value:f}" for value in made.rows[column]]
        assert [row[column] or None for row in rows] == exactly
        assert [row[column] for row in objects] == exactly
    assert any(value is not None and value < 0 for value in made.rows["allowance"])


HOSTILE = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "''twice"),
    *("plain", " =1", "a=b", "1-1", "x'", "", "=a,b", '="q"', "-2\n=3"),
]


def test_no_text_in_csv_can_be_taken_for_a_formula(ledger: Path) -> None:
    """Also in a header. Taking one apostrophe from each that begins with it gives all back."""
    values = ", ".join(["(?)"] * len(HOSTILE))
    table = connect(ledger).sql(f'SELECT * FROM (VALUES {values}) AS t("=x")', HOSTILE)
    text = render_rows(table, "csv")
    [header], *rows = csv.reader(io.StringIO(text, newline=""))
    cells = [row[0] if row else "" for row in rows]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in [header, *cells])
    assert [cell[1:] if cell.startswith("'") else cell for cell in cells] == HOSTILE
    assert header == "'=x"
    assert cells[8:13] == HOSTILE[8:13]


def test_a_table_keeps_its_columns_whatever_the_names_are(tmp_path: Path) -> None:
    """Wide letters take two places, very long names lose their middle; numbers stand right."""
    path = tmp_path / "meter.duckdb"
    long = "a" * 120 + "-the-end-of-it-1"
    with closing(Store(path)) as store:
        spans = [call("東京商事"), call(long), call("acme")]
        store.append(evidence_of(request(*spans)), Bookkeeper(price))
    _, out, _ = run("report", "--db", str(path))
    lines = out.splitlines()[2:-2]
    ends = {wcswidth(line) for line in lines if line}
    assert len(ends) == 1
    shown = "a" * 31 + "…-the-end-of-it-1"
    assert [line.split()[0] for line in lines[1:]] == [shown, "acme", "東京商事", "TOTAL"]
    assert long in run("report", "--db", str(path), "--format", "csv")[1]
    query = "SELECT 'a' AS name, 7 AS n UNION ALL SELECT 'b', 1000 ORDER BY 1"
    assert run("sql", "--db", str(path), query)[1] == (
        "name     n\n----  ----\na        7\nb     1000\n"
    )


def test_numbers_in_csv_are_left_as_they_are(ledger: Path) -> None:
    """A credit begins with a minus and stays a number; so does what is no text."""
    query = "SELECT -1 AS a, -0.5::DECIMAL(18,6) AS b, true AS c, NULL AS d, DATE '2026-11-21' AS e"
    assert render_rows(connect(ledger).sql(query), "csv") == (
        "a,b,c,d,e\n-1,-0.500000,True,,2026-11-21\n"
    )
