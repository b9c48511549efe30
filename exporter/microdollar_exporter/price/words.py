# SPDX-License-Identifier: Apache-2.0
"""Rates, times and sizes of price rows as people read them; exact, and never through a float."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from microdollar_exporter.price.book import RATES, WEEKDAYS
from microdollar_exporter.price.decimals import DECIMALS, decimal

__all__ = ["moment", "rate", "reach"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400_000_000


def rate(name: str, value: int | Fraction) -> str:
    """A rate of 10⁻¹⁸ USD in dollars: per million tokens, or each for a unit.

    It can have 18 decimals more, as a product with multipliers has.
    """
    exact = int(value * 10**DECIMALS)
    if name in RATES:
        return f"{decimal(exact, DECIMALS + 12)} USD/MTok"
    return f"{decimal(exact, DECIMALS + 18)} USD each"


def moment(microseconds: int) -> str:
    """Microseconds since 1970 as a UTC time, or as a day alone where it is midnight."""
    at = _EPOCH + timedelta(microseconds=microseconds)
    return f"{at:%Y-%m-%d}" if microseconds % _DAY == 0 else at.replace(tzinfo=None).isoformat()


def reach(
    since: int | None,
    until: int | None,
    over: int = 0,
    of_day: tuple[int, int] | None = None,
    weekdays: Collection[int] = (),
) -> str:
    """When and for which requests a rate holds; empty when always and for all."""
    parts = []
    if since is not None:
        parts.append(f"from {moment(since)}")
    if until is not None:
        parts.append(f"until {moment(until)}")
    if of_day is not None:
        parts.append(f"between {_of_day(of_day[0])} and {_of_day(of_day[1])} UTC")
    if weekdays:
        parts.append(f"on {', '.join(WEEKDAYS[day] for day in weekdays)}")
    if over:
        parts.append(f"over {over:,} input tokens")
    return ", ".join(parts)


def _of_day(microseconds: int) -> str:
    minutes, rest = divmod(microseconds, 60_000_000)
    text = f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{decimal(rest, 6)}" if rest else text
