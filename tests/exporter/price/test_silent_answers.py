# SPDX-License-Identifier: Apache-2.0
"""Where the source's own calculator gives a plausible wrong number or 0, we say so.

Each test first shows what the calculator answers, then what we do.
"""

from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest

from microdollar_exporter.price import Engine

from .rows import MICRODOLLAR, at, charged, row


def calculated(
    provider: str, model: str, usage: dict[str, int], when: str = "2026-11-21T12:00", **context: str
) -> Decimal:
    """The source's answer in microdollars; `usage` has its inclusive keys."""
    price = genai_prices.calc_price(
        genai_prices.Usage(**usage),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromisoformat(when).replace(tzinfo=UTC),
        price_context=context or None,
    )
    return price.total_price * 1_000_000


def test_disjoint_counts_are_never_taken_for_inclusive_ones(engine: Engine) -> None:
    """Given 1000 uncached tokens as its total, the calculator charges 100 of them."""
    assert calculated(
        "anthropic", "claude-sonnet-5-5", {"input_tokens": 1000, "cache_read_tokens": 900}
    ) == Decimal(290)
    call = row("anthropic", "claude-sonnet-5-5", input_uncached=1000, cache_read=900, output=0)
    assert charged(engine.price(call)) == (2090 * MICRODOLLAR, "priced")


@pytest.mark.parametrize(
    ("provider", "ours", "model"),
    [
        ("google", "gcp.gemini", "gemma-3-27b-it"),
        ("openai", "openai", "omni-moderation-latest"),
        ("openrouter", "openrouter", "google/gemma-4-31b-it:free"),
    ],
)
def test_an_empty_price_is_unpriced_not_free(
    engine: Engine, provider: str, ours: str, model: str
) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 10}
    assert calculated(provider, model, usage) == 0
    price = engine.price(row(ours, model, input_uncached=1000, output=10))
    assert (price.cost, price.status, price.price_row) == (None, "unpriced_model", None)
    assert price.note is not None
    assert price.note.endswith("without a price")


def test_a_tool_fee_without_a_price_is_partial_not_nothing(engine: Engine) -> None:
    usage = {"input_tokens": 0, "output_tokens": 0, "code_executions": 1000}
    assert calculated("anthropic", "claude-sonnet-5-5", usage) == 0
    price = engine.price(
        row(
            "anthropic",
            "claude-sonnet-5-5",
            input_uncached=1,
            output=0,
            units={"code_interpreter": 1000},
        )
    )
    assert charged(price) == (2 * MICRODOLLAR, "partial")
    assert price.note == "code_interpreter has no price"


def test_a_cache_read_without_a_rate_is_charged_in_full_and_said_so(engine: Engine) -> None:
    usage = {"input_tokens": 1000, "cache_read_tokens": 1000}
    assert calculated("openai", "gpt-5-pro", usage) == 15_000
    price = engine.price(row("openai", "gpt-5-pro", input_uncached=0, cache_read=1000, output=0))
    assert (price.cost, price.status) == (15_000 * MICRODOLLAR, "fallback")
    assert price.note == "cache_read at the input rate"


def test_a_one_hour_write_at_the_five_minute_rate_is_said_so(engine: Engine) -> None:
    usage = {"input_tokens": 1000, "cache_write_tokens": 1000, "cache_write_1h_tokens": 1000}
    assert calculated("google", "claude-3-7-sonnet", usage) == 3750
    price = engine.price(
        row("gcp.vertex_ai", "claude-3-7-sonnet", input_uncached=0, cache_write_1h=1000, output=0)
    )
    assert (price.cost, price.status) == (3750 * MICRODOLLAR, "fallback")
    assert price.note == "1-hour cache write at the 5-minute rate"


