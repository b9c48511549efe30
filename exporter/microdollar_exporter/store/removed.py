# SPDX-License-Identifier: Apache-2.0
"""What the file still knows of evidence that was removed from it.

That a span was there, by a hash: so that it is not new when it is sent again. And what the spans in
the archive may be related to: a span that comes late and shares its trace or its response with one
of them cannot be decided on without it. It is held back until that one has been brought back.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

import duckdb
import pyarrow as pa

from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.decisions import Decision
from microdollar_exporter.store.known import WINDOW
from microdollar_exporter.store.registered import registered

__all__ = ["FINGERPRINT", "REMOVE_ARCHIVED", "RETURN_ARCHIVED", "Removed", "archived_days"]

FINGERPRINT: Final = "md5_number_lower(concat_ws('|', trace_id, span_id, epoch_us(started_at)))"
"""The hash of what a span is known by, as `removed_span` has it."""

REMOVE_ARCHIVED: Final = "remove-archived"
"""The kind of the decisions that removed the evidence of a `day`, which lies in the archive."""
RETURN_ARCHIVED: Final = "return-archived"
"""The kind of those that brought it back."""

_DAY: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()


def archived_days(decisions: Iterable[Decision]) -> list[date]:
    """The days whose evidence lies in the archive only."""
    made = list(decisions)
    undone = {decision.undoes for decision in made}
    days = {
        date.fromisoformat(decision.content["day"])
        for decision in made
        if decision.kind == REMOVE_ARCHIVED and decision.decision_id not in undone
    }
    return sorted(days)


class Removed:
    """Asks about spans that have just arrived, inside the transaction that inserts them."""

    def __init__(self, con: duckdb.DuckDBPyConnection, decisions: Iterable[Decision]) -> None:
        self._con = con
        self._archived = [day.toordinal() - _EPOCH for day in archived_days(decisions)]
        self._days = {
            number
            for (number,) in con.execute(
                "SELECT DISTINCT started_on - DATE '1970-01-01' FROM removed_span"
            ).fetchall()
        }
        [(held,)] = con.execute("SELECT count(*) FROM held_span").fetchall()
        self._holds = self.may_be_free = held > 0

    def known(self, evidence: Sequence[Evidence], batch: pa.Table) -> set[int]:
        """The positions of spans that had been there, or are held back already."""
        days = sorted(self._days.intersection({item.started_at // _DAY for item in evidence}))
        if not days and not self._holds:
            return set()
        numbered = batch.append_column("position", pa.array(range(len(evidence)), pa.int64()))
        with registered(self._con, "batch", numbered):
            rows = self._con.execute(
                f"""
                SELECT position FROM batch
                WHERE (CAST(started_at AS DATE), {FINGERPRINT}) IN (
                    SELECT (started_on, fingerprint) FROM removed_span
                    WHERE list_contains(?, started_on - DATE '1970-01-01'))
                UNION ALL
                SELECT position FROM batch SEMI JOIN held_span
                    USING (trace_id, span_id, started_at)""",  # noqa: S608 - our words
                [days],
            ).fetchall()
        return {position for (position,) in rows}

    def related(self, evidence: Sequence[Evidence], batch: pa.Table) -> set[int]:
        """The positions of spans that may be about the same call as one in the archive.

        Calls that are `direct` are never about the same one, so among these nothing is related.
        """
        if not self._archived or not evidence:
            return set()
        times = [item.started_at for item in evidence]
        first, last = min(times) - WINDOW, max(times) + WINDOW
        days = [day for day in self._archived if first // _DAY <= day <= last // _DAY]
        if not days:
            return set()
        around = f"started_at BETWEEN make_timestamp({first}) AND make_timestamp({last})"
        numbered = batch.append_column("position", pa.array(range(len(evidence)), pa.int64()))
        direct = pa.array([item.profile.direct for item in evidence], pa.bool_())
        with registered(self._con, "batch", numbered.append_column("direct", direct)):
            rows = self._con.execute(
                f"""
                WITH gone AS (
                    SELECT trace_id, response_id, true AS direct FROM (
                        SELECT trace_id, span_id, started_at, response_id FROM ledger
                        WHERE {around}
                        AND list_contains(?, CAST(started_at AS DATE) - DATE '1970-01-01')
                        AND (trace_id IN (SELECT trace_id FROM batch)
                            OR response_id IN (SELECT response_id FROM batch))
                    ) ANTI JOIN (
                        SELECT trace_id, span_id, started_at FROM span WHERE {around}
                    ) USING (trace_id, span_id, started_at)
                    UNION ALL
                    SELECT trace_id, response_id, false FROM archived_span WHERE {around}
                )
                SELECT position FROM batch b WHERE EXISTS (
                    FROM gone g WHERE (g.trace_id = b.trace_id OR g.response_id = b.response_id)
                    AND NOT (g.direct AND b.direct))""",  # noqa: S608 - integers
                [days],
            ).fetchall()
        self._holds = self._holds or bool(rows)
        return {position for (position,) in rows}
