# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/markup.md, from the file and the usage that stand there."""

import csv
import io
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from microdollar_exporter.cli import main
from microdollar_exporter.store import Booking, Store
from microdollar_exporter.usage import BUCKETS
from tests.exporter.ledgers import booked, evidence_of, price
from tests.fakes.otlp import call, request
from tests.pages import Page

PAGE = Page("docs/markup.md")
USAGE = PAGE.table("customer", "model", "calls")
EXACT, ROUNDED, ALLOCATED = PAGE.commands()


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with the page's usage, and the page's file beside it."""
    path = tmp_path_factory.mktemp("docs") / "meter.duckdb"
    evidence = list(evidence_of(request(*(call() for _ in USAGE))))
    entries = []
    for row, entry in zip(USAGE, booked(evidence, price), strict=True):
        known = row["cost"].startswith("$")
        facts: dict[str, Any] = dict.fromkeys(BUCKETS) | {
            "customer_id": None if row["customer"] == "unassigned" else row["customer"],
            "provider": "anthropic" if row["model"].startswith("claude") else "openai",
            "response_model": row["model"],
            "calls": int(row["calls"]),
            "input_uncached": int(row["input"]),
            "cache_read": int(row["cached"]),
            "output": int(row["output"]),
            "cost": Decimal(row["cost"][1:]).scaleb(6) if known else None,
            "price_status": "priced" if known else "unpriced_model",
        }
        entries.append(entry._replace(**facts))
    store = Store(path)
    store.append(evidence, lambda _, __: Booking(entries))
    store.close()
    path.with_name("meter.markup.toml").write_text(PAGE.blocks("toml")[0], "utf-8")
    return path


def reported(meter: Path, command: list[str]) -> list[dict[str, str]]:
    """The rows that a command of the page gives, as CSV."""
    options = [*command[2:], "--db", str(meter)]
    if "--format" not in options:
        options += ["--format", "csv"]
    result = CliRunner().invoke(main, ["report", *options])
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


def as_documented(rows: list[dict[str, str]], columns: dict[str, str]) -> list[dict[str, str]]:
    """The rows with the columns of the page."""
    return [{title: row[column] for title, column in columns.items()} for row in rows]


def test_the_arithmetic_holds() -> None:
    """Each line, to the last digit that is written."""
    PAGE.check_arithmetic(1)


def test_the_report_has_the_amounts_of_the_page(meter: Path) -> None:
    """By customer, exactly."""
    columns = {
        "customer": "customer",
        "cost (µ$)": "cost",
        **{n: n for n in ("charge", "allowance", "minimum", "amount", "margin", "unbilled")},
    }
    found = as_documented(reported(meter, EXACT), columns)
    assert found == PAGE.table("customer", "cost (µ$)", "charge")


def test_the_line_below_the_report_says_what_is_worked_out_without_unknown_amounts(
    meter: Path,
) -> None:
    """The minimum of globex, whose call to nebula-1 has no known cost; acme's calls have one."""
    result = CliRunner().invoke(main, ["report", *EXACT[2:], "--db", str(meter)])
    assert result.stderr.endswith(
        "The allowances and minimums of 1 customer in 2026-11 are worked out without calls whose "
        "cost or usage is not known.\n"
    )


def test_the_arithmetic_is_that_of_the_report(meter: Path) -> None:
    """The page's results are what the report has."""
    results = {line.split(" = ")[1] for line in PAGE.blocks("text")[0].splitlines()}
    acme, globex = reported(meter, EXACT)[:2]
    dollars = [Fraction(acme[name]) / 10**6 for name in ("allowance", "amount")]
    dollars += [Fraction(globex[name]) / 10**6 for name in ("charge", "minimum")]
    assert {abs(value) for value in dollars} <= {Fraction(result) for result in results}


def test_the_rounded_report_is_that_of_the_page(meter: Path) -> None:
    """Its total is the sum of its lines."""
    *rows, total = PAGE.table("customer", "model", "line")
    columns = {
        **{n: n for n in ("customer", "model", "line")},
        **{f"{n} ($)": f"{n}_usd" for n in ("cost", "amount", "margin")},
    }
    assert as_documented(reported(meter, ROUNDED), columns) == rows
    for title in ("cost ($)", "amount ($)", "margin ($)"):
        assert sum(Decimal(row[title] or 0) for row in rows) == Decimal(total[title])


def test_the_allocated_bill_is_that_of_the_page(meter: Path) -> None:
    """The shares add up to the bill."""
    columns = {"customer": "customer", "cost ($)": "cost_usd", "allocated ($)": "allocated_usd"}
    found = as_documented(reported(meter, ALLOCATED), columns)
    assert found == PAGE.table("customer", "cost ($)", "allocated ($)")
    bill = ALLOCATED[ALLOCATED.index("--allocate-bill") + 1]
    assert sum(Decimal(row["allocated ($)"]) for row in found) == Decimal(bill)
