# SPDX-License-Identifier: Apache-2.0
"""What a usage costs at given rates, to the picodollar, and what is said when that is uncertain.

Figures in comments are USD per million tokens, which is microdollars per token.
"""

from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest

from microdollar_exporter.price import Book, Engine, Price, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.rules import Rule
from microdollar_exporter.usage import BUCKETS, PARTS, Usage

from .books import priced_by, single
from .rows import MICRODOLLAR, charged, row

# Exact prices


def test_disjoint_buckets_are_each_charged_at_their_own_rate(engine: Engine, book: Book) -> None:
    call = row(
        "openai",
        "gpt-5.6-sol",
        service_tier="default",
        input_uncached=276,
        cache_read=3840,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=896,
        output=742,
        reasoning=512,
    )
    # 276 x 4 + 3840 x 0.4 + 896 x 5 + 742 x 20
    (_, price_row) = [r for r in book.lookup("openai", "gpt-5.6-sol") if not r.over_input_tokens]
    cost = 21_960 * MICRODOLLAR
    note = "cache write of unknown lifetime at the shortest one's rate"
    assert engine.price(call) == Price(cost, cost, "fallback", price_row.price_row, note)


def test_both_cache_lifetimes_and_searches_of_claude_have_their_rates(engine: Engine) -> None:
    call = row(
        "anthropic",
        "claude-sonnet-5-5",
        service_tier="standard",
        inference_geo="global",
        input_uncached=96,
        cache_read=11_000,
        cache_write_5m=1200,
        cache_write_1h=2000,
        cache_write=0,
        output=845,
        reasoning=500,
        units={"web_search": 2, "web_fetch": 1},
    )
    # 96 x 2 + 11000 x 0.1 + 1200 x 2.5 + 2000 x 4 + 845 x 10 + 2 x 10000
    price = engine.price(call)
    assert charged(price) == (40_742 * MICRODOLLAR, "priced")
    assert price.note is None


def test_tool_input_is_input(engine: Engine) -> None:
    call = row("gcp.gemini", "gemini-3.6-flash", input_uncached=100, input_tool=118, output=0)
    assert charged(engine.price(call)) == (218 * 750_000, "priced")


def test_a_cost_is_rounded_once_half_to_even() -> None:
    engine = priced_by([PriceRow(provider="p", model="m", rates={"output": 1, "cache_read": 1})])
    for tokens, cost in [(499_999, 0), (500_000, 0), (500_001, 1), (1_500_000, 2), (2_500_000, 2)]:
        call = row("p", "m", input_uncached=0, output=tokens)
        assert charged(engine.price(call)) == (cost, "priced")
    halves = row("p", "m", input_uncached=0, cache_read=250_001, output=250_000)
    assert engine.price(halves).cost == 1


def test_seconds_of_audio_are_charged_by_the_hour_and_rounded_with_the_rest() -> None:
    rates, unit_rates = {"output": 10**6}, {"audio_hours": 10**18}
    engine = priced_by([PriceRow(provider="p", model="m", rates=rates, unit_rates=unit_rates)])
    call = row("p", "m", output=1, input_uncached=0, units={"audio_seconds": 1})
    assert engine.price(call).cost == 277_777_778 + 1  # 10¹² / 3600 + 1, rounded once


@pytest.mark.parametrize(("seconds", "billed"), [(1, 10), (10, 10), (11, 11), (0, None)])
def test_groq_bills_ten_seconds_of_audio_at_least(
    engine: Engine, seconds: int, billed: int | None
) -> None:
    call = row("groq", "whisper-large-v3", units={"audio_seconds": seconds})
    price = engine.price(call)
    if billed is None:
        assert price == Price(None, None, "bad_usage", None, "usage not reported")
    else:
        cost = (billed * 111_000_000_000 + 1800) // 3600  # none of these is a tie
        assert charged(price) == (cost, "priced")


def test_pages_need_no_tokens(engine: Engine) -> None:
    call = row("mistral_ai", "mistral-ocr-4-1", operation="ocr", units={"pages": 3})
    assert charged(engine.price(call)) == (12_000 * MICRODOLLAR, "priced")


# What was reported


