# SPDX-License-Identifier: Apache-2.0
"""The feed of genai-prices is read exactly, and nothing in it is dropped in silence."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price import Book
from microdollar_exporter.price.feed import read_feed

from .feeds import feed, installed_feed, price_keys


def one_model(**fields: Any) -> list[dict[str, Any]]:
    """A feed with one model, which has a price that the first form could not say."""
    model = {"id": "m", "match": {"equals": "m"}, "prices": {"cache_write_1h_mtok": 1}, **fields}
    return [{"id": "p", "name": "P", "api_pattern": "x", "models": [model]}]


def test_a_feed_with_the_installed_data_is_the_same_book(book: Book) -> None:
    found = read_feed(feed(installed_feed()))
    assert found.imported.book.id == book.id
    assert found.imported.rounded == 26
    assert found.imported.set_aside == {"input_audio_hours": 10, "output_citation_mtok": 1}
    assert (found.imported.unknown, found.ignored) == ({}, {})


def test_a_book_of_a_feed_says_which_by_its_hash() -> None:
    found = read_feed(feed(one_model())).imported.book
    assert found.source == "genai-prices"
    assert found.source_version.startswith("feed ")
    assert found.source_version != read_feed(feed(one_model(id="n"))).imported.book.source_version


def test_no_number_passes_through_a_float() -> None:
    digits = "0.123456789012"
    (row,) = read_feed(
        feed(one_model(prices={"cache_write_1h_mtok": Decimal(digits)}))
    ).imported.book.rows
    assert row.rates == {"cache_write_1h": 123456789012}


def test_the_residue_of_a_float_is_rounded_and_counted() -> None:
    found = read_feed(
        feed(one_model(prices={"cache_write_1h_mtok": Decimal("0.29999999999999998")}))
    )
    (row,) = found.imported.book.rows
    assert row.rates == {"cache_write_1h": 3 * 10**11}
    assert found.imported.rounded == 1


def test_a_unit_that_is_not_known_is_named_with_its_models() -> None:
    prices = {"cache_write_1h_mtok": 1, "thoughts_gpixels": 2}
    found = read_feed(feed(one_model(prices=prices)))
    assert found.imported.unknown == {"thoughts_gpixels": ("p m",)}


def test_a_field_that_says_nothing_of_prices_is_counted() -> None:
    raw = one_model(released="2026-11-01")
    raw[0]["headquarters"] = "Mars"
    assert read_feed(feed(raw)).ignored == {"model released": 1, "provider headquarters": 1}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (
            {"prices": [{"prices": {"cache_write_1h_mtok": 1}, "until": "2027-01-01"}]},
            r"price until \(1 times\)",
        ),
        (
            {"prices": [{"prices": {"cache_write_1h_mtok": 1}, "constraint": {"weekday": "sat"}}]},
            r"constraint weekday \(1 times\)",
        ),
        (
            {"price_variants": [{"when": {"a": "b"}, "prices": {}, "multiply": 2}]},
            r"price variant multiply \(1 times\)",
        ),
        ({"match": {"or": [{"equals": "m"}, {"sounds_like": "m"}]}}, "match sounds_like"),
    ],
)
def test_what_could_change_a_price_and_is_not_known_is_refused(
    fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=f"{named}.*Upgrade microdollar-exporter"):
        read_feed(feed(one_model(**fields)))


def test_the_first_form_is_refused_with_the_way_out() -> None:
    """It has stood still while prices moved on, and looks alive."""
    first = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "requests_kcount"}
    raw = installed_feed()
    for provider in raw:
        for model in provider["models"]:
            model.pop("price_variants", None)
            for prices in price_keys(model["prices"]):
                for key in prices.keys() - first:
                    del prices[key]
    with pytest.raises(UsageError, match=r"first form .* stood still .* second form, or upgrade"):
        read_feed(feed(raw))


def test_the_third_form_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match="third form of the genai-prices feed"):
        read_feed(feed({"units": {}, "providers": one_model()}))


def test_what_is_listed_twice_is_refused_by_name() -> None:
    """Of two that say otherwise nobody knows which is meant, and of two that say the same, why."""
    [provider] = one_model()
    [model] = provider["models"]
    twice = [
        ([provider, provider], "p"),
        ([{**provider, "models": [model, model]}], "p m"),
        ([{**provider, "models": [{**model, "id": i} for i in "abcabcx"]}], "p a, p b, p c"),
        ([{**provider, "models": [{**model, "id": i} for i in "abcdabcd"]}], "p a, p b, p c …"),
    ]
    for raw, said in twice:
        with pytest.raises(UsageError) as refused:
            read_feed(feed(raw))
        assert str(refused.value) == f"listed twice: {said}; take another edition of the feed"


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ({"start_date": "2026-01-01"}, "from 2026-01-01"),
        ({"start_time": "01:00:00Z", "end_time": "02:00:00Z"}, "from 01:00:00+00:00 to 02:00:00"),
        (None, "without a date"),
    ],
)
def test_two_prices_of_a_model_for_one_time_are_refused(constraint: Any, said: str) -> None:
    dated = [
        {"constraint": constraint, "prices": {"cache_write_1h_mtok": price}} for price in (1, 2)
    ]
    raw = one_model(prices=dated)
    with pytest.raises(UsageError, match=rf"^listed twice: p m {re.escape(said)}"):
        read_feed(feed(raw))
    variants = [{**each, "when": {"processing": "batch"}} for each in dated]
    with pytest.raises(UsageError, match=rf"^listed twice: p m {re.escape(said)}"):
        read_feed(feed(one_model(price_variants=variants)))
    variants[0]["when"] = {"processing": "flex"}
    assert read_feed(feed(one_model(price_variants=variants)))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_tiers_are_taken_by_their_starts_whatever_their_order(order: tuple[int, int]) -> None:
    tiers = [{"start": 100, "price": 2}, {"start": 200, "price": 3}]
    price = {"base": 1, "tiers": [tiers[each] for each in order]}
    rows = read_feed(feed(one_model(prices={"cache_write_1h_mtok": price}))).imported.book.rows
    assert [(r.over_input_tokens, r.rates["cache_write_1h"]) for r in rows] == [
        (0, 10**12),
        (100, 2 * 10**12),
        (200, 3 * 10**12),
    ]
    price["tiers"] = [tiers[0], tiers[0]]
    with pytest.raises(UsageError, match=r"^listed twice: p m cache_write_1h_mtok above 100;"):
        read_feed(feed(one_model(prices={"cache_write_1h_mtok": price})))


def test_a_key_that_an_object_has_twice_is_refused() -> None:
    """Readers of JSON take the last one in silence."""
    content = feed(one_model()).replace(b'"id": "m"', b'"id": "m", "id": "n"')
    with pytest.raises(UsageError, match=r"^the feed has 'id' twice in one object"):
        read_feed(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"[1]",
        b"null",
        b'[{"id": "p"}]',
        b'[{"id": "p", "name": "P", "api_pattern": "x", "models": [{"id": "m"}]}]',
        b"[" * 100_000,
        feed(one_model(prices={"cache_write_1h_mtok": "dear"})),
        feed(one_model(prices={"cache_write_1h_mtok": -1})),
        feed(one_model(prices={"cache_write_1h_mtok": Decimal("1e999999999")})),
        feed(one_model(prices={"cache_write_1h_mtok": Decimal("1e-999999999")})),
        feed(one_model(match={"regex": "("})),
        feed(one_model()).replace(b"1}", b"NaN}"),
        feed(one_model()).replace(b"1}", b"Infinity}"),
    ],
)
def test_what_is_no_feed_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        read_feed(content)
    assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "id",
                        "name",
                        "api_pattern",
                        "models",
                        "match",
                        "prices",
                        "price_variants",
                        "constraint",
                        "when",
                        "or",
                        "equals",
                        "input_mtok",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_is_anything_but_read_or_refused(raw: Any) -> None:
    try:
        read_feed(json.dumps([raw]).encode())
    except UsageError as error:
        assert str(error)
