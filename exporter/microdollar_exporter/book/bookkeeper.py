# SPDX-License-Identifier: Apache-2.0
"""Decide what new evidence does to the books: entries for calls, reversals of what was mistaken."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from microdollar_exporter.batch import Batch
from microdollar_exporter.book.bulk import Bulk
from microdollar_exporter.book.entries import Pricer, entries_of, tags
from microdollar_exporter.book.inheritance import inherited
from microdollar_exporter.book.outlines import Flattener
from microdollar_exporter.book.relatives import Pool, gather
from microdollar_exporter.customer import Customers
from microdollar_exporter.entry import Entry, Standing, reversal
from microdollar_exporter.evidence import Evidence, Identity, Profile
from microdollar_exporter.normalise import normalise
from microdollar_exporter.store import Booking, Decision, Known
from microdollar_exporter.usage import UsageRow
from microdollar_exporter.witness import NEAR, choose

__all__ = ["Bookkeeper"]

_MAX_PROFILES: Final = 10_000


class Bookkeeper:
    """Gives the entries that new evidence calls for; `price_book` is the id of its price book."""

    def __init__(
        self,
        price: Pricer,
        flatten: Flattener = lambda _: None,
        price_book: str | None = None,
    ) -> None:
        self._price = price
        self._flatten = flatten
        self._price_book = price_book
        self._tags: dict[Profile, Mapping[str, str]] = {}
        self._decide(())

    def _decide(self, decisions: Sequence[Decision]) -> None:
        """From now on book by these decisions of the operator."""
        self._decisions = decisions
        self._customers = Customers(decisions)
        self._bulk = Bulk(self._flatten, self._price_book, self._customers, self._labels)

    def __call__(self, new: Sequence[Evidence], known: Known) -> Booking:
        """The entries for evidence that has just been stored, and reversals of superseded ones."""
        batch = Batch.of(new)
        if known.decisions is not self._decisions:
            self._decide(known.decisions)
        related = np.flatnonzero(~batch.direct).tolist()
        if known.has_links():
            direct = np.flatnonzero(batch.direct)
            related += direct[known.linked(batch.only(direct.tolist()), NEAR)].tolist()
        bulk, rest = self._bulk.book(batch.without(related))
        entries = [entry for item in rest for entry in self._entries(item, normalise(item))]
        if not related:
            return Booking(entries, bulk)
        seeds = [batch[position] for position in related]
        apart = {item.identity for item in seeds}
        pool = gather(seeds, known)
        around = known.around(pool.spans.values())
        together, superseded = self._reconcile(pool, apart, around)
        return Booking(entries + together, bulk, superseded)

    def _reconcile(self, pool: Pool, new: set[Identity], known: Known) -> tuple[list[Entry], int]:
        """What brings the books in line with the verdicts on a pool of related spans."""
        claimed = {i: item for i, item in pool.spans.items() if item.profile.role != "other"}
        rows = pool.rows
        verdicts = choose(pool.claims.values())
        of_trace = inherited(pool.spans, known)
        booked_before = claimed.keys() - new
        standing = known.standing(booked_before)
        revisions = known.revisions(booked_before)
        entries: list[Entry] = []
        superseded = 0
        for identity, item in claimed.items():
            verdict = verdicts[identity]
            wanted: list[Entry] = []
            if verdict.billed:
                losers = [pool.spans[other] for other in verdict.stands_for]
                wanted = self._entries(
                    item,
                    rows[identity],
                    losers=losers,
                    loser_rows=[
                        row for loser in losers for row in rows.get(loser.identity, ())[:1]
                    ],
                    of_trace=of_trace.get(identity),
                    note=verdict.note,
                )
            there = standing.get(identity, ())
            if wanted:
                earlier = [s for other in verdict.stands_for for s in standing.get(other, ())]
                wanted = _keep_decisions(wanted, [*there, *earlier])
            if there:
                if [_facts(entry) for entry in wanted] == [_facts(s.entry) for s in there]:
                    continue
                why = verdict.note if not wanted else "the same call, with what became known since"
                entries += [reversal(old, why or "superseded") for old in there]
                superseded += len(there)
            revision = revisions.get(identity, 0)
            entries += [
                entry._replace(revision=revision) if revision else entry for entry in wanted
            ]
        return entries, superseded

    def _entries(
        self,
        item: Evidence,
        rows: Sequence[UsageRow],
        *,
        losers: Sequence[Evidence] = (),
        loser_rows: Sequence[UsageRow] = (),
        of_trace: str | None = None,
        note: str | None = None,
    ) -> list[Entry]:
        named = self._customers.of_call(item, losers, of_trace)
        labels = self._labels(item.profile)
        for loser in losers:
            labels = labels or self._labels(loser.profile)
            if item.response_id is None and loser.response_id is not None:
                item = item._replace(response_id=loser.response_id)
        if losers:
            rows = _completed(rows, loser_rows)
        notes = [said for said in (note, named.note) if said]
        return entries_of(
            item, rows, named, self._price, self._price_book, tags=labels, notes=notes
        )

    def _labels(self, profile: Profile) -> Mapping[str, str]:
        labels = self._tags.get(profile)
        if labels is None:
            if len(self._tags) >= _MAX_PROFILES:
                self._tags.clear()
            labels = self._tags[profile] = tags(profile)
        return labels


def _completed(rows: Sequence[UsageRow], others: Sequence[UsageRow]) -> list[UsageRow]:
    """The rows with what only other witnesses of the call know of it; never a count."""
    first, *further = rows
    for other in others:
        first = first._replace(
            provider=first.provider or other.provider,
            request_model=first.request_model or other.request_model,
            response_model=first.response_model or other.response_model,
            service_tier=first.service_tier or other.service_tier,
            speed=first.speed or other.speed,
            inference_geo=first.inference_geo or other.inference_geo,
        )
    return [first, *further]


_PRICE_AND_PLACE: Final = frozenset(
    {"kind", "revision", "cost", "list_cost", "price_status", "price_note", "price_row"}
    | {"price_book", "reverses", "decision", "reason", "assigned_by"}
)
_COMPARED: Final = [
    index for index, name in enumerate(Entry._fields) if name not in _PRICE_AND_PLACE
]


def _facts(entry: Entry) -> list[object]:
    """What an entry says of the call, without what it costs and how it came into the books."""
    return [entry[index] for index in _COMPARED]


def _keep_decisions(wanted: Iterable[Entry], there: Sequence[Standing]) -> list[Entry]:
    """An operator's decision on whose call it was outlives a change of witness."""
    decided = next((s.entry for s in there if s.entry.assigned_by and s.entry.customer_id), None)
    if decided is None:
        return list(wanted)
    return [
        entry._replace(
            customer_id=decided.customer_id,
            decision=decided.assigned_by,
            assigned_by=decided.assigned_by,
        )
        for entry in wanted
    ]