def test_audio_at_the_text_rate_is_said_so(engine: Engine) -> None:
    usage = {"input_tokens": 1000, "input_audio_tokens": 1000}
    assert calculated("openai", "gpt-4o-audio-preview", usage) == 2500
    price = engine.price(
        row("openai", "gpt-4o-audio-preview", input_uncached=1000, audio_in=1000, output=0)
    )
    assert (price.cost, price.status) == (2500 * MICRODOLLAR, "fallback")
    assert price.note == "audio_in at the input rate"


def test_output_of_an_input_only_model_is_not_dropped(engine: Engine) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 500}
    assert calculated("openai", "text-embedding-3-small", usage) == 20
    price = engine.price(row("openai", "text-embedding-3-small", input_uncached=1000, output=500))
    assert (price.cost, price.status) == (20 * MICRODOLLAR, "partial")
    assert price.note == "output has no price"


@pytest.mark.parametrize(
    ("provider", "ours", "model", "tier", "silent", "cost", "status"),
    [
        # Anthropic's own word for it: the calculator only knows `processing`.
        ("anthropic", "anthropic", "claude-sonnet-5-5", "batch", 2000, 1000, "priced"),
        # Case.
        ("openai", "openai", "gpt-6-luna", "Priority", 100, 200, "priced"),
        # No such tier in the data.
        ("google", "gcp.gemini", "gemini-3.8-flash", "flex", 750, 750, "fallback"),
        # Variants never apply to a price lent by another provider.
        ("azure", "azure.ai.openai", "gpt-6-luna", "priority", 100, 100, "fallback"),
    ],
)
def test_a_service_tier_is_either_applied_or_said_to_be_missing(
    engine: Engine,
    *,
    provider: str,
    ours: str,
    model: str,
    tier: str,
    silent: int,
    cost: int,
    status: str,
) -> None:
    usage = {"input_tokens": 1000}
    assert calculated(provider, model, usage, service_tier=tier) == silent
    call = row(ours, model, service_tier=tier, input_uncached=1000, output=0)
    assert charged(engine.price(call)) == (cost * MICRODOLLAR, status)


def test_a_tier_before_the_date_it_was_verified_is_said_to_be_missing(engine: Engine) -> None:
    when = "2026-09-15T12:00"
    usage = {"input_tokens": 1000}
    assert calculated("openai", "gpt-5.4", usage, when, service_tier="priority") == 2500
    price = engine.price(
        row(
            "openai",
            "gpt-5.4",
            service_tier="priority",
            input_uncached=1000,
            output=0,
            started_at=at(when),
        )
    )
    assert (price.cost, price.status) == (2500 * MICRODOLLAR, "fallback")


@pytest.mark.parametrize(
    ("when", "silent", "rate", "status"),
    [
        # Before there were peak hours.
        ("2026-08-01T02:00", 300, 140, "priced"),
        ("2026-08-16T23:59:59.999999", 140, 140, "priced"),
        ("2026-08-17T00:59:59.999999", 220, 220, "priced"),
        # The peak rate of that time, of which only public holidays are not known.
        ("2026-08-17T01:00", 300, 440, "fallback"),
        ("2026-08-17T03:59:59.999999", 300, 440, "fallback"),
        ("2026-08-17T04:00", 220, 220, "priced"),
        # The last Saturday on which they held, and the first Sunday on which they did not.
        ("2026-08-22T09:59:59.999999", 300, 440, "fallback"),
        ("2026-08-23T06:00", 300, 220, "priced"),
        ("2026-08-24T06:00", 300, 440, "fallback"),
        ("2026-09-09T06:00", 300, 440, "fallback"),
        ("2026-09-10T06:00", 300, 300, "fallback"),
        # A Friday, a Saturday and a Monday of today's prices.
        ("2026-11-20T06:00", 300, 300, "fallback"),
        ("2026-11-21T06:00", 300, 150, "priced"),
        ("2026-11-23T05:59:59.999999", 150, 150, "priced"),
        ("2026-11-23T06:00", 300, 300, "fallback"),
        ("2026-11-23T10:00", 150, 150, "priced"),
    ],
)
def test_peak_hours_hold_from_their_date_and_on_their_weekdays(
    engine: Engine, when: str, silent: int, rate: int, status: str
) -> None:
    """The calculator gives every date the peak rate of today, and every day of the week."""
    usage = {"input_tokens": 1000}
    assert calculated("deepseek", "deepseek-v4-flash", usage, when) == silent
    call = row("deepseek", "deepseek-v4-flash", input_uncached=1000, output=0, started_at=at(when))
    assert charged(engine.price(call)) == (rate * MICRODOLLAR, status)


