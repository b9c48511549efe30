# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/pricing.md, from the usage and the rules that stand there."""

import csv
import io
import re
import shutil
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.prices import PricesInUse
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.tariff import Status
from microdollar_exporter.store import Store
from tests.exporter.ledgers import evidence_of
from tests.exporter.price.rows import at
from tests.fakes.otlp import Value, call, request
from tests.pages import Page

PAGE = Page("docs/pricing.md")
OCTOBER = "2026-10-21T12:00"


*COUNTS, LISTED = PAGE.table("what", "count")
CALLS = PAGE.table("customer", "provider", "model")
PROSE = PAGE.text[PAGE.text.index("## A call, worked out") : PAGE.text.index("| what | count |")]
ADJUSTED, AUDIO, REPRICED = PAGE.blocks("text")
CONTRACT, RATE = PAGE.blocks("toml")
REPORT, CLOSE, RELOAD, LOOK, APPLY = PAGE.commands()


def known(text: str) -> Decimal | None:
    """A figure of the page; None for an empty one."""
    return Decimal(text) if text else None


def said(row: dict[str, str]) -> dict[str, Value | None]:
    """What the span of a call of the page says of its usage."""
    counts: dict[str, Value | None] = {
        "gen_ai__usage__input_tokens": int(row["input"]) if row["input"] else None,
        "gen_ai__usage__output_tokens": int(row["output"]) if row["output"] else None,
        "gen_ai__usage__cache_read__input_tokens": None,
    }
    _, read, five_minutes, hour, _, searches = [int(line["count"]) for line in COUNTS]
    more: dict[str, dict[str, Value | None]] = {
        "": {},
        "as above": {
            "gen_ai__usage__cache_read__input_tokens": read,
            "gen_ai__usage__cache_write__input_tokens": five_minutes + hour,
            "microdollar__usage__cache_write_5m__input_tokens": five_minutes,
            "microdollar__usage__cache_write_1h__input_tokens": hour,
            "microdollar__usage__units__web_search": searches,
        },
        "refused by the provider": {
            "microdollar__usage__source": "none",
            "http__response__status_code": 429,
        },
        "usage not reported": {"microdollar__usage__source": "missing"},
        "1 web search": {"microdollar__usage__units__web_search": 1},
    }
    return counts | more[row["else"]]


def span(provider: str, model: str, when: str, customer: str = "acme", **usage: Any) -> Span:
    """A call of the page."""
    return call(
        customer,
        started_at=at(when),
        gen_ai__provider__name=provider,
        gen_ai__request__model=model,
        gen_ai__response__model=model,
        server__address=None,
        **usage,
    )


def ledger(folder: Path, *spans: Span) -> Path:
    """A ledger of calls, with the page's rules over the shipped prices."""
    path = folder / "meter.duckdb"
    path.with_suffix(".prices.toml").write_text(CONTRACT, "utf-8")
    with closing(Store(path)) as store:
        booker = PricesInUse(store)
        for one in spans:
            store.append(evidence_of(request(one)), booker)
    return path


def run(db: Path, command: list[str], *options: str) -> Result:
    """Run a command of the page."""
    result = CliRunner().invoke(main, [*command[1:], *options, "--db", str(db)])
    assert result.exit_code == 0, result.stderr
    return result


def rows(db: Path, command: list[str], *options: str) -> list[dict[str, str]]:
    """What it answers, as CSV."""
    return list(csv.DictReader(io.StringIO(run(db, command, *options, "--format", "csv").stdout)))


def costs(folder: Path, *spans: Span) -> list[Decimal]:
    """What calls cost, in their order."""
    found = connect(ledger(folder, *spans)).sql("SELECT cost FROM ledger ORDER BY recorded_at")
    return [row["cost"] for row in found.to_pylist()]


