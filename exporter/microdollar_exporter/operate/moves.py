# SPDX-License-Identifier: Apache-2.0
"""Move calls from one customer to another in the ledger's own way: by reversals and new entries.

A few statements do it for any number of calls, inside the transaction of the act.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, NamedTuple

import duckdb

from microdollar_exporter.ask.honesty import TOKENS
from microdollar_exporter.entry import REVERSAL
from microdollar_exporter.store import ENTRY_ID, Change, Store
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = ["STANDING", "Choice", "Decide", "look", "looking", "move", "taken_back"]

EXAMPLES: Final = 5
"""How many calls are shown before they are moved."""

_SIGNED: Final = ("calls", *BUCKETS, *PARTS, "cost", "list_cost")
STANDING: Final = """
    kind <> 'reversal' AND trace_id <> '' AND entry_id NOT IN (
        SELECT reverses FROM ledger WHERE reverses IS NOT NULL
    )"""
"""That an entry of the ledger has not been taken back, in SQL. The sums of a day that are left of
removed calls do not count: they are no calls."""
_TAKEN_BACK: Final = ", ".join(
    [
        f"'{REVERSAL}' AS kind",
        *(f"-{column} AS {column}" for column in _SIGNED),
        "CASE WHEN cardinality(units) = 0 THEN units ELSE map_from_entries(list_transform("
        "map_entries(units), lambda unit: {'key': unit.key, 'value': -unit.value})) END AS units",
        "entry_id AS reverses",
    ]
)
_EARLIER_MOVE: Final = "(assigned|returned) by decision [0-9a-f]+; "


class Choice(NamedTuple):
    """Which calls to move, as SQL over `ledger` and what it is joined with, and to whom.

    A call moves with all its entries: `of_calls` is a condition that all entries of a call meet or
    none, `of_entries` one that a single entry may meet. `parameters` are those of `customer`,
    `of_entries`, `joined` and `of_calls`, in this order.
    """

    customer: str
    of_calls: str
    of_entries: str = ""
    joined: str = ""
    parameters: Sequence[Any] = ()


Decide = Callable[[Change, Mapping[str, Any]], str | None]
"""Records the decision to move what the sums say, and gives its id; None to leave all as it is."""


@contextmanager
def looking(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection on which nothing stays that is done."""
    with closing(store.cursor()) as con:
        con.begin()
        yield con
        con.rollback()


def look(store: Store, choice: Choice) -> dict[str, Any]:
    """What a move would be; see `move`."""
    with looking(store) as con:
        _choose(con, choice)
        return {"decision": None, **_sums(con)}


def move(store: Store, choice: Choice, decide: Decide, verb: str) -> dict[str, Any]:
    """Book a move: a reversal of each entry that is chosen, and the entry anew.

    The new one is the same in all but the customer; its reason is `verb` and the decision, and
    then what the reason of the old one was.

    Returns:
        The id of the `decision`; `calls`, `entries` and `tokens`; `cost` in microdollars as decimal
        text, None when nothing has a price; `unpriced` calls; the moments of the `first` and the
        `last` call, UTC; and some of the calls as `examples`.

    Raises:
        StoreUnavailable: nothing was moved; try again later.
    """
    with store.change() as change:
        _choose(change.con, choice)
        found = _sums(change.con)
        decision_id = decide(change, found)
        if decision_id is not None:
            _book(change, decision_id, f"{verb} by decision {decision_id}")
        change.con.execute("DROP TABLE moved")
    return {"decision": decision_id, **found}


def _choose(con: duckdb.DuckDBPyConnection, choice: Choice) -> None:
    """Put the entries to move, by their place in the ledger, into the temporary table `moved`."""
    chosen = f"""
        SELECT ledger.rowid AS place, trace_id, span_id, started_at,
            {choice.customer} AS new_customer, {choice.of_entries or "true"} AS meets
        FROM ledger {choice.joined} WHERE {STANDING} AND {choice.of_calls}"""
    if choice.of_entries:
        wanted = f"""
            WITH chosen AS ({chosen})
            SELECT place, new_customer FROM chosen SEMI JOIN (
                SELECT trace_id, span_id, started_at FROM chosen WHERE meets
            ) USING (trace_id, span_id, started_at)"""
    else:
        wanted = f"SELECT place, new_customer FROM ({chosen})"
    con.execute(f"CREATE TEMP TABLE moved AS {wanted}", choice.parameters)


_MOVED: Final = "FROM ledger JOIN moved ON ledger.rowid = place"


def _sums(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What was chosen, and some of the calls."""
    [(calls, entries, tokens, cost, unpriced, first, last)] = con.execute(f"""
        SELECT coalesce(sum(calls), 0)::BIGINT, count(*), coalesce(sum({TOKENS}), 0)::BIGINT,
            CAST(sum(cost) AS VARCHAR),
            coalesce(sum(calls) FILTER (cost IS NULL), 0)::BIGINT,
            CAST(min(started_at) AS VARCHAR), CAST(max(started_at) AS VARCHAR)
        {_MOVED}""").fetchall()
    examples = con.execute(f"""
        SELECT CAST(started_at AS VARCHAR), service, user_id,
            coalesce(response_model, request_model), trace_id, CAST(cost AS VARCHAR)
        {_MOVED} WHERE calls > 0 ORDER BY started_at, trace_id, span_id
        LIMIT {EXAMPLES}""").fetchall()
    names = ("started_at", "service", "user", "model", "trace", "cost")
    return {
        "calls": calls,
        "entries": entries,
        "tokens": tokens,
        "cost": cost,
        "unpriced": unpriced,
        "first": first,
        "last": last,
        "examples": [dict(zip(names, example, strict=True)) for example in examples],
    }


def _book(change: Change, decision_id: str, reason: str) -> None:
    change.con.execute(
        f"""
        INSERT INTO ledger BY NAME SELECT *, {ENTRY_ID} AS entry_id FROM (
            {taken_back("moved")}
            UNION ALL BY NAME
            SELECT ledger.* EXCLUDE (entry_id) REPLACE (new_customer AS customer_id,
                revision + 1 AS revision, $at AS recorded_at, $decision AS decision,
                $decision AS assigned_by,
                concat($reason, '; ', regexp_replace(reason, '{_EARLIER_MOVE}', '')) AS reason)
            {_MOVED}
        )""",
        {"at": change.at, "decision": decision_id, "reason": reason},
    )


def taken_back(places: str) -> str:
    """SQL for the reversals of the entries whose place in the ledger is in this table.

    It has the columns of the ledger but for `entry_id`; its parameters are `at`, `decision` and
    `reason`.
    """
    return f"""
        SELECT ledger.* EXCLUDE (entry_id) REPLACE ({_TAKEN_BACK},
            $at AS recorded_at, $decision AS decision, $reason AS reason)
        FROM ledger SEMI JOIN {places} ON ledger.rowid = place"""
