# SPDX-License-Identifier: Apache-2.0
"""The act `close-period`: settle the figures of a period that is over, as of now.

Nothing is refused afterwards and nothing is locked: a call of the period that comes late, a late
witness, an assignment or another price is booked as ever, dated when it is booked. What is closed
are the figures as of the moment of the decision, which a report as of then gives for ever. This has
nothing to do with `closed_before` of `retain`, by which the file takes no more spans of a time
whose evidence it no longer has.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import duckdb

from microdollar_exporter.ask.closed import CLOSE_PERIOD, as_option
from microdollar_exporter.ask.honesty import IN_DOUBT, TOKENS, UNASSIGNED_SUMS
from microdollar_exporter.ask.period import Period, period
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.arguments import flag_of, known_only, text_of, who_of
from microdollar_exporter.operate.moves import looking
from microdollar_exporter.store import Decision, Store

__all__ = ["CLOSE_PERIOD", "ClosedPeriod", "close_period", "closed_periods"]

_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_MONTH: Final = re.compile(r"(19[7-9]\d|2\d{3})-(0[1-9]|1[0-2])", re.ASCII)
_COUNTS: Final = {"calls": "sum(calls)", "tokens": f"sum({TOKENS})", **IN_DOUBT, **UNASSIGNED_SUMS}
_SUMS: Final = ", ".join(
    [
        "count(*) AS entries",
        "CAST(sum(cost) AS VARCHAR) AS cost",
        *(f"coalesce({sql}, 0)::BIGINT AS {name}" for name, sql in _COUNTS.items()),
    ]
)


class ClosedPeriod(NamedTuple):
    """The calls that began from `first` on and before `end`; their figures are those `as_of`.

    All are microseconds since 1970 UTC.
    """

    name: str
    first: int
    end: int
    as_of: int
    decision: str


def closed_periods(decisions: Iterable[Decision]) -> list[ClosedPeriod]:
    """The periods that are closed, in the order of their time."""
    found = [
        ClosedPeriod(
            made.content["name"],
            made.content["first"],
            made.content["end"],
            made.made_at,
            made.decision_id,
        )
        for made in decisions
        if made.kind == CLOSE_PERIOD
    ]
    return sorted(found, key=lambda closed: closed.first)


def close_period(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Close a `month` (2026-10, UTC), or the period `from` one instant `to` another.

    Unless `apply` is true nothing is done. `by` and `reason` say who decides and why.

    Returns:
        The id of the `decision`; the `period`, from when (`from`) until when (`to`, excluded), and
        the moment `as_of` which its figures stay what they are, UTC; and its sums: `entries`,
        `calls`, `tokens`, `cost` in microdollars as decimal text, and what stands beside the total
        of a report, in the same words.

    Raises:
        UsageError: the period is not over, part of it is closed already, or an argument is wrong.
        StoreUnavailable: nothing was closed; try again later.
    """
    known_only(arguments, ("month", "from", "to", "apply", "by", "reason"))
    name, asked = _asked(arguments)
    _refuse_overlap(name, asked, store.decisions)
    if not flag_of(arguments, "apply"):
        _refuse_running(name, asked, datetime.now(UTC).replace(tzinfo=None))
        with looking(store) as con:
            return _answer(None, name, asked, None, _sums(con, asked))
    who = who_of(arguments)
    with store.change() as change:
        _refuse_running(name, asked, change.at)
        sums = _sums(change.con, asked)
        content = {"name": name, "first": _micros(asked.first), "end": _micros(asked.end), **sums}
        decision_id = change.decide(kind=CLOSE_PERIOD, content=content, **who._asdict())
    return _answer(decision_id, name, asked, change.at, sums)


def _asked(arguments: Mapping[str, Any]) -> tuple[str, Period]:
    """The period by its name and its instants, both of which are known."""
    given = sorted(name for name in ("month", "from", "to") if arguments.get(name) is not None)
    if given == ["from", "to"]:
        first, end = text_of(arguments, "from"), text_of(arguments, "to")
        return f"{first} to {end}", period(first, end)
    if given != ["month"]:
        raise UsageError("say which period: a month like 2026-10, or from and to")
    month = text_of(arguments, "month")
    found = _MONTH.fullmatch(month)
    if found is None:
        raise UsageError(f"month is {month!r}: write a month like 2026-10")
    first_day = datetime(int(found[1]), int(found[2]), 1)
    return month, Period(first_day, (first_day + timedelta(days=31)).replace(day=1))


def _refuse_running(name: str, asked: Period, now: datetime) -> None:
    if asked.end is None or asked.end > now:
        raise UsageError(f"{name} is not over: it ends at {asked.end} UTC, and can be closed then")


def _refuse_overlap(name: str, asked: Period, decisions: Iterable[Decision]) -> None:
    first, end = _micros(asked.first), _micros(asked.end)
    for closed in closed_periods(decisions):
        if first < closed.end and closed.first < end:
            raise UsageError(
                f"{name} is closed already, or a part of it: {closed.name} was, by decision "
                f"{closed.decision}, as of {_moment(closed.as_of)} UTC"
            )


def _sums(con: duckdb.DuckDBPyConnection, asked: Period) -> dict[str, Any]:
    in_period, instants = asked.holds("started_at")
    query = f"SELECT {_SUMS} FROM ledger WHERE {in_period}"
    [sums] = con.sql(query, params=instants).to_arrow_table().to_pylist()
    return dict(sums)


def _answer(
    decision_id: str | None,
    name: str,
    asked: Period,
    as_of: datetime | None,
    sums: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "decision": decision_id,
        "period": name,
        "from": str(asked.first),
        "to": str(asked.end),
        "as_of": as_of and as_option(as_of),
        **sums,
    }


def _micros(moment: datetime | None) -> int:
    return 0 if moment is None else (moment - _EPOCH) // _MICROSECOND


def _moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND
