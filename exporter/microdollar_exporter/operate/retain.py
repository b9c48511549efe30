# SPDX-License-Identifier: Apache-2.0
"""The act `retain`: let go of what is older than it has to be kept, and keep the sums.

Evidence goes first; entries stay, with their reason and price, until they are older than what is
kept of the ledger, and then become sums by the day. With the evidence the books of that time are
closed: a span that comes later than that could not be told from one that was removed, and is
refused.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import duckdb

from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.arguments import Who, flag_of, known_only, who_of
from microdollar_exporter.operate.moves import looking
from microdollar_exporter.operate.remove import (
    Sums,
    check,
    copy_profiles,
    copy_the_rest,
    decided_at,
    note_calls,
    record,
    sum_up,
)
from microdollar_exporter.operate.rewrite import copy_whole, rewrite
from microdollar_exporter.store import Change, Decision, Store
from microdollar_exporter.store.decisions import CLOSED_BEFORE
from microdollar_exporter.store.known import WINDOW

__all__ = ["FEWEST_DAYS", "RETAIN", "retain"]

RETAIN: Final = "retain"
"""The kind of the decision. It says before which day (UTC) evidence was removed and entries became
sums, and how many; and before which moment the books are closed."""

FEWEST_DAYS: Final = 14
"""Evidence is kept at least so long, for spans that come late."""
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1)


def retain(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Let go of evidence older than `evidence` days, and of entries older than `ledger` days.

    Whole days (UTC) go. Without `ledger` all entries stay. Unless `apply` is true nothing is done.
    `by` and `reason` say who decides and why. The ledger is written anew, as by `erase`.
    """
    known_only(arguments, ("evidence", "ledger", "apply", "by", "reason"))
    cutoffs = _cutoffs(arguments)
    with looking(store) as con:
        found = _found(con, cutoffs)
    if not flag_of(arguments, "apply") or not (found["spans"] or found["entries"]):
        return {"decision": None, **found}
    who = who_of(arguments)
    decision_id = Change.new_id()
    rewrite(store, lambda con: _fill(con, cutoffs, decision_id, who, found))
    return {"decision": decision_id, **found}


class _Cutoffs(NamedTuple):
    """The days (UTC) before which evidence goes, and entries become sums."""

    spans: datetime
    entries: datetime


def _cutoffs(arguments: Mapping[str, Any]) -> _Cutoffs:
    evidence = _days(arguments, "evidence", FEWEST_DAYS)
    today = datetime.now(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    spans_before = today - timedelta(days=evidence)
    if arguments.get("ledger") is None:
        return _Cutoffs(spans_before, _EPOCH)
    ledger = _days(arguments, "ledger", evidence)
    return _Cutoffs(spans_before, today - timedelta(days=ledger))


def _days(arguments: Mapping[str, Any], name: str, fewest: int) -> int:
    days = arguments.get(name)
    if type(days) is not int or not fewest <= days <= _MOST_DAYS:
        raise UsageError(
            f"{name} is {days!r}: give {fewest} days or more; evidence is kept for {FEWEST_DAYS} "
            "at least, because spans may come late, and entries as long as their evidence"
        )
    return days


_MOST_DAYS: Final = 36_500


def _found(con: duckdb.DuckDBPyConnection, cutoffs: _Cutoffs) -> dict[str, Any]:
    """How much goes, and before which days."""
    [(spans,)] = con.execute(
        "SELECT count(*) FROM span WHERE started_at < ?", [cutoffs.spans]
    ).fetchall()
    [(entries, calls)] = con.execute(
        """
        SELECT count(*), coalesce(sum(calls), 0)::BIGINT FROM ledger
        WHERE started_at < ? AND trace_id <> ''""",
        [cutoffs.entries],
    ).fetchall()
    return {
        "evidence_before": f"{cutoffs.spans:%Y-%m-%d}",
        "ledger_before": None if cutoffs.entries == _EPOCH else f"{cutoffs.entries:%Y-%m-%d}",
        "spans": spans,
        "entries": entries,
        "calls": calls,
    }


def _fill(
    con: duckdb.DuckDBPyConnection,
    cutoffs: _Cutoffs,
    decision_id: str,
    who: Who,
    found: Mapping[str, Any],
) -> None:
    # A span is decided on with its relatives, which may have begun a day earlier.
    closed_before = (cutoffs.spans - _EPOCH) // _MICROSECOND + WINDOW
    copy_the_rest(con)
    con.execute(
        "INSERT INTO fresh.span BY NAME FROM old.span WHERE started_at >= ?", [cutoffs.spans]
    )
    copy_whole(con, "held_span", "archived_span", "decision")
    copy_profiles(con)
    con.execute(
        """
        INSERT INTO fresh.ledger BY NAME FROM old.ledger
        WHERE started_at >= ? OR trace_id = ''""",
        [cutoffs.entries],
    )
    old = f"started_at < TIMESTAMP '{cutoffs.entries}' AND trace_id <> ''"
    sum_up(
        con,
        Sums(
            entries=f"(FROM old.ledger WHERE {old})",
            tags="tags",
            decision=decision_id,
            reason="calls older than what is kept, by the day",
        ),
    )
    note_calls(con, f"(FROM old.span WHERE started_at < TIMESTAMP '{cutoffs.spans}')")
    con.execute(
        "INSERT INTO fresh.removed_span FROM old.removed_span WHERE started_on >= ?",
        [(cutoffs.spans + timedelta(microseconds=WINDOW)).date()],
    )
    content = {**found, CLOSED_BEFORE: closed_before}
    record(con, Decision(decision_id, RETAIN, decided_at(con), *who, content, None))
    check(con)
