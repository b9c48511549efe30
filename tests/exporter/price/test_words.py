# SPDX-License-Identifier: Apache-2.0
"""Rates, times and sizes as they are read, to the last digit."""

from typing import Any

import pytest

from microdollar_exporter.price.decimals import decimal
from microdollar_exporter.price.words import moment, rate, reach

from .rows import at


@pytest.mark.parametrize(
    ("number", "places", "text"),
    [
        (0, 6, "0"),
        (1, 6, "0.000001"),
        (-1, 6, "-0.000001"),
        (10**6, 6, "1"),
        (-1_500_000, 6, "-1.5"),
        (123_456_789, 6, "123.456789"),
        (100 * 10**6, 6, "100"),
    ],
)
def test_a_decimal_has_all_its_digits_and_no_zeros_behind(
    number: int, places: int, text: str
) -> None:
    assert decimal(number, places) == text


def test_a_rate_is_for_a_million_tokens_or_for_one_unit() -> None:
    assert rate("input_uncached", 2_500_000_000_000) == "2.5 USD/MTok"
    assert rate("output", 1) == "0.000000000001 USD/MTok"
    assert rate("web_search", 10**16) == "0.01 USD each"
    assert rate("web_search", 1) == "0.000000000000000001 USD each"


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("2026-12-01T00:00", "2026-12-01"),
        ("2026-12-01T00:00:00.000001", "2026-12-01T00:00:00.000001"),
        ("2026-11-30T23:59", "2026-11-30T23:59:00"),
        ("1969-12-31", "1969-12-31"),
    ],
)
def test_a_moment_is_a_day_where_it_is_midnight(when: str, text: str) -> None:
    assert moment(at(when)) == text


HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, ""),
        ({"since": 0}, "from 1970-01-01"),
        ({"until": 0}, "until 1970-01-01"),
        ({"over": 0}, ""),
        ({"over": 1}, "over 1 input tokens"),
        ({"over": 200_000}, "over 200,000 input tokens"),
        ({"of_day": (0, 24 * HOUR)}, "between 00:00 and 24:00 UTC"),
        ({"of_day": (90 * 60_000_000, 2 * HOUR - 1)}, "between 01:30 and 01:59:59.999999 UTC"),
        ({"weekdays": (0, 6)}, "on mon, sun"),
        (
            {
                "since": 0,
                "until": 24 * HOUR,
                "over": 5,
                "of_day": (HOUR, 2 * HOUR),
                "weekdays": (1,),
            },
            "from 1970-01-01, until 1970-01-02, between 01:00 and 02:00 UTC, on tue, "
            "over 5 input tokens",
        ),
    ],
)
def test_when_and_for_what_a_rate_holds(facts: dict[str, Any], text: str) -> None:
    assert reach(**({"since": None, "until": None} | facts)) == text
