# SPDX-License-Identifier: Apache-2.0
"""An operator's rules over a book of list prices: what each of them changes, when, and what not.

1000 input and 100 output tokens of `large` cost 2000 + 1000 microdollars at list price.
"""

import json
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter import toml_source
from microdollar_exporter.errors import UsageError
from microdollar_exporter.price import Book, Engine, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.names import Match, Names
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.overrides.cutting import left
from microdollar_exporter.price.overrides.rules import Free, Window
from microdollar_exporter.price.rules import Rule

from .overriding import listed, overridden, priced
from .rows import MICRODOLLAR, at, charged, row

LARGE = 3000 * MICRODOLLAR
BATCH = 1500 * MICRODOLLAR

# Rates


RATE = """
[[rate]]
provider = "maker"
model = "large"
from = 2026-03-01
to = 2026-04-01T12:00:00+02:00
per_mtok = { input = 1.5, output = 0.000000000001 }
per = { google_search = 0.5 }
reason = "FIN-221"
"""


@pytest.mark.parametrize(
    ("when", "cost"),
    [
        ("2026-02-28T23:59:59.999999", LARGE),
        ("2026-03-01T00:00:00", 1500 * MICRODOLLAR),
        ("2026-04-01T09:59:59.999999", 1500 * MICRODOLLAR),
        ("2026-04-01T10:00:00", LARGE),
    ],
)
def test_a_rate_takes_the_place_of_the_books_from_its_start_until_just_before_its_end(
    when: str, cost: int
) -> None:
    assert charged(priced(overridden(RATE), "maker", "large", when)) == (cost, "priced")


def test_a_rate_is_taken_to_its_twelfth_decimal_and_its_cost_rounded_once() -> None:
    """An output token costs 10⁻¹⁸ USD: half a million of them are half a picodollar."""
    book = overridden(RATE)
    for output, picodollars in [(500_000, 0), (500_001, 1), (1_500_000, 2), (2_500_000, 2)]:
        price = priced(book, "maker", "large", "2026-03-01", input_uncached=0, output=output)
        assert charged(price) == (picodollars, "priced")


def test_a_fee_for_a_unit_goes_by_any_name_that_is_in_use_for_it() -> None:
    book = overridden(RATE)
    for unit in ("web_search", "google_search", "search_queries"):
        price = priced(book, "maker", "large", "2026-03-01", input_uncached=0, units={unit: 3})
        assert charged(price) == (1_500_000 * MICRODOLLAR, "priced")


def test_a_rate_says_of_which_layer_it_is_and_why() -> None:
    rows = {r.price_row: r for r in overridden(RATE).rows}
    mine = rows[priced(overridden(RATE), "maker", "large", "2026-03-01").price_row or ""]
    assert (mine.layer, mine.reason, mine.base_row) == ("rate", "FIN-221", None)
    [of_source] = listed().lookup("maker", "large")
    for when in ("2026-02-28", "2026-04-02"):
        rest = rows[priced(overridden(RATE), "maker", "large", when).price_row or ""]
        assert (rest.layer, rest.base_row) == (None, of_source.price_row)


def test_a_rate_is_for_one_context_and_leaves_the_others() -> None:
    book = overridden(RATE)
    price = priced(book, "maker", "large", "2026-03-01", service_tier="batch")
    assert charged(price) == (BATCH, "priced")
    book = overridden(RATE + 'context = { service_tier = "flex", speed = "Fast" }')
    for facts, cost, status in [
        ({"service_tier": "flex", "speed": "fast"}, 1500 * MICRODOLLAR, "priced"),
        ({"service_tier": "flex"}, LARGE, "fallback"),
        ({}, LARGE, "priced"),
    ]:
        assert charged(priced(book, "maker", "large", "2026-03-01", **facts)) == (cost, status)


STACKED = """
[[rate]]
provider = "maker"
model = "large"
context = { processing = "batch", speed = "fast" }
from = 2027-01-01
to = 2027-02-01
per_mtok = { input = 7, output = 0 }
"""


@pytest.mark.parametrize(
    ("when", "cost", "note"),
    [
        (
            "2026-12-31T23:59:59.999999",
            BATCH,
            "processing=batch,speed=fast has no price of its own at that time",
        ),
        ("2027-01-01", 7000 * MICRODOLLAR, None),
        ("2027-01-31T23:59:59.999999", 7000 * MICRODOLLAR, None),
        (
            "2027-02-01",
            BATCH,
            "processing=batch,speed=fast has no price of its own at that time",
        ),
    ],
)
def test_a_rate_for_two_facts_leaves_that_for_one_of_them_at_other_times(
    when: str, cost: int, note: str | None
) -> None:
    """As many facts are priced together as have a price at that time."""
    price = priced(overridden(STACKED), "maker", "large", when, service_tier="batch", speed="fast")
    assert charged(price) == (cost, "fallback" if note else "priced")
    assert price.note == note


@pytest.mark.parametrize(
    ("when", "cost", "missed"),
    [
        ("2026-12-31T23:59:59.999999", LARGE, ["service_tier=flex", "speed=fast"]),
        ("2027-01-01", 7000 * MICRODOLLAR, ["service_tier=flex"]),
        ("2027-01-15", 5000 * MICRODOLLAR, None),
        ("2027-02-01", LARGE, ["service_tier=flex", "speed=fast"]),
    ],
)
def test_of_two_facts_the_first_that_has_a_price_at_that_time_is_taken(
    when: str, cost: int, missed: list[str] | None
) -> None:
    fast = STACKED.replace('processing = "batch", ', "")
    flex = fast.replace('speed = "fast"', 'service_tier = "flex"').replace("input = 7", "input = 5")
    book = overridden(fast + flex.replace("from = 2027-01-01", "from = 2027-01-15"))
    price = priced(book, "maker", "large", when, service_tier="flex", speed="fast")
    notes = [f"{one} has no price of its own at that time" for one in missed or ()]
    assert price.note == ("; ".join(notes) or "speed=fast has no price of its own")
    assert charged(price) == (cost, "fallback")


def test_a_provider_and_a_model_of_ones_own_need_nothing_but_a_rate() -> None:
    book = overridden("""
        [[rate]]
        provider = "Self-Hosted"
        model = "Llama-70B"
        per_mtok = { input = 0.12, output = 0.36 }
        """)
    assert charged(priced(book, "self-hosted", "llama-70b")) == (156 * MICRODOLLAR, "priced")
    assert priced(book, "self-hosted", "llama-70b-2026").status == "unpriced_model"
    assert priced(book, "self-hosted-2", "llama-70b").status == "unpriced_provider"


def test_a_rate_for_a_name_that_the_book_reads_otherwise_is_for_that_name_only() -> None:
    """The source takes `large-2026-01-01` for `large`; before the rule begins it is so."""
    book = overridden("""
        [[rate]]
        provider = "maker"
        model = "large-2026-01-01"
        from = 2026-05-01
        per_mtok = { input = 4, output = 4 }
        """)
    name = "large-2026-01-01"
    assert charged(priced(book, "maker", name, "2026-04-30")) == (LARGE, "priced")
    assert charged(priced(book, "maker", name, "2026-05-01")) == (4400 * MICRODOLLAR, "priced")
    assert charged(priced(book, "maker", "large", "2026-05-01")) == (LARGE, "priced")


