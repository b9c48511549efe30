# SPDX-License-Identifier: Apache-2.0
"""A book of which two rows would answer for one call, or none for a small one, is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ([{}, {"time_of_day": (0, HOUR)}], None),
        (
            [WINDOW | {"weekdays": (2,)}, {"time_of_day": (2 * HOUR - 1, 3 * HOUR)}],
            "at the same time of day",
        ),
        ([WINDOW, WINDOW | {"over_input_tokens": 5}], None),
        (
            [WINDOW, {"time_of_day": (0, HOUR)}, WINDOW | {"over_input_tokens": 5}],
            None,
        ),
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


def times(most: int) -> st.SearchStrategy[tuple[int | None, int | None]]:
    """From when until when a row holds."""
    moments = st.none() | st.integers(0, most)
    return st.tuples(moments, moments).filter(_is_a_time)


def _is_a_time(time: tuple[int | None, int | None]) -> bool:
    start, end = time
    return start is None or end is None or start < end


ALL_HOURS: dict[str, Any] = {"time_of_day": None, "weekdays": None}
FACTS = st.builds(
    lambda time, over, hours: {
        "effective_from": time[0],
        "effective_to": time[1],
        "over_input_tokens": over,
        **hours,
    },
    times(40),
    st.sampled_from([0, 0, 5]),
    st.just(ALL_HOURS)
    | st.builds(
        lambda span, days: {"time_of_day": span, "weekdays": days},
        st.sampled_from([(0, 2), (0, 1), (1, 2), (2, 3), (1, 3)]),
        st.sampled_from([None, (0,), (0, 1), (2,)]),
    ),
)


@given(st.lists(FACTS, max_size=5))
def test_a_book_is_sound_if_no_moment_has_two_answers_or_none(rows: list[dict[str, Any]]) -> None:
    """Tried out at every moment of every day."""
    sound = True
    for moment in range(-1, 42):
        kinds: dict[tuple[Any, Any], list[int]] = {}
        for each in rows:
            start, end = each["effective_from"], each["effective_to"]
            if (start is None or start <= moment) and (end is None or moment < end):
                hours = each["time_of_day"], each["weekdays"]
                kinds.setdefault(hours, []).append(each["over_input_tokens"])
        sound &= all(sorted(over) in ([0], [0, 5]) for over in kinds.values())
        for hour in range(3):
            for day in range(3):
                asked = [
                    span
                    for span, days in kinds
                    if span and span[0] <= hour < span[1] and (days is None or day in days)
                ]
                sound &= len(asked) < 2
    if sound:
        book_of(*rows)
    else:
        with pytest.raises(ValueError, match=r"hold at the same time|tokens only"):
            book_of(*rows)


def test_a_refusal_names_the_rows() -> None:
    with pytest.raises(ValueError, match=r"^p m std [0-9a-f]{16} and p m std [0-9a-f]{16} hold"):
        book_of({}, {})
