# SPDX-License-Identifier: Apache-2.0
"""The act `reprice`: price calls of the past anew, by the book in force, and book the corrections.

A correction is a reversal of the entry and the entry anew at the other price, both dated now and
both under the decision. So every sum stays a sum, calls that had no price are counted as unpriced
no longer, and the books as of any earlier moment are what they were.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from microdollar_exporter.ask.honesty import TOKENS
from microdollar_exporter.ask.period import period
from microdollar_exporter.book import BEYOND
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.arguments import flag_of, known_only, text_of, who_of
from microdollar_exporter.operate.close import closed_periods
from microdollar_exporter.operate.moves import looking, taken_back
from microdollar_exporter.operate.price_anew import choose, price
from microdollar_exporter.operate.why import PRICE_LAYERS, WHY
from microdollar_exporter.price import Book
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.store import ENTRY_ID, Change, Decision, Store
from microdollar_exporter.store.books import in_force
from microdollar_exporter.store.registered import registered
from microdollar_semconv import UNASSIGNED

__all__ = ["OPEN_STATUSES", "REPRICE", "STATUSES", "reprice"]

log = logging.getLogger(__name__)

REPRICE: Final = "reprice"
"""The kind of the decision. It holds what was asked for (`filters`), the `book` that prices come
from now and the `old_books` they came from, and how much the calls cost `before` and `after`."""

OPEN_STATUSES: Final = ("unpriced", "partial", "fallback")
"""What is repriced unless said otherwise: prices that are missing, or in doubt."""
STATUSES: Final[Mapping[str, Sequence[str]]] = {
    "unpriced": ("unpriced_model", "unpriced_provider"),
    "partial": ("partial",),
    "fallback": ("fallback",),
    "bad_usage": ("bad_usage",),
    "priced": ("priced",),
    "free": ("free",),
}
"""The price statuses by which entries can be asked for, as they are in the ledger."""
_EXACT: Final = ("priced", "free")

_FILTERS: Final = ("customer", "provider", "model", "from", "to", "status")
_MODEL: Final = "coalesce(response_model, request_model)"
_EARLIER: Final = "repriced by decision [^;]*; "
_SUMS: Final = """
    coalesce(sum(calls), 0)::BIGINT AS calls, count(*) AS entries,
    coalesce(sum(tokens), 0)::BIGINT AS tokens,
    CAST(sum(cost) AS VARCHAR) AS before, CAST(sum(new_cost) AS VARCHAR) AS after,
    CAST(coalesce(sum(new_cost - coalesce(cost, 0)), 0) AS VARCHAR) AS difference"""


def reprice(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Price calls of the past by the book in force, where that gives another price.

    Asked for are those of a `customer` ("unassigned" for calls without one), a `provider`, a
    `model`, that began `from` and `to`, with a price `status` among these (a list of the words of
    `STATUSES`; `OPEN_STATUSES` unless said). Exact prices are corrected only with
    `include_priced`. A price is never taken away: what the book in force has no price for keeps
    the one it has. Unless `apply` is true nothing is done. `by` and `reason` say who decides.

    Returns:
        The id of the `decision`; the `book` and `old_books`; `calls`, `entries` and `tokens` with
        another price, what they cost `before` and `after` and the `difference`, in microdollars as
        decimal text; the same for each customer, model, reason and price status (`old_status` and
        `new_status`) as `changes`, and for each closed period that is concerned as `closed`; how
        many calls are `becoming_partial`; what else was looked at, in calls, as `left`; and how
        many `seconds` it took.

    Raises:
        UsageError: an argument is wrong.
        StoreUnavailable: nothing was repriced; try again later.
    """
    known_only(arguments, (*_FILTERS, "include_priced", "apply", "by", "reason"))
    begun = time.monotonic()
    condition, parameters = _asked_for(arguments)
    if not flag_of(arguments, "apply"):
        with looking(store) as con:
            found = _look(con, condition, parameters, store.decisions)
        return {"decision": None, **found, "seconds": time.monotonic() - begun}
    who = who_of(arguments)
    filters = {name: arguments[name] for name in _FILTERS if arguments.get(name) is not None}
    with store.change() as change:
        found = _look(change.con, condition, parameters, store.decisions)
        decision_id = None
        if found["entries"]:
            content = {"filters": filters, **{name: found[name] for name in _OF_DECISION}}
            decision_id = change.decide(kind=REPRICE, content=content, **who._asdict())
            log.info("repricing %d calls, by decision %s", found["calls"], decision_id)
            _book(change, decision_id, found["book"])
        for table in _TEMPORARY:
            change.con.execute(f"DROP TABLE {table}")
    return {"decision": decision_id, **found, "seconds": time.monotonic() - begun}


_OF_DECISION: Final = (
    *("book", "old_books", "calls", "entries", "tokens", "before", "after", "difference"),
)
_TEMPORARY: Final = ("special", "chosen", "priced", "rest", "repriced")


def _asked_for(arguments: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The condition on entries, in SQL, and its parameters."""
    conditions, parameters = [], []
    statuses = ", ".join(f"'{status}'" for status in _statuses(arguments))
    conditions.append(f"price_status IN ({statuses})")
    if arguments.get("customer") == UNASSIGNED:
        conditions.append("customer_id IS NULL")
    elif arguments.get("customer") is not None:
        conditions.append("customer_id = ?")
        parameters.append(text_of(arguments, "customer"))
    for name, column in (("provider", "provider"), ("model", _MODEL)):
        if arguments.get(name) is not None:
            conditions.append(f"{column} = ?")
            parameters.append(text_of(arguments, name))
    in_period, instants = period(arguments.get("from"), arguments.get("to")).holds("started_at")
    return " AND ".join([*conditions, in_period]), [*parameters, *instants]


def _statuses(arguments: Mapping[str, Any]) -> list[str]:
    include_priced = flag_of(arguments, "include_priced")
    words = arguments.get("status")
    if words is None:
        words = [*STATUSES] if include_priced else [*OPEN_STATUSES]
    if not isinstance(words, list) or not words:
        raise UsageError(f"status is {words!r}: give one or more of {', '.join(STATUSES)}")
    for word in words:
        if word not in STATUSES:
            raise UsageError(f"status is {word!r}: give one or more of {', '.join(STATUSES)}")
    exact = [word for word in words if word in _EXACT]
    if exact and not include_priced:
        raise UsageError(
            f"status is {exact[0]}: such prices are exact; say with --include-priced that they are "
            "to be corrected"
        )
    return [status for word in words for status in STATUSES[word]]


def _look(
    con: duckdb.DuckDBPyConnection,
    condition: str,
    parameters: Sequence[Any],
    decisions: Sequence[Decision],
) -> dict[str, Any]:
    """Find the entries that get another price, as the temporary table `repriced`; and sum up."""
    book = _book_in_force(con)
    choose(con, condition, parameters)
    price(con, book)
    _compare(con, book)
    [total] = _rows(con, f"SELECT {_SUMS} FROM repriced")
    [old_books] = con.execute(
        "SELECT coalesce(list(DISTINCT price_book ORDER BY price_book), []) FROM repriced"
    ).fetchall()
    return {
        "book": book.id,
        "old_books": old_books[0],
        **total,
        "changes": _rows(
            con,
            f"""SELECT coalesce(customer_id, '{UNASSIGNED}') AS customer, model, why,
                old_status, new_status, {_SUMS} FROM repriced GROUP BY ALL ORDER BY ALL""",
        ),
        "becoming_partial": _becoming_partial(con),
        "closed": _of_closed_periods(con, decisions),
        "left": _left(con),
    }


def _becoming_partial(con: duckdb.DuckDBPyConnection) -> int:
    """How many calls get a price for a part only, and had one for the whole, or none."""
    [(calls,)] = con.execute("""
        SELECT coalesce(sum(calls), 0)::BIGINT FROM repriced
        WHERE new_status = 'partial' AND old_status <> 'partial'""").fetchall()
    return int(calls)


def _rows(
    con: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    asked = con.sql(query, params=list(parameters))
    found: list[dict[str, Any]] = asked.to_arrow_table().to_pylist()
    return found


def _book_in_force(con: duckdb.DuckDBPyConnection) -> Book:
    book_id = in_force(con)
    if book_id is None:
        raise UsageError("the ledger has no price book yet: `serve` puts one in force")
    [(content,)] = con.execute(
        "SELECT content FROM price_book WHERE book_id = ?", [book_id]
    ).fetchall()
    return read_book(content)


def _compare(con: duckdb.DuckDBPyConnection, book: Book) -> None:
    """What is in `chosen` and costs something else in `priced`, and why."""
    # A model that only overrides know is an alias of itself.
    renamed = [alias for alias in book.aliases if alias.model != alias.to_model.lower()]
    aliases = {
        "model": pa.array([alias.model for alias in renamed], pa.string()),
        "to_model": pa.array([alias.to_model for alias in renamed], pa.string()),
    }
    with registered(con, "alias", aliases):
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE repriced AS
            WITH layers AS MATERIALIZED ({PRICE_LAYERS})
            SELECT place, start, customer_id, {_MODEL} AS model, calls, {TOKENS} AS tokens,
                c.cost, c.price_status AS old_status, price_book,
                p.cost AS new_cost, p.list_cost AS new_list_cost,
                p.price_status AS new_status, p.price_note AS new_note, p.price_row AS new_row,
                {WHY} AS why
            FROM chosen c JOIN priced p USING (place)
            LEFT JOIN layers o ON o.book_id = c.price_book AND o.price_row = c.price_row
            LEFT JOIN layers n ON n.book_id = ? AND n.price_row = p.price_row
            WHERE p.cost IS NOT NULL AND (p.cost IS DISTINCT FROM c.cost
                OR p.list_cost IS DISTINCT FROM c.list_cost OR p.price_status <> c.price_status)""",
            [book.id],
        )


