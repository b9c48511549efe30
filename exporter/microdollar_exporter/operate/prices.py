# SPDX-License-Identifier: Apache-2.0
"""Which prices a ledger is kept by: the book in force, and the act `use-prices` that changes it.

The book in force is a book of list prices with the operator's overrides over it. Both are kept in
the ledger, and a change of either is a decision. What ships with the package counts only in a
ledger that has no book yet: upgrading moves no price.
"""

import getpass
import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

from microdollar_exporter.batch import Batch
from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.arguments import Who, flag_of, known_only, text_of, who_of
from microdollar_exporter.price import Book, Engine
from microdollar_exporter.price.difference import MOST_FACTOR, MOST_SHARE, difference
from microdollar_exporter.price.overrides import read as read_overrides
from microdollar_exporter.price.overrides.changes import beyond, factors
from microdollar_exporter.price.overrides.in_use import PRICES, Named, file_in_use, named
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.price.shipped import shipped, shipped_id
from microdollar_exporter.store import Booker, Booking, Known, Store
from microdollar_exporter.store.books import in_force, keep_book, put_in_force

__all__ = ["PRICES", "USE_PRICES", "OverridesAsked", "PricesInUse", "use_prices"]

log = logging.getLogger(__name__)

USE_PRICES: Final = "use-prices"

OverridesAsked = Path | Literal[False] | None
"""A file of overrides; False for none at all; None for those in use, which are at first those
beside the ledger, if there are any."""

_ARGUMENTS: Final = (
    *("book", "source", "source_version", "overrides"),
    *("most_share", "most_factor", "force", "apply", "by", "reason"),
)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A book of list prices, the file of the overrides, and both as one book."""

    listed: Book
    overrides: OverridesAsked
    book: Book

    @classmethod
    def of(cls, listed: Book, overrides: OverridesAsked) -> "_Chosen":
        """Lay the overrides over a book.

        Raises:
            UsageError: their file cannot be read, or says what cannot be.
        """
        laid = read_overrides(overrides).over(listed) if overrides else listed
        return cls(listed, overrides, laid)


class PricesInUse:
    """Books by the prices in force; they can change between two commits.

    It is a `Booker`. All of it but the start belongs to the writer's thread.
    """

    def __init__(self, store: Store, overrides: OverridesAsked = None) -> None:
        """Find the prices that are in force now, and record them if they changed since.

        Raises:
            UsageError: the file of the overrides cannot be used, or is not there any more.
            StoreUnavailable: the ledger cannot be written.
        """
        self._overrides = overrides
        chosen = _Chosen.of(_listed(store), _overrides_of(store, overrides))
        _start(store, chosen)
        self._keeper = _keeper(chosen.book)

    def __call__(self, new: Batch, known: Known) -> Booking:
        """The entries of new evidence, at the prices in force."""
        return self._keeper(new, known)

    def use(self, store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The act `use-prices` of an exporter: what it books from now on is priced so."""
        answer, chosen = _use(store, arguments, self._overrides)
        if (
            "overrides" in arguments
            and arguments.get("apply")
            and answer["in_force"] == _in_force(store)
        ):
            self._overrides = chosen.overrides
        if answer["applied"]:
            self._keeper = _keeper(chosen.book)
            log.info("prices: book %s in force from now on", chosen.book.id[:16])
        return answer


