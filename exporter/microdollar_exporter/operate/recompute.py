# SPDX-License-Identifier: Apache-2.0
"""Work the entries out anew that a ledger's evidence, price books and decisions call for.

A stretch of time after the other, with the product's own bookkeeper, as if every span of the
ledger had just come in together: what an entry has to be does not depend on the order in which
the evidence came, nor on the entries that were booked meanwhile.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

import duckdb
import pyarrow as pa

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.entry import Standing
from microdollar_exporter.evidence import Evidence, Identity
from microdollar_exporter.price import Book, Engine, Price
from microdollar_exporter.store import Known
from microdollar_exporter.store.batches import ledger_batch
from microdollar_exporter.store.decisions import decisions_in
from microdollar_exporter.store.links import Links
from microdollar_exporter.store.profiles import Profiles
from microdollar_exporter.store.reading import EvidenceReader
from microdollar_exporter.usage import UsageRow

__all__ = ["Recomputer"]


class Recomputer:
    """Books the spans of a ledger afresh, by its price books."""

    def __init__(self, con: duckdb.DuckDBPyConnection, books: Mapping[str, Book]) -> None:
        self._con = con
        self._books = books
        self._links = Links(con)
        self._profiles = Profiles(con)
        self._decisions = decisions_in(con)
        self._evidence = EvidenceReader(con)
        self._keepers: dict[str | None, Bookkeeper] = {}

    def entries(
        self,
        first: int,
        last: int,
        books: Mapping[Identity, Collection[str | None]],
        ordinary: str | None,
        condition: str = "true",
    ) -> Iterator[pa.Table]:
        """The entries of all calls that began in [`first`, `last`), in columns of the ledger.

        Each is priced by the books whose ids `books` has for its call, once by each, or else by
        the `ordinary` one; by none where there is no such book. With a `condition`, in SQL over
        `span`, only the calls of the spans that meet it.
        """
        evidence = self._evidence.read(
            "span",
            f"started_at >= make_timestamp({first}) AND started_at < make_timestamp({last})"
            f" AND {condition}",
        )
        if not evidence:
            return
        # Of all there is, nothing came later than what is asked about.
        known = _Afresh(
            self._con,
            self._links,
            self._profiles,
            (first, last - 1),
            received_at=datetime.max,
            decisions=self._decisions,
        )
        by_book: dict[str | None, list[Evidence]] = {}
        for item in evidence:
            for book in books.get(item.identity, (ordinary,)):
                by_book.setdefault(book, []).append(item)
        for name, items in by_book.items():
            booking = self._keeper(name)(items, known)
            if booking.table is not None:
                yield booking.table
            wanted = {item.identity for item in items}
            made = [entry for entry in booking.entries if entry.identity in wanted]
            if made:
                yield ledger_batch(made)

    def _keeper(self, book_id: str | None) -> Bookkeeper:
        keeper = self._keepers.get(book_id)
        if keeper is None:
            keeper = Bookkeeper(_no_price, price_book=book_id)
            if book_id is not None and book_id in self._books:
                engine = Engine(self._books[book_id])
                keeper = Bookkeeper(engine.price, engine.flat, book_id)
            self._keepers[book_id] = keeper
        return keeper


def _no_price(_: UsageRow) -> Price:
    return Price(None, None, "unpriced_provider", None, None)


class _Afresh(Known):
    """What is known when nothing has been booked yet."""

    def standing(self, _: Iterable[Identity]) -> dict[Identity, list[Standing]]:
        return {}

    def revisions(self, _: Iterable[Identity]) -> dict[Identity, int]:
        return {}
