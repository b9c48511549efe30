# SPDX-License-Identifier: Apache-2.0
"""Who consumed what, and what it cost: sums over the ledger, with what is not in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd

from microdollar_exporter.ask.as_of import AsOf, moment_of_books
from microdollar_exporter.ask.completeness import Completeness, completeness_on, dollars
from microdollar_exporter.ask.connect import Answers, connect
from microdollar_exporter.ask.honesty import IN_DOUBT, UNASSIGNED_SUMS, honesty, plural
from microdollar_exporter.ask.period import Instant, Period, period
from microdollar_exporter.ask.pieces import MODEL, Chosen, pieces
from microdollar_exporter.ask.rows import Table
from microdollar_exporter.ask.strangers import unknown_in, unknown_names
from microdollar_exporter.entry import REVERSAL
from microdollar_exporter.errors import UsageError
from microdollar_exporter.markup import Markup, Span, read
from microdollar_exporter.rounding import Unit
from microdollar_exporter.usage import BUCKETS, PARTS
from microdollar_semconv import UNASSIGNED

__all__ = ["DIMENSIONS", "Report", "report", "report_on", "unit_named"]

DIMENSIONS = {
    "customer": "customer_id",
    "user": "user_id",
    "model": MODEL,
    "provider": "provider",
    "operation": "operation",
    "service": "service",
    "environment": "environment",
    "day": "strftime(started_at, '%Y-%m-%d')",
    "month": "strftime(started_at, '%Y-%m')",
}
"""What a report can be grouped by, as SQL over the ledger; every other word is a tag's name when
written `tag:NAME`, and `feature` is short for `tag:feature`."""

_MEASURES = (
    "coalesce(sum(calls), 0)::BIGINT AS calls",
    *(f"sum({column})::BIGINT AS {column}" for column in (*BUCKETS, *PARTS)),
    "sum(cost) AS cost",
    f"sum(if(kind = '{REVERSAL}', -1, 1))::BIGINT AS standing",
    *(
        f"coalesce({sql}, 0)::BIGINT AS {name}"
        for name, sql in {
            **IN_DOUBT,
            "late": "sum(calls) FILTER (is_late)",
            **UNASSIGNED_SUMS,
        }.items()
    ),
)

# A call is as late as its first entry, whatever was corrected afterwards. The sums of a day that
# are left of removed calls no longer say when each was recorded.
_LATE = "ledger.recorded_at > ledger.started_at + INTERVAL 1 DAY AND ledger.trace_id <> ''"
_KEY = "trace_id, span_id, started_at, position"
_ENTRIES = f"""
    SELECT ledger.*, {_LATE} AND in_time.trace_id IS NULL AS is_late
    FROM ledger LEFT JOIN (
        SELECT DISTINCT {_KEY} FROM ledger SEMI JOIN (
            SELECT {_KEY} FROM ledger WHERE {_LATE}
        ) USING ({_KEY})
        WHERE NOT ({_LATE})
    ) AS in_time
    ON CASE WHEN {_LATE} THEN ledger.started_at END = in_time.started_at
    AND ledger.trace_id = in_time.trace_id AND ledger.span_id = in_time.span_id
    AND ledger.position = in_time.position"""

# Of several spans about one call one is booked. The others share its trace or its response, or
# begin a trace of their own at the same time in the same service. What is held back may turn out to
# be about a call that is booked, and until then counts as one that is not.
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
    SELECT coalesce(scope, 'no scope') AS scope, count(*) AS n FROM (
        SELECT scope FROM unrelated ANTI JOIN ledger ON ledger.service = unrelated.service
            AND ledger.rule <> unrelated.rule
            AND ledger.started_at >= unrelated.started_at - INTERVAL 110 MILLISECONDS
            AND ledger.started_at <= unrelated.started_at + INTERVAL 110 MILLISECONDS
        UNION ALL
        SELECT scope FROM held_span JOIN profile USING (profile_id)
        WHERE role = 'call' AND {period}
    )
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

    With a markup the columns `AMOUNTS` follow, in microdollars and dollars, and after the grouping
    columns stands `line`: what kind of row it is, `usage` but for an allowance or a minimum that
    has a row of its own. `amount` is what is paid, None where that is not known, the sum of
    `charge`, `allowance` (not above zero) and `minimum` (what is missing to it); `margin` is the
    amount without the cost, of the calls for which both are known. `unbilled` counts calls without
    an amount; `rules` has the names of the rules that made it. When a bill is allocated,
    `allocated` and `allocated_usd` follow: the row's share. `exact` has the totals of what was
    rounded, and `notes` what else is to be said.
    """

    by: tuple[str, ...]
    rows: pd.DataFrame
    total: dict[str, Any]
    unassigned_calls: int
    unassigned_tokens: int
    completeness: Completeness | None
    unbooked: dict[str, int]
    exact: dict[str, Decimal | None] | None = None
    notes: tuple[str, ...] = ()

    @property
    def honesty(self) -> str:
        """A line or two that say what the figures leave out and where they are not exact."""
        unassigned = {
            "unassigned": self.unassigned_calls,
            "unassigned_tokens": self.unassigned_tokens,
        }
        lines = [honesty(self.total | unassigned)]
        if self.completeness is not None and self.completeness.missing:
            lines.append(_absent(self.completeness))
        if self.unbooked:
            calls = plural(sum(self.unbooked.values()), "call")
            lines.append(
                f"Not booked: {calls} of {', '.join(self.unbooked)}; the exporter's log says why."
            )
        return " ".join([*lines, *self.notes])


