# SPDX-License-Identifier: Apache-2.0
"""Periods as people write them: `--from` is the first instant, `--to` the one after the last."""

from datetime import UTC, date, datetime
from typing import NamedTuple

from microdollar_exporter.errors import UsageError

__all__ = ["Instant", "Period", "instant", "period"]

Instant = str | date
"""A day (`2026-11-01`) or an ISO time, UTC unless it has a zone."""


class Period(NamedTuple):
    """The instants from `first` on and before `end`, UTC without a zone; None is an open side."""

    first: datetime | None
    end: datetime | None

    def holds(self, column: str) -> tuple[str, list[str]]:
        """The SQL condition that a column of times lies in the period, and its parameters."""
        condition, instants = "true", []
        for comparison, moment in ((">=", self.first), ("<", self.end)):
            if moment is not None:
                condition += f" AND {column} {comparison} CAST(? AS TIMESTAMP)"
                instants.append(moment.isoformat(sep=" ", timespec="microseconds"))
        return condition, instants

    def has(self, moment: datetime) -> bool:
        """Whether a moment, UTC without a zone, lies in the period."""
        return (self.first is None or moment >= self.first) and (
            self.end is None or moment < self.end
        )


def period(from_: Instant | None, to: Instant | None) -> Period:
    """The period from one instant to another.

    Raises:
        UsageError: one of them is not understood, or the period would be empty.
    """
    first = None if from_ is None else instant("from", from_)
    end = None if to is None else instant("to", to)
    if first is not None and end is not None and first >= end:
        raise UsageError(f"to is {to}, which is not after {from_}, where the period begins")
    return Period(first, end)


def instant(name: str, value: Instant) -> datetime:
    """The moment that an argument of this name means, UTC without a zone.

    Raises:
        UsageError: it is not understood.
    """
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)
        else:
            moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{name} is {value!r}: write a day like 2026-11-01 or a UTC time like "
            "2026-11-01T12:00:00"
        ) from error
    return moment
