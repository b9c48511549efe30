# SPDX-License-Identifier: Apache-2.0
"""The installed price data becomes rows: dated, tiered, per context, exact."""

import decimal
import subprocess
import sys
from datetime import UTC, date, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import types as source
from genai_prices.data_snapshot import DataSnapshot

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.importer import (
    import_genai_prices,
    import_installed,
    import_snapshot,
)

from .rows import at


def mtok(text: str) -> int:
    """A price in USD per million tokens as 10⁻¹⁸ USD per token."""
    return int(Decimal(text) * 10**12)


def imported(prices: Any, variants: list[source.PriceVariant] | None = None) -> list[PriceRow]:
    model = source.ModelInfo(
        id="m", match=source.ClauseEquals("m"), prices=prices, price_variants=variants
    )
    provider = source.Provider(id="p", name="P", api_pattern="x", models=[model])
    return list(import_snapshot(DataSnapshot([provider], from_auto_update=False)).book.rows)


def conditional(price: str, constraint: Any = None) -> source.ConditionalPrice:
    return source.ConditionalPrice(constraint, prices=source.ModelPrice(input_mtok=Decimal(price)))


def test_importing_twice_gives_the_same_book_whatever_the_decimal_context(book: Book) -> None:
    with decimal.localcontext(prec=3):
        assert import_genai_prices().id == book.id


def test_the_book_id_does_not_depend_on_the_process(book: Book) -> None:
    code = (
        "from microdollar_exporter.price.importer import import_genai_prices as read;"
        "print(read().id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "1"},
    )
    assert done.stdout.strip() == book.id


