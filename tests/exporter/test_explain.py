# SPDX-License-Identifier: Apache-2.0
"""The story of a cost: evidence, usage, price row, every count at its rate, and what came later."""

import json
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.ask.charge import charge
from microdollar_exporter.cli import main
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.prices import PricesInUse
from microdollar_exporter.price import Engine, PriceRow
from microdollar_exporter.price.adjustment import Adjustment
from microdollar_exporter.price.shipped import shipped
from microdollar_exporter.store import Store
from microdollar_exporter.usage import Usage, UsageRow
from microdollar_semconv import attributes as md
from tests.exporter.ledgers import evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request

TRACE = bytes.fromhex("0a" * 16)
SPAN = bytes.fromhex("0b" * 8)


def ledger(folder: Path, *calls: Span) -> Path:
    """A ledger with these calls, kept by the prices in force."""
    path = folder / "meter.duckdb"
    with closing(Store(path)) as store:
        store.append(evidence_of(request(*calls)), PricesInUse(store))
    return path


def known(**changes: Any) -> Span:
    """A call of one known trace."""
    return call(trace_id=TRACE, span_id=SPAN, **changes)


def explain(db: Path, name: str, *options: str) -> Result:
    """Run `microdollar explain`."""
    arguments = ["explain", name, "--db", str(db), *options]
    return CliRunner().invoke(main, arguments)


def told(db: Path, name: str = TRACE.hex()) -> list[str]:
    """The lines of a story, without the blanks at their ends."""
    done = explain(db, name)
    assert done.exit_code == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


def entry_ids(db: Path) -> list[str]:
    """The ids of the entries, in the order of booking."""
    rows = connect(db).sql("SELECT entry_id FROM ledger ORDER BY recorded_at, kind").to_pylist()
    return [row["entry_id"] for row in rows]


@pytest.mark.parametrize("served", [False, True])
def test_every_count_stands_with_its_rate_and_what_they_make(tmp_path: Path, served: bool) -> None:
    """Also while an exporter writes the ledger."""
    db = ledger(tmp_path, known())
    if served:
        with Exporter(db):
            lines = told(db)
    else:
        lines = told(db)
    assert lines[0] == (f"Call {TRACE.hex()}/{SPAN.hex()} at 2026-11-21 00:00:00 UTC, for acme")
    assert lines[1].startswith("evidence: a span of microdollar 0.1.0 in shop, received 20")
    assert lines[2] == "usage: counted by the provider, read by rule microdollar/1"
    [entry_id] = entry_ids(db)
    assert lines[4].startswith(f"1. usage {entry_id}, booked 20")
    assert lines[4].endswith(": +1 call, 116.000000 µ$, priced")
    [row] = [r for r in shipped().lookup("openai", "gpt-6-luna") if not r.over_input_tokens]
    assert lines[5:12] == [
        "call",
        f"price row {row.price_row} of book {shipped().id[:16]} (genai-prices 0.2.3): "
        "openai gpt-6-luna",
        "input_uncached            900 x 0.1 USD/MTok = 90 µ$",
        "cache_read                100 x 0.01 USD/MTok = 1 µ$",
        "output                     50 x 0.5 USD/MTok = 25 µ$",
        "cost             116 µ$",
        "",
    ]
    assert lines[12] == "It stands at 1 call, 116.000000 µ$."


@pytest.mark.parametrize("length", [6, 12, 32])
def test_an_entry_or_a_trace_is_named_by_its_beginning(tmp_path: Path, length: int) -> None:
    db = ledger(tmp_path, known(), call())
    [entry_id] = [
        row["entry_id"]
        for row in connect(db)
        .sql("SELECT entry_id FROM ledger WHERE trace_id = ?", [TRACE.hex()])
        .to_pylist()
    ]
    assert told(db, TRACE.hex()[:length]) == told(db, entry_id[:length].upper())


def test_a_cost_is_explained_among_the_commands_about_prices_too(tmp_path: Path) -> None:
    db = ledger(tmp_path, known())
    among_prices = CliRunner().invoke(main, ["prices", "explain", TRACE.hex(), "--db", str(db)])
    assert among_prices.stdout == explain(db, TRACE.hex()).stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0a0a0", "'0a0a0' is no id: give that of an entry or of a trace, or at least six"),
        ("hello world", "'hello world' is no id"),
        ("0a" * 17, "is no id"),
        ("ffffff0", "no entry and no trace in the ledger has an id that begins with ffffff0"),
    ],
)
def test_what_is_not_meant_is_said(tmp_path: Path, name: str, message: str) -> None:
    done = explain(ledger(tmp_path, known()), name)
    assert done.exit_code == 1
    assert message in done.stderr


