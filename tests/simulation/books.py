# SPDX-License-Identifier: Apache-2.0
"""What must hold of a ledger at every moment, whatever has happened to it; and what it says."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

import duckdb

from microdollar_exporter.usage import BUCKETS, PARTS
from tests.simulation.episodes import Bill, Episode

__all__ = ["Moments", "check_bills", "check_books", "stored_names"]

_SUMMED: Final = ("calls", *BUCKETS, *PARTS, "cost")
_OTHERS: Final = tuple(
    name for name in (*BUCKETS, *PARTS) if name not in ("input_uncached", "cache_read", "output")
)

_MUST_BE_EMPTY: Final = {
    "a span is stored once": """
        SELECT trace_id, span_id, started_at FROM span GROUP BY ALL HAVING count(*) > 1""",
    "a span has one profile": """
        SELECT profile_id, count(*) FROM profile GROUP BY ALL HAVING count(*) > 1
        UNION ALL SELECT profile_id, 0 FROM span ANTI JOIN profile USING (profile_id)""",
    "a profile is kept once": """
        SELECT fingerprint FROM profile GROUP BY ALL HAVING count(*) > 1""",
    "an entry has an id of its own": """
        SELECT entry_id FROM ledger GROUP BY ALL HAVING count(*) > 1""",
    "an entry is booked once": """
        SELECT trace_id, span_id, started_at, position, revision, kind FROM ledger
        GROUP BY ALL HAVING count(*) > 1""",
    "an entry has its evidence, and is of its rule": """
        SELECT entry_id FROM ledger ANTI JOIN spans
        USING (trace_id, span_id, started_at, rule)""",
    "an entry says why it is there": """
        SELECT entry_id FROM ledger WHERE reason = '' OR price_status = '' OR usage_source = ''
        OR (cost IS NOT NULL AND price_row IS NULL) OR price_book IS NULL""",
    "a reversal names what it reverses, and only a reversal does": """
        SELECT entry_id FROM ledger
        WHERE (kind = 'reversal') <> (reverses IS NOT NULL)
        OR kind NOT IN ('usage', 'reversal')""",
    "an entry is reversed once": """
        SELECT reverses FROM ledger WHERE reverses IS NOT NULL GROUP BY ALL HAVING count(*) > 1""",
    "a reversal takes back all of an earlier entry and nothing else": f"""
        SELECT r.entry_id FROM ledger r LEFT JOIN ledger e ON r.reverses = e.entry_id
        WHERE r.kind = 'reversal' AND NOT coalesce(
            e.kind = 'usage' AND e.recorded_at < r.recorded_at
            AND (e.trace_id, e.span_id, e.started_at, e.position, e.revision)
                = (r.trace_id, r.span_id, r.started_at, r.position, r.revision)
            AND r.customer_id IS NOT DISTINCT FROM e.customer_id
            AND r.response_model IS NOT DISTINCT FROM e.response_model
            AND {" AND ".join(f"r.{c} IS NOT DISTINCT FROM -e.{c}" for c in _SUMMED)}, false)""",
    "what was recorded later stands later, at a later moment": """
        SELECT entry_id FROM (
            SELECT entry_id, recorded_at, lag(recorded_at) OVER (ORDER BY rowid) AS before
            FROM ledger
        ) WHERE recorded_at < before""",
    "what was received later stands later, at a later moment": """
        SELECT span_id FROM (
            SELECT span_id, received_at, lag(received_at) OVER (ORDER BY rowid) AS before FROM span
        ) WHERE received_at < before""",
    "an entry that nobody decided on was recorded when a span arrived": """
        SELECT DISTINCT recorded_at FROM (FROM ledger WHERE decision IS NULL) AS ledger
        ANTI JOIN span ON ledger.recorded_at = span.received_at""",
}


def check_books(con: duckdb.DuckDBPyConnection) -> None:
    """Fail when the books are not in order in themselves."""
    for law, query in _MUST_BE_EMPTY.items():
        broken = con.execute(query).fetchmany(5)
        assert not broken, f"{law}: {broken}"


def stored_names(con: duckdb.DuckDBPyConnection, episodes: Iterable[Episode]) -> set[str]:
    """The names of those reports that are stored."""
    names = {r.identity: r.name for episode in episodes for r in episode.reports}
    traces = list({trace_id for trace_id, _, _ in names})
    found = con.execute(
        "SELECT trace_id, span_id, epoch_us(started_at) FROM span WHERE list_contains(?, trace_id)",
        [traces],
    ).fetchall()
    unknown = [identity for identity in found if identity not in names]
    assert not unknown, f"spans that nobody sent: {unknown}"
    return {names[identity] for identity in found}


def check_bills(
    con: duckdb.DuckDBPyConnection, episodes: Iterable[Episode], stored: Collection[str]
) -> None:
    """Fail when the books say anything but the truth of what is stored, as rows or as sums."""
    episodes = list(episodes)
    owner = {r.trace_id.hex(): episode for episode in episodes for r in episode.reports}
    said: dict[int, list[Bill]] = {id(episode): [] for episode in episodes}
    for trace_id, *row in con.execute(_STANDING, [list(owner)]).fetchall():
        said[id(owner[trace_id])].append(Bill(*row))
    sums = {trace: row for trace, *row in con.execute(_SUMS, [list(owner)]).fetchall()}
    for episode in episodes:
        truth = episode.truth(stored)
        if truth is None:
            continue
        found = sorted(said[id(episode)], key=repr)
        there = sorted(r.name for r in episode.reports if r.name in stored)
        assert found == truth, (
            f"{episode.kind}, of which {there} of {len(episode.reports)} reports are stored:\n"
            f"  booked {found}\n  true   {truth}"
        )
        rows = [sums[t] for t in {r.trace_id.hex() for r in episode.reports} if t in sums]
        total = [sum(column) for column in zip(*rows, strict=True)] or [0] * 6
        expected = [sum((getattr(bill, name) or 0) for bill in truth) for name in _TOTALS]
        assert total == [*expected, 0], f"{episode.kind}: sums {total}, true {expected}"


_TOTALS: Final = ("calls", "uncached", "cached", "output", "cost")

_STANDING: Final = f"""
    SELECT trace_id, customer_id, response_model, response_id, calls,
        input_uncached, cache_read, output, cost
    FROM ledger e ANTI JOIN (SELECT reverses FROM ledger WHERE reverses IS NOT NULL) r
        ON e.entry_id = r.reverses
    WHERE kind = 'usage' AND list_contains(?, trace_id)
    AND coalesce({", ".join(_OTHERS)}) IS NULL"""

_SUMS: Final = f"""
    SELECT trace_id, sum(calls), coalesce(sum(input_uncached), 0), coalesce(sum(cache_read), 0),
        coalesce(sum(output), 0), coalesce(sum(cost), 0),
        coalesce(sum(coalesce({", ".join(_OTHERS)})), 0)
    FROM ledger WHERE list_contains(?, trace_id) GROUP BY trace_id"""


class Moments:
    """What the books said at earlier moments: they must say it of those moments for ever."""

    def __init__(self) -> None:
        self._seen: dict[datetime, tuple[object, ...]] = {}

    def remember(self, con: duckdb.DuckDBPyConnection) -> None:
        """Look at the books as they stand, all of them."""
        [(last,)] = con.execute("SELECT max(recorded_at) FROM ledger").fetchall()
        if last is not None:
            self._seen |= self._as_of(con, [last])

    def check(self, con: duckdb.DuckDBPyConnection) -> None:
        """Fail when the books say something else of an earlier moment than they said then."""
        if self._seen:
            now = self._as_of(con, list(self._seen))
            assert now == self._seen, "the books of an earlier moment have changed"

    def _as_of(
        self, con: duckdb.DuckDBPyConnection, moments: list[datetime]
    ) -> dict[datetime, tuple[object, ...]]:
        found = con.execute(
            """SELECT moment, count(*), sum(calls), sum(input_uncached), sum(cache_read),
                sum(output), sum(cost), sum(hash(ledger::VARCHAR))
            FROM (SELECT unnest(?::TIMESTAMP[]) AS moment) JOIN ledger ON recorded_at <= moment
            GROUP BY moment""",
            [moments],
        ).fetchall()
        return {moment: tuple(said) for moment, *said in found}