def _of_closed_periods(
    con: duckdb.DuckDBPyConnection, decisions: Sequence[Decision]
) -> list[dict[str, Any]]:
    """How much of it is of periods that are closed."""
    found = []
    for closed in closed_periods(decisions):
        within = f"start >= {closed.first} AND start < {closed.end}"
        [sums] = _rows(con, f"SELECT {_SUMS} FROM repriced WHERE {within}")
        if sums["entries"]:
            found.append({"period": closed.name, **sums})
    return found


def _left(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """What was looked at and is left as it is, in calls."""
    [left] = _rows(
        con,
        """
        SELECT
            coalesce(sum(c.calls) FILTER (p.place IS NULL), 0)::BIGINT AS without_evidence,
            coalesce(sum(c.calls) FILTER (beyond), 0)::BIGINT AS beyond,
            coalesce(sum(c.calls) FILTER (p.place IS NOT NULL AND p.cost IS NULL
                AND c.cost IS NULL AND NOT beyond), 0)::BIGINT AS still_unpriced,
            coalesce(sum(c.calls) FILTER (p.place IS NOT NULL AND p.cost IS NULL
                AND c.cost IS NOT NULL AND NOT beyond), 0)::BIGINT AS kept,
            coalesce(sum(c.calls) FILTER (p.cost IS NOT NULL AND r.place IS NULL), 0)::BIGINT
                AS unchanged
        FROM chosen c LEFT JOIN (
            SELECT *, coalesce(ends_with(price_note, ?), false) AS beyond FROM priced
        ) p USING (place) LEFT JOIN repriced r USING (place)""",
        [BEYOND],
    )
    return left


def _book(change: Change, decision_id: str, book_id: str) -> None:
    change.con.execute(
        f"""
        INSERT INTO ledger BY NAME SELECT *, {ENTRY_ID} AS entry_id FROM (
            {taken_back("repriced")}
            UNION ALL BY NAME
            SELECT ledger.* EXCLUDE (entry_id) REPLACE (
                revision + 1 AS revision, $at AS recorded_at, $decision AS decision,
                new_cost AS cost, new_list_cost AS list_cost, new_status AS price_status,
                new_note AS price_note, new_row AS price_row, $book AS price_book,
                concat($reason, ' (', why, '); ', regexp_replace(reason, '{_EARLIER}', ''))
                    AS reason)
            FROM ledger JOIN (
                SELECT place, why, new_cost, new_list_cost, new_status, new_note, new_row
                FROM repriced
            ) ON ledger.rowid = place
        )""",
        {
            "at": change.at,
            "decision": decision_id,
            "reason": f"repriced by decision {decision_id}",
            "book": book_id,
        },
    )
