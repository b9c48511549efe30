# SPDX-License-Identifier: Apache-2.0
"""Decide what new evidence does to the books: entries for calls, reversals of what was mistaken."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

import numpy as np

from microdollar_exporter.batch import Batch
from microdollar_exporter.book.bulk import Bulk
from microdollar_exporter.book.entries import Pricer, Prices, entries_of, tags
from microdollar_exporter.book.inheritance import inherited
from microdollar_exporter.book.outlines import Flattener
from microdollar_exporter.book.relatives import Pool, gather
from microdollar_exporter.customer import Customers
from microdollar_exporter.entry import Entry, Standing, reversal
from microdollar_exporter.evidence import Evidence, Identity, Profile
from microdollar_exporter.normalise import normalise
from microdollar_exporter.price import Engine
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.store import Booking, Decision, Known
from microdollar_exporter.usage import UsageRow
from microdollar_exporter.witness import NEAR, choose

__all__ = ["Bookkeeper"]

log = logging.getLogger(__name__)

_MAX_PROFILES: Final = 10_000
_MAX_BOOKS: Final = 4
"""So many earlier price books are kept ready."""


class Bookkeeper:
    """Gives the entries that new evidence calls for; `price_book` is the id of its price book.

    A call that is in the books stays with the book that it was booked by, whatever becomes known of
    it later: only an operator's decision moves it to another.
    """

    def __init__(
        self,
        price: Pricer,
        flatten: Flattener = lambda _: None,
        price_book: str | None = None,
    ) -> None:
        self._prices = Prices(price, price_book)
        self._earlier: dict[str, Prices] = {}
        self._flatten = flatten
        self._tags: dict[Profile, Mapping[str, str]] = {}
        self._decide(())

    def _decide(self, decisions: Sequence[Decision]) -> None:
        """From now on book by these decisions of the operator."""
        self._decisions = decisions
        self._customers = Customers(decisions)
        self._bulk = Bulk(self._flatten, self._prices.book, self._customers, self._labels)

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
        age = {identity: place for place, identity in enumerate(standing)}
        revisions = known.revisions(booked_before)
        entries: list[Entry] = []
        superseded = 0
        for identity, item in claimed.items():
            verdict = verdicts[identity]
            wanted: list[Entry] = []
            if verdict.billed:
                losers = [pool.spans[other] for other in verdict.stands_for]
                booked = [i for i in (identity, *verdict.stands_for) if i in age]
                books = _books(s for i in sorted(booked, key=age.__getitem__) for s in standing[i])
                wanted = self._entries(
                    item,
                    rows[identity],
                    losers=losers,
                    loser_rows=[
                        row for loser in losers for row in rows.get(loser.identity, ())[:1]
                    ],
                    of_trace=of_trace.get(identity),
                    note=verdict.note,
                    prices_of=self._prices_by(books, known),
                )
            there = standing.get(identity, ())
            if wanted:
                earlier = [s for other in verdict.stands_for for s in standing.get(other, ())]
                wanted = _keep_decisions(wanted, [*there, *earlier])
            if there:
                if _say_the_same(wanted, there):
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
        prices_of: Callable[[UsageRow], Prices] | None = None,
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
        prices_of = prices_of or (lambda _: self._prices)
        return entries_of(item, rows, named, prices_of, tags=labels, notes=notes)

    def _prices_by(self, books: Mapping[int, str], known: Known) -> Callable[[UsageRow], Prices]:
        """Each row by the book that it stands by; a row that is new by that of its call."""
        of_call = next(iter(books.values()), None)
        return lambda row: self._prices_of(books.get(row.position, of_call), known)

    def _prices_of(self, book_id: str | None, known: Known) -> Prices:
        """The prices of a book of the ledger, those in force where there is none."""
        if book_id is None or book_id == self._prices.book:
            return self._prices
        if book_id not in self._earlier:
            if len(self._earlier) >= _MAX_BOOKS:
                self._earlier.clear()
            self._earlier[book_id] = self._read(book_id, known)
        return self._earlier[book_id]

    def _read(self, book_id: str, known: Known) -> Prices:
        try:
            book = read_book(known.price_book(book_id) or "")
        except ValueError:
            log.error(  # noqa: TRY400 - `microdollar verify` says what is wrong with it
                "the ledger has no price book %s that can be read: a call that it priced is priced "
                "by the book in force when more becomes known of it",
                book_id,
            )
            return self._prices
        return Prices(Engine(book).price, book_id)

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


_PRICE: Final = ("cost", "list_cost", "price_status", "price_row")
_PLACE: Final = frozenset(
    {"kind", "revision", "price_note", "price_book"}
    | {"reverses", "decision", "reason", "assigned_by"}
)
_FACTS: Final = itemgetter(
    *(i for i, name in enumerate(Entry._fields) if name not in {*_PLACE, *_PRICE})
)
"""What an entry says of the call, without what it costs and how it came into the books."""
_FACTS_AND_PRICE: Final = itemgetter(
    *(i for i, name in enumerate(Entry._fields) if name not in _PLACE)
)


def _say_the_same(wanted: Sequence[Entry], there: Sequence[Standing]) -> bool:
    """Whether entries leave nothing to be changed in the books; costs tell by one book only."""
    if len(wanted) != len(there):
        return False
    for new, (_, old) in zip(wanted, there, strict=True):
        said = _FACTS_AND_PRICE if new.price_book == old.price_book else _FACTS
        if said(new) != said(old):
            return False
    return True


def _books(there: Iterable[Standing]) -> dict[int, str]:
    """The book by which each row of a call is in the books: that of the first entry, if several."""
    books: dict[int, str] = {}
    for _, entry in there:
        if entry.price_book is not None:
            books.setdefault(entry.position, entry.price_book)
    return books


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
