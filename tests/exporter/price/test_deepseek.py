# SPDX-License-Identifier: Apache-2.0
"""DeepSeek's peak hours get their dates as long as the source has what was published."""

from dataclasses import replace

import pytest

from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.deepseek import with_dates

from .rows import at

HOUR = 3_600_000_000
PEAKS = [(HOUR, 4 * HOUR), (6 * HOUR, 10 * HOUR)]
OFF_PEAK = {"input_uncached": 3 * 10**11, "output": 10**12}
PLAIN = PriceRow(provider="deepseek", model="deepseek-v4-pro", rates=OFF_PEAK)
TWICE = {name: 2 * rate for name, rate in OFF_PEAK.items()}
GIVEN = [PLAIN, *(replace(PLAIN, time_of_day=span, rates=TWICE) for span in PEAKS)]


def test_peak_hours_have_a_first_day_and_later_their_weekdays() -> None:
    plain, *peaks = with_dates(GIVEN)
    assert plain == PLAIN
    assert [(r.effective_from, r.effective_to, r.time_of_day, r.weekdays) for r in peaks] == [
        *((at("2026-08-17"), at("2026-08-23"), span, None) for span in PEAKS),
        *((at("2026-08-23"), None, span, (0, 1, 2, 3, 4)) for span in PEAKS),
    ]
    assert all(row.rates == TWICE for row in peaks)


def test_each_date_has_twice_its_own_rates_at_peak() -> None:
    edge = at("2026-08-20")
    early = [replace(row, effective_to=edge) for row in GIVEN]
    early[0] = replace(early[0], rates={"input_uncached": 7})
    made = list(with_dates([*early, *(replace(row, effective_from=edge) for row in GIVEN)]))
    peaks = [row for row in made if row.time_of_day == PEAKS[0]]
    assert [(row.effective_from, row.effective_to, dict(row.rates)) for row in peaks] == [
        (at("2026-08-17"), edge, {"input_uncached": 14}),
        (edge, at("2026-08-23"), TWICE),
        (at("2026-08-23"), None, TWICE),
    ]


def test_what_ended_with_the_first_day_has_no_peak_hours() -> None:
    """And what ended a moment later has them for that moment."""
    began = at("2026-08-17")
    for ended, peaks in [(began, []), (began + 1, [(began, began + 1)] * 2)]:
        early = replace(PLAIN, effective_to=ended)
        made = with_dates([early, *(replace(row, effective_from=ended) for row in GIVEN)])
        assert [
            (row.effective_from, row.effective_to)
            for row in made
            if row.time_of_day and row.effective_to == ended
        ] == peaks


@pytest.mark.parametrize(
    "changed",
    [
        [replace(row, model="deepseek-v5") for row in GIVEN],
        [replace(row, provider="cloud") for row in GIVEN],
        [replace(row, context="speed=fast") for row in GIVEN],
        [replace(row, unit_rates={"web_search": 1}) for row in GIVEN],
        GIVEN[:2],
        GIVEN[:1],
        [GIVEN[0], GIVEN[1], replace(GIVEN[2], time_of_day=(5 * HOUR, 9 * HOUR))],
        [GIVEN[0], GIVEN[1], replace(GIVEN[2], rates=OFF_PEAK)],
        [*GIVEN, replace(PLAIN, over_input_tokens=9)],
        [*GIVEN, replace(PLAIN, context="speed=fast", effective_to=9)],
        [],
    ],
)
def test_what_is_not_as_it_was_published_stays_as_it_is(changed: list[PriceRow]) -> None:
    """It is then a `fallback`, as every rate for a time of day without dates."""
    assert list(with_dates(changed)) == changed


def test_the_source_has_what_was_published(book: Book) -> None:
    for model in ("deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro"):
        timed = [row for row in book.lookup("deepseek", model) if row.time_of_day]
        assert {row.weekdays for row in timed} == {None, (0, 1, 2, 3, 4)}
