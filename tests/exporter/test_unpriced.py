# SPDX-License-Identifier: Apache-2.0
"""Calls without a cost are listed by model, with why and with what would give them one."""

import csv
import io
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.prices import PricesInUse
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.shipped import shipped
from microdollar_exporter.store import Store
from tests.exporter.ledgers import evidence_of
from tests.exporter.small_books import book, keeper
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request

DAY = 86_400_000_000


def named(
    provider: str | None, model: str | None, customer: str | None = "acme", **changes: Any
) -> Span:
    """A call by the names of a provider and a model."""
    return call(
        customer,
        gen_ai__provider__name=provider,
        gen_ai__request__model=model,
        gen_ai__response__model=model,
        **changes,
    )


def ledger(folder: Path, *calls: Span) -> Path:
    """A ledger with these calls, kept by the shipped prices."""
    path = folder / "meter.duckdb"
    with closing(Store(path)) as store:
        store.append(evidence_of(request(*calls)), PricesInUse(store))
    return path


def unpriced(db: Path, form: str = "table") -> Result:
    """Run `microdollar prices unpriced`."""
    arguments = ["prices", "unpriced", "--db", str(db), "--format", form]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def listed(db: Path) -> list[dict[str, Any]]:
    """What it lists."""
    found: list[dict[str, Any]] = json.loads(unpriced(db, "json").stdout)
    return found


