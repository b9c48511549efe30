# SPDX-License-Identifier: Apache-2.0
"""What the file already knows of spans that have just arrived: their relatives and their entries.

Everything here runs inside the transaction that has inserted the new spans, so that a question
finds them too. Every question is bounded by the time of the batch: the bound prunes what is read.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import duckdb
import pyarrow as pa

from microdollar_exporter.batch import TEXT, Batch
from microdollar_exporter.customer import NOBODY
from microdollar_exporter.entry import Entry, Standing
from microdollar_exporter.evidence import Evidence, Identity
from microdollar_exporter.store.decisions import Decision
from microdollar_exporter.store.links import Links
from microdollar_exporter.store.profiles import Profiles
from microdollar_exporter.store.registered import registered
from microdollar_exporter.store.spells import spells

__all__ = ["LOCAL_ROOT_KINDS", "WINDOW", "Known"]

WINDOW = 86_400_000_000
"""How far apart related spans may start, in microseconds: a day."""

LOCAL_ROOT_KINDS = ("server", "consumer")
"""The kinds of the spans by which a trace comes into a service."""

_SECOND = 1_000_000

_SPAN = """
    SELECT s.profile_id, s.trace_id, s.span_id, s.parent_span_id, epoch_us(s.started_at),
    epoch_us(s.ended_at), s.response_id, s.boot_id, s.call_sequence, s.details, s.usage
    FROM span s"""
# Not the view `spans`: to have every column and both maps planned takes longer than the answer.
_SPAN_AND_PROFILE = f"{_SPAN} JOIN profile p USING (profile_id)"
_ENTRY = ", ".join(
    "epoch_us(started_at)" if name == "started_at" else name for name in Entry._fields
)


class Known:
    """Questions about the spans and entries around those that happened in [`first`, `last`].

    `decisions` are all that the operator has made.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        links: Links,
        profiles: Profiles,
        span_of_time: tuple[int, int],
        *,
        received_at: datetime,
        decisions: Sequence[Decision],
    ) -> None:
        first, last = span_of_time
        self._con = con
        self._received_at = received_at
        self.decisions = decisions
        self._links = links
        # What a call is inside of may have begun long before it.
        self._first, self._last = first - max(WINDOW, links.longest), last + WINDOW
        self._within = _within(self._first, self._last)
        # What arrived with the batch is at hand; only what was there before has to be read.
        self._before = f"s.received_at < make_timestamp({_microseconds(received_at)})"
        self._profiles = profiles

    def around(self, spans: Iterable[Evidence]) -> Self:
        """The same questions about what is around these spans."""
        times = [moment for item in spans for moment in (item.started_at, item.ended_at)]
        bounds = min(times), max(times)
        return type(self)(
            self._con,
            self._links,
            self._profiles,
            bounds,
            received_at=self._received_at,
            decisions=self.decisions,
        )

    def has_links(self) -> bool:
        """Whether any span around is not `direct`, so that a direct one may have a relative."""
        return self._links.any_between(self._first, self._last)

    def linked(self, direct: Batch, within: int) -> list[int]:
        """The positions of those in `direct` that may have a relative among the spans that are not.

        It shares a trace or a response id with them, or is of the same service and ended at most
        `within` microseconds apart.
        """
        if not direct:
            return []
        services = pa.array([p.service for p in direct.distinct_profiles], TEXT)
        seeds = {
            "position": pa.array(range(len(direct)), pa.int64()),
            "trace_id": direct.trace_id_texts,
            "response_id": pa.array(direct.response_ids, TEXT),
            "service": services.take(pa.array(direct.profile_of)),
            "ended": pa.array(direct.ends // within),
        }
        found: set[int] = set()
        # One call of long ago must not have everything since then read for all.
        for first, last in spells(direct.starts, WINDOW):
            asked = _within(first - max(WINDOW, self._links.longest), last + WINDOW)
            found.update(self._linked(seeds, within, asked))
        return sorted(found)

    def _linked(self, seeds: Mapping[str, Any], within: int, asked: str) -> list[int]:
        with registered(self._con, "seed", seeds):
            rows = self._con.execute(f"""
                WITH indirect AS (
                    SELECT trace_id, response_id, service, epoch_us(ended_at) // {within} AS ended
                    FROM spans s WHERE NOT direct AND {asked}
                )
                SELECT DISTINCT position FROM (
                    SELECT position FROM seed SEMI JOIN indirect USING (trace_id)
                    UNION ALL
                    SELECT position FROM seed SEMI JOIN indirect USING (response_id)
                    UNION ALL
                    SELECT position FROM seed SEMI JOIN (
                        SELECT service, ended + unnest([-1, 0, 1]) AS ended FROM indirect
                    ) USING (service, ended)
                ) ORDER BY position""").fetchall()
        return [position for (position,) in rows]

    def ancestors(self, of: Sequence[Evidence]) -> list[Evidence]:
        """The recorded spans above these, to the root."""
        inside = [item for item in of if item.parent_span_id is not None]
        return self._walk(inside, "s.span_id = w.parent_span_id")

    def descendants(self, of: Sequence[Evidence]) -> list[Evidence]:
        """The recorded spans below these, to the leaves."""
        return self._walk(of, "s.parent_span_id = w.span_id")

    def _walk(self, of: Sequence[Evidence], step: str) -> list[Evidence]:
        if not of:
            return []
        with registered(self._con, "seed", _seeds(of)):
            return self._read(f"""
                WITH RECURSIVE walk AS (
                    SELECT trace_id, span_id, parent_span_id, started_at FROM seed
                    UNION
                    SELECT s.trace_id, s.span_id, s.parent_span_id, s.started_at
                    FROM walk w JOIN span s ON s.trace_id = w.trace_id AND {step}
                    WHERE {self._within}
                )
                {_SPAN} JOIN walk USING (trace_id, span_id, started_at)
                ANTI JOIN seed USING (trace_id, span_id, started_at)
                WHERE {self._within}""")

    def answering(self, response_ids: Collection[str]) -> list[Evidence]:
        """The calls in any trace that were answered with one of these responses."""
        if not response_ids:
            return []
        return self._read(
            f"""
            {_SPAN_AND_PROFILE}
            WHERE s.response_id IN (SELECT unnest(?)) AND {self._call_before}""",
            list(response_ids),
        )

    def detailing(self, attribute: str, texts: Collection[str]) -> list[Evidence]:
        """The calls in any trace that have one of these texts as a detail."""
        if not texts:
            return []
        return self._read(
            f"""
            {_SPAN_AND_PROFILE}
            WHERE {_detail("?")} IN (SELECT unnest(?)) AND {self._call_before}""",
            attribute,
            list(texts),
        )

    def told_again(self, of: Sequence[Evidence]) -> list[Evidence]:
        """Other reports of these spans: the same trace and id with another start."""
        if not of:
            return []
        return self._read(
            f"""
            {_SPAN_AND_PROFILE} SEMI JOIN (
                SELECT unnest(?) AS trace_id, unnest(?) AS span_id
            ) USING (trace_id, span_id)
            WHERE p.role <> 'other' AND {self._within} AND {self._before}""",
            [item.trace_id for item in of],
            [item.span_id for item in of],
        )

    def answering_within(self, answers: Collection[tuple[str, str]]) -> list[Evidence]:
        """The calls of a trace that were answered with a response: (trace, response id)."""
        if not answers:
            return []
        return self._read(
            f"""
            {_SPAN_AND_PROFILE} SEMI JOIN (
                SELECT unnest(?) AS trace_id, unnest(?) AS response_id
            ) USING (trace_id, response_id)
            WHERE {self._call_before}""",
            [trace_id for trace_id, _ in answers],
            [response_id for _, response_id in answers],
        )

    def beside(self, of: Sequence[Evidence]) -> list[Evidence]:
        """Calls in the same trace, of another scope, that began or ended a second apart at most."""
        begun = {
            (item.trace_id, item.started_at // _SECOND + near, item.profile.scope)
            for item in of
            for near in (-1, 0, 1)
        }
        ended = {
            (item.trace_id, item.ended_at // _SECOND + near, item.profile.scope)
            for item in of
            for near in (-1, 0, 1)
        }
        found = self._elsewhere(begun, "s.trace_id", f"epoch_us(s.started_at) // {_SECOND}")
        return found + self._elsewhere(ended, "s.trace_id", f"epoch_us(s.ended_at) // {_SECOND}")

    def ended_near(self, of: Sequence[Evidence], within: int) -> list[Evidence]:
        """Calls of the same service, of another scope, that ended at most so far apart in time."""
        ended = {
            (item.profile.service, item.ended_at // within + near, item.profile.scope)
            for item in of
            if item.profile.service is not None
            for near in (-1, 0, 1)
        }
        return self._elsewhere(ended, "p.service", f"epoch_us(s.ended_at) // {within}")

    def _elsewhere(
        self, wanted: Collection[tuple[str | None, int, str | None]], place: str, moment: str
    ) -> list[Evidence]:
        """The calls at a place and a moment that are of another scope than the one that asks."""
        if not wanted:
            return []
        places, moments, scopes = zip(*wanted, strict=True)
        return self._read(
            f"""
            WITH near AS (
                SELECT place, moment, min(scope) AS first, max(scope) AS last
                FROM (SELECT unnest(?) AS place, unnest(?) AS moment, unnest(?) AS scope)
                GROUP BY ALL
            )
            {_SPAN_AND_PROFILE} JOIN near ON {place} = near.place AND {moment} = near.moment
            WHERE (near.first <> near.last OR near.first <> coalesce(p.scope, ''))
            AND {self._call_before}""",
            places,
            moments,
            [scope or "" for scope in scopes],
        )

    def customers(self, trace_ids: Collection[str], attribute: str) -> dict[str, dict[str, bool]]:
        """The customers that the spans of each trace name by `attribute`.

        With each: whether a span had named it before this batch.
        """
        if not trace_ids:
            return {}
        found: dict[str, dict[str, bool]] = {}
        rows = self._con.execute(
            f"""
            SELECT s.trace_id, {_detail("$name")} AS customer, bool_or(s.received_at < $received_at)
            FROM span s JOIN profile p USING (profile_id)
            WHERE s.trace_id IN (SELECT unnest($trace_ids))
            AND customer NOT IN {NOBODY} AND {self._within} GROUP BY ALL ORDER BY ALL""",
            {
                "name": attribute,
                "received_at": self._received_at,
                "trace_ids": list(trace_ids),
            },
        ).fetchall()
        for trace_id, customer, before in rows:
            found.setdefault(trace_id, {})[customer] = before
        return found

    def customers_of_services(
        self, trace_ids: Collection[str], attribute: str
    ) -> dict[tuple[str, str | None], str]:
        """The customer named by the spans by which a trace came into a service, if it is one."""
        if not trace_ids:
            return {}
        kinds = ", ".join(f"'{kind}'" for kind in LOCAL_ROOT_KINDS)
        rows = self._con.execute(
            f"""
            SELECT s.trace_id, p.service, min({_detail("$name")}) AS customer
            FROM span s JOIN profile p USING (profile_id)
            WHERE s.trace_id IN (SELECT unnest($trace_ids))
            AND (s.parent_span_id IS NULL OR p.kind IN ({kinds}))
            AND {_detail("$name")} NOT IN {NOBODY} AND {self._within}
            GROUP BY ALL HAVING count(DISTINCT {_detail("$name")}) = 1""",
            {"name": attribute, "trace_ids": list(trace_ids)},
        ).fetchall()
        return {(trace_id, service): customer for trace_id, service, customer in rows}

    def indirect_calls(self, trace_ids: Collection[str]) -> list[Evidence]:
        """The calls of these traces that are not `direct`."""
        if not trace_ids:
            return []
        return self._read(
            f"""
            {_SPAN_AND_PROFILE} WHERE s.trace_id IN (SELECT unnest(?))
            AND NOT p.direct AND p.role <> 'other' AND {self._within} AND {self._before}""",
            list(trace_ids),
        )

    def standing(self, of: Iterable[Identity]) -> dict[Identity, list[Standing]]:
        """The entries of these spans that have not been reversed, in the order of their rows.

        What was booked first comes first.
        """
        identities = list(of)
        found: dict[Identity, list[Standing]] = {}
        if not identities:
            return found
        wanted = {
            "trace_id": [trace_id for trace_id, _, _ in identities],
            "span_id": [span_id for _, span_id, _ in identities],
            "started_at": pa.array([at for _, _, at in identities], pa.timestamp("us")),
        }
        with registered(self._con, "wanted", wanted):
            for entry_id, *values in self._con.execute(f"""
                WITH mine AS (
                    SELECT * FROM ledger s SEMI JOIN wanted USING (trace_id, span_id, started_at)
                    WHERE {self._within}
                )
                SELECT entry_id, {_ENTRY} FROM mine
                WHERE kind <> 'reversal'
                AND entry_id NOT IN (SELECT reverses FROM mine WHERE reverses IS NOT NULL)
                ORDER BY position, recorded_at""").fetchall():
                entry = Entry(*values)
                found.setdefault(entry.identity, []).append(Standing(entry_id, entry))
        return found

    def price_book(self, book_id: str) -> str | None:
        """The content of a price book, if the file has it."""
        rows = self._con.execute(
            "SELECT content FROM price_book WHERE book_id = ?", [book_id]
        ).fetchall()
        return str(rows[0][0]) if rows else None

    def revisions(self, of: Iterable[Identity]) -> dict[Identity, int]:
        """For each of these spans that was ever booked: the revision its next entries get."""
        identities = list(of)
        if not identities:
            return {}
        wanted = {
            "trace_id": [trace_id for trace_id, _, _ in identities],
            "span_id": [span_id for _, span_id, _ in identities],
            "started_at": pa.array([at for _, _, at in identities], pa.timestamp("us")),
        }
        with registered(self._con, "wanted", wanted):
            rows = self._con.execute(f"""
                SELECT trace_id, span_id, epoch_us(started_at), max(revision) + 1
                FROM ledger s SEMI JOIN wanted USING (trace_id, span_id, started_at)
                WHERE {self._within} GROUP BY ALL""").fetchall()
        return {(trace_id, span_id, at): revision for trace_id, span_id, at, revision in rows}

    @property
    def _call_before(self) -> str:
        return f"p.role = 'call' AND {self._within} AND {self._before}"

    def _read(self, query: str, *parameters: object) -> list[Evidence]:
        rows = self._con.execute(query, parameters).fetchall()
        profiles = self._profiles.by_number({row[0] for row in rows})
        return [
            Evidence._make(
                [
                    profile := profiles[number],
                    *own,
                    dict(zip(profile.detail_names, details, strict=True)),
                    dict(zip(profile.usage_names, usage, strict=True)),
                ]
            )
            for number, *own, details, usage in rows
        ]


def _detail(name: str) -> str:
    """What a span `s` of a profile `p` says under a name, a parameter; NULL for nothing."""
    return f"s.details[list_position(p.detail_names, {name})]"


def _within(first: int, last: int) -> str:
    """That a span `s` began in a time, in constants: by them whole row groups are passed over."""
    return f"s.started_at BETWEEN make_timestamp({first}) AND make_timestamp({last})"


def _microseconds(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def _seeds(evidence: Sequence[Evidence]) -> dict[str, Any]:
    return {
        "trace_id": [item.trace_id for item in evidence],
        "span_id": [item.span_id for item in evidence],
        "parent_span_id": pa.array([item.parent_span_id for item in evidence], pa.string()),
        "started_at": pa.array([item.started_at for item in evidence], pa.timestamp("us")),
        "response_id": pa.array([item.response_id for item in evidence], pa.string()),
    }
