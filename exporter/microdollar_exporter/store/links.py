# SPDX-License-Identifier: Apache-2.0
"""When there were spans that may have relatives, hour by hour: most often never."""

from collections import Counter
from collections.abc import Iterable

import duckdb

from microdollar_exporter.evidence import Evidence

__all__ = ["Links"]

_HOUR = 3_600_000_000


class Links:
    """Counts the spans of a file that are not `direct`, by the hour they began in.

    A direct call can only be related to one of these. Where none began around a batch, nothing has
    to be looked up. The counts are read once when the file is opened.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._hours: Counter[int] = Counter(
            dict(
                con.execute(
                    f"SELECT epoch_us(started_at) // {_HOUR}, count(*) FROM spans "
                    "WHERE NOT direct GROUP BY ALL"
                ).fetchall()
            )
        )

    def note(self, evidence: Iterable[Evidence]) -> None:
        """Count new spans; too many is harmless, so this need not wait for their commit."""
        for item in evidence:
            if not item.profile.direct:
                self._hours[item.started_at // _HOUR] += 1

    def any_between(self, first: int, last: int) -> bool:
        """Whether one began in this time, in microseconds; it may have begun in the same hour."""
        if not self._hours:
            return False
        return any(first // _HOUR <= hour <= last // _HOUR for hour in self._hours)