def test_a_rate_for_a_model_that_is_lent_is_for_all_its_names_there() -> None:
    book = overridden("""
        [[rate]]
        provider = "cloud"
        model = "large"
        per_mtok = { input = 4, output = 4 }
        """)
    for name in ("large", "large-2026-01-01"):
        assert charged(priced(book, "cloud", name)) == (4400 * MICRODOLLAR, "priced")
        assert charged(priced(book, "maker", name)) == (LARGE, "priced")


LENDERS_OWN = [
    '[[free]]\nprovider = "maker"\nmodel = "large"\nfrom = 2026-05-01\n',
    RATE.replace("2026-03-01", "2026-05-01").replace("2026-04-01T12:00:00+02:00", "2026-06-01"),
    '[[rate]]\nprovider = "maker"\nmodel = "large"\nsame_as = { model = "small" }\n',
    '[[rate]]\nprovider = "maker"\nmodel = "large"\nper_mtok = { input = 1 }\n'
    "window = { from = 09:00:00, to = 18:00:00 }\n",
]


@pytest.mark.parametrize("rules", LENDERS_OWN)
@pytest.mark.parametrize("when", ["2026-04-30T12:00", "2026-05-01T12:00", "2026-06-01T12:00"])
def test_what_an_operator_agreed_with_a_provider_is_not_lent_to_another(
    rules: str, when: str
) -> None:
    """The source lends its list prices; they have the ids that they always had."""
    book = overridden(rules)
    price = priced(book, "cloud", "large", when)
    assert price == priced(listed(), "cloud", "large", when)
    assert book.lent("maker", "large") == listed().lookup("maker", "large")
    assert charged(price) == (LARGE, "fallback")
    assert [r["provider"] for r in book.table_rows() if r["price_row"] == price.price_row] == [
        "maker"
    ]


def test_a_price_that_only_an_operator_has_is_lent_to_nobody() -> None:
    """The source lists the model without one."""
    rate = '[[rate]]\nprovider = "other"\nmodel = "unpriced"\nper_mtok = { input = 1 }\n'
    source = listed()
    borrower = Provider(id="broker", models=(), fallbacks=("other",))
    base = Book(
        source="test",
        source_version="1",
        providers=[*source.providers.values(), borrower],
        rows=source.rows,
    )
    book = parse(f"schema = 1\n{rate}", "prices.toml").over(base)
    assert priced(book, "other", "unpriced", output=0).cost == 1000 * MICRODOLLAR
    price = priced(book, "broker", "unpriced", output=0)
    assert (price.status, price.note) == (
        "unpriced_model",
        "the book lists other unpriced without a price",
    )


def test_a_multiplier_of_who_is_lent_a_price_is_on_the_list_price() -> None:
    edp = ADJUST.replace("maker", "cloud")
    book = overridden(LENDERS_OWN[0] + edp)
    assert priced(book, "cloud", "large")[:3] == (2640 * MICRODOLLAR, LARGE, "fallback")
    assert priced(book, "maker", "large")[:3] == (0, 0, "free")


@pytest.mark.parametrize(
    ("threshold", "last_below"), [("above = 1000", 1000), ("at_least = 1000", 999)]
)
def test_a_threshold_is_strict_or_inclusive_and_prices_the_whole_request_anew(
    threshold: str, last_below: int
) -> None:
    """What it does not name, output here, costs what it costs below."""
    book = overridden(f"""
        [[rate]]
        provider = "maker"
        model = "large"
        per_mtok = {{ input = 1, cache_read = 1, output = 3 }}
        thresholds = [{{ {threshold}, per_mtok = {{ input = 2, cache_read = 1.5 }} }}]
        """)
    for tokens, costs in [(last_below, (1, 1)), (last_below + 1, (2, 1.5))]:
        price = priced(
            book, "maker", "large", input_uncached=tokens - 400, cache_read=400, output=10
        )
        expected = (tokens - 400) * costs[0] + int(400 * costs[1]) + 30
        assert charged(price) == (expected * MICRODOLLAR, "priced")


def test_several_thresholds_are_taken_in_the_order_of_their_height() -> None:
    book = overridden("""
        [[rate]]
        provider = "maker"
        model = "large"
        per_mtok = { input = 1 }
        [[rate.thresholds]]
        above = 200
        per_mtok = { input = 3 }
        [[rate.thresholds]]
        at_least = 101
        per_mtok = { input = 2 }
        """)
    for tokens, rate in [(100, 1), (101, 2), (200, 2), (201, 3)]:
        price = priced(book, "maker", "large", input_uncached=tokens, output=0)
        assert price.cost == tokens * rate * MICRODOLLAR


# Times of day

PEAK = """
[[rate]]
provider = "other"
model = "tiny"
from = 2026-08-17
per_mtok = { input = 1, output = 1 }
[[rate]]
provider = "other"
model = "tiny"
from = 2026-08-17
window = { from = 09:00:00, to = 12:00:00, weekdays = ["mon", "fri"], utc_offset = "+08:00" }
per_mtok = { input = 2, output = 2 }
"""


@pytest.mark.parametrize(
    ("when", "rate"),
    [
        ("2026-11-23T00:59:59.999999", 1),  # a Monday
        ("2026-11-23T01:00:00", 2),
        ("2026-11-23T03:59:59.999999", 2),
        ("2026-11-23T04:00:00", 1),
        ("2026-11-24T02:00:00", 1),
        ("2026-11-27T02:00:00", 2),
        ("2026-11-28T02:00:00", 1),
        ("2026-08-17T01:00:00", 2),  # the first Monday
    ],
)
def test_a_rate_for_a_time_of_day_holds_on_its_weekdays_by_the_clock_it_names(
    when: str, rate: int
) -> None:
    assert charged(priced(overridden(PEAK), "other", "tiny", when)) == (
        1100 * rate * MICRODOLLAR,
        "priced",
    )


def test_within_its_hours_what_has_no_price_of_its_own_is_said_too() -> None:
    for when, rate in [("2026-11-23T02:00", 2), ("2026-11-23T05:00", 1)]:
        price = priced(overridden(PEAK), "other", "tiny", when, speed="fast")
        assert charged(price) == (1100 * rate * MICRODOLLAR, "fallback")
        assert price.note == "speed=fast has no price of its own"


def test_before_its_date_a_time_of_day_has_no_rate_of_its_own() -> None:
    price = priced(overridden(PEAK), "other", "tiny", "2026-08-14T02:00:00")
    assert charged(price) == (3600 * MICRODOLLAR, "priced")


@pytest.mark.parametrize(
    ("when", "rate"),
    [
        ("2026-11-23T21:59:59.999999", 1),
        ("2026-11-23T22:00:00", 2),  # Tuesday, 00:00 in the place
        ("2026-11-23T23:59:59.999999", 2),
        ("2026-11-24T00:00:00", 2),
        ("2026-11-24T03:59:59.999999", 2),
        ("2026-11-24T04:00:00", 1),
        ("2026-11-24T22:00:00", 1),
        ("2026-11-25T03:00:00", 1),
    ],
)
def test_a_time_of_day_over_midnight_utc_keeps_the_weekday_of_its_place(
    when: str, rate: int
) -> None:
    book = overridden(
        PEAK.replace("09:00:00", "00:00:00")
        .replace("12:00:00", "06:00:00")
        .replace('"mon", "fri"', '"tue"')
        .replace("+08:00", "+02:00")
    )
    assert priced(book, "other", "tiny", when).cost == 1100 * rate * MICRODOLLAR