@pytest.fixture(scope="module")
def october(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with the page's calls of October, for reading only."""
    return ledger(
        tmp_path_factory.mktemp("october"),
        *(
            span(row["provider"], row["model"], OCTOBER, row["customer"], **said(row))
            for row in CALLS
        ),
    )


def test_the_arithmetic_of_the_page_holds() -> None:
    """Each product and each sum, to the last digit that is written."""
    for row in COUNTS:
        assert Decimal(row["count"]) * Decimal(row["rate (µ$)"]) == Decimal(row["cost (µ$)"])
    assert sum(Decimal(row["cost (µ$)"]) for row in COUNTS) == Decimal(LISTED["cost (µ$)"])
    tokens = [int(row["count"]) for row in COUNTS[:4]]
    assert sum(tokens) == int(CALLS[0]["input"])
    assert [f"{count:,}" in PROSE for count in tokens[1:]] == [True] * 3
    at_list = Decimal(LISTED["cost (µ$)"]) - Decimal(COUNTS[-1]["cost (µ$)"])
    assert f"The tokens were {at_list:,} µ$ at list." in PAGE.text
    PAGE.check_arithmetic(3)


def test_the_call_worked_out_has_the_lines_and_the_costs_of_the_page(october: Path) -> None:
    """As `explain` tells it."""
    query = "SELECT trace_id FROM ledger WHERE provider = 'anthropic'"
    [call_of_acme] = connect(october).sql(query).to_pylist()
    explain = ["microdollar", "explain", call_of_acme["trace_id"]]
    told = run(october, explain).stdout
    lines = re.findall(r"^ *\S+ +([\d,]+) x .* = (\S+) µ\$", told, re.MULTILINE)
    assert [(int(count.replace(",", "")), Decimal(cost)) for count, cost in lines] == [
        (int(row["count"]), Decimal(row["cost (µ$)"])) for row in COUNTS
    ]
    assert re.search(r"at list price +(\S+) µ\$", told)[1] == LISTED["cost (µ$)"]  # type: ignore[index]
    assert re.search(r"\n *cost +(\S+) µ\$", told)[1] == ADJUSTED.split(" = ")[1].strip()  # type: ignore[index]


def test_every_call_has_the_costs_and_the_status_of_the_page(october: Path) -> None:
    found = connect(october).sql(
        "SELECT list_cost, cost, price_status FROM ledger ORDER BY recorded_at"
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (known(row["list cost (µ$)"]), known(row["cost (µ$)"]), row["status"]) for row in CALLS
    ]


def test_every_status_is_explained_and_has_a_call() -> None:
    """And nothing else is."""
    explained = [row["status"].strip("`") for row in PAGE.table("status", "what it means")]
    assert sorted(explained) == sorted(get_args(Status))
    assert {row["status"] for row in CALLS} == set(explained)


def test_the_report_is_that_of_the_page(october: Path) -> None:
    documented = PAGE.table("customer", "calls", "cost (µ$)")
    counts = [name for name in documented[0] if name not in ("customer", "cost (µ$)")]
    for found, row in zip(rows(october, REPORT), documented, strict=True):
        assert found["customer"] == row["customer"]
        assert Decimal(found["cost"]) == Decimal(row["cost (µ$)"])
        assert {name: found[name] for name in counts} == {name: row[name] for name in counts}


WRONG = {
    "file": "%s",
    "alias": "[[alias]]\n%s",
    "rate": "[[rate]]\n%s",
    "adjust": "[[adjust]]\n%s",
    "free": "[[free]]\n%s",
    "default": "[default]\n%s",
    "per_mtok": "[default]\nper_mtok = { %s }",
    "thresholds": "[default]\nper_mtok = { input = 1 }\nthresholds = [{ %s }]",
    "context": '[[rate]]\nprovider = "a"\nmodel = "b"\ncontext = { %s }',
    "when": '[[adjust]]\nname = "a"\nwhen = { %s }',
    "window": '[[rate]]\nprovider = "a"\nmodel = "b"\nwindow = { %s }',
    "same_as": '[[rate]]\nprovider = "a"\nmodel = "b"\nsame_as = { %s }',
    "is": '[[alias]]\nprovider = "a"\nmodel = "b"\nis = { %s }',
}
"""A file of rules for each table that keys can be in, with room for one."""


@pytest.mark.parametrize("table", WRONG)
def test_every_key_of_a_rule_is_on_the_page_and_no_other(table: str) -> None:
    """By what the refusal of an unknown one says that there is to choose from."""
    with pytest.raises(UsageError) as refused:
        parse("schema = 1\n" + WRONG[table] % "misspelt = 1", "own.toml")
    accepted = str(refused.value).rpartition("choose from ")[2].split(", ")
    on_page = [
        key.strip("` ")
        for row in PAGE.table("key", "in")
        for key in row["key"].split(",")
        if table in row["in"].split(", ")
    ]
    assert sorted(on_page) == sorted(accepted)


def test_seconds_of_audio_are_rounded_as_on_the_page(tmp_path: Path) -> None:
    none: dict[str, Any] = {
        f"gen_ai__usage__{name}": None for name in ("input_tokens", "output_tokens")
    }
    seconds: dict[str, Any] = {"microdollar__usage__units__audio_seconds": 7}
    audio = span("groq", "whisper-large-v3-turbo", OCTOBER, **none, **seconds)
    assert costs(tmp_path, audio) == [Decimal(AUDIO.split(" = ")[1])]


def test_a_price_depends_on_the_moment_and_on_the_size_as_on_the_page(tmp_path: Path) -> None:
    nothing_cached: dict[str, Any] = {"gen_ai__usage__cache_read__input_tokens": None}
    moments, sizes = PAGE.table("began (UTC)"), PAGE.table("input", "cost (µ$)")
    found = costs(
        tmp_path,
        *(
            span(
                *("gcp.gemini", "gemini-4-argon", row["began (UTC)"]),
                gen_ai__usage__output_tokens=100,
                **nothing_cached,
            )
            for row in moments
        ),
        *(
            span(
                *("openai", "gpt-6-luna", OCTOBER),
                gen_ai__usage__input_tokens=int(row["input"]),
                gen_ai__usage__output_tokens=0,
                **nothing_cached,
            )
            for row in sizes
        ),
    )
    assert found == [Decimal(row["cost (µ$)"]) for row in (*moments, *sizes)]


def test_a_price_that_comes_late_is_booked_as_the_page_says(october: Path, tmp_path: Path) -> None:
    """The month is closed, the rate written, and the correction stands beside what was closed."""
    october = Path(shutil.copytree(october.parent, tmp_path / "late")) / october.name
    nova, total = [line.split(" = ") for line in REPRICED.splitlines()]
    closed, added, both = (Decimal(text) for text in (total[0].split()[0], nova[1], total[1]))
    printed = run(october, CLOSE).stdout
    as_of = re.search(r"--as-of (\S+)", printed)[1]  # type: ignore[index]
    assert "three calls whose cost is not known" in PAGE.text
    as_closed = rows(october, REPORT)
    assert total_of(as_closed) == closed
    assert sum(int(row["unpriced"]) + int(row["missing"]) for row in as_closed) == 3

    rules = october.with_suffix(".prices.toml")
    rules.write_text(CONTRACT + RATE, "utf-8")
    run(october, RELOAD)
    before = connect(october).sql("SELECT count(*) AS n FROM ledger").to_pylist()
    run(october, LOOK)
    assert connect(october).sql("SELECT count(*) AS n FROM ledger").to_pylist() == before
    run(october, APPLY)
    assert total_of(rows(october, REPORT)) == both
    assert rows(october, REPORT, "--as-of", as_of) == as_closed
    [listed] = rows(october, [*CLOSE[:2], "--list"])
    assert (Decimal(listed["cost"]), Decimal(listed["cost_since"])) == (closed, added)
    figures = {f"{figure:,} µ$" for figure in (closed, added, both)}
    assert all(figure in PAGE.text for figure in figures)


def total_of(found: list[dict[str, str]]) -> Decimal:
    """The costs of a report's rows."""
    return sum((Decimal(row["cost"]) for row in found if row["cost"]), Decimal(0))
