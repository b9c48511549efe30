# SPDX-License-Identifier: Apache-2.0
"""The calendar periods, in UTC, for which an allowance or a minimum holds."""

from datetime import datetime, timedelta
from enum import Enum

__all__ = ["Per"]

_MONTHS = 12


class Per(Enum):
    """A kind of period, by the letters of a date that name one: `2026-11` is a month."""

    DAY = "%Y-%m-%d"
    MONTH = "%Y-%m"
    YEAR = "%Y"

    def label(self, moment: datetime) -> str:
        """The name of the period that a moment lies in."""
        return moment.date().isoformat()[: self._letters]

    def of(self, finer: str) -> str:
        """The name of the period that a period of this or a finer kind lies in."""
        return finer[: self._letters]

    def is_longer(self, other: "Per") -> bool:
        """Whether periods of this kind are made of such of the other."""
        return self._letters < other._letters

    def begin(self, label: str) -> datetime:
        """The first moment of the period of this name."""
        return datetime.fromisoformat(f"{label}-01-01"[: len("2026-01-01")])

    def end(self, label: str) -> datetime:
        """The first moment after the period of this name; the last there is, for the last one."""
        begin = self.begin(label)
        try:
            if self is Per.DAY:
                return begin + timedelta(days=1)
            if self is Per.YEAR or begin.month == _MONTHS:
                return datetime(begin.year + 1, 1, 1)
            return datetime(begin.year, begin.month + 1, 1)
        except (OverflowError, ValueError):
            return datetime.max

    @property
    def _letters(self) -> int:
        return {Per.DAY: 10, Per.MONTH: 7, Per.YEAR: 4}[self]