def test_pricing_needs_neither_the_source_nor_pydantic() -> None:
    code = (
        "import sys, microdollar_exporter.price;"
        "print(sorted({'genai_prices', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_model_and_provider_of_the_source_is_in_the_book(book: Book) -> None:
    from genai_prices.data import providers

    assert [(p.id, [m.id for m in p.models]) for p in book.providers.values()] == [
        (p.id, [m.id for m in p.models]) for p in providers
    ]
    assert len(book.providers) == 47
    assert sum(len(p.models) for p in book.providers.values()) == 2330


def test_float_residues_are_rounded_to_six_decimals_and_counted(book: Book) -> None:
    found = import_installed()
    assert found.rounded == 26

    (row,) = book.lookup("huggingface_together", "Qwen/Qwen3-VL-8B-Instruct")
    assert row.rates["input_uncached"] == mtok("0.18")
    rows = book.lookup("openrouter", "google/gemini-2.5-flash-lite")
    assert {row.rates["cache_write"] for row in rows} == {mtok("0.083333")}


def test_what_is_left_out_is_counted_and_nothing_is_unknown() -> None:
    found = import_installed()
    assert found.set_aside == {"input_audio_hours": 10, "output_citation_mtok": 1}
    assert found.unknown == {}


def test_a_unit_that_is_not_known_is_named_with_its_models() -> None:
    model = source.ModelInfo(
        id="m", match=source.ClauseEquals("m"), prices=source.ModelPrice(input_gpixels=Decimal(1))
    )
    provider = source.Provider(id="p", name="P", api_pattern="x", models=[model])
    found = import_snapshot(DataSnapshot([provider], from_auto_update=False))
    assert found.unknown == {"input_gpixels": ("p m",)}
    assert list(found.book.rows) == []


@pytest.mark.parametrize("price", ["-0.1", "NaN", "Infinity", "1e30", "1e-30"])
def test_a_price_that_cannot_be_one_is_refused_by_name(price: str) -> None:
    with pytest.raises(UsageError, match=r"input_mtok of p m is .*: a price is zero or more"):
        imported(source.ModelPrice(input_mtok=Decimal(price)))


def test_a_price_of_up_to_twelve_decimals_is_kept_to_the_last_one() -> None:
    (row,) = imported(source.ModelPrice(input_mtok=Decimal("0.000000000001")))
    assert row.rates == {"input_uncached": 1}


def test_a_start_date_is_midnight_utc_and_ends_the_price_before(book: Book) -> None:
    before, after = book.lookup("google", "gemini-4-argon")
    assert (before.effective_from, before.effective_to) == (None, at("2026-12-01T00:00"))
    assert (after.effective_from, after.effective_to) == (at("2026-12-01T00:00"), None)
    assert (before.rates["input_uncached"], after.rates["input_uncached"]) == (mtok("2"), mtok("4"))
    assert (before.rates["output"], after.rates["output"]) == (mtok("10"), mtok("20"))


def test_a_tier_is_a_row_with_its_threshold(book: Book) -> None:
    rows = book.lookup("anthropic", "claude-haiku-5-5")
    assert [(r.over_input_tokens, r.rates["input_uncached"]) for r in rows] == [
        (0, mtok("0.1")),
        (100_000, mtok("0.5")),
    ]
    assert rows[1].rates["output"] == mtok("2.5")
    assert rows[1].unit_rates == rows[0].unit_rates == {"web_search": 10**16}


def test_an_inclusive_boundary_is_stored_as_one_less(book: Book) -> None:
    assert [r.over_input_tokens for r in book.lookup("x-ai", "grok-4.3")] == [0, 199_999]


def test_a_rate_without_the_tier_of_its_neighbours_is_the_same_in_every_tier() -> None:
    tiered = source.TieredPrices(
        Decimal(1), [source.Tier(32_000, Decimal(2)), source.Tier(128_000, Decimal(3))]
    )
    rows = imported(source.ModelPrice(input_mtok=tiered, output_mtok=Decimal(9)))
    assert [(r.over_input_tokens, r.rates) for r in rows] == [
        (0, {"input_uncached": mtok("1"), "output": mtok("9")}),
        (32_000, {"input_uncached": mtok("2"), "output": mtok("9")}),
        (128_000, {"input_uncached": mtok("3"), "output": mtok("9")}),
    ]


def test_a_variant_is_a_context_from_its_own_date_with_the_rest_of_the_standard_price() -> None:
    rows = imported(
        [
            source.ConditionalPrice(
                prices=source.ModelPrice(input_mtok=Decimal(4), web_searches_kcount=Decimal(10))
            ),
            conditional("8", source.StartDateConstraint(date(2027, 1, 1))),
        ],
        [
            source.PriceVariant(
                {"processing": "batch"},
                source.ModelPrice(input_mtok=Decimal(2)),
                source.StartDateConstraint(date(2026, 10, 14)),
            ),
            source.PriceVariant({"service_tier": "default"}, source.ModelPrice()),
        ],
    )
    batch = [r for r in rows if r.context == "processing=batch"]
    assert {r.context for r in rows} == {"std", "processing=batch"}
    assert [(r.effective_from, r.effective_to, r.rates, r.unit_rates) for r in batch] == [
        (
            at("2026-10-14T00:00"),
            at("2027-01-01T00:00"),
            {"input_uncached": mtok("2")},
            {"web_search": 10**16},
        ),
        (at("2027-01-01T00:00"), None, {"input_uncached": mtok("2")}, {}),
    ]


def test_a_time_of_day_is_a_span_of_the_utc_day_beside_the_price_of_the_date() -> None:
    rows = imported(
        [
            conditional("1"),
            conditional("2", source.TimeOfDateConstraint(time(22, 30, tzinfo=UTC), time(1))),
        ]
    )
    hour = 3_600_000_000
    assert [(r.time_of_day, r.rates["input_uncached"]) for r in rows] == [
        ((0, hour), mtok("2")),
        (None, mtok("1")),
        ((45 * hour // 2, 24 * hour), mtok("2")),
    ]


def test_an_empty_price_is_no_row_rather_than_a_row_of_zeros() -> None:
    assert imported(source.ModelPrice()) == []


def test_prices_per_thousand_are_per_unit_and_durations_stay_per_hour(book: Book) -> None:
    (row,) = book.lookup("groq", "whisper-large-v3")
    assert row.unit_rates == {"audio_hours": 111 * 10**15}
    (row,) = book.lookup("openai", "tts-1")
    assert row.unit_rates == {"characters": 15 * 10**12}
    (row,) = book.lookup("mistral", "mistral-ocr-4-1")
    assert row.unit_rates == {"annotated_pages": 5 * 10**15, "pages": 4 * 10**15}
