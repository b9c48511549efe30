# SPDX-License-Identifier: Apache-2.0
"""Ten things that are easily got wrong about prices, each from the span to the ledger.

The rules of single rates, names and contexts are in `test_engine`, `test_names`, `test_tariff` and
`test_silent_answers`; here is what becomes of them where it counts. Costs are in microdollars.
"""

from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.operate.prices import PricesInUse
from microdollar_exporter.price.shipped import shipped
from microdollar_exporter.store import Store
from tests.exporter.ledgers import evidence_of
from tests.fakes.otlp import Value, request
from tests.fakes.otlp import call as ours

from .rows import at

NOW = "2026-11-21T12:00"


def call(provider: str, model: str, when: str = NOW, **said: Value | None) -> Span:
    """A call of 1,000 input tokens; what else it said goes by the short names of attributes."""
    usage = {
        "input": "gen_ai__usage__input_tokens",
        "output": "gen_ai__usage__output_tokens",
        "read": "gen_ai__usage__cache_read__input_tokens",
        "tier": "microdollar__response__service_tier",
        "geo": "microdollar__response__inference_geo",
        "source": "microdollar__usage__source",
    }
    counts: dict[str, Value | None] = {"input": 1000, "output": 0, "read": None} | said
    return ours(
        started_at=at(when),
        gen_ai__provider__name=provider,
        gen_ai__request__model=model,
        gen_ai__response__model=model,
        server__address=None,
        **{usage.get(name, name): value for name, value in counts.items()},  # type: ignore[arg-type]
    )


