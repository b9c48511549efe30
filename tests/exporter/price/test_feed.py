# SPDX-License-Identifier: Apache-2.0
"""The feed of genai-prices is read exactly, and nothing in it is dropped in silence."""

import json
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
