# SPDX-License-Identifier: Apache-2.0
"""Who consumed what, and what it cost: sums over the ledger, with what is not in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd

from microdollar_exporter.ask.completeness import Completeness, completeness_on, dollars
from microdollar_exporter.ask.connect import Answers, connect
from microdollar_exporter.ask.period import Instant, period
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
_TOKENS = " + ".join(f"coalesce({bucket}, 0)" for bucket in BUCKETS)
# Sums of signed columns like all others, so that what was taken back is in none of them.
_HONESTY = {
    "unpriced": "sum(calls) FILTER (cost IS NULL AND usage_source <> 'missing')",
    "unpriced_tokens": f"sum({_TOKENS}) FILTER (cost IS NULL)",
    "missing": "sum(calls) FILTER (usage_source = 'missing')",
    "estimated": "sum(calls) FILTER (usage_source = 'estimated')",
    "partial": "sum(calls) FILTER (price_status = 'partial')",
    "fallback": "sum(calls) FILTER (price_status = 'fallback')",
    "refused": "sum(calls) FILTER (usage_source = 'none')",
    "late": "sum(calls) FILTER (is_late)",
}
_MEASURES = (
    "coalesce(sum(calls), 0)::BIGINT AS calls",
    *(f"sum({column})::BIGINT AS {column}" for column in (*BUCKETS, *PARTS)),
    "sum(cost) AS cost",
    *(f"coalesce({sql}, 0)::BIGINT AS {name}" for name, sql in _HONESTY.items()),
    "coalesce(sum(calls) FILTER (customer_id IS NULL), 0)::BIGINT AS unassigned_calls",
    f"coalesce(sum({_TOKENS}) FILTER (customer_id IS NULL), 0)::BIGINT AS unassigned_tokens",
)

# A reversal is as late as the entry it takes back. The sums of a day that are left of removed
# calls no longer say when each was recorded.
_LATE = "recorded_at > started_at + INTERVAL 1 DAY AND trace_id <> ''"
_ENTRIES = f"""
    SELECT *, {_LATE} AND NOT coalesce(was_in_time, false) AS is_late
    FROM ledger LEFT JOIN (
        SELECT entry_id AS reversed, true AS was_in_time FROM ledger
        WHERE NOT ({_LATE}) AND entry_id IN (
            SELECT reverses FROM ledger WHERE kind = 'reversal' AND {_LATE}
        )
    ) ON reverses = reversed"""

# Of several spans about one call one is booked. The others share its trace or its response, or
# begin a trace of their own at the same time in the same service.
_UNBOOKED = """
    WITH unbooked AS (
        SELECT scope, service, rule, started_at, trace_id, response_id
        FROM spans ANTI JOIN ledger USING (trace_id, span_id, started_at)
        WHERE role = 'call' AND NOT direct AND {period}
    ),
    unrelated AS (
        SELECT * FROM unbooked ANTI JOIN ledger USING (trace_id)
        ANTI JOIN (SELECT response_id FROM ledger) USING (response_id)
    )
    SELECT coalesce(scope, 'no scope') AS scope, count(*) AS n
    FROM unrelated ANTI JOIN ledger ON ledger.service = unrelated.service
        AND ledger.rule <> unrelated.rule
        AND ledger.started_at >= unrelated.started_at - INTERVAL 110 MILLISECONDS
        AND ledger.started_at <= unrelated.started_at + INTERVAL 110 MILLISECONDS
    GROUP BY ALL ORDER BY ALL"""


@dataclass(frozen=True, slots=True)
class Report:
    """A report's rows, their total, and what stands beside the total.

    `rows` has the grouping columns, `calls`, every bucket and part in tokens, `cost` in
    microdollars and `cost_usd` in dollars (both `Decimal`, or None when nothing was priced), and
    per row the counts of the honesty line: calls `unpriced`, with usage `missing` or `estimated`,
    with a price for a part only (`partial`), with a price or a count in doubt (`fallback`),
    `refused` by the provider or never sent, and `late`: recorded more than a day after they began.
    `completeness` says what is known to be missing; None in the report of one customer, since
    nobody knows whose those calls were. `unbooked` counts, by scope, calls in the evidence that no
    entry stands for: there should be none.
    """

    by: tuple[str, ...]
    rows: pd.DataFrame
    total: dict[str, Any]
    unassigned_calls: int
    unassigned_tokens: int
    completeness: Completeness | None
    unbooked: dict[str, int]

    @property
    def honesty(self) -> str:
        """A line or two that say what the figures leave out and where they are not exact."""
        total = self.total
        tokens = total["unpriced_tokens"]
        found = {
            f"unpriced ({_plural(tokens, 'token')})": total["unpriced"],
            "with usage missing": total["missing"],
            "estimated": total["estimated"],
            "priced in part": total["partial"],
            "with a price or count in doubt": total["fallback"],
            "refused or never sent (free)": total["refused"],
            "recorded late": total["late"],
            f"unassigned ({_plural(self.unassigned_tokens, 'token')})": self.unassigned_calls,
        }
        parts = [f"{count:,} {what}" for what, count in found.items() if count]
        if tokens and not total["unpriced"]:
            # A further model inside a call has tokens and is no call.
            parts.insert(0, f"{_plural(tokens, 'token')} unpriced")
        nothing = "each priced from reported usage, and assigned"
        lines = [f"Of {_plural(total['calls'], 'call')}: {', '.join(parts) or nothing}."]
        if self.completeness is not None and self.completeness.missing:
            lines.append(_absent(self.completeness))
        if self.unbooked:
            calls = _plural(sum(self.unbooked.values()), "call")
            lines.append(f"Not booked, by a fault: {calls} of {', '.join(self.unbooked)}.")
        return " ".join(lines)


def _absent(completeness: Completeness) -> str:
    said = f"{_plural(completeness.missing, 'further call')} not arrived, or still running"
    if completeness.dropped:
        said += f"; {completeness.dropped:,} said to be dropped"
    if completeness.likely_cost is not None:
        said += f"; likely {dollars(completeness.likely_cost)}, an estimate"
    return said + "."


def _plural(count: int, one: str) -> str:
    return f"{count:,} {one if count == 1 else one + 's'}"


def report(
    by: str | Sequence[str] = ("customer",),
    *,
    db: str | Path = "meter.duckdb",
    from_: Instant | None = None,
    to: Instant | None = None,
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
    connection: Answers,
    by: str | Sequence[str] = ("customer",),
    *,
    from_: Instant | None = None,
    to: Instant | None = None,
    customer: str | int | UUID | None = None,
) -> Report:
    """The same as `report`, over an open connection and with its total."""
    names = _names(by)
    condition, instants = period(from_, to).holds("started_at")
    keys = [f"key_{position}" for position in range(len(names))]
    dimensions = [DIMENSIONS.get(name, "map_extract_value(tags, ?)") for name in names]
    parameters = [name.removeprefix("tag:") for name in names if name not in DIMENSIONS]
    parameters += instants
    whose = "true"
    if customer == UNASSIGNED:
        whose = "customer_id IS NULL"
    elif customer is not None:
        whose = "customer_id = ?"
        parameters.append(str(customer))

    columns = ", ".join(f"{sql} AS {key}" for sql, key in zip(dimensions, keys, strict=True))
    grouped = ", ".join(keys)
    ordered = ", ".join(f"{key} NULLS LAST" for key in keys)
    query = f"""
        SELECT {grouped}, {", ".join(_MEASURES)}
        FROM (SELECT *, {columns} FROM ({_ENTRIES}) WHERE {condition} AND {whose})
        GROUP BY GROUPING SETS (({grouped}), ())
        ORDER BY grouping({grouped}), {ordered}"""
    found = connection.sql(query, parameters).to_pylist()
    total = found.pop()
    complete, unbooked = None, {}
    if customer is None:
        complete = completeness_on(connection, from_=from_, to=to)
        query = _UNBOOKED.format(period=condition)
        unbooked = {row["scope"]: row["n"] for row in connection.sql(query, instants).to_pylist()}
    rows = [_row(row, names, keys) for row in found]
    value_columns = [*_SUMS, "cost", "cost_usd", *_HONESTY]
    frame = pd.DataFrame(rows, columns=[*names, *value_columns])
    counts = [*_SUMS, *_HONESTY]
    frame[counts] = frame[counts].astype("Int64")
    totals = _row(total, (), ())
    return Report(
        names,
        frame,
        totals,
        total["unassigned_calls"],
        total["unassigned_tokens"],
        complete,
        unbooked,
    )


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


def _row(found: dict[str, Any], names: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, key in zip(names, keys, strict=True):
        value = found[key]
        row[name] = UNASSIGNED if name == "customer" and value is None else value
    row.update({column: found[column] for column in (*_SUMS, "cost", *_HONESTY)})
    cost: Decimal | None = row["cost"]
    row["cost_usd"] = None if cost is None else usd(cost)
    return row
