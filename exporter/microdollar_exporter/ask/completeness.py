# SPDX-License-Identifier: Apache-2.0
"""Which calls are missing: what processes numbered, and what of it has arrived.

A process has a boot id and numbers its calls from 1 without gaps, so a number that is not there
between two that are is a call that nobody has reported. What a process did after its last call
that arrived leaves no gap: of that only what it says it had to drop is known.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from typing import Any, Final

from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.ask.period import Instant, Period, period
from microdollar_exporter.money import usd
from microdollar_semconv import attributes as md

__all__ = ["Completeness", "Gap", "completeness_on", "dollars"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Calls of one process that it numbered and that have not arrived.

    `first` and `last` are their numbers. The call before the first began at `after` and the one
    that follows the last at `before`, UTC; without a call before them `after` is None. Where
    `last` and `before` are None, no number is missing: the process says that it dropped `calls`
    more than its gaps hold, so they came after `after`, its last call that arrived. `likely_cost`
    is an estimate in microdollars, None where no call of the service nearby has a price.
    """

    service: str | None
    environment: str | None
    boot_id: str
    first: int
    last: int | None
    calls: int
    after: datetime | None
    before: datetime | None
    likely_cost: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """The gaps of a period, in the order in which the numbering went on after them.

    A gap belongs to the period in which the call that follows it began, so that periods add up.
    `dropped` is how many calls the processes say they had to drop in it; they are among the
    missing ones. `processes` is how many were at work in it; their ends are not known.
    `unnumbered` counts calls of emitters that do not number their calls.
    """

    gaps: Sequence[Gap]
    dropped: int
    processes: int
    unnumbered: int

    @property
    def missing(self) -> int:
        """How many calls are known to be missing."""
        return sum(gap.calls for gap in self.gaps)

    @property
    def likely_cost(self) -> Decimal | None:
        """What the missing calls cost in microdollars, by estimate, as far as there is one."""
        costs = [gap.likely_cost for gap in self.gaps if gap.likely_cost is not None]
        return reduce(_EXACT.add, costs) if costs else None

    @property
    def unestimated(self) -> int:
        """How many of the missing calls have no estimate."""
        return sum(gap.calls for gap in self.gaps if gap.likely_cost is None)

    @property
    def summary(self) -> str:
        """What was found and what cannot be known, in a few sentences."""
        at_work = _plural(self.processes, "process", "processes")
        open_ends = "What a process did after its last call that arrived cannot be known"
        if self.missing:
            boots = _plural(len({gap.boot_id for gap in self.gaps}), "process", "processes")
            said = [
                f"{_plural(self.missing, 'call')} of {boots} not arrived, or still running.",
                f"{self.dropped:,} of them said to be dropped." if self.dropped else "",
                self._estimate(),
                f"{open_ends} ({at_work} at work).",
            ]
        else:
            said = [
                f"Of {at_work} no call is missing between the first and the last.",
                f"{open_ends}.",
            ]
        if self.unnumbered:
            calls = _plural(self.unnumbered, "call")
            said.append(f"{calls} of emitters that do not number theirs: nothing can be known.")
        return " ".join(filter(None, said))

    def _estimate(self) -> str:
        if self.likely_cost is None:
            return "Their likely cost is not known."
        but = f" for all but {self.unestimated:,} of them" if self.unestimated else ""
        return (
            f"Likely cost {dollars(self.likely_cost)}{but}: an estimate, at the mean of the "
            "service's calls around each gap."
        )


def dollars(microdollars: Decimal) -> str:
    """An estimate as people write it, to the microdollar."""
    return f"${usd(microdollars).quantize(_MICRODOLLARS, context=_EXACT):,f}"


def completeness_on(
    connection: Answers,
    *,
    from_: Instant | None = None,
    to: Instant | None = None,
    service: str | None = None,
) -> Completeness:
    """The gaps of a period, of all services or of one.

    Raises:
        UsageError: an instant is not understood.
    """
    asked = period(from_, to)
    gaps = connection.sql(_GAPS).to_pylist()
    drops = connection.sql(_DROPS).to_pylist()
    if drops:
        gaps += _beyond(gaps, drops, connection.sql(_LAST_OF_DROPPING).to_pylist())
    if service is not None:
        gaps = [gap for gap in gaps if gap["service"] == service]
        drops = [row for row in drops if row["service"] == service]
    gaps = [gap for gap in gaps if asked.has(gap["began"])]
    gaps.sort(key=lambda gap: (gap["began"], gap["boot_id"], gap["first"]))
    costs = _Costs(connection, gaps)
    return Completeness(
        gaps=[_gap(gap, costs) for gap in gaps],
        dropped=_dropped(drops, asked),
        **_at_work(connection, asked, service),
    )


