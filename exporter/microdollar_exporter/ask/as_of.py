# SPDX-License-Identifier: Apache-2.0
"""Ask a ledger as it stood at an earlier moment.

The ledger is append-only and says of every row when it was recorded. What was recorded later is
left out of each table that a query reads, and the same query gives the old answer.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from microdollar_exporter.ask.connect import Answers

__all__ = ["AsOf"]

_RECORDED: Final = {
    "ledger": "recorded_at",
    "span": "received_at",
    "spans": "received_at",
    "held_span": "received_at",
    "decision": "made_at",
    "price_book_in_force": "in_force_from",
}
"""When a row of each table came into the books."""
_WITH: Final = re.compile(r"\s*WITH\s", re.IGNORECASE)
_EPOCH: Final = datetime(1970, 1, 1)


class AsOf:
    """Answers queries from what was recorded until a moment, UTC, that one included.

    What `erase` or `retain` has made sums of by the day is there from the last record of the day
    on.
    """

    def __init__(self, connection: Answers, moment: datetime) -> None:
        self._connection = connection
        micros = (moment - _EPOCH) // timedelta(microseconds=1)
        self._tables = ", ".join(
            f"{table} AS NOT MATERIALIZED (SELECT * FROM {table} "  # noqa: S608 - our words
            f"WHERE {column} <= make_timestamp({micros}))"
            for table, column in _RECORDED.items()
        )

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT as an Arrow table; see `Connection.sql`."""
        begins_with = _WITH.match(query)
        further = f", {query[begins_with.end() :]}" if begins_with else f" {query}"
        return self._connection.sql(f"WITH {self._tables}{further}", parameters)