def test_outside_its_hours_a_rate_leaves_the_price_of_the_book() -> None:
    book = overridden("""
        [[rate]]
        provider = "other"
        model = "tiny"
        window = { from = 22:00:00, to = 00:00:00 }
        per_mtok = { input = 1, output = 1 }
        """)
    for when, cost in [
        ("2026-11-21T21:59:59.999999", 3600),
        ("2026-11-21T22:00:00", 1100),
        ("2026-11-21T23:59:59.999999", 1100),
        ("2026-11-22T00:00:00", 3600),
    ]:
        assert charged(priced(book, "other", "tiny", when)) == (cost * MICRODOLLAR, "priced")


PEAKS = """
[[rate]]
provider = "deepseek"
model = "deepseek-v4-pro"
from = 2026-10-01
to = 2026-12-01
window = { from = 01:00:00, to = 02:00:00 }
per_mtok = { input = 0.5, output = 1 }
"""


@pytest.mark.parametrize(
    ("when", "mine", "expected"),
    [
        # Beside its hours the source's stay: 01-04 and 06-10 UTC at twice the rate.
        ("2026-11-20T00:59:59.999999", "", "list"),
        ("2026-11-20T01:00", "", "rate"),
        ("2026-11-20T01:59:59.999999", "", "rate"),
        ("2026-11-20T02:00", "", "list"),
        ("2026-11-20T03:59:59.999999", "", "list"),
        ("2026-11-20T07:00", "", "list"),
        ("2026-11-20T12:00", "", "list"),
        ("2026-11-21T01:30", "", "rate"),  # a Saturday
        # Before and after its dates all hours are the source's.
        ("2026-09-30T01:30", "", "list"),
        ("2026-12-01T01:30", "", "list"),
        # On other weekdays than its own, too.
        ("2026-11-16T01:30", 'weekdays = ["mon"]', "rate"),
        ("2026-11-17T01:30", 'weekdays = ["mon"]', "list"),
        ("2026-11-16T02:30", 'weekdays = ["mon"]', "list"),
        ("2026-11-16T07:00", 'weekdays = ["mon"]', "list"),
    ],
)
def test_a_time_of_day_takes_from_those_of_the_book_its_own_hours_only(
    book: Book, when: str, mine: str, expected: str
) -> None:
    rules = PEAKS.replace("02:00:00 }", f"02:00:00, {mine} }}") if mine else PEAKS
    laid = parse(f"schema = 1\n{rules}", "prices.toml").over(book)
    call = row("deepseek", "deepseek-v4-pro", input_uncached=1_000_000, output=0)
    price = Engine(laid).price(call._replace(started_at=at(when)))
    source = Engine(book).price(call._replace(started_at=at(when)))
    assert source.cost in (660_000 * MICRODOLLAR, 1_320_000 * MICRODOLLAR)
    if expected == "rate":
        assert charged(price) == (500_000 * MICRODOLLAR, "priced")
    else:
        assert price._replace(price_row=None) == source._replace(price_row=None)


@given(
    st.lists(st.tuples(st.integers(0, 23), st.integers(1, 24), st.none() | st.integers(0, 6))),
    st.none() | st.sets(st.integers(0, 6), min_size=1),
)
def test_what_is_left_of_a_time_of_day_is_every_hour_that_no_rule_takes(
    taken: list[tuple[int, int, int | None]], weekdays: set[int] | None
) -> None:
    """Once, and no other."""
    days = None if weekdays is None else tuple(sorted(weekdays))
    peak = PriceRow(provider="p", model="m", rates={}, time_of_day=(4, 20), weekdays=days)
    windows = [
        Window((start, end), None if day is None else (day,))
        for start, end, day in taken
        if start < end
    ]
    if not windows:
        return
    document = toml_source.parse("", "prices.toml")
    rule = Free(at=document, provider="p", model="m", start=None, end=None, reason=None)
    hours = [
        (day, hour)
        for one in left(peak, rule, windows)
        for day in (range(7) if one.weekdays is None else one.weekdays)
        for hour in range(*(one.time_of_day or (0, 0)))
    ]
    assert sorted(hours) == [
        (day, hour)
        for day in sorted(weekdays or range(7))
        for hour in range(4, 20)
        if not any(
            one.span[0] <= hour < one.span[1] and (one.weekdays is None or day in one.weekdays)
            for one in windows
        )
    ]


# Another model's rates


def test_a_model_can_have_the_rates_of_another_in_every_context_and_tier() -> None:
    book = overridden("""
        [[rate]]
        provider = "other"
        model = "tiny"
        from = 2026-10-29
        same_as = { provider = "maker", model = "large" }
        reason = "the name moved"
        [[rate]]
        provider = "other"
        model = "small-too"
        same_as = { provider = "maker", model = "small" }
        """)
    assert charged(priced(book, "other", "tiny", "2026-10-28")) == (3600 * MICRODOLLAR, "priced")
    assert charged(priced(book, "other", "tiny", "2026-10-29")) == (LARGE, "priced")
    assert priced(book, "other", "tiny", service_tier="batch").cost == BATCH
    for tokens, rate in [(200_000, 1), (200_001, 2)]:
        price = priced(book, "other", "small-too", input_uncached=tokens, output=0)
        assert price.cost == tokens * rate * MICRODOLLAR
    [made] = [r for r in book.lookup("other", "tiny") if r.layer]
    [theirs] = listed().lookup("maker", "large")
    assert (made.layer, made.base_row, made.reason) == (
        "same_as", theirs.price_row, "the name moved",
    )  # fmt: skip


def test_a_model_can_have_the_rates_that_the_file_gives_another() -> None:
    book = overridden(
        RATE
        + """
        [[rate]]
        provider = "other"
        model = "tiny"
        same_as = { provider = "maker", model = "large" }
        """
    )
    assert priced(book, "other", "tiny", "2026-03-01").cost == 1500 * MICRODOLLAR
    assert priced(book, "other", "tiny", "2026-02-28").cost == LARGE


def same_as(*names: str) -> str:
    """Each of these models of `other` has the rates of the next."""
    return "".join(
        f'[[rate]]\nprovider = "other"\nmodel = "{model}"\n'
        f'same_as = {{ provider = "{target[0]}", model = "{target[1]}" }}\n'
        for model, target in zip(names, [*(("other", n) for n in names[1:]), LAST], strict=True)
    )


LAST = ("maker", "large")


def test_a_chain_of_models_has_the_rates_of_the_last_whatever_the_order_in_the_file() -> None:
    rules = same_as("tiny", "b", "c")
    first, *others = (f"[[rate]]{each}" for each in rules.split("[[rate]]")[1:])
    for text in (rules, "".join([*others, first]), "".join([*reversed(others), first])):
        book = overridden(text)
        for model in ("tiny", "b", "c"):
            assert charged(priced(book, "other", model)) == (LARGE, "priced")
            assert priced(book, "other", model, service_tier="batch").cost == BATCH


def test_a_model_can_be_free_as_another_is() -> None:
    book = overridden(
        """
        [[free]]
        provider = "maker"
        model = "large"
        from = 2026-05-01
        """
        + same_as("tiny")
    )
    assert charged(priced(book, "other", "tiny", "2026-04-30")) == (LARGE, "priced")
    price = priced(book, "other", "tiny", "2026-05-01", service_tier="batch")
    assert (price.cost, price.status, price.note) == (0, "free", "free by the operator's decision")


