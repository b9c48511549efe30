# SPDX-License-Identifier: Apache-2.0
"""A book of which two rows would answer for one call, or none for a small one, is refused."""

from typing import Any

import pytest

from microdollar_exporter.price import Book, PriceRow

HOUR = 3_600_000_000


def book_of(*facts: dict[str, Any]) -> Book:
    """A book of rows for one key, or several."""
    rows = [
        PriceRow(**({"provider": "p", "model": "m", "rates": {"output": number + 1}} | each))
        for number, each in enumerate(facts)
    ]
    return Book(source="test", source_version="1", providers=[], rows=rows)


WINDOW: dict[str, Any] = {"time_of_day": (HOUR, 2 * HOUR)}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{}, {}], "hold at the same time"),
        ([{"effective_to": 10}, {"effective_from": 9}], "hold at the same time"),
        ([{"effective_to": 10}, {"effective_from": 10}], None),
        ([{"effective_from": 5, "effective_to": 6}, {}], "hold at the same time"),
        ([{}, {"context": "speed=fast"}], None),
        ([{}, {"model": "n"}], None),
        ([{}, {"provider": "q"}], None),
        ([{}, {"over_input_tokens": 5}], None),
        ([{"over_input_tokens": 5}], "has rates above 5 tokens only"),
        ([{"effective_to": 9}, {"over_input_tokens": 5}], "has rates above 5 tokens only"),
        ([{}, {"over_input_tokens": 5}, {"over_input_tokens": 5}], "hold at the same time"),
        ([{}, WINDOW], None),
        ([WINDOW, WINDOW], "hold at the same time"),
        ([WINDOW, {"time_of_day": (2 * HOUR, 3 * HOUR)}], None),
        ([WINDOW, {"time_of_day": (2 * HOUR - 1, 3 * HOUR)}], "at the same time of day"),
        ([WINDOW | {"weekdays": (0, 1)}, WINDOW | {"weekdays": (2,)}], None),
        ([WINDOW | {"weekdays": (0, 1)}, WINDOW | {"weekdays": (1, 2)}], "same time of day"),
        ([WINDOW, WINDOW | {"weekdays": (2,)}], "at the same time of day"),
        ([WINDOW, WINDOW | {"over_input_tokens": 5}], None),
        ([{}, WINDOW | {"over_input_tokens": 5}], "has rates above 5 tokens only"),
    ],
)
def test_two_rows_for_one_moment_and_one_size_are_refused(
    rows: list[dict[str, Any]], complaint: str | None
) -> None:
    for order in (rows, rows[::-1]):
        if complaint is None:
            assert len(list(book_of(*order).rows)) == len(rows)
        else:
            with pytest.raises(ValueError, match=complaint):
                book_of(*order)


def test_a_refusal_names_the_rows() -> None:
    with pytest.raises(ValueError, match=r"^p m std [0-9a-f]{16} and p m std [0-9a-f]{16} hold"):
        book_of({}, {})