# Sixty-four numbers make a word: a process that lacks nothing costs one for 64 calls.
_FULL: Final = 2**64 - 1
_DROPPED: Final = f"TRY_CAST(attributes['{md.BOOT_DROPPED_CALLS}'] AS BIGINT)"
_NUMBERED: Final = """
    SELECT boot_id, call_sequence AS number, started_at AS began, profile_id
    FROM span WHERE boot_id IS NOT NULL AND call_sequence > 0"""
_REMOVED_ENDS: Final = """
    SELECT boot_id, first_sequence AS number, first_at AS began, service, environment
    FROM removed_calls
    UNION ALL SELECT boot_id, last_sequence, last_at, service, environment FROM removed_calls"""
_GAPS: Final = f"""
    WITH numbered AS ({_NUMBERED}),
    words AS (
        SELECT boot_id, number // 64 AS word,
            bit_or(1::UBIGINT << (number % 64)::UBIGINT) AS bits
        FROM numbered GROUP BY ALL
    ),
    runs AS (
        SELECT boot_id, word * 64 AS first, word * 64 + 63 AS last FROM words WHERE bits = {_FULL}
        UNION ALL
        SELECT boot_id, word * 64 + bit, word * 64 + bit
        FROM words CROSS JOIN range(64) AS t(bit)
        WHERE bits <> {_FULL} AND (bits >> bit::UBIGINT) & 1 = 1
        UNION ALL
        SELECT boot_id, first_sequence, last_sequence FROM removed_calls
    ),
    reached AS (
        SELECT boot_id, first - 1 AS last, 1 + coalesce(max(last) OVER (
            PARTITION BY boot_id ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS first
        FROM runs
    ),
    gaps AS (SELECT boot_id, first, last FROM reached WHERE first <= last),
    edges AS (
        SELECT boot_id, first - 1 AS number FROM gaps
        UNION ALL SELECT boot_id, last + 1 FROM gaps
    ),
    known AS (
        SELECT boot_id, number, began, service, environment FROM (
            SELECT * FROM numbered SEMI JOIN edges USING (boot_id, number)
        ) JOIN profile USING (profile_id)
        UNION ALL {_REMOVED_ENDS}
    ),
    times AS (
        SELECT boot_id, number, min(began) AS began, min(service) AS service,
            min(environment) AS environment
        FROM known GROUP BY ALL
    )
    SELECT of_after.service, of_after.environment, gaps.boot_id, first, last,
        last - first + 1 AS calls, of_before.began AS after, of_after.began AS before,
        of_after.began AS began
    FROM gaps
    JOIN times AS of_after ON of_after.boot_id = gaps.boot_id AND of_after.number = last + 1
    LEFT JOIN times AS of_before
        ON of_before.boot_id = gaps.boot_id AND of_before.number = first - 1"""
_DROPS: Final = f"""
    SELECT service, boot_id, dropped, min(began) AS began FROM (
        SELECT service, boot_id, {_DROPPED} AS dropped, started_at AS began
        FROM span JOIN profile USING (profile_id) WHERE boot_id IS NOT NULL AND dropped > 0
        UNION ALL SELECT service, boot_id, dropped, last_at FROM removed_calls WHERE dropped > 0
    ) GROUP BY ALL"""
_LAST_OF_DROPPING: Final = f"""
    WITH dropping AS (
        SELECT boot_id FROM span JOIN profile USING (profile_id) WHERE {_DROPPED} > 0
        UNION SELECT boot_id FROM removed_calls WHERE dropped > 0
    ),
    known AS (
        SELECT boot_id, number, began, service, environment
        FROM ({_NUMBERED}) JOIN profile USING (profile_id)
        UNION ALL {_REMOVED_ENDS}
    )
    SELECT boot_id, max(number) AS number, arg_max(began, number) AS began,
        min(service) AS service, min(environment) AS environment
    FROM known SEMI JOIN dropping USING (boot_id) GROUP BY ALL"""


