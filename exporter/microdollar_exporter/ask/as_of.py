# SPDX-License-Identifier: Apache-2.0
"""Ask a ledger as it stood at an earlier moment.

The ledger is append-only and says of every row when it was recorded. What was recorded later is
left out of each table that a query reads, and the same query gives the old answer.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.ask.period import Instant, instant
from microdollar_exporter.ask.readonly import refuse_schemas
from microdollar_exporter.errors import UsageError

__all__ = ["AsOf", "moment_of_books"]

_RECORDED: Final = {
    "ledger": "recorded_at",
    "span": "received_at",
    "spans": "received_at",
    "held_span": "received_at",
    "decision": "made_at",
    "price_book": "imported_at",
    "price_book_in_force": "in_force_from",
}
"""When a row of each table came into the books."""
_PRICE_ROW: Final = """price_row AS NOT MATERIALIZED (
    SELECT * FROM price_row WHERE book_id IN (SELECT book_id FROM price_book))"""
_WITH: Final = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*WITH\s+(RECURSIVE\s)?", re.IGNORECASE | re.DOTALL
)
_EPOCH: Final = datetime(1970, 1, 1)


_LATEST: Final = """
    SELECT max(moment) AS latest FROM (
        SELECT max(recorded_at) AS moment FROM ledger UNION ALL SELECT max(made_at) FROM decision
    )"""


def moment_of_books(connection: Answers, value: Instant) -> datetime:
    """The moment, UTC, as of which the books are asked: one until which they are what they are.

    Raises:
        UsageError: it is not understood, or yet to come.
    """
    moment = instant("as-of", value)
    if moment > datetime.now(UTC).replace(tzinfo=None):
        # The clock that the books are dated by may be ahead of this one.
        [found] = connection.sql(_LATEST).to_pylist()
        if found["latest"] is None or moment > found["latest"]:
            raise UsageError(
                f"as-of is {moment} UTC, which is yet to come, and until then the figures can "
                "change: leave it out for those of now"
            )
    return moment


class AsOf:
    """Answers queries from what was recorded until a moment, UTC, that one included.

    What `erase` or `retain` has made sums of by the day is there from the last record of the day
    on.
    """

    def __init__(self, connection: Answers, moment: datetime) -> None:
        self._connection = connection
        micros = (moment - _EPOCH) // timedelta(microseconds=1)
        tables = [
            f"{table} AS NOT MATERIALIZED (SELECT * FROM {table} "  # noqa: S608 - our words
            f"WHERE {column} <= make_timestamp({micros}))"
            for table, column in _RECORDED.items()
        ]
        self._tables = ", ".join([*tables, _PRICE_ROW])

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT as an Arrow table; see `Connection.sql`.

        Raises:
            QueryRefused: it names a table with its schema, which has what was recorded later too.
        """
        refuse_schemas(query)
        begins_with = _WITH.match(query)
        further = f", {query[begins_with.end() :]}" if begins_with else f" {query}"
        recursive = "RECURSIVE " if begins_with and begins_with[1] else ""
        return self._connection.sql(f"WITH {recursive}{self._tables}{further}", parameters)