class Ledger:
    """A ledger at the shipped prices, with an operator's own rules over them if there are any."""

    def __init__(self, folder: Path, rules: str | None = None) -> None:
        self.path = folder / "meter.duckdb"
        if rules is not None:
            self.path.with_suffix(".prices.toml").write_text(rules, "utf-8")
        self.store = Store(self.path)
        self._booker = PricesInUse(self.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def book(self, *calls: Span) -> list[str]:
        """Book calls; returns their traces."""
        self.store.append(evidence_of(request(*calls)), self._booker)
        return [call.trace_id.hex() for call in calls]

    def sql(self, query: str, traces: list[str]) -> pa.Table:
        """The answer to a query about the entries of these traces, which it has as `booked`."""
        booked = "SELECT * FROM ledger WHERE list_contains($traces, trace_id)"
        booked += " ORDER BY list_position($traces, trace_id)"
        asked = f"WITH booked AS ({booked}) {query}"
        return self.store.cursor().sql(asked, params={"traces": traces}).to_arrow_table()

    def entries(self, *calls: Span) -> list[tuple[Any, ...]]:
        """Cost, status and note of each call, in their order."""
        found = self.sql("SELECT cost, price_status, price_note FROM booked", self.book(*calls))
        return [tuple(row.values()) for row in found.to_pylist()]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger for all that need no rules."""
    with Ledger(tmp_path_factory.mktemp("ten")) as made:
        yield made


def test_1_input_tokens_include_the_cached_ones_and_each_is_charged_once(ledger: Ledger) -> None:
    """1,900 tokens of which 900 are cached: 1000 x 2 + 900 x 0.1, not 1900 x 2 and not 3,890."""
    cached = call("anthropic", "claude-sonnet-5-5", input=1900, read=900)
    assert ledger.entries(cached) == [(2090, "priced", None)]


def test_2_what_has_no_price_is_never_0_and_what_is_not_known_is_never_silent(
    ledger: Ledger,
) -> None:
    """A model, a fee and a context that the price data lists nothing for; and a word for batch."""
    search: dict[str, Any] = {"microdollar__usage__units__web_search": 1000}
    assert ledger.entries(
        call("openrouter", "google/gemma-4-31b-it:free"),
        call("mistral_ai", "mistral-large-4", **search),
        call("openai", "gpt-6-luna", tier="prioritty"),
        call("anthropic", "claude-sonnet-5-5", tier="batch"),
    ) == [
        (
            None,
            "unpriced_model",
            "the book lists openrouter google/gemma-4-31b-it:free without a price",
        ),
        (700, "partial", "web_search has no price"),
        (100, "fallback", "service_tier=prioritty has no price of its own"),
        (1000, "priced", None),
    ]


def test_3_a_provider_is_known_by_its_whole_name_and_azure_is_not_openai(ledger: Ledger) -> None:
    assert ledger.entries(
        call("azure.ai.openai", "gpt-5.4"),
        call("x_ai", "grok-4.3"),
        call("gcp.gen_ai", "gemini-3.6-flash"),
        call("self-hosted-openai-compatible", "gpt-5.4"),
    ) == [
        (2500, "fallback", "azure has no price of its own, that of openai gpt-5.4 used"),
        (1250, "priced", None),
        (750, "priced", None),
        (
            None,
            "unpriced_provider",
            "provider self-hosted-openai-compatible is not in the book",
        ),
    ]


def test_4_a_service_tier_has_its_price_from_its_date_on_and_is_never_lent(
    ledger: Ledger,
) -> None:
    """Priority is 200 at OpenAI since 2026-10-12; the standard price is 100."""
    assert ledger.entries(
        call("openai", "gpt-6-luna", "2026-10-11T23:59:59.999999", tier="priority"),
        call("openai", "gpt-6-luna", "2026-10-12T00:00", tier="priority"),
        call("azure.ai.openai", "gpt-6-luna", tier="priority"),
    ) == [
        (100, "fallback", "service_tier=priority has no price of its own at that time"),
        (200, "priced", None),
        (
            100,
            "fallback",
            "azure has no price of its own, that of openai gpt-6-luna used; "
            "service_tier=priority has no price of its own",
        ),
    ]


def test_5_an_entry_names_the_book_and_the_row_of_its_instant_and_they_prove_its_cost(
    ledger: Ledger,
) -> None:
    """By SQL alone, years later; also for a rate that holds at some hours of some weekdays."""
    traces = ledger.book(
        call("gcp.gemini", "gemini-4-argon", "2026-11-30T23:59:59.999999", output=100),
        call("gcp.gemini", "gemini-4-argon", "2026-12-01T00:00", output=100),
        call("deepseek", "deepseek-v4-flash", "2026-11-20T06:00", output=100),
        call("deepseek", "deepseek-v4-flash", "2026-11-21T06:00", output=100),
    )
    found = ledger.sql(
        """SELECT cost, price_book,
            input_uncached * rates['input_uncached'] + output * rates['output'] AS proved
        FROM booked JOIN price_row ON book_id = price_book
            AND price_row.price_row = booked.price_row
        WHERE (effective_from IS NULL OR effective_from <= started_at)
            AND (effective_to IS NULL OR started_at < effective_to)
        ORDER BY list_position($traces, trace_id)""",
        traces,
    ).to_pylist()
    assert [row["cost"] for row in found] == [3000, 6000, 420, 210]
    assert [row["proved"] * 10**6 for row in found] == [3000, 6000, 420, 210]
    assert {row["price_book"] for row in found} == {shipped().id}


def test_6_a_sum_of_costs_is_an_exact_decimal_in_sql_and_in_parquet(
    ledger: Ledger, tmp_path: Path
) -> None:
    """6,000,000,000 x 15 + 10 x 40000 / 3600: no float has these digits."""
    seconds: dict[str, Any] = {"microdollar__usage__units__audio_seconds": 10}
    traces = ledger.book(
        call("openai", "gpt-5-pro", input=6_000_000_000),
        call("groq", "whisper-large-v3-turbo", input=None, output=None, **seconds),
    )
    table = ledger.sql("SELECT sum(cost) AS cost FROM booked", traces)
    pq.write_table(table, tmp_path / "cost.parquet")
    for one in (table, pq.read_table(tmp_path / "cost.parquet")):
        assert str(one.schema.field("cost").type) == "decimal128(38, 6)"
        assert one["cost"].to_pylist() == [Decimal("90000000111.111111")]
    assert f"{float('90000000111.111111'):.6f}" != "90000000111.111111"


def test_7_a_total_counts_what_it_leaves_out_and_0_is_what_nothing_was_consumed_for(
    tmp_path: Path,
) -> None:
    """The one call without a price is in no sum; the refused one is, and costs 0."""
    nothing: dict[str, Any] = {"input": None, "output": None, "source": "none"}
    with Ledger(tmp_path) as own:
        own.book(
            call("openai", "gpt-6-luna"),
            call("openai", "gpt-99"),
            call("openai", "gpt-6-luna", **nothing),
        )
    made = report_on(connect(own.path), "model")
    costs = dict(zip(made.rows["model"], made.rows["cost"], strict=True))
    assert costs == {"gpt-6-luna": Decimal(100), "gpt-99": None}
    assert (made.total["calls"], made.total["cost"]) == (3, Decimal(100))
    assert made.honesty == "Of 3 calls: 1 unpriced (1,000 tokens), 1 refused or never sent (free)."


def test_8_a_call_that_is_confined_to_a_region_costs_more_where_the_provider_says_so(
    ledger: Ledger, tmp_path: Path
) -> None:
    """A tenth more at Bedrock, in the data; what the data lack is in doubt until a rule has it."""
    rule = """
        schema = 1
        [[adjust]]
        name = "residency in the US"
        provider = "anthropic"
        when = { inference_geo = "us" }
        multiply = 1.1
    """
    opus = "anthropic.claude-opus-5-5"
    calls = [
        *(call("aws.bedrock", f"{profile}{opus}") for profile in ("global.", "us.", "")),
        call("anthropic", "claude-sonnet-5-5", geo="us"),
    ]
    regional = [(4000, "priced", None), (4400, "priced", None), (4400, "priced", None)]
    assert ledger.entries(*calls) == [
        *regional,
        (2000, "fallback", "inference_geo=us has no price of its own"),
    ]
    with Ledger(tmp_path, rule) as own:
        assert own.entries(*calls) == [*regional, (2200, "priced", None)]


def test_9_above_a_threshold_every_token_is_dearer_and_a_name_is_not_a_model(
    ledger: Ledger,
) -> None:
    """Output and cache as well; x.ai's own threshold is inclusive; `-latest` is what it says it is.

    190000 x 1.25 + 10000 x 0.125 + 10 x 10, then 190001 x 2.5 + 10000 x 0.25 + 10 x 15; and
    199999 x 1.25, then 200000 x 2.5. The book's mistral-large is at 2, mistral-large-4 at 0.7.
    """
    pro: dict[str, Any] = {"read": 10_000, "output": 10}
    assert ledger.entries(
        call("gcp.gemini", "gemini-2.5-pro", input=200_000, **pro),
        call("gcp.gemini", "gemini-2.5-pro", input=200_001, **pro),
        call("x_ai", "grok-4.3", input=199_999),
        call("x_ai", "grok-4.3", input=200_000),
        call("mistral_ai", "mistral-large-latest"),
        call("mistral_ai", "mistral-large-4"),
    ) == [
        (238_850, "priced", None),
        (Decimal("477652.5"), "priced", None),
        (Decimal("249998.75"), "priced", None),
        (500_000, "priced", None),
        (2000, "priced", None),
        (700, "priced", None),
    ]


def test_10_a_cost_is_rounded_once_half_to_even_whatever_floats_and_contexts_there_are(
    tmp_path: Path,
) -> None:
    """Half a picodollar a token: 1 + 1 make one; 1 is 0, 3 are 2 and 5 are 2.

    The price data have 0.18 with the residue of a float, which is not there any more.
    """
    half = """
        schema = 1
        [[rate]]
        provider = "own"
        model = "tiny"
        per_mtok = { input = 0.0000005, output = 0.0000005 }
    """
    with localcontext(prec=1), Ledger(tmp_path, half) as own:
        found = own.entries(
            call("own", "tiny", input=1, output=1),
            *(call("own", "tiny", input=tokens) for tokens in (1, 3, 5)),
            call("huggingface_together", "Qwen/Qwen3-VL-8B-Instruct", input=1_000_003),
        )
    assert found == [
        (Decimal("0.000001"), "priced", None),
        (0, "priced", None),
        (Decimal("0.000002"), "priced", None),
        (Decimal("0.000002"), "priced", None),
        (Decimal("180000.54"), "priced", None),
    ]
