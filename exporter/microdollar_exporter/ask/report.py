# SPDX-License-Identifier: Apache-2.0
"""Who consumed what, and what it cost: sums over the ledger, with what is not in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd

from microdollar_exporter.ask.connect import Connection, connect
from microdollar_exporter.errors import UsageError
from microdollar_exporter.money import usd
from microdollar_exporter.usage import BUCKETS, PARTS
from microdollar_semconv import UNASSIGNED

__all__ = ["DIMENSIONS", "Report", "report", "report_on"]

DIMENSIONS = {
    "customer": "customer_id",
    "user": "user_id",
    "model": "coalesce(response_model, request_model)",
    "provider": "provider",
    "operation": "operation",
    "service": "service",
    "environment": "environment",
    "day": "strftime(started_at, '%Y-%m-%d')",
    "month": "strftime(started_at, '%Y-%m')",
}
"""What a report can be grouped by, as SQL over the ledger; every other word is a tag's name when
written `tag:NAME`, and `feature` is short for `tag:feature`."""

_SUMS = ("calls", *BUCKETS, *PARTS)
# Signed like the sums, so that a reversed entry no longer counts.
_SIGN = "CASE kind WHEN 'reversal' THEN -1 ELSE 1 END"
_TOKENS = " + ".join(f"coalesce({bucket}, 0)" for bucket in BUCKETS)
_HONESTY = {
    "entries": f"sum({_SIGN})",
    "unpriced": f"sum({_SIGN}) FILTER (cost IS NULL AND usage_source <> 'missing')",
    "unpriced_tokens": f"sum({_TOKENS}) FILTER (cost IS NULL)",
    "missing": f"sum({_SIGN}) FILTER (usage_source = 'missing')",
    "estimated": f"sum({_SIGN}) FILTER (usage_source = 'estimated')",
    "partial": f"sum({_SIGN}) FILTER (price_status = 'partial')",
    "fallback": f"sum({_SIGN}) FILTER (price_status = 'fallback')",
    "refused": f"sum({_SIGN}) FILTER (usage_source = 'none')",
}
_MEASURES = (
    "coalesce(sum(calls), 0)::BIGINT AS calls",
    *(f"sum({column})::BIGINT AS {column}" for column in (*BUCKETS, *PARTS)),
    "sum(cost) AS cost",
    *(f"coalesce({sql}, 0)::BIGINT AS {name}" for name, sql in _HONESTY.items()),
    "coalesce(sum(calls) FILTER (customer_id IS NULL), 0)::BIGINT AS unassigned_calls",
)

# A process numbers its calls from 1, so what lies between two that arrived has not. Before the
# first one of a period there may be others, which belong to the time before it.
_ABSENT = """
    SELECT coalesce(sum(last - first + 1 - arrived), 0)::BIGINT AS n
    FROM (
        SELECT max(call_sequence) AS last, count(DISTINCT call_sequence) AS arrived,
               {first} AS first
        FROM spans WHERE boot_id IS NOT NULL AND {period} GROUP BY boot_id
    )"""
_UNBOOKED = """
    SELECT coalesce(scope, 'no scope') AS scope, count(*) AS n
    FROM spans WHERE {period} AND rule NOT LIKE 'microdollar/%' GROUP BY ALL ORDER BY ALL"""


@dataclass(frozen=True, slots=True)
class Report:
    """A report's rows, their total, and what stands beside the total.

    `rows` has the grouping columns, `calls`, every bucket and part in tokens, `cost` in
    microdollars and `cost_usd` in dollars (both `Decimal`, or None when nothing was priced), and
    per row the counts of the honesty line. `absent` counts calls of the period that their process
    numbered and that have not arrived. `unbooked` counts, by scope, GenAI spans of other emitters
    that are kept as evidence and are in no sum. Neither is known of one customer alone.
    """

    by: tuple[str, ...]
    rows: pd.DataFrame
    total: dict[str, Any]
    unassigned_calls: int
    absent: int
    unbooked: dict[str, int]

    @property
    def honesty(self) -> str:
        """One line that says what the figures leave out and where they are not exact."""
        total = self.total
        found = {
            f"unpriced ({total['unpriced_tokens']:,} tokens)": total["unpriced"],
            "with usage missing": total["missing"],
            "estimated": total["estimated"],
            "priced in part": total["partial"],
            "priced by a fallback": total["fallback"],
            "refused or never sent (free)": total["refused"],
            "unassigned": self.unassigned_calls,
        }
        parts = [f"{count:,} {what}" for what, count in found.items() if count]
        nothing = "each priced from reported usage, and assigned"
        calls = _plural(total["calls"], "call")
        if total["entries"] != total["calls"]:
            # A call has one entry for each model that worked in it.
            calls += f" ({_plural(total['entries'], 'entry', 'entries')})"
        lines = [f"Of {calls}: {', '.join(parts) or nothing}."]
        if self.absent:
            lines.append(f"{_plural(self.absent, 'further call')} not arrived, or still running.")
        if self.unbooked:
            spans = _plural(sum(self.unbooked.values()), "span")
            lines.append(f"Not booked: {spans} of other emitters ({', '.join(self.unbooked)}).")
        return " ".join(lines)


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def report(
    by: str | Sequence[str] = ("customer",),
    *,
    db: str | Path = "meter.duckdb",
    from_: str | date | None = None,
    to: str | date | None = None,
    customer: str | int | UUID | None = None,
) -> pd.DataFrame:
    """Usage and cost per group, as a DataFrame.

    Args:
        by: names of `DIMENSIONS`, `feature`, or `tag:NAME`; a comma-separated text or a sequence.
        db: the ledger's file; a running exporter answers for it.
        from_: the first instant, UTC: a day (`2026-11-01`) or an ISO time.
        to: the instant after the last, UTC, in the same forms.
        customer: only this customer.

    Returns:
        One row per group, in the order of the grouping columns; see `Report.rows`. The line that
        says what is not in the sums is in `.attrs["honesty"]`.

    Raises:
        UsageError: an argument is not understood; the message says what is.
    """
    made = report_on(connect(db), by, from_=from_, to=to, customer=customer)
    frame = made.rows
    frame.attrs["honesty"] = made.honesty
    return frame


def report_on(
    connection: Connection,
    by: str | Sequence[str] = ("customer",),
    *,
    from_: str | date | None = None,
    to: str | date | None = None,
    customer: str | int | UUID | None = None,
) -> Report:
    """The same as `report`, over an open connection and with its total."""
    names = _names(by)
    period, instants = _period(from_, to)
    keys = [f"key_{position}" for position in range(len(names))]
    dimensions = [DIMENSIONS.get(name, "map_extract_value(tags, ?)") for name in names]
    parameters = [name.removeprefix("tag:") for name in names if name not in DIMENSIONS]
    parameters += instants
    condition = period
    if customer == UNASSIGNED:
        condition += " AND customer_id IS NULL"
    elif customer is not None:
        condition += " AND customer_id = ?"
        parameters.append(str(customer))

    columns = ", ".join(f"{sql} AS {key}" for sql, key in zip(dimensions, keys, strict=True))
    grouped = ", ".join(keys)
    ordered = ", ".join(f"{key} NULLS LAST" for key in keys)
    query = f"""
        SELECT {grouped}, {", ".join(_MEASURES)}
        FROM (SELECT *, {columns} FROM ledger WHERE {condition})
        GROUP BY GROUPING SETS (({grouped}), ())
        ORDER BY grouping({grouped}), {ordered}"""
    found = connection.sql(query, parameters).to_pylist()
    total = found.pop()
    absent, unbooked = 0, {}
    if customer is None:
        absent = connection.sql(
            _ABSENT.format(period=period, first="min(call_sequence)" if from_ else "1"), instants
        ).to_pylist()[0]["n"]
        unbooked = {
            row["scope"]: row["n"]
            for row in connection.sql(_UNBOOKED.format(period=period), instants).to_pylist()
        }
    rows = [_row(row, names, keys) for row in found]
    value_columns = [*_SUMS, "cost", "cost_usd", *_HONESTY]
    frame = pd.DataFrame(rows, columns=[*names, *value_columns])
    counts = [*_SUMS, *_HONESTY]
    frame[counts] = frame[counts].astype("Int64")
    totals = _row(total, (), ())
    return Report(names, frame, totals, total["unassigned_calls"], absent, unbooked)


def _names(by: str | Sequence[str]) -> tuple[str, ...]:
    given = by.split(",") if isinstance(by, str) else by
    names = tuple("feature" if n == "tag:feature" else n for n in map(str.strip, given))
    for name in names:
        if name not in DIMENSIONS and name != "feature" and not re.match("tag:.", name):
            known = ", ".join([*DIMENSIONS, "feature", "tag:NAME"])
            raise UsageError(f"cannot group by {name!r}: choose from {known}")
    if not names or len(set(names)) < len(names):
        raise UsageError(f"group by one or more different words; this is {','.join(names)!r}")
    return names


def _period(from_: str | date | None, to: str | date | None) -> tuple[str, list[str]]:
    """The condition on `started_at`, and its parameters."""
    condition, instants = "true", []
    for name, comparison, value in (("from", ">=", from_), ("to", "<", to)):
        if value is not None:
            condition += f" AND started_at {comparison} CAST(? AS TIMESTAMP)"
            instants.append(_instant(name, value))
    if len(instants) == 2 and instants[0] >= instants[1]:
        raise UsageError(f"to is {to}, which is not after {from_}, where the period begins")
    return condition, instants


def _instant(name: str, value: str | date) -> str:
    """An instant as DuckDB reads it: UTC, without a zone."""
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{name} is {value!r}: write a day like 2026-11-01 or a UTC time like "
            "2026-11-01T12:00:00"
        ) from error
    return moment.isoformat(sep=" ", timespec="microseconds")


def _row(found: dict[str, Any], names: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, key in zip(names, keys, strict=True):
        value = found[key]
        row[name] = UNASSIGNED if name == "customer" and value is None else value
    row.update({column: found[column] for column in (*_SUMS, "cost", *_HONESTY)})
    cost: Decimal | None = row["cost"]
    row["cost_usd"] = None if cost is None else usd(cost)
    return row