# Free


def test_what_is_free_by_decision_costs_nothing_whatever_is_asked_of_it() -> None:
    book = overridden("""
        [[free]]
        provider = "maker"
        model = "large"
        from = 2026-05-01
        reason = "trial"
        """)
    assert priced(book, "maker", "large", "2026-04-30").cost == LARGE
    for facts in ({}, {"service_tier": "batch"}, {"units": {"web_search": 4}}):
        price = priced(book, "maker", "large", "2026-05-01", **facts)
        assert (price.cost, price.list_cost, price.status, price.note) == (0, 0, "free", "trial")
        assert price.price_row is not None


def test_a_free_model_makes_no_false_count_true() -> None:
    book = overridden('[[free]]\nprovider = "maker"\nmodel = "large"')
    assert priced(book, "maker", "large", output=-1).status == "bad_usage"
    assert priced(book, "maker", "large", source="missing").status == "bad_usage"


def test_a_name_that_only_resembles_a_free_one_is_not_free_for_certain() -> None:
    book = overridden('[[free]]\nprovider = "maker"\nmodel = "large"')
    price = priced(book, "maker", "large-x")
    assert charged(price) == (0, "fallback")
    assert price.note == "model matched loosely as large"


def test_all_doubts_of_a_name_that_may_be_free_are_said() -> None:
    book = overridden('[[free]]\nprovider = "maker"\nmodel = "large"')
    price = priced(book, "maker", "unknown", request_model="large-vision")
    assert charged(price) == (0, "fallback")
    assert price.note == (
        "model unknown is not in the book, request model used; model matched loosely as large"
    )


def test_without_a_decision_an_empty_price_stays_unpriced() -> None:
    assert priced(overridden(RATE), "other", "unpriced").status == "unpriced_model"


# Names

ALIAS = """
[[alias]]
provider = "cloud"
model = "Prod-Chat"
is = { provider = "maker", model = "large" }
context = { region = "eu" }
from = 2026-05-01
to = 2026-06-01
"""


@pytest.mark.parametrize(
    ("when", "status"),
    [
        ("2026-04-30T23:59:59.999999", "unpriced_model"),
        ("2026-05-01", "fallback"),
        ("2026-05-31T23:59:59.999999", "fallback"),
        ("2026-06-01", "unpriced_model"),
    ],
)
def test_an_alias_holds_from_its_start_until_just_before_its_end(when: str, status: str) -> None:
    price = priced(overridden(ALIAS), "cloud", "prod-chat", when)
    assert price.status == status
    if status == "fallback":
        assert (price.cost, price.note) == (LARGE, "region=eu has no price of its own")


def test_an_alias_is_looked_up_at_a_moment() -> None:
    """And says for how long it is one, in the order of time, whatever the order of names."""
    names = Names(overridden(ALIAS))
    meant = Match("maker", "large", context=("region=eu",))
    begin, end = at("2026-05-01"), at("2026-06-01")
    for moment, match in [(None, None), (begin - 1, None), (begin, meant), (end, None)]:
        assert names.model("cloud", " Prod-Chat ", moment) == match
    assert names.edges("cloud", "x", "Prod-Chat", None) == [begin, end]
    assert names.edges("maker", "prod-chat") == []


def test_an_alias_without_doubt_is_exact_and_has_the_contexts_of_its_model() -> None:
    book = overridden(ALIAS.replace('context = { region = "eu" }', ""))
    assert charged(priced(book, "cloud", "prod-chat", "2026-05-01")) == (LARGE, "priced")
    batch = priced(book, "cloud", "prod-chat", "2026-05-01", service_tier="batch")
    assert charged(batch) == (BATCH, "priced")


def test_the_name_of_a_deployment_goes_before_the_model_that_answers() -> None:
    """It alone says where the call went, and so what it costs."""
    price = priced(overridden(ALIAS), "cloud", "small", "2026-05-01", request_model="prod-chat")
    assert (price.cost, price.note) == (LARGE, "region=eu has no price of its own")


@pytest.mark.parametrize("begins", ["", "from = 2026-03-01"])
def test_of_two_deployments_the_one_that_answered_is_meant(begins: str) -> None:
    """As of two models; while its name is no alias, what the request names is meant."""
    book = overridden(f"""
        [[alias]]
        provider = "cloud"
        model = "asked"
        is = {{ provider = "maker", model = "small" }}
        {begins}
        [[alias]]
        provider = "cloud"
        model = "answered"
        is = {{ provider = "maker", model = "large" }}
        from = 2026-05-01
        to = 2026-06-01
        """)
    for when, asked, answered in [
        ("2026-02-28T23:59:59.999999", None if begins else 1400, None),
        ("2026-03-01", 1400, None),
        ("2026-04-30T23:59:59.999999", 1400, None),
        ("2026-05-01", 3000, 3000),
        ("2026-05-31T23:59:59.999999", 3000, 3000),
        ("2026-06-01", 1400, None),
    ]:
        for request_model, cost in [("asked", asked), ("unknown", answered)]:
            price = priced(book, "cloud", "answered", when, request_model=request_model)
            status = "priced" if cost else "unpriced_model"
            assert charged(price) == (cost and cost * MICRODOLLAR, status)


def test_prices_that_change_before_while_and_after_a_name_is_an_alias_hold_in_their_time() -> None:
    times = [
        ("2026-03-01", "2026-04-01", 3),
        ("2026-04-20", "2026-05-01", 4),
        ("2026-05-10", "2026-05-20", 5),
        ("2026-06-01", "2026-06-10", 6),
        ("2026-07-01", "2026-08-01", 7),
    ]
    rates = [
        f'[[rate]]\nprovider = "maker"\nmodel = "large"\nfrom = {start}\nto = {end}\n'
        f"per_mtok = {{ input = {usd}, output = 0 }}\n"
        for start, end, usd in times
    ]
    book = overridden("".join(rates) + ALIAS)
    for day, large, alias in [
        ("2026-02-28", 3000, None),
        ("2026-03-01", 3000, None),
        ("2026-04-01", 3000, None),
        ("2026-04-20", 4000, None),
        ("2026-05-01", 3000, 3000),
        ("2026-05-10", 5000, 5000),
        ("2026-05-20", 3000, 3000),
        ("2026-06-01", 6000, None),
        ("2026-06-10", 3000, None),
        ("2026-07-01", 7000, None),
        ("2026-08-01", 3000, None),
    ]:
        assert priced(book, "maker", "large", day).cost == large * MICRODOLLAR, day
        found = priced(book, "cloud", "prod-chat", day).cost
        assert found == (alias and alias * MICRODOLLAR), day


def test_an_alias_without_a_provider_means_the_same_provider() -> None:
    book = overridden('[[alias]]\nprovider = "maker"\nmodel = "m"\nis = { model = "small" }')
    assert charged(priced(book, "maker", "m")) == (1400 * MICRODOLLAR, "priced")


def test_an_alias_adds_what_the_call_does_not_say_itself() -> None:
    book = overridden(ALIAS.replace('region = "eu"', 'processing = "batch", service_tier = "flex"'))
    price = priced(book, "cloud", "prod-chat", "2026-05-01")
    assert (price.cost, price.note) == (BATCH, "service_tier=flex has no price of its own")
    price = priced(book, "cloud", "prod-chat", "2026-05-01", service_tier="priority")
    assert (price.cost, price.note) == (BATCH, "service_tier=priority has no price of its own")