def _absent(completeness: Completeness) -> str:
    said = f"{plural(completeness.missing, 'further call')} not arrived, or still running"
    if completeness.dropped:
        said += f"; {completeness.dropped:,} said to be dropped"
    if completeness.likely_cost is not None:
        said += f"; likely {dollars(completeness.likely_cost)}, an estimate"
    return said + "."


def report(
    by: str | Sequence[str] = ("customer",),
    *,
    db: str | Path = "meter.duckdb",
    from_: Instant | None = None,
    to: Instant | None = None,
    customer: str | int | UUID | None = None,
    provider: str | None = None,
    markup: str | Path | None = None,
    round_to: str | None = None,
    as_of: Instant | None = None,
) -> pd.DataFrame:
    """Usage and cost per group, as a DataFrame.

    Args:
        by: names of `DIMENSIONS`, `feature`, or `tag:NAME`; a comma-separated text or a sequence.
        db: the ledger's file; a running exporter answers for it.
        from_: the first instant, UTC: a day (`2026-11-01`) or an ISO time.
        to: the instant after the last, UTC, in the same forms.
        customer: only this customer.
        provider: only calls to this provider.
        markup: the file that says what customers pay; None for costs alone.
        round_to: `microdollar` or `cent`; None for exact costs.
        as_of: the books as they stood at this moment, UTC, in the same forms; None for now.

    Returns:
        One row per group, in the order of the grouping columns; see `Report.rows`. The line that
        says what is not in the sums is in `.attrs["honesty"]`.

    Raises:
        UsageError: an argument is not understood; the message says what is.
    """
    made = report_on(
        connect(db),
        by,
        from_=from_,
        to=to,
        customer=customer,
        provider=provider,
        markup=None if markup is None else read(Path(markup)),
        unit=None if round_to is None else unit_named(round_to),
        as_of=as_of,
    )
    frame = made.rows
    frame.attrs["honesty"] = made.honesty
    return frame