def test_a_call_that_consumed_nothing_is_free_even_of_an_unknown_model(engine: Engine) -> None:
    for model in ("gpt-6-luna", "gpt-99"):
        call = row("openai", model, source="none")
        assert engine.price(call) == Price(0, 0, "free", None, "nothing was consumed")


def test_a_refused_call_with_usage_after_all_is_charged(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", source="none", input_uncached=1000, output=0)
    assert charged(engine.price(call)) == (100 * MICRODOLLAR, "priced")


@pytest.mark.parametrize("source", ["missing", "provider", "provider_partial", "estimated"])
@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-99"])
def test_a_call_without_any_count_has_no_cost(engine: Engine, source: str, model: str) -> None:
    call = row("openai", model, source=source)
    assert engine.price(call) == Price(None, None, "bad_usage", None, "usage not reported")


def test_zero_tokens_cost_nothing_and_that_is_a_price(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", input_uncached=0, output=0)
    assert charged(engine.price(call)) == (0, "priced")


def test_an_estimated_count_is_charged_as_it_stands(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", source="estimated", input_uncached=1000, output=0)
    assert charged(engine.price(call)) == (100 * MICRODOLLAR, "priced")


def test_a_cut_call_is_partial_and_names_what_is_missing(engine: Engine) -> None:
    call = row(
        "anthropic",
        "claude-haiku-5-5",
        source="provider_partial",
        input_uncached=220,
        cache_read=4096,
        cache_write_5m=0,
    )
    price = engine.price(call)
    assert charged(price) == (22 * MICRODOLLAR + 4096 * 10_000, "partial")
    assert price.note == ("output not reported; the call ended before its usage was complete")


def test_a_cut_call_is_partial_even_with_every_count(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", source="provider_partial", input_uncached=10, output=2)
    assert charged(engine.price(call)) == (2 * MICRODOLLAR, "partial")


def test_input_that_nobody_reported_is_partial(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", output=2)
    price = engine.price(call)
    assert charged(price) == (MICRODOLLAR, "partial")
    assert price.note == "input_uncached not reported"


def test_embeddings_have_no_output_to_report(engine: Engine) -> None:
    facts = {"input_uncached": 26}
    embedding = row("openai", "text-embedding-3-small", operation="embeddings", **facts)
    chat = row("openai", "text-embedding-3-small", **facts)
    assert charged(engine.price(embedding)) == (520_000, "priced")
    assert charged(engine.price(chat)) == (520_000, "partial")


def test_buckets_and_parts_that_a_provider_never_reports_are_not_missing(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", input_uncached=10, output=2)
    assert engine.price(call).status == "priced"


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ({"input_uncached": -1, "output": 1}, "input_uncached -1 is negative"),
        ({"input_uncached": 1, "output": -7}, "output -7 is negative"),
        (
            {"input_uncached": -1, "output": -7, "reasoning": 0},
            "input_uncached -1 is negative, output -7 is negative",
        ),
        ({"input_uncached": 1, "output": 1, "reasoning": -1}, "reasoning -1 is negative"),
        (
            {"input_uncached": 1, "output": 1, "units": {"web_search": -2}},
            "web_search -2 is negative",
        ),
        ({"input_uncached": 1, "output": 9, "reasoning": 10}, "reasoning 10 exceeds output 9"),
        (
            {"input_uncached": 1, "output": 9, "audio_out": 6, "image_out": 4},
            "audio_out 6 and image_out 4 exceed output 9",
        ),
        (
            {"input_uncached": 1, "cache_read": 3, "output": 9, "audio_in": 5},
            "audio_in 5 and image_in 0 exceed input 4",
        ),
    ],
)
@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-99"])
def test_a_usage_that_cannot_be_true_has_no_cost_and_both_figures_in_the_note(
    engine: Engine, model: str, counts: dict[str, Any], note: str
) -> None:
    assert engine.price(row("openai", model, **counts)) == (None, None, "bad_usage", None, note)


def test_a_part_as_large_as_its_whole_is_true(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", input_uncached=1, output=9, reasoning=9)
    assert engine.price(call).status == "priced"


# Parts with rates of their own


def test_parts_of_the_output_are_charged_at_their_own_rates() -> None:
    engine = single(input_uncached=1, output=10, reasoning=3, audio_out=70, image_out=20)
    call = row("p", "m", input_uncached=0, output=100, reasoning=5, audio_out=11, image_out=2)
    assert charged(engine.price(call)) == (82 * 10 + 5 * 3 + 11 * 70 + 2 * 20, "priced")


def test_reasoning_and_images_without_a_rate_are_ordinary_tokens() -> None:
    engine = single(input_uncached=1, output=10)
    call = row("p", "m", input_uncached=9, image_in=4, output=100, reasoning=5, image_out=2)
    assert charged(engine.price(call)) == (1009, "priced")


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ({"audio_in": 3}, "audio_in at the input rate"),
        ({"audio_out": 3}, "audio_out at the output rate"),
    ],
)
def test_audio_at_the_text_rate_is_a_fallback(counts: dict[str, int], note: str) -> None:
    engine = single(input_uncached=1, output=10)
    price = engine.price(row("p", "m", input_uncached=9, output=5, **counts))
    assert (price.cost, price.status, price.note) == (59, "fallback", note)


def test_uncached_audio_and_images_are_charged_at_their_own_rates() -> None:
    engine = single(
        input_uncached=1, audio_in=8, image_in=3, audio_cache_read=5, cache_read=2, output=1
    )
    call = row("p", "m", input_uncached=100, audio_in=10, image_in=20, cache_read=0, output=0)
    assert charged(engine.price(call)) == (70 * 1 + 10 * 8 + 20 * 3, "priced")


@pytest.mark.parametrize(
    ("uncached", "cached", "audio", "cost", "status"),
    [
        (100, 40, 30, 70 * 1 + 30 * 8 + 40 * 2, "fallback"),  # all may be outside the cache
        (20, 40, 30, 20 * 8 + 30 * 2 + 10 * 5, "fallback"),  # as much as fits is outside
        (0, 40, 30, 10 * 2 + 30 * 5, "priced"),  # all is cached
        (20, 40, 60, 20 * 8 + 40 * 5, "priced"),  # all is audio
    ],
)
def test_audio_that_may_be_cached_is_taken_as_uncached_and_said_so_when_it_matters(
    uncached: int, cached: int, audio: int, cost: int, status: str
) -> None:
    engine = single(input_uncached=1, audio_in=8, cache_read=2, audio_cache_read=5, output=1)
    call = row("p", "m", input_uncached=uncached, cache_read=cached, audio_in=audio, output=0)
    price = engine.price(call)
    assert charged(price) == (cost, status)
    assert price.note == (
        "audio_in taken as uncached, part of it may be cached" if status == "fallback" else None
    )


CACHED = ("cache_read", "cache_write_5m", "cache_write_1h", "cache_write")


@pytest.mark.parametrize(
    "cached",
    [
        *({name: 40} for name in CACHED),
        *({one: 20, other: 20} for one, other in combinations(CACHED, 2)),
        dict.fromkeys(CACHED, 10),
    ],
)
def test_audio_may_be_in_whatever_was_cached_or_written(cached: dict[str, int]) -> None:
    """Forty tokens of cache may hold all thirty of audio, however they came there."""
    engine = single(
        **dict.fromkeys(CACHED, 2), input_uncached=1, audio_in=8, audio_cache_read=5, output=1
    )
    call = row("p", "m", input_uncached=100, audio_in=30, output=0, **cached)
    price = engine.price(call)
    assert charged(price) == (70 * 1 + 30 * 8 + 40 * 2, "fallback")
    assert price.note is not None
    assert "audio_in taken as uncached, part of it may be cached" in price.note


def test_audio_that_may_be_cached_is_exact_when_it_makes_no_difference() -> None:
    engine = single(input_uncached=3, audio_in=8, cache_read=1, audio_cache_read=6, output=1)
    call = row("p", "m", input_uncached=100, cache_read=40, audio_in=30, output=0)
    assert charged(engine.price(call)) == (70 * 3 + 30 * 8 + 40 * 1, "priced")


def test_images_take_the_room_outside_the_cache_that_audio_leaves() -> None:
    engine = single(
        input_uncached=1, audio_in=8, image_in=5, cache_read=2, image_cache_read=3, output=1
    )
    call = row("p", "m", input_uncached=20, cache_read=40, audio_in=15, image_in=10, output=0)
    cost = 15 * 8 + 5 * 5 + 5 * 3 + 35 * 2
    assert charged(engine.price(call)) == (cost, "fallback")


def test_parts_of_an_output_that_nobody_reported_are_not_charged() -> None:
    engine = single(input_uncached=1, output=10, reasoning=3, audio_out=70)
    call = row("p", "m", input_uncached=5, reasoning=100, audio_out=100)
    assert charged(engine.price(call)) == (5, "partial")


def test_reasoning_of_an_output_that_nobody_reported_costs_nothing_known() -> None:
    price = single(input_uncached=1, output=10).price(row("p", "m", input_uncached=5, reasoning=3))
    assert charged(price) == (5, "partial")
    assert price.note == "output not reported"


def test_parts_of_an_output_without_a_price_have_none_either() -> None:
    engine = single(input_uncached=1, audio_out=70)
    price = engine.price(row("p", "m", input_uncached=5, output=100, audio_out=11))
    assert (charged(price), price.note) == ((5, "partial"), "output has no price")


def test_parts_of_an_input_without_a_price_have_none_either() -> None:
    engine = single(audio_in=8, output=1)
    price = engine.price(row("p", "m", input_uncached=10, audio_in=5, output=3))
    assert (charged(price), price.note) == ((3, "partial"), "input_uncached has no price")


@pytest.mark.parametrize(("rate", "cost"), [(500_000, 0), (500_001, 1), (1_500_000, 2)])
@pytest.mark.parametrize("uncached", [None, 0])
def test_parts_and_units_that_cost_nothing_more_leave_the_last_digit_alone(
    uncached: int | None, rate: int, cost: int
) -> None:
    """Rates in 10⁻¹⁸ USD: half a picodollar goes to the even neighbour."""
    rates = {"input_uncached": 0, "cache_read": rate, "output": 0}
    engine = priced_by([PriceRow(provider="p", model="m", rates=rates)])
    call = row("p", "m", input_uncached=uncached, cache_read=1, image_in=1, output=0)
    status = "partial" if uncached is None else "priced"
    assert charged(engine.price(call)) == (cost, status)


@pytest.mark.parametrize(
    ("rates", "counts", "note"),
    [
        ({}, {}, None),
        ({}, {"output": 0}, "input_uncached not reported"),
        ({"input_uncached": 1}, {}, "input_uncached not reported; output not reported"),
        ({"output": 1}, {}, "input_uncached not reported; output not reported"),
        ({"input_uncached": 1, "output": 1}, {"input_uncached": 0}, "output not reported"),
        ({"cache_read": 1}, {}, None),
    ],
)
def test_tokens_are_missing_where_they_are_billed_or_some_are_reported(
    rates: dict[str, int], counts: dict[str, int], note: str | None
) -> None:
    """Beside a page that was read."""
    pages = PriceRow(provider="p", model="m", rates=rates, unit_rates={"pages": 10**12})
    price = priced_by([pages]).price(row("p", "m", units={"pages": 1}, **counts))
    assert charged(price) == (MICRODOLLAR, "partial" if note else "priced")
    assert price.note == note


def test_a_fee_per_request_is_certain_where_it_depends_on_nothing_else() -> None:
    """It falls due for each request that was counted, and else once a call."""
    fee = PriceRow(provider="p", model="m", rates={}, unit_rates={"requests": 10**12})
    engine = priced_by([fee])
    cases: list[tuple[dict[str, Any], int]]
    cases = [({}, 1), ({"units": {"requests": 3}}, 3), ({"calls": 0}, 0)]
    for facts, requests in cases:
        price = engine.price(row("p", "m", input_uncached=0, output=0, **facts))
        assert charged(price) == (requests * MICRODOLLAR, "priced")


@pytest.mark.parametrize(
    ("weekdays", "unknown"), [(None, "dates or weekdays"), (tuple(range(7)), "public holidays")]
)
def test_listed_hours_are_said_to_lack_what_the_source_does_not_list(
    weekdays: tuple[int, ...] | None, unknown: str
) -> None:
    """An operator knows when a rate of its own holds."""
    rates = {"input_uncached": 10**6, "output": 10**6}
    for layer in (None, "rate"):
        hours = PriceRow(
            provider="p",
            model="m",
            rates=rates,
            time_of_day=(0, 86_400_000_000),
            weekdays=weekdays,
            layer=layer,
        )
        price = priced_by([hours]).price(row("p", "m", input_uncached=1, output=1))
        assert charged(price) == (2, "priced" if layer else "fallback")
        assert price.note == (
            None if layer else f"rate for a time of day, of which the book knows no {unknown}"
        )


def test_a_note_names_every_bucket_that_it_is_about() -> None:
    """What has no price, then what was not reported, then what was assumed."""
    engine = single(input_uncached=1)
    price = engine.price(row("p", "m", cache_read=5, output=7, audio_in=2, units={"pages": 3}))
    assert charged(price) == (5, "partial")
    assert price.note == (
        "output has no price; pages has no price; input_uncached not reported; "
        "cache_read at the input rate"
    )
    nothing = single(cache_read=1).price(row("p", "m", input_uncached=2, output=3))
    assert (nothing.status, nothing.cost) == ("unpriced_model", None)
    assert nothing.note == "input_uncached has no price; output has no price"


@pytest.mark.parametrize(("rate", "cost"), [(500_000, 0), (500_001, 1), (1_500_000, 2)])
def test_an_assumed_rate_is_exact_to_its_last_digit(rate: int, cost: int) -> None:
    """Rates in 10⁻¹⁸ USD: half a picodollar goes to the even neighbour."""
    engine = priced_by([PriceRow(provider="p", model="m", rates={"input_uncached": rate})])
    price = engine.price(row("p", "m", input_uncached=0, cache_read=1, output=0))
    assert charged(price) == (cost, "fallback")


def test_video_output_at_the_rate_of_other_output_is_exact() -> None:
    engine = single(input_uncached=1, output=10, video_out=10)
    assert charged(engine.price(row("p", "m", input_uncached=5, output=1))) == (15, "priced")


def test_video_output_that_is_not_told_apart_is_a_fallback(engine: Engine) -> None:
    call = row("gcp.gemini", "gemini-omni-1.1-flash", input_uncached=1, output=1)
    price = engine.price(call)
    assert price.status == "fallback"
    assert price.note == "video output has a rate of its own and is not told apart"


# Inherited rates


@pytest.mark.parametrize(
    ("rates", "bucket", "rate", "status", "note"),
    [
        ({"cache_read": 2}, "cache_read", 2, "priced", None),
        ({}, "cache_read", 9, "fallback", "cache_read at the input rate"),
        ({"cache_write": 5}, "cache_write_5m", 5, "priced", None),
        ({"cache_write": 5, "cache_write_5m": 6}, "cache_write_5m", 6, "priced", None),
        ({"cache_write": 5}, "cache_write", 5, "priced", None),
        (
            {"cache_write": 5, "cache_write_1h": 7},
            "cache_write",
            5,
            "fallback",
            "cache write of unknown lifetime at the 5-minute rate",
        ),
        ({"cache_write": 5, "cache_write_1h": 7}, "cache_write_1h", 7, "priced", None),
        (
            {"cache_write": 5},
            "cache_write_1h",
            5,
            "fallback",
            "1-hour cache write at the 5-minute rate",
        ),
        ({}, "cache_write_5m", 9, "fallback", "cache_write_5m at the input rate"),
        ({}, "cache_write_1h", 9, "fallback", "cache_write_1h at the input rate"),
        ({}, "cache_write", 9, "fallback", "cache_write at the input rate"),
        ({}, "input_tool", 9, "priced", None),
        ({"input_tool": 3}, "input_tool", 3, "priced", None),
    ],
)
def test_a_bucket_without_a_rate_takes_its_nearest_and_says_so_when_that_may_be_wrong(
    rates: dict[str, int], bucket: str, rate: int, status: str, note: str | None
) -> None:
    engine = single(input_uncached=9, output=1, **rates)
    price = engine.price(row("p", "m", input_uncached=0, output=0, **{bucket: 1000}))
    assert (price.cost, price.status, price.note) == (1000 * rate, status, note)


def test_a_claude_write_of_unknown_lifetime_is_uncertain_even_with_one_rate(
    engine: Engine,
) -> None:
    call = row("gcp.vertex_ai", "claude-3-7-sonnet", input_uncached=0, cache_write=1000, output=0)
    price = engine.price(call)
    assert charged(price) == (3750 * MICRODOLLAR, "fallback")
    assert price.note == "cache write of unknown lifetime at the 5-minute rate"


def test_a_count_of_zero_needs_no_rate() -> None:
    engine = single(output=1)
    call = row("p", "m", input_uncached=0, cache_read=0, cache_write_1h=0, output=5, audio_in=0)
    assert charged(engine.price(call)) == (5, "priced")


def test_what_has_no_rate_at_all_is_left_out_and_named() -> None:
    engine = single(input_uncached=1)
    price = engine.price(row("p", "m", input_uncached=10, output=5))
    assert (price.cost, price.status, price.note) == (10, "partial", "output has no price")


def test_when_nothing_consumed_has_a_rate_there_is_no_cost() -> None:
    engine = single(input_uncached=1)
    price = engine.price(row("p", "m", input_uncached=0, output=5))
    assert price == Price(None, None, "unpriced_model", None, "output has no price")


# Units


def test_a_unit_without_a_price_is_partial(engine: Engine) -> None:
    facts: dict[str, Any] = {"input_uncached": 1, "output": 0}
    price = engine.price(row("openai", "gpt-6-luna", units={"x_search": 3}, **facts))
    assert (price.cost, price.status, price.note) == (100_000, "partial", "x_search has no price")
    none = engine.price(row("openai", "gpt-6-luna", units={"x_search": 0}, **facts))
    assert none.status == "priced"


def test_a_fetch_is_free_at_anthropic_only(engine: Engine) -> None:
    facts: dict[str, Any] = {"input_uncached": 1, "output": 0, "units": {"web_fetch": 3}}
    assert engine.price(row("anthropic", "claude-sonnet-5-5", **facts)).status == "priced"
    assert engine.price(row("openai", "gpt-6-luna", **facts)).status == "partial"


def test_a_fee_per_request_falls_due_once_a_call(engine: Engine) -> None:
    facts: dict[str, Any] = {"input_uncached": 0, "output": 0}
    call = engine.price(row("perplexity", "sonar", **facts))
    further = engine.price(row("perplexity", "sonar", calls=0, **facts))
    assert charged(call) == (12_000 * MICRODOLLAR, "fallback")
    assert charged(further) == (0, "priced")


@pytest.mark.parametrize(
    ("reported", "sold"),
    [
        ("web_search", "web_search"),
        ("google_search", "web_search"),
        ("search_queries", "web_search"),
        ("num_search_queries", "web_search"),
        ("web_search_requests", "web_search"),
        ("file_search_calls", "file_search"),
        ("code_execution", "code_interpreter"),
        ("pages_processed", "pages"),
    ],
)
def test_a_unit_has_the_price_of_what_the_book_calls_it(reported: str, sold: str) -> None:
    engine = priced_by([PriceRow(provider="p", model="m", rates={}, unit_rates={sold: 10**16})])
    for units in ({reported: 3}, {reported: 1, sold: 2} if reported != sold else {sold: 3}):
        price = engine.price(row("p", "m", units=units))
        assert charged(price) == (30_000 * MICRODOLLAR, "priced")
    price = engine.price(row("p", "m", units={f"{reported}_else": 3}))
    assert price.status == "unpriced_model"
    assert price.note == f"{reported}_else has no price"


def test_a_cache_write_at_openai_may_have_been_for_longer_than_the_price_is_for() -> None:
    """Kept for hours it costs twice the input rate; neither the book nor the usage can say so."""
    rates = {"input_uncached": 4 * 10**12, "cache_write": 5 * 10**12, "output": 10**12}
    for provider, layer, status in [
        ("openai", None, "fallback"),
        ("openai", "rate", "priced"),
        ("mistral", None, "priced"),
    ]:
        models = (Model(id="m", rule=Rule("equals", "m")),)
        rows = [PriceRow(provider=provider, model="m", rates=rates, layer=layer)]
        book = Book(
            source="test",
            source_version="1",
            providers=[Provider(id=provider, models=models)],
            rows=rows,
        )
        call = row(provider, "m", input_uncached=1, cache_write=2, output=0)
        assert charged(Engine(book).price(call)) == (14 * MICRODOLLAR, status)


def test_the_buckets_are_the_first_fields_of_a_usage() -> None:
    """The engine takes them by their places."""
    assert Usage._fields == (*BUCKETS, *PARTS, "units")


@pytest.mark.parametrize("model", ["whisper-large-v3", "whisper-large-v3-turbo"])
def test_whisper_at_groq_bills_ten_seconds_at_least(engine: Engine, model: str) -> None:
    nine, ten, eleven = (
        engine.price(row("groq", model, units={"audio_seconds": seconds})).cost
        for seconds in (9, 10, 11)
    )
    hour = engine.price(row("groq", model, units={"audio_seconds": 3600})).cost
    assert hour
    assert nine == ten == round(Fraction(hour, 360))
    assert eleven == round(Fraction(11 * hour, 3600))


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ({"reasoning": 11}, {"output": 10}),
        ({"audio_out": 11}, {"output": 10}),
        ({"image_out": 11}, {"output": 10}),
        ({"audio_out": 5, "image_out": 6}, {"output": 10}),
        ({"audio_in": 11}, {"input_uncached": 10}),
        ({"image_in": 11}, {"input_uncached": 10}),
        ({"audio_in": 5, "image_in": 6}, {"input_uncached": 10}),
        ({"audio_in": 5, "image_in": 6}, {"input_uncached": 4, "cache_read": 6}),
    ],
)
def test_parts_may_be_all_of_their_whole_and_not_one_token_more(
    parts: dict[str, int], whole: dict[str, int]
) -> None:
    """Counts of zero beside them change nothing."""
    engine = single(input_uncached=1, output=1)
    zeros = {"input_uncached": 0, "cache_read": 0, "output": 0, "reasoning": 0}
    price = engine.price(row("p", "m", **(zeros | whole | parts)))
    assert (price.cost, price.status) == (None, "bad_usage")
    first, *rest = parts.items()
    fitting = {first[0]: first[1] - 1, **dict(rest)}
    price = engine.price(row("p", "m", **(zeros | whole | fitting)))
    assert price.cost == 10


@pytest.mark.parametrize("part", ["audio_in", "image_in"])
def test_a_part_of_what_was_not_reported_is_no_contradiction(part: str) -> None:
    price = single(input_uncached=1, output=1).price(row("p", "m", output=10, **{part: 5}))
    assert (price.cost, price.status) == (10, "partial")


def test_what_makes_a_usage_extraordinary_is_charged_beside_what_is_ordinary() -> None:
    """Each alone, and each negative: the short way to the cost of most calls must not take it."""
    engine = single(input_uncached=1, cache_read=2, cache_write_5m=3, output=5, audio_out=7)
    ordinary = {"input_uncached": 10, "cache_read": 10, "cache_write_5m": 10, "output": 10}
    assert engine.price(row("p", "m", **ordinary)).cost == 10 + 20 + 30 + 50
    for name, dearer in {
        "cache_write_1h": 10,
        "cache_write": 10,
        "input_tool": 10,
        "reasoning": 0,
        "audio_in": 0,
        "audio_out": 20,
        "image_in": 0,
        "image_out": 0,
    }.items():
        assert engine.price(row("p", "m", **ordinary, **{name: 10})).cost == 110 + dearer, name
        assert engine.price(row("p", "m", **ordinary, **{name: -1})).status == "bad_usage", name
    for name in ordinary:
        assert engine.price(row("p", "m", **(ordinary | {name: -1}))).status == "bad_usage", name


def test_audio_input_may_be_in_what_tools_put_in() -> None:
    engine = single(input_uncached=1, cache_read=2, audio_in=10, output=1)
    usage = {"input_uncached": 2, "input_tool": 5, "cache_read": 0, "output": 0, "audio_in": 6}
    price = engine.price(row("p", "m", **usage))
    assert (price.cost, price.status) == (61, "priced")


def test_output_that_was_not_reported_is_left_out() -> None:
    price = single(input_uncached=1, output=1).price(row("p", "m", input_uncached=10))
    assert (price.cost, price.status) == (10, "partial")


def test_a_model_that_is_only_sold_in_batch_has_a_price_in_batch() -> None:
    rates = {"input_uncached": 10**6, "output": 10**6}
    batch = PriceRow(provider="p", model="m", context="processing=batch", rates=rates)
    engine = priced_by([batch])
    counts = {"input_uncached": 10, "output": 0}
    assert engine.price(row("p", "m", service_tier="batch", **counts)).cost == 10
    assert engine.price(row("p", "m", **counts)).status == "unpriced_model"
