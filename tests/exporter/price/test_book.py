# SPDX-License-Identifier: Apache-2.0
"""A book is immutable, hashed by content, exact, and can be written to a table."""

import json
from dataclasses import FrozenInstanceError
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.rules import Rule

RATES = {"input_uncached": 4 * 10**12, "output": 20 * 10**12}


def small(rows: list[PriceRow], *, version: str = "1", name: str = "m") -> Book:
    models = (Model(id="m", rule=Rule("equals", name)),)
    return Book(
        source="test",
        source_version=version,
        providers=[Provider(id="p", models=models)],
        rows=rows,
    )


def floats_in(content: Any) -> list[float]:
    if isinstance(content, float):
        return [content]
    if isinstance(content, dict):
        return [x for item in content.items() for part in item for x in floats_in(part)]
    if isinstance(content, (list, tuple)):
        return [x for part in content for x in floats_in(part)]
    return []


def test_a_row_with_the_same_content_has_the_same_id_whatever_the_order_of_its_rates() -> None:
    one = PriceRow(provider="p", model="m", rates=RATES)
    two = PriceRow(provider="p", model="m", rates=dict(reversed(RATES.items())))
    assert one.price_row == two.price_row
    assert len(one.price_row) == 16
    assert set(one.price_row) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "q"},
        {"model": "n"},
        {"context": "processing=batch"},
        {"effective_from": 1},
        {"effective_to": 1},
        {"time_of_day": (0, 1)},
        {"over_input_tokens": 1},
        {"rates": {"input_uncached": 4 * 10**12}},
        {"unit_rates": {"web_search": 1}},
    ],
)
def test_every_field_of_a_row_is_in_its_id(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"provider": "p", "model": "m", "rates": RATES}
    assert PriceRow(**base).price_row != PriceRow(**(base | change)).price_row


def test_a_row_cannot_be_changed() -> None:
    row = PriceRow(provider="p", model="m", rates=RATES)
    with pytest.raises(FrozenInstanceError):
        row.model = "n"  # type: ignore[misc]
    with pytest.raises(TypeError):
        row.rates["output"] = 1  # type: ignore[index]


def test_a_row_refuses_a_rate_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown rates: inptu"):
        PriceRow(provider="p", model="m", rates={"inptu": 1})


def test_a_book_is_known_by_its_content_not_by_its_release() -> None:
    row = PriceRow(provider="p", model="m", rates=RATES)
    assert small([row]).id == small([row], version="2").id
    assert small([row]).id != small([]).id
    assert small([row]).id != small([row], name="n").id


def test_a_lookup_is_exact_and_empty_when_there_is_no_price() -> None:
    row = PriceRow(provider="p", model="m", rates=RATES)
    book = small([row])
    assert book.lookup("p", "m") == (row,)
    assert book.lookup("p", "M") == ()
    assert book.lookup("p", "m", "processing=batch") == ()


def test_no_float_is_anywhere_in_the_imported_book(book: Book) -> None:
    assert floats_in(json.loads(book.canonical_json())) == []
    assert all(
        type(rate) is int
        for row in book.rows
        for rate in (*row.rates.values(), *row.unit_rates.values())
    )
    assert floats_in(book.table_rows()) == []


def test_table_rows_are_json_with_exact_decimal_rates(book: Book) -> None:
    table = book.table_rows()
    assert json.loads(json.dumps(table)) == table
    by_id = {row["price_row"]: row for row in table}
    rows = list(book.rows)
    assert len(by_id) == len(table) == len(rows)
    for row in rows:
        stored = by_id[row.price_row]["rates"]
        assert {name: Fraction(text) * 10**18 for name, text in stored.items()} == {
            **row.rates,
            **row.unit_rates,
        }
        assert all(Decimal(text).is_finite() and "E" not in text for text in stored.values())


def test_a_table_row_names_key_validity_threshold_and_rates() -> None:
    row = PriceRow(
        provider="p",
        model="m",
        effective_from=5,
        over_input_tokens=200_000,
        rates={"input_uncached": 75 * 10**10, "output": 2 * 10**18},
        unit_rates={"web_search": 10**16},
    )
    below = PriceRow(provider="p", model="m", effective_from=5, rates={"output": 10**12})
    assert small([below, row]).table_rows()[1:] == [
        {
            "price_row": row.price_row,
            "provider": "p",
            "model": "m",
            "context": "std",
            "effective_from": 5,
            "effective_to": None,
            "time_of_day_from": None,
            "time_of_day_to": None,
            "weekdays": None,
            "over_input_tokens": 200_000,
            "rates": {"input_uncached": "0.00000075", "output": "2", "web_search": "0.01"},
            "layer": None,
            "reason": None,
            "base_row": None,
            "multiplier": None,
            "unit_multiplier": None,
        }
    ]