def test_a_long_trace_is_told_by_its_entries(tmp_path: Path) -> None:
    """A hundred calls are told at once, and no more."""
    calls = [call(trace_id=TRACE) for _ in range(101)]
    db = ledger(tmp_path, *calls)
    done = explain(db, TRACE.hex())
    assert done.stderr == (
        "Error: 101 calls are meant: write more of the id, or that of an entry\n"
    )
    assert explain(db, entry_ids(db)[0]).exit_code == 0


def test_adjustments_stand_between_the_list_price_and_the_cost(tmp_path: Path) -> None:
    (tmp_path / "meter.prices.toml").write_text(
        "schema = 1\n"
        '[[adjust]]\nname = "edp"\nprovider = "openai"\nmultiply = 0.88\nreason = "contract 7"\n'
        '[[adjust]]\nname = "eu"\nprovider = "openai"\nmultiply = 1.1\nreason = "residency"\n'
    )
    lines = told(ledger(tmp_path, known()))
    start = lines.index("at list price    116 µ$")
    assert lines[start : start + 4] == [
        "at list price    116 µ$",
        "times            0.88 by edp",
        "times            1.1 by eu",
        "cost             112.288 µ$",
    ]


def test_a_fallback_says_what_was_assumed(tmp_path: Path) -> None:
    """Beside the line it concerns, and with the entry."""
    changes = {
        "gen_ai__request__model": "gpt-5-pro",
        "gen_ai__response__model": "gpt-5-pro",
    }
    lines = told(ledger(tmp_path, known(**changes)))
    assert lines[4].endswith("fallback")
    assert lines[5] == "call; cache_read at the input rate"
    assert [line for line in lines if line.startswith("cache_read ")] == [
        "cache_read                100 x 15 USD/MTok = 1500 µ$  (cache_read at the input rate)"
    ]


def test_what_has_no_price_is_told_with_what_it_consumed(tmp_path: Path) -> None:
    lines = told(ledger(tmp_path, known(gen_ai__provider__name="house-llm")))
    assert lines[4].endswith(": +1 call, cost unknown, unpriced_provider")
    assert "provider house-llm is not in the book" in lines[5]
    assert lines[6] == "input_uncached 900, cache_read 100, output 50"
    assert lines[-1] == "It stands at 1 call, no cost is known."


def test_reversals_and_decisions_are_told_in_their_order(tmp_path: Path) -> None:
    """With who decided and why, and which entry was taken back."""
    db = ledger(tmp_path, call(None, trace_id=TRACE, span_id=SPAN))
    who = {"by": "ops", "reason": "it was theirs", "apply": True}
    perform(db, "assign", {"customer": "acme", "rule": {"trace": TRACE.hex()}, **who})
    lines = told(db)
    assert lines[0].endswith("for nobody")
    numbered = [line for line in lines if line[:2] in ("1.", "2.", "3.")]
    assert [line.split()[1] for line in numbered] == ["usage", "reversal", "usage"]
    assert numbered[1].endswith(": -1 call, -116.000000 µ$, priced")
    assert "takes back entry 1" in lines
    decided = [line for line in lines if line.startswith("decided by ops at ")]
    assert decided
    assert decided[0].endswith(": it was theirs")
    assert lines.count("cost             116 µ$") == 2
    assert lines[-1] == "It stands at 1 call, 116.000000 µ$."


def test_evidence_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    db = ledger(tmp_path, known())
    with duckdb.connect(db) as con:
        con.execute("DELETE FROM span")
    assert told(db)[1] == (
        "evidence: not in the ledger's file any more; it was archived or removed"
    )


def test_a_cost_that_an_entry_cannot_hold_is_unknown_and_no_fault_of_the_ledger(
    tmp_path: Path,
) -> None:
    """What was consumed is told with its rates, and why there is no cost."""
    lines = told(ledger(tmp_path, known(gen_ai__usage__output_tokens=2**50)))
    assert lines[4].endswith(": +1 call, cost unknown, bad_usage")
    assert any("is beyond what an entry can hold" in line for line in lines)
    assert not [line for line in lines if "NOT THE COST" in line]
    assert lines[-1] == "It stands at 1 call, no cost is known."


