# SPDX-License-Identifier: Apache-2.0
"""When there were spans that may have relatives, hour by hour: most often never."""

from typing import Final

import duckdb

from microdollar_exporter.batch import Batch

__all__ = ["Links"]

_HOUR: Final = 3_600_000_000
_LONGEST: Final = 30 * 24 * _HOUR


class Links:
    """The hours in which spans began that are not `direct`, and how long the longest of them took.

    A direct call can only be related to one of these. Where none began around a batch, nothing has
    to be looked up. `longest` is in microseconds, of those that took 30 days at most: what says it
    took longer has a wrong clock. Both are read once when the file is opened.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._hours = {
            hour
            for (hour,) in con.execute(
                f"SELECT DISTINCT epoch_us(started_at) // {_HOUR} FROM spans WHERE NOT direct"
            ).fetchall()
        }
        [(longest,)] = con.execute(
            f"""
            SELECT max(epoch_us(ended_at) - epoch_us(started_at)) FROM spans
            WHERE NOT direct AND epoch_us(ended_at) - epoch_us(started_at) <= {_LONGEST}"""
        ).fetchall()
        self.longest: int = max(0, longest or 0)

    def note(self, evidence: Batch) -> None:
        """Take in new spans; too many is harmless, so this need not wait for their commit."""
        apart = ~evidence.direct
        if not apart.any():
            return
        self._hours.update((evidence.starts[apart] // _HOUR).tolist())
        took = (evidence.ends - evidence.starts)[apart]
        self.longest = max(self.longest, int(took[took <= _LONGEST].max(initial=0)))

    def any_between(self, first: int, last: int) -> bool:
        """Whether one began in this time, in microseconds; it may have begun in the same hour."""
        return any(first // _HOUR <= hour <= last // _HOUR for hour in self._hours)