def _beyond(
    gaps: Iterable[Mapping[str, Any]],
    drops: Iterable[Mapping[str, Any]],
    ends: Iterable[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What processes say they dropped beyond what their gaps hold: it came after their last."""
    missing: defaultdict[str, int] = defaultdict(int)
    for gap in gaps:
        missing[gap["boot_id"]] += gap["calls"]
    dropped: defaultdict[str, int] = defaultdict(int)
    for row in drops:
        dropped[row["boot_id"]] = max(dropped[row["boot_id"]], row["dropped"])
    return [
        {
            "service": end["service"],
            "environment": end["environment"],
            "boot_id": end["boot_id"],
            "first": end["number"] + 1,
            "last": None,
            "calls": dropped[end["boot_id"]] - missing[end["boot_id"]],
            "after": end["began"],
            "before": None,
            "began": end["began"],
        }
        for end in ends
        if dropped[end["boot_id"]] > missing[end["boot_id"]]
    ]


def _dropped(drops: Iterable[Mapping[str, Any]], asked: Period) -> int:
    """How far the processes' own counts, which only grow, grew in a period."""
    before: defaultdict[str, int] = defaultdict(int)
    by_its_end: defaultdict[str, int] = defaultdict(int)
    for row in drops:
        boot_id, count = row["boot_id"], row["dropped"]
        if asked.end is None or row["began"] < asked.end:
            by_its_end[boot_id] = max(by_its_end[boot_id], count)
        if asked.first is not None and row["began"] < asked.first:
            before[boot_id] = max(before[boot_id], count)
    return sum(count - before[boot_id] for boot_id, count in by_its_end.items())


def _at_work(connection: Answers, asked: Period, service: str | None) -> dict[str, int]:
    """How many processes were at work, and how many calls came without a number."""
    condition, parameters = asked.holds("started_at")
    joined = ""
    if service is not None:
        joined = "JOIN profile USING (profile_id)"
        condition += " AND service = ?"
        parameters = [*parameters, service]
    processes = f"""
        SELECT count(DISTINCT boot_id) AS n FROM span {joined}
        WHERE call_sequence > 0 AND {condition}"""
    unnumbered = f"""
        SELECT coalesce(sum(calls), 0)::BIGINT AS n FROM ledger
        WHERE NOT starts_with(rule, '{_OURS}') AND {condition}"""
    return {
        "processes": connection.sql(processes, parameters).to_pylist()[0]["n"],
        "unnumbered": connection.sql(unnumbered, parameters).to_pylist()[0]["n"],
    }


_OURS: Final = "microdollar/"
_HOUR: Final = timedelta(hours=1)
_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MICRODOLLARS: Final = Decimal("0.000001")

_Key = tuple[str | None, str | None]


class _Costs:
    """What the calls of each service cost in the hours around the gaps."""

    def __init__(self, connection: Answers, gaps: Sequence[Mapping[str, Any]]) -> None:
        self._of: defaultdict[_Key, _Hours] = defaultdict(_Hours)
        if not gaps:
            return
        times = [time for gap in gaps for time in _around(gap)]
        condition, parameters = Period(min(times), max(times)).holds("started_at")
        for row in connection.sql(
            f"""
            SELECT service, environment, date_trunc('hour', started_at) AS hour,
                sum(cost) AS cost, sum(calls)::BIGINT AS calls
            FROM ledger WHERE cost IS NOT NULL AND {condition} GROUP BY ALL ORDER BY hour""",
            parameters,
        ).to_pylist():
            hours = self._of[row["service"], row["environment"]]
            hours.add(row["hour"], row["cost"], row["calls"])

    def likely(self, gap: Mapping[str, Any]) -> Decimal | None:
        """The gap's calls at the mean cost of its service's calls in the hours around it.

        Where none of those has a price, at the mean of its calls around all gaps.
        """
        hours = self._of[gap["service"], gap["environment"]]
        for cost, calls in (hours.between(*_around(gap)), hours.all()):
            if calls > 0:
                likely = _EXACT.divide(_EXACT.multiply(cost, Decimal(gap["calls"])), Decimal(calls))
                return likely.quantize(_MICRODOLLARS, context=_EXACT)
        return None


class _Hours:
    """Cost and calls by the hour, summed up to the end of each."""

    def __init__(self) -> None:
        self._begins: list[datetime] = []
        self._sums: list[tuple[Decimal, int]] = [(Decimal(0), 0)]

    def add(self, begin: datetime, cost: Decimal, calls: int) -> None:
        """The next hour."""
        cost_before, calls_before = self._sums[-1]
        self._begins.append(begin)
        self._sums.append((_EXACT.add(cost_before, cost), calls_before + calls))

    def between(self, first: datetime, end: datetime) -> tuple[Decimal, int]:
        """The sums of the hours that begin from `first` on and before `end`."""
        cost_before, calls_before = self._sums[bisect_left(self._begins, first)]
        cost, calls = self._sums[bisect_left(self._begins, end)]
        return _EXACT.subtract(cost, cost_before), calls - calls_before

    def all(self) -> tuple[Decimal, int]:
        """The sums of all hours."""
        return self._sums[-1]


def _around(gap: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The whole hours from the one before a gap to the one after it."""
    after, before = gap["after"] or gap["before"], gap["before"] or gap["after"]
    return _hour(after) - _HOUR, _hour(before) + 2 * _HOUR


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _gap(found: Mapping[str, Any], costs: _Costs) -> Gap:
    names = [field.name for field in fields(Gap) if field.name != "likely_cost"]
    return Gap(**{name: found[name] for name in names}, likely_cost=costs.likely(found))


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