def test_a_name_of_a_provider_is_exact_and_goes_before_every_other() -> None:
    book = overridden("""
        [providers]
        "Our Gateway" = "maker"
        other = "maker"
        """)
    assert priced(book, "our gateway", "large").cost == LARGE
    assert priced(book, "OTHER ", "large").cost == LARGE
    assert priced(book, "our gateway 2", "large").status == "unpriced_provider"


# Multipliers

ADJUST = """
[[adjust]]
name = "edp"
provider = "maker"
multiply = 0.88
from = 2026-07-01
to = 2027-07-01
reason = "contract 7"
"""


@pytest.mark.parametrize(
    ("when", "cost"),
    [
        ("2026-06-30T23:59:59.999999", 3000),
        ("2026-07-01", 2640),
        ("2027-06-30T23:59:59.999999", 2640),
        ("2027-07-01", 3000),
    ],
)
def test_a_multiplier_holds_from_its_start_until_just_before_its_end(when: str, cost: int) -> None:
    """The list cost stays beside it."""
    price = priced(overridden(ADJUST), "maker", "large", when)
    assert price[:3] == (cost * MICRODOLLAR, LARGE, "priced")


def test_an_adjusted_row_names_the_row_it_was_made_of_and_the_multipliers() -> None:
    book = overridden(ADJUST)
    price = priced(book, "maker", "large")
    [made] = [r for r in book.table_rows() if r["price_row"] == price.price_row]
    [of_source] = [r for r in listed().rows if (r.model, r.context) == ("large", "std")]
    assert made["base_row"] == of_source.price_row
    assert (made["layer"], made["reason"]) == ("adjust", "contract 7")
    assert (made["multiplier"], made["unit_multiplier"]) == ("0.88", "0.88")
    assert made["rates"] == {
        "input_uncached": "0.000002",
        "output": "0.00001",
        "web_search": "0.01",
    }
    assert json.loads(json.dumps(made)) == made


def test_multipliers_stack_in_the_order_of_the_file_and_round_once() -> None:
    """2 x 1.1 x 0.8775 x 0.123456789012 = 0.238333331187666 microdollars."""
    book = overridden("""
        [[adjust]]
        name = "zone"
        multiply = 1.1
        [[adjust]]
        name = "edp"
        provider = "maker"
        multiply = 0.8775
        [[adjust]]
        name = "odd"
        provider = "maker"
        model = "LARGE"
        multiply = 0.123456789012
        """)
    price = priced(book, "maker", "large", input_uncached=1, output=0)
    assert price[:2] == (238_333, 2 * MICRODOLLAR)
    [made] = [r for r in book.rows if r.price_row == price.price_row]
    assert [one.name for one in made.adjustments] == ["zone", "edp", "odd"]
    small = priced(book, "maker", "small", input_uncached=1, output=0)
    assert small[:2] == (965_250, MICRODOLLAR)
    assert priced(book, "other", "tiny", input_uncached=1, output=0).cost == 3_300_000


def test_a_multiplier_can_leave_fees_as_they_are() -> None:
    """Residency makes tokens dearer, and no search."""
    for of, fee in [("tokens", 10_000), ("all", 11_000)]:
        book = overridden(
            f'[[adjust]]\nname = "us"\nprovider = "maker"\nmultiply = 1.1\nof = "{of}"'
        )
        price = priced(book, "maker", "large", units={"web_search": 1})
        assert price[:2] == ((3300 + fee) * MICRODOLLAR, (3000 + 10_000) * MICRODOLLAR)


def test_a_multiplier_is_for_calls_that_say_all_it_asks_for() -> None:
    book = overridden("""
        [[adjust]]
        name = "us"
        provider = "maker"
        when = { inference_geo = "US" }
        multiply = 1.1
        from = 2026-05-01
        [[adjust]]
        name = "fast in us"
        provider = "maker"
        when = { inference_geo = "us", speed = "fast" }
        multiply = 3
        """)
    for when, facts, cost, note in [
        ("2026-06-01", {}, 3000, None),
        ("2026-06-01", {"inference_geo": "us"}, 3300, None),
        ("2026-06-01", {"inference_geo": "us", "service_tier": "batch"}, 1650, None),
        ("2026-06-01", {"inference_geo": "us", "speed": "fast"}, 9900, None),
        ("2026-06-01", {"speed": "fast"}, 3000, "speed=fast has no price of its own"),
        ("2026-06-01", {"inference_geo": "eu"}, 3000, "inference_geo=eu has no price of its own"),
        ("2026-04-30", {"inference_geo": "us"}, 3000, "inference_geo=us has no price of its own"),
        ("2026-04-30", {"inference_geo": "us", "speed": "fast"}, 9000, None),
    ]:
        price = priced(book, "maker", "large", when, **facts)
        assert (price.cost, price.note) == (cost * MICRODOLLAR, note), (when, facts)
        assert price.status == ("fallback" if note else "priced")


def test_a_multiplier_that_asks_for_what_the_book_has_a_context_for_is_for_that_context() -> None:
    book = overridden("""
        [[adjust]]
        name = "batch"
        provider = "maker"
        when = { processing = "batch" }
        multiply = 0.5
        """)
    price = priced(book, "maker", "large", service_tier="batch")
    assert price[:3] == (BATCH // 2, BATCH, "priced")
    assert charged(priced(book, "maker", "large")) == (LARGE, "priced")
    # `small` has no such context: half its standard price is one.
    price = priced(book, "maker", "small", service_tier="batch")
    assert price[:3] == (700 * MICRODOLLAR, 1400 * MICRODOLLAR, "priced")


def test_a_multiplier_prices_a_context_while_the_book_does_not() -> None:
    """Half of the standard price is then that of the context, and later half of its own."""
    book = overridden("""
        [[rate]]
        provider = "maker"
        model = "large"
        context = { service_tier = "flex" }
        from = 2026-06-01
        per_mtok = { input = 1, output = 2 }
        [[adjust]]
        name = "half"
        provider = "maker"
        when = { service_tier = "flex" }
        multiply = 0.5
        """)
    for when, cost, listed_at in [
        ("2026-05-31T23:59:59.999999", 1500, 3000),
        ("2026-06-01", 600, 1200),
    ]:
        price = priced(book, "maker", "large", when, service_tier="flex")
        assert price[:3] == (cost * MICRODOLLAR, listed_at * MICRODOLLAR, "priced")


def test_a_multiplier_is_that_of_who_sells_and_not_of_who_lends_the_price() -> None:
    book = overridden(ADJUST.replace("maker", "cloud"))
    assert priced(book, "cloud", "large")[:3] == (2640 * MICRODOLLAR, LARGE, "fallback")
    assert charged(priced(book, "maker", "large")) == (LARGE, "priced")
    book = overridden(ADJUST)
    assert charged(priced(book, "cloud", "large")) == (LARGE, "fallback")


def test_a_multiplier_reaches_a_model_that_an_alias_means() -> None:
    book = overridden(
        ALIAS
        + """
        [[adjust]]
        name = "eu zone"
        provider = "cloud"
        when = { region = "eu" }
        multiply = 1.1
        """
    )
    price = priced(book, "cloud", "prod-chat", "2026-05-01")
    assert price[:3] == (3300 * MICRODOLLAR, LARGE, "priced")
    price = priced(book, "cloud", "prod-chat", "2026-05-01", service_tier="batch")
    assert price[:3] == (1650 * MICRODOLLAR, BATCH, "priced")
    assert charged(priced(book, "cloud", "large", "2026-05-01")) == (LARGE, "fallback")


def test_a_multiplier_is_on_whichever_rate_won() -> None:
    price = priced(
        overridden(RATE + ADJUST.replace("2026-07", "2026-03")), "maker", "large", "2026-03-02"
    )
    assert price[:2] == (1320 * MICRODOLLAR, 1500 * MICRODOLLAR)


def test_a_multiplier_that_begins_before_a_rate_and_ends_after_it_is_on_all_of_it() -> None:
    """And one that begins with it and ends with it, too; beyond it is on what is there."""
    rate = RATE.replace("2026-04-01T12:00:00+02:00", "2026-04-01")
    for start, end in [
        ("2026-02-01", "2026-05-01"),
        ("2026-03-01", "2026-04-01"),
        ("2026-02-01", "2026-04-01"),
        ("2026-03-01", "2026-05-01"),
        ("2026-03-10", "2026-03-20"),
    ]:
        book = overridden(rate + ADJUST.replace("2026-07-01", start).replace("2027-07-01", end))
        for when in (
            *("2026-01-31", "2026-02-01", "2026-03-01", "2026-03-10", "2026-03-20"),
            *("2026-04-01", "2026-05-01"),
        ):
            listed_at = 1500 if "2026-03-01" <= when < "2026-04-01" else 3000
            cost = listed_at * 88 // 100 if start <= when < end else listed_at
            price = priced(book, "maker", "large", when)
            assert price[:3] == (cost * MICRODOLLAR, listed_at * MICRODOLLAR, "priced")


def test_no_multiplied_row_is_for_a_request_with_two_values_of_one_kind() -> None:
    """There is none, so that such a row would never be used."""
    rule = '[[adjust]]\nname = "{0}"\nprovider = "maker"\nwhen = {{ {1} }}\nmultiply = 2\n'
    asked = ['service_tier = "flex"', 'service_tier = "priority"', 'processing = "slow"']
    book = overridden("".join(rule.format(number, one) for number, one in enumerate(asked)))
    made = sorted(row.context for row in book.rows if row.adjustments and row.model == "large")
    assert made == sorted(
        [
            *("service_tier=flex", "service_tier=priority", "processing=slow"),
            *("processing=slow,service_tier=flex", "processing=slow,service_tier=priority"),
            *("processing=batch,service_tier=flex", "processing=batch,service_tier=priority"),
        ]
    )


@pytest.mark.parametrize(
    ("reasons", "said"),
    [(["", ""], None), (["a", ""], "a"), (["a", "b"], "a; b"), (["b", "b"], "b")],
)
def test_an_adjusted_row_has_the_reasons_of_its_multipliers(
    reasons: list[str], said: str | None
) -> None:
    rules = "".join(
        f'[[adjust]]\nname = "{number}"\nprovider = "other"\nmultiply = 2\n'
        + (f'reason = "{reason}"\n' if reason else "")
        for number, reason in enumerate(reasons)
    )
    assert [row.reason for row in overridden(rules).rows if row.adjustments] == [said]


def test_what_is_free_is_not_multiplied() -> None:
    """A multiplier for nothing else is refused, as one that applies to no price."""
    free = '[[free]]\nprovider = "maker"\nmodel = "large"\n'
    with pytest.raises(UsageError, match="applies to no price of the book"):
        overridden(free + ADJUST.replace("multiply", 'model = "large"\nmultiply'))
    book = overridden(free + ADJUST)
    assert {row.model for row in book.rows if row.adjustments} == {"small"}


def test_a_multiplier_is_on_a_model_in_any_letters() -> None:
    rate = '[[rate]]\nprovider = "maker"\nmodel = "Large"\nper_mtok = { input = 1 }\n'
    models = (Model(id="Large", rule=Rule("equals", "large")),)
    book = Book(
        source="test",
        source_version="1",
        providers=[Provider(id="maker", models=models)],
        rows=[PriceRow(provider="maker", model="Large", rates={"input_uncached": 10**12})],
    )
    for rules in (ADJUST, rate + ADJUST):
        text = rules.replace("multiply", 'model = "LARGE"\nmultiply')
        price = priced(
            parse(f"schema = 1\n{text}", "p.toml").over(book), "maker", "large", output=0
        )
        assert price[:3] == (880 * MICRODOLLAR, 1000 * MICRODOLLAR, "priced")


def test_a_multiplier_multiplies_every_tier() -> None:
    book = overridden(ADJUST)
    for tokens, rate in [(200_000, 1), (200_001, 2)]:
        price = priced(book, "maker", "small", input_uncached=tokens, output=0)
        assert price[:2] == (tokens * rate * 880_000, tokens * rate * MICRODOLLAR)


def test_a_multiplier_takes_no_doubt_from_the_price_it_is_on() -> None:
    """Nor does a model's having the rates of another; rates of the operator's own have none."""
    hour = 3_600_000_000
    source = PriceRow(
        provider="openai", model="m", rates={"input_uncached": 10**12, "cache_write": 10**12}
    )
    peak = replace(source, time_of_day=(0, 24 * hour))
    models = (Model(id="m", rule=Rule("equals", "m")),)
    providers = [Provider(id="openai", models=models), Provider(id="azure", models=())]
    own = "per_mtok = { input = 1, cache_write = 1 }"
    same = 'same_as = { provider = "openai", model = "m" }'
    for row_of, counts, doubted in [
        (source, {"cache_write": 5}, True),
        (source, {"cache_write_5m": 5}, False),
        (peak, {}, True),
    ]:
        book = Book(source="test", source_version="1", providers=providers, rows=[row_of])
        for provider, rule, doubtful in [("openai", own, False), ("azure", same, doubted)]:
            rules = f'[[rate]]\nprovider = "{provider}"\nmodel = "m"\n{rule}\n'
            adjust = f'[[adjust]]\nname = "a"\nprovider = "{provider}"\nmultiply = 2\n'
            for text, doubts in [
                (rules, doubtful),
                (rules + adjust, doubtful),
                (adjust.replace("azure", "openai"), doubted),
            ]:
                laid = parse(f"schema = 1\n{text}", "prices.toml").over(book)
                of = provider if rule in text else "openai"
                call = row(of, "m", input_uncached=1, output=0, **counts)
                status = Engine(laid).price(call).status
                assert status == ("fallback" if doubts else "priced"), (text, counts)


@given(
    tokens=st.integers(0, 10**9),
    hours=st.integers(0, 10**6),
    fees=st.integers(0, 10**6),
    factors=st.lists(
        st.tuples(st.decimals("0.000001", 1000, places=6), st.booleans()), min_size=1, max_size=3
    ),
)
def test_an_adjusted_cost_is_the_exact_product_rounded_once(
    tokens: int, hours: int, fees: int, factors: list[tuple[Decimal, bool]]
) -> None:
    """Whatever precision the host program has set for its own decimals."""
    rules = "".join(
        f'[[adjust]]\nname = "{n}"\nmultiply = {factor:f}\nof = "{"tokens" if only else "all"}"\n'
        for n, (factor, only) in enumerate(factors)
        if factor != 1
    )
    rates = "per_mtok = { input = 0.333333 }\nper = { web_search = 0.007, audio_hours = 0.1 }"
    with localcontext() as context:
        context.prec = 3
        book = overridden(f'[[rate]]\nprovider = "maker"\nmodel = "large"\n{rates}\n{rules}')
        units = {"audio_seconds": hours, "web_search": fees}
        price = priced(book, "maker", "large", input_uncached=tokens, output=0, units=units)
    of_tokens, of_units = (
        tokens * Fraction("0.333333"),
        fees * 7000 + Fraction(hours * 100_000, 3600),
    )
    assert price.list_cost == round((of_tokens + of_units) * 10**6)
    for factor, only in factors:
        of_tokens *= Fraction(factor)
        of_units *= 1 if only else Fraction(factor)
    assert price.cost == round((of_tokens + of_units) * 10**6)


# Flat prices


def test_a_flat_price_has_the_adjusted_rates_and_those_of_the_list() -> None:
    flat = Engine(overridden(ADJUST)).flat(row("maker", "small", input_uncached=1, output=1))
    assert flat is not None
    assert (flat.rates[0], flat.rates[-1]) == (880_000, 3_520_000)
    assert (flat.list_rates[0], flat.list_rates[-1]) == (1_000_000, 4_000_000)
    assert (flat.since, flat.until) == (at("2026-07-01"), at("2027-07-01"))
    assert flat.most_input == 200_000


@pytest.mark.parametrize(("multiply", "is_flat"), [("0.123456", True), ("0.1234567", False)])
def test_a_rate_of_no_whole_number_of_picodollars_has_no_flat_price(
    multiply: str,
    is_flat: bool,
) -> None:
    engine = Engine(overridden(ADJUST.replace("0.88", multiply)))
    assert (engine.flat(row("maker", "small", input_uncached=1, output=1)) is not None) is is_flat


def test_a_flat_price_needs_whole_picodollars_in_the_list_too() -> None:
    """Half a picodollar is listed here, and one is charged."""
    half = '[[rate]]\nprovider = "maker"\nmodel = "small"\nper_mtok = {{ input = {} }}\n'
    for usd, is_flat in [("0.0000005", False), ("0.000001", True)]:
        book = overridden(half.format(usd) + ADJUST.replace("0.88", "2"))
        flat = Engine(book).flat(row("maker", "small", input_uncached=1, output=0))
        assert (flat is not None) is is_flat


def test_a_flat_price_is_of_tokens_alone_and_so_are_its_multipliers() -> None:
    engine = Engine(overridden(ADJUST + 'of = "tokens"'))
    flat = engine.flat(row("maker", "large", input_uncached=1, output=1))
    assert flat is not None
    assert (flat.rates[0], flat.list_rates[0]) == (1_760_000, 2_000_000)


def test_what_is_free_has_no_flat_price() -> None:
    engine = Engine(overridden('[[free]]\nprovider = "maker"\nmodel = "large"'))
    assert engine.flat(row("maker", "large", input_uncached=1, output=1)) is None


# The rate for everything else

DEFAULT = """
[default]
per_mtok = { input = 5, output = 25 }
from = 2026-05-01
"""


@pytest.mark.parametrize(
    ("provider", "model", "note"),
    [
        ("maker", "huge", "model huge is not in the book, default rate used"),
        ("maker", None, "no model, default rate used"),
        ("nobody", "x", "provider nobody is not in the book, default rate used"),
        (None, "x", "no provider, default rate used"),
        ("other", "unpriced", "the book lists other unpriced without a price, default rate used"),
    ],
)
def test_what_nobody_lists_has_the_default_rate_and_says_so(
    provider: Any, model: Any, note: str
) -> None:
    book = overridden(DEFAULT + ADJUST)
    price = priced(book, provider, model, "2026-05-01")
    assert charged(price) == (7500 * MICRODOLLAR, "fallback")
    assert price.note == note
    before = priced(book, provider, model, "2026-04-30T23:59:59.999999")
    assert before.cost is None
    assert before.status.startswith("unpriced")


def test_where_a_model_has_a_price_at_other_times_only_the_default_rate_holds() -> None:
    book = overridden(
        DEFAULT
        + """
        [[rate]]
        provider = "mine"
        model = "m"
        from = 2026-07-01
        to = 2026-08-01
        per_mtok = { input = 1, output = 1 }
        """
    )
    for when, status in [
        ("2026-04-30", "unpriced_model"),
        ("2026-05-01", "fallback"),
        ("2026-07-01", "priced"),
        ("2026-08-01", "fallback"),
    ]:
        assert priced(book, "mine", "m", when).status == status


def test_between_the_hours_that_have_a_rate_the_default_rate_holds() -> None:
    book = overridden(
        DEFAULT
        + """
        [[rate]]
        provider = "mine"
        model = "m"
        to = 2026-11-01
        per_mtok = { input = 1, output = 1 }
        [[rate]]
        provider = "mine"
        model = "m"
        window = { from = 09:00:00, to = 18:00:00 }
        per_mtok = { input = 3, output = 3 }
        """
    )
    note = "the book has no price for that time, default rate used"
    for when, cost, said in [
        ("2026-10-31T08:00", 1100, None),
        ("2026-11-01T08:59:59.999999", 7500, note),
        ("2026-11-01T09:00", 3300, None),
        ("2026-11-01T17:59:59.999999", 3300, None),
        ("2026-11-01T18:00", 7500, note),
    ]:
        price = priced(book, "mine", "m", when)
        assert charged(price) == (cost * MICRODOLLAR, "fallback" if said else "priced")
        assert price.note == said


# The book that comes of it


def test_no_rules_are_the_book_itself() -> None:
    book = listed()
    assert parse("schema = 1", "prices.toml").over(book) is book


def test_rules_make_another_book_that_names_the_one_it_was_made_of() -> None:
    book = overridden(RATE)
    assert book.base == listed().id
    assert book.id != listed().id
    assert overridden(RATE).id == book.id
    assert overridden(RATE.replace("FIN-221", "FIN-222")).id != book.id
    assert overridden("# nothing but words\n" + RATE).id == book.id


def test_rules_are_laid_over_a_book_once() -> None:
    with pytest.raises(ValueError, match="has overrides already"):
        parse("schema = 1", "prices.toml").over(overridden(RATE))


def test_every_row_of_the_source_stays_or_is_named_by_what_took_its_place() -> None:
    """Also where one rule after another takes a part of it."""
    twice = RATE.replace("2026-03-01", "2026-05-01").replace("2026-04-01", "2026-06-01")
    book = overridden(RATE + twice + ADJUST + ALIAS)
    source = {r.price_row for r in listed().rows}
    mine, named = {r.price_row for r in book.rows}, {r.base_row for r in book.rows}
    assert source <= mine | named
    assert named <= source | mine | {None}


def test_what_a_row_of_the_source_is_called_does_not_depend_on_overrides() -> None:
    """The same content has the same id in every book."""
    before = priced(listed(), "other", "tiny").price_row
    assert priced(overridden(RATE + ADJUST), "other", "tiny").price_row == before


def test_a_row_without_overrides_is_canonical_as_it_always_was() -> None:
    """Books that a ledger keeps would else no longer be what their ids are hashes of."""
    made = PriceRow(provider="p", model="m", rates={"output": 1})
    assert made.canonical() == ["p", "m", "std", None, None, None, 0, {"output": 1}, {}]


# Where rules meet


LATE_MONDAY = (
    'window = { from = 22:00:00, to = 23:30:00, weekdays = ["mon"], utc_offset = "-01:00" }'
)
EVERY_HOUR = '[[rate]]\nprovider = "other"\nmodel = "tiny"\nper_mtok = { input = 1, output = 1 }\n'


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("", "", True),
        ("to = 2026-05-01", "from = 2026-05-01", False),
        ("to = 2026-05-02", "from = 2026-05-01", True),
        ("from = 2026-05-01", "to = 2026-05-01", False),
        ("from = 2026-05-01", "", True),
        ("to = 2026-05-01", "", True),
        ("from = 2026-05-01\nto = 2026-06-01", "from = 2026-06-01\nto = 2026-07-01", False),
        ("from = 2026-05-01\nto = 2026-06-01", "from = 2026-05-31\nto = 2026-07-01", True),
        ('context = { speed = "fast" }', 'context = { speed = "slow" }', False),
        ('context = { speed = "fast" }', 'context = { speed = "fast" }', True),
        ("window = { from = 01:00:00, to = 02:00:00 }", "", False),
        (
            "window = { from = 01:00:00, to = 02:00:00 }",
            "window = { from = 02:00:00, to = 03:00:00 }",
            False,
        ),
        (
            "window = { from = 01:00:00, to = 02:00:00 }",
            "window = { from = 01:59:59, to = 03:00:00 }",
            True,
        ),
        (
            'window = { from = 01:00:00, to = 02:00:00, weekdays = ["mon"] }',
            'window = { from = 01:00:00, to = 02:00:00, weekdays = ["tue"] }',
            False,
        ),
        (
            'window = { from = 01:00:00, to = 02:00:00, weekdays = ["mon", "tue"] }',
            'window = { from = 00:00:00, to = 01:00:01, weekdays = ["tue"] }',
            True,
        ),
        (
            'window = { from = 01:00:00, to = 02:00:00, weekdays = ["mon"] }',
            "window = { from = 00:00:00, to = 01:00:01 }",
            True,
        ),
        (
            LATE_MONDAY,
            'window = { from = 00:00:00, to = 00:30:00, weekdays = ["tue"] }',
            True,
        ),
        (
            LATE_MONDAY,
            'window = { from = 00:30:00, to = 01:00:00, weekdays = ["tue"] }',
            False,
        ),
    ],
)
def test_two_rates_meet_if_there_is_a_call_that_both_are_for(
    one: str, other: str, meet: bool
) -> None:
    """Whichever comes first in the file."""
    for rules in ((one, other), (other, one)):
        text = "schema = 1\n" + "".join(f"{EVERY_HOUR}{rule}\n" for rule in rules)
        if meet:
            with pytest.raises(UsageError, match=r"at a time for which \[\[rate\]\] of line 2 is"):
                parse(text, "prices.toml")
        else:
            parse(text, "prices.toml")


