# SPDX-License-Identifier: Apache-2.0
"""When DeepSeek's peak hours hold: the source has the hours, and neither dates nor weekdays.

DeepSeek's price page says of its V4 models: since 16 August 2026, 16:00 UTC, everything costs twice
as much from 01:00 until 04:00 and from 06:00 until 10:00 UTC; since 23 August on Monday to Friday
only, by the calendar of Beijing, whose days are those of UTC at these hours. The source gives every
date the peak rates of today. Public holidays, on which there is no peak, nobody lists.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from microdollar_exporter.price.book import STANDARD, PriceRow

__all__ = ["with_dates"]

_PROVIDER: Final = "deepseek"
_MODELS: Final = frozenset({"deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro"})
_HOUR: Final = 3_600_000_000
_PEAKS: Final = ((_HOUR, 4 * _HOUR), (6 * _HOUR, 10 * _HOUR))
_WEEKDAYS: Final = (0, 1, 2, 3, 4)
_BEGAN: Final = int(datetime(2026, 8, 17, tzinfo=UTC).timestamp()) * 1_000_000
_ON_WEEKDAYS_ONLY: Final = int(datetime(2026, 8, 23, tzinfo=UTC).timestamp()) * 1_000_000


def with_dates(rows: Iterable[PriceRow]) -> Iterator[PriceRow]:
    """The rows of a model as they are, with peak hours when they held.

    Rows that are not as the price page had it are left as they are: it must have changed.
    """
    given = list(rows)
    if not _is_as_published(given):
        yield from given
        return
    plain = [row for row in given if row.time_of_day is None]
    yield from plain
    for row in plain:
        yield from _peaks(row)


def _is_as_published(rows: list[PriceRow]) -> bool:
    """Whether the peak hours of the last date are those that were published, at twice the rates."""
    if not rows or rows[0].provider != _PROVIDER or rows[0].model not in _MODELS:
        return False
    last = [row for row in rows if row.effective_to is None]
    plain = [row for row in last if row.time_of_day is None]
    peaks = {row.time_of_day: row.rates for row in last if row.time_of_day is not None}
    standard = all(row.context == STANDARD and not row.unit_rates for row in rows)
    return standard and len(plain) == 1 and peaks == dict.fromkeys(_PEAKS, _twice(plain[0].rates))


def _twice(rates: Mapping[str, int]) -> dict[str, int]:
    return {name: 2 * rate for name, rate in rates.items()}


def _peaks(row: PriceRow) -> Iterator[PriceRow]:
    """The peak hours within the validity of a row."""
    for start, end, weekdays in (
        (_BEGAN, _ON_WEEKDAYS_ONLY, None),
        (_ON_WEEKDAYS_ONLY, None, _WEEKDAYS),
    ):
        first = start if row.effective_from is None else max(start, row.effective_from)
        ends = [at for at in (end, row.effective_to) if at is not None]
        last = min(ends, default=None)
        if last is None or first < last:
            for span in _PEAKS:
                yield replace(
                    row,
                    effective_from=first,
                    effective_to=last,
                    time_of_day=span,
                    weekdays=weekdays,
                    rates=_twice(row.rates),
                )
