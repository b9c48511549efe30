# SPDX-License-Identifier: Apache-2.0
"""The periods that are closed, with their figures and what was booked of them since."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from microdollar_exporter.ask.connect import Answers

__all__ = ["CLOSE_PERIOD", "Settled", "as_option", "settled"]

CLOSE_PERIOD: Final = "close-period"
"""The kind of the decision. It holds the `first` moment of the period and its `end`, microseconds
since 1970 UTC, its `name`, and its sums. The moment of the decision is that as of which they are
the sums."""


class Settled(NamedTuple):
    """A closed period, its figures as of its closing, and what was booked of it `since`.

    Costs are microdollars as decimal text; times are UTC.
    """

    period: str
    first: str
    end: str
    as_of: str
    decision: str
    made_by: str
    reason: str
    calls: int
    cost: str | None
    calls_since: int
    cost_since: str | None


def settled(connection: Answers) -> Sequence[Settled]:
    """The closed periods of a ledger, in the order of their time."""
    found = connection.sql(
        """
        SELECT d.*, sum(calls) FILTER (recorded_at <= made_at) AS calls,
            CAST(sum(cost) FILTER (recorded_at <= made_at) AS VARCHAR) AS cost,
            sum(calls) FILTER (recorded_at > made_at) AS calls_since,
            CAST(sum(cost) FILTER (recorded_at > made_at) AS VARCHAR) AS cost_since
        FROM (
            SELECT decision_id, made_by, reason, made_at, content->>'$.name' AS name,
                make_timestamp(CAST(content->>'$.first' AS BIGINT)) AS first,
                make_timestamp(CAST(content->>'$.end' AS BIGINT)) AS end
            FROM decision WHERE kind = ?
        ) d LEFT JOIN ledger ON started_at >= first AND started_at < d.end
        GROUP BY ALL ORDER BY first""",
        [CLOSE_PERIOD],
    ).to_pylist()
    return [
        Settled(
            period=row["name"],
            first=as_option(row["first"]),
            end=as_option(row["end"]),
            as_of=as_option(row["made_at"]),
            decision=row["decision_id"],
            made_by=row["made_by"],
            reason=row["reason"],
            calls=int(row["calls"] or 0),
            cost=row["cost"],
            calls_since=int(row["calls_since"] or 0),
            cost_since=row["cost_since"],
        )
        for row in found
    ]


def as_option(moment: datetime) -> str:
    """A moment as `--as-of` takes it."""
    return moment.isoformat(timespec="microseconds")