def test_rules_about_one_name_at_two_providers_do_not_meet() -> None:
    rate = '[[rate]]\nprovider = "{}"\nmodel = "new"\nper_mtok = {{ input = {}, output = 0 }}\n'
    book = overridden(rate.format("maker", 1) + rate.format("other", 2))
    for provider, cost in [("maker", 1000), ("other", 2000)]:
        assert charged(priced(book, provider, "new")) == (cost * MICRODOLLAR, "priced")


def test_two_times_of_day_of_one_model_stand_side_by_side() -> None:
    evening = PEAK.split("[[rate]]")[2].replace("09:00", "20:00").replace("12:00", "21:00")
    book = overridden(f"{PEAK}[[rate]]{evening.replace('put = 2', 'put = 3')}")
    for when, rate in [("2026-11-23T02:00", 2), ("2026-11-23T12:30", 3), ("2026-11-23T14:00", 1)]:
        assert priced(book, "other", "tiny", when).cost == 1100 * rate * MICRODOLLAR


def test_a_time_of_day_west_of_utc_is_later_there() -> None:
    book = overridden(PEAK.replace("+08:00", "-05:00"))
    for when, rate in [("2026-11-23T13:59:59.999999", 1), ("2026-11-23T14:00", 2)]:
        assert priced(book, "other", "tiny", when).cost == 1100 * rate * MICRODOLLAR