@pytest.mark.parametrize("cost", ["cost + 0.000001", "NULL"])
def test_a_cost_that_does_not_add_up_is_shouted(tmp_path: Path, cost: str) -> None:
    db = ledger(tmp_path, known())
    with duckdb.connect(db) as con:
        con.execute(f"UPDATE ledger SET cost = {cost}")
    assert "THIS IS NOT THE COST IN THE LEDGER: run `microdollar verify`" in told(db)


def test_a_part_of_a_picodollar_is_rounded_once() -> None:
    """An hour of audio costs 0.111 dollars, and 11 seconds of it no whole number of anything."""
    [row] = shipped().lookup("groq", "whisper-large-v3")
    found = charge({**_counts(Usage(units={"audio_seconds": 11})), "calls": 1}, row)
    assert found.adjusted == Fraction(11 * 111 * 10**9, 3600)
    assert found.rounded == 339_166_667
    short = charge({**_counts(Usage(units={"audio_seconds": 3})), "calls": 1}, row)
    [line] = short.lines
    assert (line.count, line.why) == (10, "an hour has 3600 seconds, and a call at least 10")


def test_a_discount_on_tokens_alone_leaves_fees_as_they_are() -> None:
    """Ten tokens at 2 µ$, of which half is charged, and a search at 10,000 µ$, charged whole."""
    row = PriceRow(
        provider="p",
        model="m",
        rates={"output": 2 * 10**12},
        unit_rates={"web_search": 10**16},
        layer="adjust",
        base_row="0" * 16,
        adjustments=(Adjustment("edp", "0.5", tokens_only=True),),
    )
    entry = {**_counts(Usage(output=10, units={"web_search": 1})), "calls": 1}
    found = charge(entry, row)
    assert found.listed == 10_020_000_000
    assert found.adjusted == 10_010_000_000


def test_the_same_in_json_has_exact_text_for_money(tmp_path: Path) -> None:
    db = ledger(tmp_path, known())
    [story] = json.loads(explain(db, TRACE.hex(), "--format", "json").stdout)
    assert (story["calls"], story["cost"]) == (1, "116.000000")
    [entry] = story["entries"]
    assert entry["price"]["book"] == shipped().id
    assert entry["charge"]["lines"][0] == {
        "name": "input_uncached",
        "count": 900,
        "rate": "0.1 USD/MTok",
        "microdollars": "90",
        "why": "",
    }
    assert (entry["charge"]["rounded"], entry["charge"]["adds_up"]) == ("116", True)


_MODELS = [
    *(("openai", "gpt-6-luna"), ("openai", "gpt-realtime"), ("google", "gemini-4-argon")),
    *(("anthropic", "claude-haiku-5-5"), ("mistral", "mistral-ocr-4-1"), ("x-ai", "grok-4.3")),
    *(("groq", "whisper-large-v3"), ("perplexity", "sonar"), ("google", "gemini-2.5-flash")),
]
_ENGINE = Engine(shipped())
_ROWS = {row.price_row: row for row in shipped().rows}
_uncached = st.none() | st.integers(0, 120) | st.integers(100, 300_000)
_bucket = st.none() | st.integers(100, 300_000)
_part = st.none() | st.integers(0, 90)


@settings(max_examples=300)
@given(
    st.sampled_from(_MODELS),
    st.builds(
        Usage,
        *[_uncached, *[_bucket] * 6, *[_part] * 5],
        units=st.dictionaries(
            st.sampled_from(["web_search", "pages", "audio_seconds", "web_fetch", "requests"]),
            st.integers(0, 5000),
            max_size=2,
        ),
    ),
)
def test_a_cost_worked_out_anew_is_what_the_engine_charged(
    names: tuple[str, str], usage: Usage
) -> None:
    """Whatever a call consumed, for every price that has a row."""
    provider, model = names
    usage_row = UsageRow(
        *(0, 1, STARTED_AT, provider, "chat", model, model, None, None, None),
        md.USAGE_SOURCE_PROVIDER,
        usage,
    )
    priced = _ENGINE.price(usage_row)
    if priced.price_row is None:
        return
    found = charge({**_counts(usage), "calls": 1}, _ROWS[priced.price_row])
    assert (found.rounded, round(found.listed)) == (priced.cost, priced.list_cost)


def _counts(usage: Usage) -> dict[str, Any]:
    return {**usage._asdict(), "units": dict(usage.units)}