def test_a_rate_for_a_time_of_day_without_dates_is_said_to_lack_them(engine: Engine) -> None:
    usage = {"input_tokens": 1000}
    assert calculated("deepseek", "deepseek-chat", usage, "2026-08-01T02:00") == 270
    for when, rate, status in [
        ("2026-08-01T00:29:59.999999", 135, "priced"),
        ("2026-08-01T00:30", 270, "fallback"),
        ("2026-08-01T16:29:59.999999", 270, "fallback"),
        ("2026-08-01T16:30", 135, "priced"),
    ]:
        call = row("deepseek", "deepseek-chat", input_uncached=1000, output=0, started_at=at(when))
        assert charged(engine.price(call)) == (rate * MICRODOLLAR, status)


@pytest.mark.parametrize(
    "name", ["my-anthropic-proxy", "self-hosted-openai-compatible", "openai-eu"]
)
def test_a_provider_is_not_guessed_from_a_part_of_its_name(engine: Engine, name: str) -> None:
    model = "claude-sonnet-5-5" if "anthropic" in name else "gpt-6-luna"
    assert calculated(name, model, {"input_tokens": 1000}) > 0
    price = engine.price(row(name, model, input_uncached=1000, output=0))
    assert charged(price) == (None, "unpriced_provider")


def test_azure_is_not_openai(engine: Engine) -> None:
    call = row("azure.ai.openai", "gpt-5.4-2026-03-05", input_uncached=1000, output=0)
    price = engine.price(call)
    assert charged(price) == (2500 * MICRODOLLAR, "fallback")
    assert price.note == "azure has no price of its own, that of openai gpt-5.4 used"


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("x_ai", "x-ai", "grok-4.3"),
        ("gcp.gen_ai", "google", "gemini-3.6-flash"),
    ],
)
def test_a_registered_provider_that_the_source_does_not_know_is_priced(
    engine: Engine, name: str, provider: str, model: str
) -> None:
    with pytest.raises(LookupError):
        calculated(name, model, {"input_tokens": 1000})
    expected = calculated(provider, model, {"input_tokens": 1000})
    price = engine.price(row(name, model, input_uncached=1000, output=0))
    assert charged(price) == (int(expected) * MICRODOLLAR, "priced")


def test_bedrock_names_without_global_cost_ten_percent_more(engine: Engine) -> None:
    for name, rate in [
        ("global.anthropic.claude-opus-5-5", 4000),
        ("anthropic.claude-opus-5-5", 4400),
        ("eu.anthropic.claude-opus-5-5", 4400),
        ("us.anthropic.claude-opus-5-5", 4400),
    ]:
        call = row("aws.bedrock", name, input_uncached=1000, output=0)
        assert charged(engine.price(call)) == (rate * MICRODOLLAR, "priced")


def test_a_loose_pattern_of_the_source_is_said_to_be_loose(engine: Engine) -> None:
    """`gemini-3.6-flash` is a prefix rule, and so takes in whatever is named after it."""
    price = engine.price(row("gcp.gemini", "gemini-3.6-flash-cyber", input_uncached=1000, output=0))
    assert charged(price) == (750 * MICRODOLLAR, "fallback")
    assert price.note == "model matched loosely as gemini-3.6-flash"
