# SPDX-License-Identifier: Apache-2.0
"""Which price applies to a call: when, how large, in which context, of which model.

Rates in comments and names are USD per million tokens, which is microdollars per token.
"""

from typing import Any

import pytest

from microdollar_exporter.price import Book, Engine, PriceRow
from microdollar_exporter.price import engine as engine_module

from .books import priced_by
from .rows import MICRODOLLAR, NOW, at, row

# When


@pytest.mark.parametrize(
    ("model", "edge", "before", "after"),
    [
        ("gemini-4-argon", "2026-12-01T00:00:00", (2000, 10_000), (4000, 20_000)),
        ("gemini-3.6-flash", "2027-01-01T00:00:00", (750, 3750), (1500, 7500)),
    ],
)
def test_the_price_in_force_when_the_call_started_applies_to_the_microsecond(
    engine: Engine,
    model: str,
    edge: str,
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    """Rates of input and output, in USD per billion tokens."""
    for started_at, rates in [(at(edge) - 1, before), (at(edge), after)]:
        call = row("gcp.gemini", model, input_uncached=1000, output=100, started_at=started_at)
        expected = (1000 * rates[0] + 100 * rates[1]) * MICRODOLLAR // 1000
        assert engine.price(call)[:2] == (expected, "priced")


def test_a_date_begins_at_midnight_utc_wherever_the_clock_stands(engine: Engine) -> None:
    for text, rate in [
        ("2026-11-30T23:59:59.999999+00:00", 2),
        ("2026-12-01T00:59:59+01:00", 2),
        ("2026-12-01T01:00:00+01:00", 4),
        ("2026-11-30T19:00:00-05:00", 4),
    ]:
        call = row("gemini", "gemini-4-argon", input_uncached=1, output=0, started_at=at(text))
        assert engine.price(call).cost == rate * MICRODOLLAR


def test_one_cached_key_answers_for_every_date(book: Book) -> None:
    engine = Engine(book)
    edge = at("2026-12-01T00:00")
    costs = [
        engine.price(
            row("gemini", "gemini-4-argon", input_uncached=1, output=0, started_at=edge + shift)
        ).cost
        for shift in (-1, 0, -1, 0)
    ]
    assert costs == [2 * MICRODOLLAR, 4 * MICRODOLLAR] * 2


def test_a_call_before_the_first_date_has_the_oldest_price(engine: Engine) -> None:
    call = row("openai", "gpt-5.6-sol", input_uncached=1, output=0, started_at=at("2001-01-01"))
    assert engine.price(call)[:2] == (5 * MICRODOLLAR, "priced")


def test_outside_the_dates_of_every_row_a_model_has_no_price() -> None:
    rates = {"input_uncached": 10**12, "output": 10**12}
    engine = priced_by(
        [PriceRow(provider="p", model="m", effective_from=NOW, effective_to=NOW + 10, rates=rates)]
    )
    for shift, status in [
        (-1, "unpriced_model"),
        (0, "priced"),
        (9, "priced"),
        (10, "unpriced_model"),
    ]:
        call = row("p", "m", input_uncached=1, output=1, started_at=NOW + shift)
        assert engine.price(call).status == status


# How large


@pytest.mark.parametrize(
    ("provider", "model", "last_below", "rates"),
    [
        ("openai", "gpt-6-luna", 272_000, ((100, 10, 500), (200, 20, 750))),
        ("anthropic", "claude-haiku-5-5", 100_000, ((100, 10, 500), (500, 50, 2500))),
        ("x_ai", "grok-4.3", 199_999, ((1250, 200, 2500), (2500, 400, 5000))),
    ],
)
def test_one_token_over_the_threshold_prices_the_whole_request_anew(
    engine: Engine,
    provider: str,
    model: str,
    last_below: int,
    rates: tuple[tuple[int, int, int], tuple[int, int, int]],
) -> None:
    """Rates of input, cache read and output, in USD per billion tokens; cached tokens count."""
    for excess, (input_rate, read_rate, output_rate) in enumerate(rates):
        uncached, cached, output = 1000 + excess, last_below - 1000, 50
        call = row(provider, model, input_uncached=uncached, cache_read=cached, output=output)
        thousandths = uncached * input_rate + cached * read_rate + output * output_rate
        assert engine.price(call)[:2] == (thousandths * MICRODOLLAR // 1000, "priced")


@pytest.mark.parametrize(
    "bucket", ["cache_read", "cache_write_5m", "cache_write_1h", "cache_write", "input_tool"]
)
def test_every_input_bucket_counts_towards_the_threshold(bucket: str) -> None:
    rows = [
        PriceRow(provider="p", model="m", over_input_tokens=over, rates={"input_uncached": rate})
        for over, rate in [(0, 10**6), (100, 10**9), (200, 10**12)]
    ]
    engine = priced_by(rows)
    for tokens, price_row in [(100, rows[0]), (101, rows[1]), (200, rows[1]), (201, rows[2])]:
        call = row("p", "m", input_uncached=50, output=0, **{bucket: tokens - 50})
        assert engine.price(call).price_row == price_row.price_row


# Which context


@pytest.mark.parametrize(
    "tier", [None, "", "default", "standard", "on_demand", "auto", "standard_only", "Default"]
)
def test_an_ordinary_service_tier_is_the_standard_price(engine: Engine, tier: str | None) -> None:
    call = row("openai", "gpt-6-luna", service_tier=tier, input_uncached=1000, output=0)
    assert engine.price(call)[:2] == (100 * MICRODOLLAR, "priced")


@pytest.mark.parametrize(
    ("provider", "model", "facts", "rate"),
    [
        ("openai", "gpt-6-luna", {"service_tier": "flex"}, 50),
        ("openai", "gpt-6-luna", {"service_tier": "priority"}, 200),
        ("openai", "gpt-6-luna", {"service_tier": "Priority"}, 200),
        ("openai", "gpt-6-luna", {"service_tier": "fast"}, 200),
        ("openai", "gpt-6-luna", {"service_tier": "batch"}, 50),
        ("anthropic", "claude-haiku-5-5", {"service_tier": "batch"}, 50),
        ("anthropic", "claude-opus-5-5", {"speed": "fast"}, 8000),
        ("anthropic", "claude-opus-5-5", {"speed": "standard"}, 4000),
    ],
)
def test_a_context_of_the_book_has_its_own_rates(
    engine: Engine, provider: str, model: str, facts: dict[str, str], rate: int
) -> None:
    """Rates are in USD per billion tokens."""
    call = row(provider, model, input_uncached=1000, output=0, **facts)
    assert engine.price(call)[:2] == (rate * MICRODOLLAR, "priced")


def test_a_context_counts_from_the_date_the_book_knows_it(engine: Engine) -> None:
    edge = at("2026-10-12T00:00")
    facts: dict[str, Any] = {"service_tier": "flex", "input_uncached": 1000, "output": 0}
    after = engine.price(row("openai", "gpt-6-luna", started_at=edge, **facts))
    before = engine.price(row("openai", "gpt-6-luna", started_at=edge - 1, **facts))
    assert after[:2] == (50 * MICRODOLLAR, "priced")
    assert before[:2] == (100 * MICRODOLLAR, "fallback")
    assert before.note == "service_tier=flex has no price of its own at that time"


@pytest.mark.parametrize(
    ("provider", "model", "facts", "note"),
    [
        (
            "gcp.gemini",
            "gemini-3.6-flash",
            {"service_tier": "flex"},
            "service_tier=flex has no price of its own",
        ),
        (
            "openai",
            "gpt-6-luna",
            {"service_tier": "scale"},
            "service_tier=scale has no price of its own",
        ),
        (
            "anthropic",
            "claude-sonnet-5-5",
            {"speed": "fast"},
            "speed=fast has no price of its own",
        ),
        (
            "anthropic",
            "claude-sonnet-5-5",
            {"inference_geo": "us"},
            "inference_geo=us has no price of its own",
        ),
    ],
)
def test_a_fact_the_book_has_no_price_for_falls_back_to_the_standard_price(
    engine: Engine, provider: str, model: str, facts: dict[str, str], note: str
) -> None:
    standard = engine.price(row(provider, model, input_uncached=1000, output=7))
    price = engine.price(row(provider, model, input_uncached=1000, output=7, **facts))
    assert price == standard._replace(status="fallback", note=note)


@pytest.mark.parametrize("geo", [None, "", "global", "not_available"])
def test_an_unconfined_call_needs_no_price_of_its_place(engine: Engine, geo: str | None) -> None:
    call = row("anthropic", "claude-sonnet-5-5", inference_geo=geo, input_uncached=1, output=1)
    assert engine.price(call).status == "priced"


def test_facts_do_not_stack_and_the_one_left_out_is_named(engine: Engine) -> None:
    call = row(
        "anthropic",
        "claude-opus-5-5",
        service_tier="batch",
        speed="fast",
        input_uncached=1000,
        output=0,
    )
    assert engine.price(call)[:2] == (2000 * MICRODOLLAR, "fallback")
    assert engine.price(call).note == "speed=fast has no price of its own"


# Which model


def test_the_model_that_answered_is_charged_not_the_one_asked_for(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", request_model="gpt-6-sol", input_uncached=1000, output=0)
    assert engine.price(call)[:2] == (100 * MICRODOLLAR, "priced")


def test_without_an_answering_model_the_one_asked_for_is_charged(engine: Engine) -> None:
    call = row("openai", None, request_model="gpt-6-luna", input_uncached=1000, output=0)
    assert engine.price(call)[:2] == (100 * MICRODOLLAR, "priced")


def test_an_unknown_answering_model_falls_back_to_the_one_asked_for(engine: Engine) -> None:
    call = row("openai", "luna-x", request_model="gpt-6-luna", input_uncached=1000, output=0)
    price = engine.price(call)
    assert price[:2] == (100 * MICRODOLLAR, "fallback")
    assert price.note == "model luna-x is not in the book, request model used"


@pytest.mark.parametrize(
    ("provider", "model", "status", "note"),
    [
        ("openai", "gpt-99", "unpriced_model", "model gpt-99 is not in the book"),
        ("openai", None, "unpriced_model", "no model"),
        ("acme-llm", "gpt-6-luna", "unpriced_provider", "provider acme-llm is not in the book"),
        (None, "gpt-6-luna", "unpriced_provider", "no provider"),
    ],
)
def test_an_unknown_name_has_no_cost(
    engine: Engine, provider: str | None, model: str | None, status: str, note: str
) -> None:
    call = row(provider, model, input_uncached=1, output=1)
    assert engine.price(call) == (None, status, None, note)


def test_the_cache_of_keys_is_bounded_whatever_names_come_in(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_CACHED_KEYS", 5)
    engine = Engine(book)
    for number in range(23):
        engine.price(row("openai", f"junk-{number}", input_uncached=1, output=1))
        assert len(engine._schedules) <= 5
    call = row("openai", "gpt-6-luna", input_uncached=1000, output=0)
    assert engine.price(call).status == "priced"