def unit_named(name: str) -> Unit:
    """The unit of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in {"microdollar", "cent"}:
        raise UsageError(f"cannot round to {name!r}: choose microdollar or cent")
    return Unit[name.upper()]


def report_on(
    connection: Answers,
    by: str | Sequence[str] = ("customer",),
    *,
    from_: Instant | None = None,
    to: Instant | None = None,
    customer: str | int | UUID | None = None,
    provider: str | None = None,
    markup: Markup | None = None,
    unit: Unit | None = None,
    allocate: Decimal | str | None = None,
    as_of: Instant | None = None,
    now: datetime | None = None,
) -> Report:
    """The same as `report`, over an open connection and with its total.

    `allocate` is a bill in US dollars to be shared out over the rows in proportion to their cost,
    to the unit, by itself cents. `now` is when the report is made, UTC without a zone; the moment
    `as_of` which the books are asked, if there is one.

    Raises:
        UsageError: an argument is not understood, or two do not go together.
    """
    _refuse_contradictions(customer, provider, markup, allocate)
    if as_of is not None:
        moment = moment_of_books(connection, as_of)
        connection, now = AsOf(connection, moment), now or moment
    names = _names(by)
    asked = period(from_, to)
    with_amounts = markup is not None or (unit is not None and allocate is None)
    books = _at_rest(connection) if with_amounts and as_of is None else connection
    chosen = _chosen(names, asked, customer, provider)
    grouped = ", ".join(chosen.keys)
    ordered = ", ".join(f"{key} NULLS LAST" for key in chosen.keys)
    query = f"""
        SELECT {grouped}, {", ".join(_MEASURES)}
        FROM ({chosen.sql})
        GROUP BY GROUPING SETS (({grouped}), ())
        ORDER BY grouping({grouped}), {ordered}"""
    found = books.sql(query, chosen.parameters).to_pylist()
    total = found.pop()
    complete, unbooked = None, {}
    if customer is None and provider is None:
        complete = completeness_on(connection, from_=from_, to=to)
        condition, instants = asked.holds("started_at")
        query = _UNBOOKED.format(period=condition)
        rows = connection.sql(query, [*instants, *instants]).to_pylist()
        unbooked = {row["scope"]: row["n"] for row in rows}
    table = Table(names, chosen.keys, found, total)
    if with_amounts:
        at = now or datetime.now(UTC).replace(tzinfo=None)
        whose = None if customer is None else str(customer)
        found_pieces = pieces(books, chosen, markup or Markup())
        table.put_amounts(found_pieces, markup, unit, Span(*asked, at, whose))
    if allocate is not None:
        table.allocate(allocate, unit or Unit.CENT)
    if not found:
        whom = {"customer": None if customer is None else str(customer), "provider": provider}
        table.notes += unknown_names(connection, whom)
    if markup is not None and customer is None:
        table.notes += unknown_in(books, markup)
    return Report(
        names,
        table.frame(),
        table.total,
        total["unassigned"],
        total["unassigned_tokens"],
        complete,
        unbooked,
        table.exact,
        tuple(table.notes),
    )


def _refuse_contradictions(
    customer: object, provider: str | None, markup: Markup | None, allocate: Decimal | str | None
) -> None:
    if markup is not None and provider is not None:
        raise UsageError(
            "a markup is about all calls of a customer, allowances and minimums included: group "
            "by provider, or ask for one provider without the markup"
        )
    if allocate is not None and (markup is not None or customer is not None):
        raise UsageError(
            "a bill is allocated over what all customers cost: ask for it without a markup and "
            "without a customer"
        )


def _at_rest(connection: Answers) -> Answers:
    """The books as they are now, for several questions, whatever is recorded meanwhile."""
    [found] = connection.sql("SELECT max(recorded_at) AS latest FROM ledger").to_pylist()
    return connection if found["latest"] is None else AsOf(connection, found["latest"])


def _chosen(
    names: Sequence[str], asked: Period, customer: str | int | UUID | None, provider: str | None
) -> Chosen:
    """The entries that the report is about, with a column for each word it is grouped by."""
    keys = [f"key_{position}" for position in range(len(names))]
    dimensions = [DIMENSIONS.get(name, "map_extract_value(tags, ?)") for name in names]
    columns = ", ".join(f"{sql} AS {key}" for sql, key in zip(dimensions, keys, strict=True))
    condition, instants = asked.holds("started_at")
    parameters = [name.removeprefix("tag:") for name in names if name not in DIMENSIONS]
    parameters += instants
    if customer == UNASSIGNED:
        condition += " AND customer_id IS NULL"
    elif customer is not None:
        condition += " AND customer_id = ?"
        parameters.append(str(customer))
    if provider is not None:
        condition += " AND provider = ?"
        parameters.append(provider)
    sql = f"SELECT *, {columns} FROM ({_ENTRIES}) WHERE {condition}"
    return Chosen(sql, parameters, keys)


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