def use_prices(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the ledger by other prices; says how they differ from those in force.

    `book` is the canonical content of a book of list prices, with its `source` and
    `source_version`; without one the list prices stay. `overrides` names the file of the
    overrides, and false says that there shall be none; without it they are those in use, read anew.
    A book that differs by too much is refused unless `force` is true: `most_share` of the known
    rates may have moved, and each by `most_factor`, both as text. Unless `apply` is true nothing is
    done. `by` and `reason` say who decides.

    The answer has the ids `was` and `in_force`, the `difference` of the list prices, or where these
    stay that of all prices, and the moment that parts it (`since`); beside new list prices what
    else is otherwise, by overrides (`overridden`); the multipliers of theirs that are otherwise, by
    name (`factors`); why it is refused (`refusal`), and whether it was done (`applied`).
    """
    return _use(store, arguments, None)[0]


def _use(
    store: Store, arguments: Mapping[str, Any], overrides: OverridesAsked
) -> tuple[dict[str, Any], _Chosen]:
    known_only(arguments, _ARGUMENTS)
    apply, force = flag_of(arguments, "apply"), flag_of(arguments, "force")
    listed = _listed(store)
    if "overrides" in arguments:
        none = arguments["overrides"] is False
        overrides = False if none else Path(text_of(arguments, "overrides"))
    chosen = _Chosen.of(_asked(arguments, listed), _overrides_of(store, overrides))
    since, was = _since(store, listed), _in_force(store)
    before = _kept(store, was)
    found, overridden, refusal = difference(before, chosen.book, since), None, None
    if "book" in arguments:
        # What an operator says of their own prices is never too much, and never unseen.
        whole = found
        found = difference(listed, chosen.listed, since)
        refusal = found.refusal(
            _number(arguments, "most_share", MOST_SHARE),
            _number(arguments, "most_factor", MOST_FACTOR),
        )
        overridden = beyond(whole, found).as_json()
    moved = "overrides" in arguments and named(store.path, chosen.overrides) != _decided(store)
    does = apply and (force or refusal is None) and (moved or was != chosen.book.id)
    if does:
        _record(store, chosen, who_of(arguments))
    answer = {
        "was": was,
        "in_force": chosen.book.id,
        "book": chosen.listed.id,
        "overrides": str(chosen.overrides) if chosen.overrides else None,
        "difference": found.as_json(),
        "overridden": overridden,
        "factors": [factor._asdict() for factor in factors(before, chosen.book)],
        "since": since,
        "refusal": refusal,
        "applied": does,
    }
    return answer, chosen


def _asked(arguments: Mapping[str, Any], listed: Book) -> Book:
    content = arguments.get("book")
    if content is None:
        return listed
    if not isinstance(content, str):
        raise UsageError("book is no text: give the canonical content of a price book")
    try:
        return read_book(
            content,
            source=text_of(arguments, "source"),
            source_version=text_of(arguments, "source_version"),
        )
    except ValueError as error:
        raise UsageError(f"book: {error}") from error


def _number(arguments: Mapping[str, Any], name: str, usual: Fraction) -> Fraction:
    if name not in arguments:
        return usual
    try:
        return Fraction(text_of(arguments, name))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{name} is {arguments[name]!r}: write a number like 0.05") from error


def _overrides_of(store: Store, asked: OverridesAsked) -> OverridesAsked:
    return file_in_use(store.path, _decided(store)) if asked is None else asked


def _decided(store: Store) -> Named:
    """The overrides of the last decision on prices."""
    made = [each.content for each in store.decisions if each.kind == PRICES]
    decided: Named = made[-1]["overrides"] if made else None
    return decided


def _listed(store: Store) -> Book:
    """The list prices that the ledger is kept by, which are the shipped ones at first."""
    with closing(store.cursor()) as cursor:
        base = cursor.execute(
            "SELECT coalesce(content->>'$.base', book_id) FROM price_book WHERE book_id = ?",
            [in_force(cursor)],
        ).fetchall()
    return _kept(store, base[0][0] if base else None)


def _kept(store: Store, book_id: str | None) -> Book:
    """A book of the ledger; the shipped one where there is none."""
    if book_id in (None, shipped_id()):
        return shipped()
    with closing(store.cursor()) as cursor:
        [(source, source_version, content)] = cursor.execute(
            "SELECT source, source_version, content FROM price_book WHERE book_id = ?", [book_id]
        ).fetchall()
    return read_book(content, source=source, source_version=source_version)


def _in_force(store: Store) -> str | None:
    with closing(store.cursor()) as cursor:
        return in_force(cursor)


def _since(store: Store, listed: Book) -> int:
    """When a book came into the ledger, in microseconds since 1970 UTC: it knew nothing later."""
    with closing(store.cursor()) as cursor:
        [(known,)] = cursor.execute(
            """SELECT epoch_us(coalesce(min(imported_at), now() AT TIME ZONE 'UTC'))
            FROM price_book WHERE book_id = ?""",
            [listed.id],
        ).fetchall()
    return int(known)


def _start(store: Store, chosen: _Chosen) -> None:
    book, was = chosen.book, _in_force(store)
    log.info(
        "prices: book %s, %s %s, overrides %s",
        book.id[:16],
        chosen.listed.source,
        chosen.listed.source_version,
        chosen.overrides or "none",
    )
    if was != book.id:
        if was is None and book is chosen.listed:
            # There is nothing that was decided otherwise.
            store.record_book(book)
        else:
            _record(store, chosen, Who(_user(), "the overrides as they are at the start"))
    if chosen.listed.id != shipped_id() and not _has_book(store, shipped_id()):
        log.info(
            "prices: this release ships a book that the ledger has never been kept by: see "
            "`microdollar prices diff listed shipped`"
        )


def _has_book(store: Store, book_id: str) -> bool:
    with closing(store.cursor()) as cursor:
        return bool(
            cursor.execute("SELECT 1 FROM price_book WHERE book_id = ?", [book_id]).fetchall()
        )


def _record(store: Store, chosen: _Chosen, who: Who) -> None:
    content = {
        "book": chosen.listed.id,
        "in_force": chosen.book.id,
        "overrides": named(store.path, chosen.overrides),
    }
    with store.change() as change:
        keep_book(change.con, chosen.listed, change.at)
        keep_book(change.con, chosen.book, change.at)
        put_in_force(change.con, chosen.book.id, change.at)
        change.decide(kind=PRICES, content=content, **who._asdict())


def _keeper(book: Book) -> Booker:
    engine = Engine(book)
    return Bookkeeper(engine.price, engine.flat, book.id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "serve"