@pytest.fixture(params=["file", "exporter"])
def three(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A ledger with an unknown model, an unknown provider and a priced call."""
    path = ledger(
        tmp_path,
        named("openai", "nebula-1", started_at=STARTED_AT + DAY),
        named("openai", "nebula-1", "globex"),
        named("house-llm", "llama-9"),
        call(),
    )
    if request.param == "file":
        yield path
    else:
        with Exporter(path):
            yield path


def test_the_models_without_a_cost_are_listed_by_their_tokens(three: Path) -> None:
    """With when they were seen, how much, and by how many customers."""
    nebula, llama = listed(three)
    assert nebula | {"toml": ""} == {
        "provider": "openai",
        "model": "nebula-1",
        "first_seen": "2026-11-21 00:00:00",
        "last_seen": "2026-11-22 00:00:00",
        "calls": 2,
        "tokens": 2100,
        "customers": 2,
        "why": "model nebula-1 is not in the book",
        "toml": "",
    }
    assert (llama["provider"], llama["model"], llama["calls"]) == ("house-llm", "llama-9", 1)
    assert llama["why"] == "provider house-llm is not in the book"


def test_the_table_has_what_to_write_under_it(three: Path) -> None:
    lines = unpriced(three).stdout.splitlines()
    assert lines[2].split() == [
        *("openai", "nebula-1", "2026-11-21", "00:00", "2026-11-22", "00:00", "2", "2,100", "2")
    ]
    assert lines[lines.index("house-llm llama-9: provider house-llm is not in the book") + 2 :] == [
        "[[rate]]",
        'provider = "house-llm"',
        'model = "llama-9"',
        "from = 2026-11-21T00:00:00Z",
        "per_mtok = { input = USD, output = USD }",
        'reason = "WHY"',
    ]


def test_csv_has_the_advice_in_columns(three: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(unpriced(three, "csv").stdout)))
    assert [row["model"] for row in rows] == ["nebula-1", "llama-9"]
    assert rows[1]["toml"].startswith("[[rate]]\n")


def test_a_ledger_in_which_all_is_priced_says_so(tmp_path: Path) -> None:
    db = ledger(tmp_path, call())
    assert unpriced(db).stdout == (
        "Every call in the ledger has a cost, as far as its usage was reported.\n"
    )
    assert listed(db) == []


def test_what_is_to_be_written_is_sound_once_it_is_filled_in(three: Path) -> None:
    """And as it stands it is refused: nobody prices by a template."""
    for one in listed(three):
        with pytest.raises(UsageError, match=r"own\.toml"):
            parse("schema = 1\n" + one["toml"], "own.toml")
        filled = "schema = 1\n" + one["toml"].replace("USD", "0.5")
        priced = parse(filled, "own.toml").over(shipped())
        assert priced.lookup(one["provider"], one["model"])


def test_a_provider_is_known_by_the_name_that_opentelemetry_has_for_it(tmp_path: Path) -> None:
    [one] = listed(ledger(tmp_path, named("gcp.gemini", "gemini-2.5-flas")))
    assert one["toml"].startswith(
        '# if it is this one:\n[[alias]]\nprovider = "gcp.gemini"\nmodel = "gemini-2.5-flas"\n'
        'is = { provider = "google", model = "gemini-2.5-flash" }\n'
    )


def test_a_name_that_is_almost_one_is_proposed_as_an_alias(tmp_path: Path) -> None:
    """It is never applied: that is for an operator to say."""
    db = ledger(tmp_path, named("openai", "gpt-6-lunna"))
    [one] = listed(db)
    alias, _, rate = one["toml"].partition("# or, at a rate of its own:\n")
    assert alias == (
        '# if it is this one:\n[[alias]]\nprovider = "openai"\nmodel = "gpt-6-lunna"\n'
        'is = { provider = "openai", model = "gpt-6-luna" }\nreason = "WHY"\n'
    )
    assert rate.startswith("[[rate]]\n")
    assert parse(f"schema = 1\n{alias}", "own.toml").over(shipped()).aliases[0].to_model == (
        "gpt-6-luna"
    )


def test_a_provider_that_is_almost_one_is_proposed_as_a_name(tmp_path: Path) -> None:
    db = ledger(tmp_path, named("openaii", "gpt-6-luna"))
    [one] = listed(db)
    names, _, _ = one["toml"].partition("# or, at a rate of its own:\n")
    assert names == '# if it is this one:\n[providers]\n"openaii" = "openai"\n'
    assert parse(f"schema = 1\n{names}", "own.toml").over(shipped()).provider_names == {
        "openaii": "openai"
    }


def test_a_model_that_the_book_lists_without_a_price_may_be_free(tmp_path: Path) -> None:
    """By decision only: an empty price is no price of zero."""
    db = ledger(tmp_path, named("openrouter", "google/gemma-3-27b-it:free"))
    [one] = listed(db)
    assert "without a price" in one["why"]
    free, _, _ = one["toml"].partition("# or, if it does:\n")
    assert free.startswith("# if it costs nothing:\n[[free]]\nprovider = ")
    parse(f"schema = 1\n{free}", "own.toml").over(shipped())


def test_names_are_quoted_as_toml_wants_them(tmp_path: Path) -> None:
    db = ledger(tmp_path, named("openai", 'a "b" \\ c'))
    [one] = listed(db)
    assert r'model = "a \"b\" \\ c"' in one["toml"]
    parse("schema = 1\n" + one["toml"].replace("USD", "1"), "own.toml")


def test_what_no_overrides_can_help_has_no_lines(tmp_path: Path) -> None:
    """No name of a model, or a usage that cannot be true."""
    db = ledger(
        tmp_path,
        named("openai", None),
        call(gen_ai__usage__cache_read__input_tokens=5000, gen_ai__usage__output_tokens=-1),
    )
    why = {one["model"]: (one["why"], one["toml"]) for one in listed(db)}
    assert why[None] == ("its spans name no model; nothing can be priced without", "")
    assert all(toml == "" for _, toml in why.values())


def test_calls_whose_usage_nobody_reported_are_not_listed(tmp_path: Path) -> None:
    """A price would not help them; the honesty line of a report counts them."""
    db = ledger(
        tmp_path,
        named(
            "openai",
            "nebula-1",
            gen_ai__usage__input_tokens=None,
            gen_ai__usage__cache_read__input_tokens=None,
            gen_ai__usage__output_tokens=None,
            microdollar__usage__source="missing",
        ),
    )
    assert listed(db) == []


def test_what_the_book_in_force_prices_by_now_is_left_to_reprice(tmp_path: Path) -> None:
    path = tmp_path / "meter.duckdb"
    with closing(Store(path)) as store:
        store.record_book(book(3))
        store.append(evidence_of(request(named("openai", "gpt-6-sol"))), keeper(book(3)))
        store.record_book(shipped())
    [one] = listed(path)
    assert (one["why"], one["toml"]) == (
        "the book in force has a price: see `microdollar reprice`",
        "",
    )


def test_what_was_taken_back_is_not_counted(tmp_path: Path) -> None:
    """A call that is given to a customer afterwards is the one call that it was."""
    db = ledger(tmp_path, named("openai", "nebula-1", None))
    [before] = listed(db)
    rule = {"model": "nebula-1"}
    perform(
        db, "assign", {"customer": "acme", "rule": rule, "apply": True, "by": "ops", "reason": "x"}
    )
    [after] = listed(db)
    assert (before["calls"], before["customers"]) == (1, 0)
    assert (after["calls"], after["tokens"], after["customers"]) == (1, 1050, 1)
