# SPDX-License-Identifier: Apache-2.0
"""How a cost came about: the evidence, the usage, the price row and every entry since, in order."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from microdollar_exporter.ask.books import kept_book
from microdollar_exporter.ask.charge import Charge, charge
from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.entry import CORRECTION, REVERSAL
from microdollar_exporter.errors import UsageError
from microdollar_exporter.money import microdollars
from microdollar_exporter.price import Book, PriceRow

__all__ = ["CallStory", "EntryStory", "explain"]

_MOST_CALLS: Final = 100
_NAME = re.compile(r"[0-9a-f]{6,32}", re.IGNORECASE)
_MEANT: Final = """
    SELECT DISTINCT trace_id, span_id, started_at FROM ledger
    WHERE trace_id <> '' AND (starts_with(entry_id, ?) OR starts_with(trace_id, ?))"""
_ENTRIES: Final = f"""
    SELECT * FROM ledger WHERE (trace_id, span_id, started_at) IN ({_MEANT})
    ORDER BY started_at, trace_id, span_id, recorded_at, position, kind"""  # noqa: S608 - our words
_SPANS: Final = f"""
    SELECT * EXCLUDE (attributes, details, usage) FROM spans
    WHERE (trace_id, span_id, started_at) IN ({_MEANT})"""  # noqa: S608 - our words
_DECISIONS: Final = "SELECT decision_id, kind, made_at, made_by, reason FROM decision"


@dataclass(frozen=True, slots=True)
class EntryStory:
    """One entry of a call.

    `entry` has the ledger's columns. `row` and `book` are what it was priced by, as far as it was;
    `charge` is how that adds up, for an entry that says what a call consumed. `decision` is the
    operator's, where one called for the entry.
    """

    entry: Mapping[str, Any]
    row: PriceRow | None
    book: Book | None
    charge: Charge | None
    decision: Mapping[str, Any] | None

    @property
    def adds_up(self) -> bool:
        """Whether the charge comes to the cost in the ledger, or is more than that can hold."""
        cost: Decimal | None = self.entry["cost"]
        if self.charge is None or (cost is None and self.entry["price_status"] == "bad_usage"):
            return True
        return cost == microdollars(self.charge.rounded)


@dataclass(frozen=True, slots=True)
class CallStory:
    """A call: `evidence` has the columns of `spans`, None where it is not in the file any more."""

    trace_id: str
    span_id: str
    started_at: datetime
    evidence: Mapping[str, Any] | None
    entries: tuple[EntryStory, ...]

    @property
    def calls(self) -> int:
        """How many calls its entries come to: 1, or 0 when it is booked no more."""
        return sum(story.entry["calls"] for story in self.entries)

    @property
    def cost(self) -> Decimal | None:
        """What its entries come to, in microdollars; None when no cost is known."""
        known = [story.entry["cost"] for story in self.entries if story.entry["cost"] is not None]
        return sum(known, Decimal(0)) if known else None


def explain(ledger: Answers, name: str) -> list[CallStory]:
    """The story of the calls that an id, or its beginning, means: that of an entry or of a trace.

    Raises:
        UsageError: nothing is meant, or too much.
        StoreError: the ledger cannot be reached.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no id: give that of an entry or of a trace, or at least six characters "
            "of its beginning"
        )
    wanted = [name.lower()] * 2
    meant = ledger.sql(f"SELECT count(*) AS n FROM ({_MEANT})", wanted).to_pylist()[0]["n"]  # noqa: S608 - our words
    if not meant:
        raise UsageError(f"no entry and no trace in the ledger has an id that begins with {name}")
    if meant > _MOST_CALLS:
        raise UsageError(f"{meant:,} calls are meant: write more of the id, or that of an entry")
    entries = ledger.sql(_ENTRIES, wanted).to_pylist(maps_as_pydicts="strict")
    spans = {_call(span): span for span in ledger.sql(_SPANS, wanted).to_pylist()}
    reader = _Prices(ledger)
    decisions = {d["decision_id"]: d for d in ledger.sql(_DECISIONS).to_pylist()}
    return [
        CallStory(
            *call,
            spans.get(call),
            tuple(reader.story(entry, decisions.get(entry["decision"])) for entry in of_call),
        )
        for call, of_call in groupby(entries, key=_call)
    ]


def _call(row: Mapping[str, Any]) -> tuple[str, str, datetime]:
    return row["trace_id"], row["span_id"], row["started_at"]


class _Prices:
    """The books that entries name, each read once."""

    def __init__(self, ledger: Answers) -> None:
        self._ledger = ledger
        self._books: dict[str, tuple[Book, dict[str, PriceRow]] | None] = {}

    def story(self, entry: Mapping[str, Any], decision: Mapping[str, Any] | None) -> EntryStory:
        known = self._book(entry["price_book"])
        book = known[0] if known else None
        row = known[1].get(entry["price_row"]) if known else None
        charged = None
        consumes = entry["kind"] not in (REVERSAL, CORRECTION) or entry["calls"] > 0
        if row is not None and row.layer != "free" and consumes:
            charged = charge(entry, row)
        return EntryStory(entry, row, book, charged, decision)

    def _book(self, book_id: str | None) -> tuple[Book, dict[str, PriceRow]] | None:
        if book_id is None:
            return None
        if book_id not in self._books:
            found = kept_book(self._ledger, "book_id = ?", book_id)
            rows = (
                {row.price_row: row for row in (*found.book.rows, *found.book.only_lent)}
                if found
                else {}
            )
            self._books[book_id] = (found.book, rows) if found else None
        return self._books[book_id]
