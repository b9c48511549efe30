# SPDX-License-Identifier: Apache-2.0
"""Which price applies to a call: when, how large, in which context, of which model.

Rates in comments and names are USD per million tokens, which is microdollars per token.
"""

from typing import Any

import pytest

from microdollar_exporter.price import Book, Engine, PriceRow
from microdollar_exporter.price import engine as engine_module
from microdollar_exporter.price import schedule as schedule_module

from .books import priced_by
from .rows import MICRODOLLAR, NOW, at, charged, row

# When


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
    assert charged(engine.price(call)) == (5 * MICRODOLLAR, "priced")


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


# What was consumed


def test_a_call_that_consumed_units_is_not_free_whatever_its_source_says() -> None:
    """A source that says nothing was consumed is not believed against a count."""
    engine = priced_by([PriceRow(provider="p", model="m", rates={}, unit_rates={"pages": 10**16})])
    for units, answer in [
        ({}, (0, "free")),
        ({"pages": 0}, (0, "free")),
        ({"pages": 2}, (20_000 * MICRODOLLAR, "priced")),
    ]:
        price = engine.price(row("p", "m", source="none", units=units))
        assert charged(price) == answer


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
        assert charged(engine.price(call)) == (thousandths * MICRODOLLAR // 1000, "priced")


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


def test_tiers_are_in_the_order_of_their_size_however_the_book_lists_them() -> None:
    rows = [
        PriceRow(
            provider="p", model="m", over_input_tokens=over, rates={"input_uncached": over + 1}
        )
        for over in (200, 0, 1000)
    ]
    for order in (rows, rows[::-1]):
        engine = priced_by(order)
        for tokens, price_row in [(200, rows[1]), (201, rows[0]), (1000, rows[0]), (1001, rows[2])]:
            call = row("p", "m", input_uncached=tokens, output=0)
            assert engine.price(call).price_row == price_row.price_row


# Which context


@pytest.mark.parametrize(
    "tier", [None, "", "default", "standard", "on_demand", "auto", "standard_only", "Default"]
)
def test_an_ordinary_service_tier_is_the_standard_price(engine: Engine, tier: str | None) -> None:
    call = row("openai", "gpt-6-luna", service_tier=tier, input_uncached=1000, output=0)
    assert charged(engine.price(call)) == (100 * MICRODOLLAR, "priced")


@pytest.mark.parametrize(
    ("provider", "model", "facts", "rate"),
    [
        ("openai", "gpt-6-luna", {"service_tier": "flex"}, 50),
        ("openai", "gpt-6-luna", {"service_tier": "priority"}, 200),
        ("openai", "gpt-6-luna", {"service_tier": "Priority"}, 200),
        ("openai", "gpt-6-luna", {"service_tier": " priority "}, 200),
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
    assert charged(engine.price(call)) == (rate * MICRODOLLAR, "priced")


def test_a_context_counts_from_the_date_the_book_knows_it(engine: Engine) -> None:
    edge = at("2026-10-12T00:00")
    facts: dict[str, Any] = {"service_tier": "flex", "input_uncached": 1000, "output": 0}
    after = engine.price(row("openai", "gpt-6-luna", started_at=edge, **facts))
    before = engine.price(row("openai", "gpt-6-luna", started_at=edge - 1, **facts))
    assert charged(after) == (50 * MICRODOLLAR, "priced")
    assert charged(before) == (100 * MICRODOLLAR, "fallback")
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
    assert charged(engine.price(call)) == (2000 * MICRODOLLAR, "fallback")
    assert engine.price(call).note == "speed=fast has no price of its own"


# Which model


def test_the_model_that_answered_is_charged_not_the_one_asked_for(engine: Engine) -> None:
    call = row("openai", "gpt-6-luna", request_model="gpt-6-sol", input_uncached=1000, output=0)
    assert charged(engine.price(call)) == (100 * MICRODOLLAR, "priced")


def test_without_an_answering_model_the_one_asked_for_is_charged(engine: Engine) -> None:
    call = row("openai", None, request_model="gpt-6-luna", input_uncached=1000, output=0)
    assert charged(engine.price(call)) == (100 * MICRODOLLAR, "priced")


def test_an_unknown_answering_model_falls_back_to_the_one_asked_for(engine: Engine) -> None:
    call = row("openai", "luna-x", request_model="gpt-6-luna", input_uncached=1000, output=0)
    price = engine.price(call)
    assert charged(price) == (100 * MICRODOLLAR, "fallback")
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
    assert engine.price(call) == (None, None, status, None, note)


@pytest.mark.parametrize(
    ("answered", "asked", "named"),
    [("gpt-98", "gpt-99", "gpt-98"), (None, "gpt-99", "gpt-99"), ("gpt-98", None, "gpt-98")],
)
def test_of_two_unknown_names_that_of_the_model_that_answered_is_said(
    engine: Engine, answered: str | None, asked: str | None, named: str
) -> None:
    call = row("openai", answered, request_model=asked, input_uncached=1, output=1)
    assert engine.price(call).note == f"model {named} is not in the book"


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


# Several facts at once


def test_facts_that_the_book_has_together_are_one_context() -> None:
    """As many as it has, the earlier facts before the later ones."""
    contexts = {
        "std": 1,
        "service_tier=flex": 2,
        "speed=fast": 4,
        "service_tier=flex,speed=fast": 8,
        "inference_geo=us,speed=fast": 16,
    }
    engine = priced_by(
        [
            PriceRow(provider="p", model="m", context=c, rates={"output": rate * 10**12})
            for c, rate in contexts.items()
        ]
    )
    for tier, speed, geo, rate, missing in [
        (None, None, None, 1, None),
        ("flex", None, None, 2, None),
        ("flex", "fast", None, 8, None),
        ("flex", "fast", "us", 8, "inference_geo=us"),
        ("scale", "fast", "us", 16, "service_tier=scale"),
        ("flex", None, "us", 2, "inference_geo=us"),
        ("scale", "fast", None, 4, "service_tier=scale"),
    ]:
        facts = {"service_tier": tier, "speed": speed, "inference_geo": geo}
        price = engine.price(row("p", "m", input_uncached=0, output=1, **facts))
        note = missing and f"{missing} has no price of its own"
        assert (price.cost, price.note) == (rate * MICRODOLLAR, note)


# Which days


def test_a_rate_for_a_time_of_day_on_some_weekdays_is_for_these_only() -> None:
    """Monday to Friday from 01:00 until 04:00 UTC, in the days and hours around them."""
    hour = 3_600_000_000
    rates = {"input_uncached": 10**12, "output": 10**12}
    peak = {name: 2 * rate for name, rate in rates.items()}
    span = (hour, 4 * hour)
    rows = [
        PriceRow(provider="p", model="m", rates=rates),
        PriceRow(provider="p", model="m", rates=peak, time_of_day=span, weekdays=(0, 1, 2, 3, 4)),
    ]
    engine = priced_by(rows)
    monday = at("2026-11-23")
    for day in range(-7, 14):
        for moment, peak_hours in [(hour - 1, 0), (hour, 1), (4 * hour - 1, 1), (4 * hour, 0)]:
            begun = monday + day * 24 * hour + moment
            price = engine.price(row("p", "m", input_uncached=1, output=0, started_at=begun))
            dear = peak_hours and day % 7 < 5
            assert price.cost == (2 if dear else 1) * MICRODOLLAR
            assert price.status == ("fallback" if dear else "priced")
            if dear:
                assert price.note == (
                    "rate for a time of day, of which the book knows no public holidays"
                )


def test_the_weekday_of_a_call_before_1970_is_right_too() -> None:
    """2 January 1950 was a Monday."""
    row_of = PriceRow(
        provider="p", model="m", rates={"output": 10**12}, time_of_day=(0, 10), weekdays=(0,)
    )
    engine = priced_by([row_of])
    for day, status in [("1950-01-01", "unpriced_model"), ("1950-01-02", "fallback")]:
        call = row("p", "m", input_uncached=0, output=1, started_at=at(day))
        assert engine.price(call).status == status


# What is said of names that were not exact


def test_a_loose_match_is_logged_once_for_each_name_at_a_provider(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(book)
    for tier in (None, "flex", "priority"):
        for model in ("gemini-3.6-flash-cyber", "gemini-3.6-flash", "gemini-3.6-flash-other"):
            engine.price(row("gcp.gemini", model, service_tier=tier, input_uncached=1, output=1))
    assert [record.getMessage() for record in caplog.records] == [
        f"model '{name}' at google is priced as a fallback: "
        "model matched loosely as gemini-3.6-flash"
        for name in ("gemini-3.6-flash-cyber", "gemini-3.6-flash-other")
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    caplog.clear()
    for answered in (None, "gemini-3.6-flash-said"):
        names = {"request_model": "gemini-3.6-flash-asked", "input_uncached": 1, "output": 1}
        engine.price(row("google", answered, **names))
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        "gemini-3.6-flash-asked",
        "gemini-3.6-flash-said",
    ]


def test_what_is_logged_of_names_is_bounded(
    book: Book, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come from outside, and so does their number."""
    monkeypatch.setattr(schedule_module, "_REPORTED", 3)
    engine = Engine(book)
    for number in range(9):
        name = f"gemini-3.6-flash-{number}-x"
        engine.price(row("gcp.gemini", name, input_uncached=1, output=1))
    assert len(caplog.records) == 3
