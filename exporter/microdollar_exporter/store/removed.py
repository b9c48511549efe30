# SPDX-License-Identifier: Apache-2.0
"""What the file still knows of evidence that was removed from it.

That a span was there, by a hash: so that it is not new when it is sent again. And what the spans in
the archive may be related to: a span that comes late and shares its trace or its response with one
of them cannot be decided on without it. It is held back until that one has been brought back.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

import duckdb
import pyarrow as pa

from microdollar_exporter.batch import Batch
from microdollar_exporter.store.batches import numbered
from microdollar_exporter.store.decisions import Decision
from microdollar_exporter.store.known import WINDOW
from microdollar_exporter.store.registered import registered
from microdollar_exporter.witness.keys import response_key

__all__ = [
    "FINGERPRINT",
    "REMOVE_ARCHIVED",
    "RESPONSE_FINGERPRINT",
    "RETURN_ARCHIVED",
    "Removed",
    "archived_days",
]

FINGERPRINT: Final = "md5_number_lower(concat_ws('|', trace_id, span_id, epoch_us(started_at)))"
"""The hash of what a span is known by, as `removed_span` has it."""

RESPONSE_FINGERPRINT: Final = "md5_number_lower('response|' || response_id)"
"""The hash of a response, which another emitter may tell of later; null where there is none."""

REMOVE_ARCHIVED: Final = "remove-archived"
"""The kind of the decisions that removed the evidence of a `day`, which lies in the archive."""
RETURN_ARCHIVED: Final = "return-archived"
"""The kind of those that brought it back."""

_OF_DAYS: Final = """(
    SELECT fingerprint FROM removed_span
    WHERE list_contains($days, started_on - DATE '1970-01-01'))"""
_REMOVED: Final = (
    f"SELECT position FROM arrived WHERE {FINGERPRINT} IN {_OF_DAYS}",  # noqa: S608 - our words
    f"SELECT position FROM arrived WHERE {RESPONSE_FINGERPRINT} IN {_OF_DAYS}"  # noqa: S608 - our words
    " AND list_contains($comparable, position)",
)
_HELD: Final = (
    "SELECT position FROM arrived SEMI JOIN held_span USING (trace_id, span_id, started_at)",
)

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
    """Asks about spans that have just arrived, inside the transaction that inserts them.

    `holds` is whether spans are held back, `may_be_free` whether they need not be any more.
    """

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
        self.holds = self.may_be_free = held > 0

    def known(self, evidence: Batch, batch: pa.Table) -> set[int]:
        """The positions of spans that had been there, or are held back already.

        So are those that tell of a response of which a removed span told.
        """
        if not self._days and not self.holds:
            return set()
        began_on = set((evidence.starts // _DAY).tolist())
        days = sorted(self._days & {day + near for day in began_on for near in (-1, 0, 1)})
        if not days and not self.holds:
            return set()
        parts = [*(_REMOVED if days else ()), *(_HELD if self.holds else ())]
        asked = {"days": days, "comparable": _comparable(evidence)} if days else {}
        with registered(self._con, "arrived", numbered(batch)):
            rows = self._con.execute(" UNION ALL ".join(parts), asked).fetchall()
        return {position for (position,) in rows}

    def related(self, evidence: Batch, batch: pa.Table) -> set[int]:
        """The positions of spans that may be about the same call as one in the archive.

        Calls that are `direct` are never about the same one, so among these nothing is related.
        """
        if not self._archived or not evidence:
            return set()
        first, last = min(evidence.started_at) - WINDOW, max(evidence.started_at) + WINDOW
        days = [day for day in self._archived if first // _DAY <= day <= last // _DAY]
        if not days:
            return set()
        around = f"started_at BETWEEN make_timestamp({first}) AND make_timestamp({last})"
        direct = pa.array(evidence.direct)
        with registered(self._con, "arrived", numbered(batch).append_column("direct", direct)):
            rows = self._con.execute(
                f"""
                WITH gone AS (
                    SELECT trace_id, response_id, true AS direct FROM (
                        SELECT trace_id, span_id, started_at, response_id FROM ledger
                        WHERE {around}
                        AND list_contains(?, CAST(started_at AS DATE) - DATE '1970-01-01')
                        AND (trace_id IN (SELECT trace_id FROM arrived)
                            OR response_id IN (SELECT response_id FROM arrived))
                    ) ANTI JOIN (
                        SELECT trace_id, span_id, started_at FROM span WHERE {around}
                    ) USING (trace_id, span_id, started_at)
                    UNION ALL
                    SELECT trace_id, response_id, false FROM archived_span WHERE {around}
                )
                SELECT position FROM arrived b WHERE EXISTS (
                    FROM gone g WHERE (g.trace_id = b.trace_id OR g.response_id = b.response_id)
                    AND NOT (g.direct AND b.direct))""",  # noqa: S608 - integers
                [days],
            ).fetchall()
        self.holds = self.holds or bool(rows)
        return {position for (position,) in rows}


def _comparable(evidence: Batch) -> list[int]:
    """Where spans have the id of a response that no other call can have by chance."""
    keys = map(response_key, evidence)
    return [position for position, key in enumerate(keys) if key is not None and key.strong]