def test_a_multiplier_for_all_calls_does_not_price_what_another_will_only_price_later() -> None:
    book = overridden(
        ADJUST
        + """
        [[adjust]]
        name = "us"
        provider = "maker"
        when = { inference_geo = "us" }
        multiply = 1.1
        from = 2026-09-01
        """
    )
    for when, cost, status in [
        ("2026-08-31T23:59:59.999999", 2640, "fallback"),
        ("2026-09-01", 2904, "priced"),
    ]:
        price = priced(book, "maker", "large", when, inference_geo="us")
        assert (price.cost, price.status) == (cost * MICRODOLLAR, status)


def test_only_standard_prices_are_lent_and_so_adjusted_for_who_is_lent_them() -> None:
    book = overridden(ADJUST.replace("maker", "cloud"))
    assert {r.context for r in book.rows if r.provider == "cloud"} == {"std"}


def test_an_alias_is_for_its_name_and_not_for_names_with_a_version() -> None:
    book = overridden('[[alias]]\nprovider = "maker"\nmodel = "large"\nis = { model = "small" }')
    assert charged(priced(book, "maker", "large")) == (1400 * MICRODOLLAR, "priced")
    assert charged(priced(book, "maker", "large-2026-01-01")) == (LARGE, "priced")


def test_a_dated_rate_for_a_lent_model_begins_for_all_its_names() -> None:
    book = overridden("""
        [[rate]]
        provider = "cloud"
        model = "large"
        from = 2026-05-01
        per_mtok = { input = 4, output = 4 }
        """)
    for name in ("large", "large-2026-01-01"):
        before = priced(book, "cloud", name, "2026-04-30T23:59:59.999999")
        assert charged(before) == (LARGE, "fallback")
        assert charged(priced(book, "cloud", name, "2026-05-01")) == (4400 * MICRODOLLAR, "priced")


def test_a_price_that_depends_on_the_time_of_day_is_not_flat() -> None:
    engine = Engine(overridden(PEAK))
    call = row("other", "tiny", input_uncached=1, output=1)
    assert engine.flat(call) is None
    assert engine.flat(call._replace(started_at=at("2026-08-16"))) is not None


def test_the_default_rate_begins_while_a_model_of_the_book_has_no_price() -> None:
    ended = PriceRow(
        provider="p", model="m", effective_to=at("2026-01-01"), rates={"output": 10**12}
    )
    providers = [Provider(id="p", models=(Model(id="m", rule=Rule("equals", "m")),))]
    book = Book(source="test", source_version="1", providers=providers, rows=[ended])
    engine = Engine(parse(f"schema = 1\n{DEFAULT}", "prices.toml").over(book))
    for when, status in [
        ("2025-12-31", "priced"),
        ("2026-01-01", "unpriced_model"),
        ("2026-04-30T23:59:59.999999", "unpriced_model"),
        ("2026-05-01", "fallback"),
    ]:
        call = row("p", "m", input_uncached=0, output=1, started_at=at(when))
        assert engine.price(call).status == status
