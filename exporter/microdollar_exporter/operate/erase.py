# SPDX-License-Identifier: Apache-2.0
"""The act `erase`: forget a customer, and keep the sums.

What names the customer goes, from the evidence and from the books, and with it what names its
users, and the ids of its calls. What stays of the calls are sums by the day, under the customer
`erased`, so that no total of the past changes. The act is recorded without the name: who knows the
name can tell that it was erased, by a hash that is slow to compute, and nobody can read it there.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import duckdb

from microdollar_exporter.ask.honesty import TOKENS
from microdollar_exporter.customer import ERASED, USERS_DECISION
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.arguments import (
    Who,
    customer_of,
    flag_of,
    known_only,
    who_of,
)
from microdollar_exporter.operate.moves import looking
from microdollar_exporter.operate.remove import (
    Sums,
    check,
    copy_profiles,
    copy_the_rest,
    decided_at,
    note_calls,
    note_responses,
    note_spans,
    record,
    sum_up,
)
from microdollar_exporter.operate.rewrite import copy_whole, rewrite
from microdollar_exporter.store import Change, Store
from microdollar_exporter.store.decisions import Decision, decisions_in

__all__ = ["ERASE", "erase", "fingerprint"]

ERASE: Final = "erase"
"""The kind of the decision. It holds a hash of the customer and how much was erased."""

_OF_CALL: Final = "trace_id, span_id, started_at"
_LONG: Final = 4
"""A shorter name is in many words that do not mean the customer."""
_ITERATIONS: Final = 600_000
_STRONG: Final = 20
"""Response ids of this length are not given twice."""


def erase(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Forget `customer`; says what that concerns.

    Unless `apply` is true nothing is done. `by` and `reason` say who decides and why; they are
    kept, so they must not name the customer. The ledger is written anew, which takes some seconds
    for each million calls; nothing is taken in meanwhile. Backups, and what was archived, are
    other files: `archived` names the archived ones with days on which the customer called.
    """
    known_only(arguments, ("customer", "apply", "by", "reason"))
    customer = customer_of(arguments)
    who = who_of(arguments) if flag_of(arguments, "apply") else None
    if who and re.search(_pattern(customer), f"{who.made_by} {who.reason}"):
        raise UsageError("reason and by are kept: write them without the customer's name")
    with looking(store) as con:
        _choose(con, customer)
        found = _found(con, customer)
    if not _anything(found):
        raise UsageError(f"there is no customer {customer!r} in the ledger, so nothing was erased")
    if who is None:
        return {"decision": None, **found}
    decision_id = Change.new_id()
    rewrite(store, lambda con: _fill(con, customer, decision_id, who, found))
    return {"decision": decision_id, **found}


def fingerprint(customer: str, decision_id: str) -> str:
    """The hash by which a decision names an erased customer."""
    salt = decision_id.encode()
    return hashlib.pbkdf2_hmac("sha256", customer.encode(), salt, _ITERATIONS).hex()


def _choose(con: duckdb.DuckDBPyConnection, customer: str) -> None:
    """Find what goes, as temporary tables.

    `mine` are the calls of the customer, `hidden` the words that may not stay, `gone` the spans
    that go: those of the calls, others about them, and whatever names one of the words and stands
    for nobody else's call.
    """
    con.execute(
        f"""
        CREATE TEMP TABLE theirs AS
        SELECT DISTINCT {_OF_CALL} FROM ledger WHERE customer_id = ? AND trace_id <> ''""",
        [customer],
    )
    con.execute(
        f"""
        CREATE TEMP TABLE mine AS FROM theirs ANTI JOIN (
            SELECT {_OF_CALL} FROM ledger SEMI JOIN theirs USING ({_OF_CALL})
            WHERE customer_id <> ? GROUP BY {_OF_CALL}, customer_id HAVING sum(calls) > 0
        ) USING ({_OF_CALL})""",
        [customer],
    )
    con.execute(
        f"""
        CREATE TEMP TABLE hidden AS SELECT $1 AS word UNION
        SELECT user_id FROM ledger SEMI JOIN mine USING ({_OF_CALL})
        WHERE user_id IS NOT NULL AND user_id NOT IN (
            SELECT user_id FROM ledger ANTI JOIN mine USING ({_OF_CALL})
            WHERE user_id IS NOT NULL AND customer_id <> $1
        )""",
        [customer],
    )
    con.execute(
        f"""
        CREATE TEMP TABLE candidate AS
        SELECT {_OF_CALL}, bool_or(names) AS names FROM (
            SELECT {_OF_CALL}, false AS names FROM span
            WHERE trace_id IN (SELECT trace_id FROM mine)
            UNION ALL
            SELECT {_OF_CALL}, true FROM (SELECT {_OF_CALL}, unnest(details) AS word FROM span)
            SEMI JOIN hidden USING (word)
            UNION ALL
            SELECT {_OF_CALL}, true FROM span JOIN profile USING (profile_id)
            WHERE list_contains(map_values(attributes), ?)
            UNION ALL
            SELECT {_OF_CALL}, true FROM span WHERE length(response_id) >= {_STRONG}
            AND response_id IN (SELECT response_id FROM ledger SEMI JOIN mine USING ({_OF_CALL}))
        ) GROUP BY ALL""",
        [customer],
    )
    con.execute(f"""
        CREATE TEMP TABLE booked AS
        SELECT {_OF_CALL} FROM ledger SEMI JOIN candidate USING ({_OF_CALL})
        ANTI JOIN mine USING ({_OF_CALL}) GROUP BY ALL HAVING sum(calls) > 0""")
    con.execute(f"""
        CREATE TEMP TABLE gone AS SELECT {_OF_CALL} FROM mine UNION
        SELECT {_OF_CALL} FROM candidate ANTI JOIN booked USING ({_OF_CALL})
        WHERE names OR trace_id NOT IN (SELECT trace_id FROM booked)""")


def _found(con: duckdb.DuckDBPyConnection, customer: str) -> dict[str, Any]:
    """How much that is: calls and what they cost, spans, users, decisions, archived files."""
    [(calls, tokens, cost)] = con.execute(
        f"""
        SELECT coalesce(sum(calls), 0)::BIGINT, coalesce(sum({TOKENS}), 0)::BIGINT,
            CAST(sum(cost) AS VARCHAR) FROM ledger WHERE customer_id = ?""",
        [customer],
    ).fetchall()
    [(spans,)] = con.execute(
        f"SELECT count(*) FROM span SEMI JOIN gone USING ({_OF_CALL})"
    ).fetchall()
    [(users,)] = con.execute("SELECT count(*) - 1 FROM hidden").fetchall()
    archived = con.execute("""
        SELECT DISTINCT folder || '/' || file AS path FROM archive_part
        WHERE day IN (SELECT CAST(started_at AS DATE) FROM mine) ORDER BY path""").fetchall()
    blot = _Blot(con, customer)
    named = [made for made in decisions_in(con) if blot.decision(made) != made]
    return {
        "calls": calls,
        "tokens": tokens,
        "cost": cost,
        "spans": spans,
        "users": users,
        "decisions": len(named),
        "archived": [path for (path,) in archived],
    }


def _anything(found: Mapping[str, Any]) -> bool:
    return any(found[name] for name in ("calls", "tokens", "spans", "decisions"))


def _fill(
    con: duckdb.DuckDBPyConnection,
    customer: str,
    decision_id: str,
    who: Who,
    found: Mapping[str, Any],
) -> None:
    con.execute("USE old")
    _choose(con, customer)
    blot = _Blot(con, customer)
    copy_the_rest(con)
    _keep_spans(con)
    copy_profiles(con, customer)
    _keep_entries(con, customer)
    sum_up(
        con,
        Sums(
            entries="(FROM old.ledger SEMI JOIN summed USING (entry_id))",
            tags="CAST(MAP {} AS MAP(VARCHAR, VARCHAR))",
            decision=decision_id,
            reason="calls of an erased customer, by the day",
            customer=customer,
            pattern=blot.pattern,
        ),
    )
    note_calls(con, f"(FROM old.span SEMI JOIN gone USING ({_OF_CALL}))", blot.pattern)
    copy_whole(con, "removed_span")
    note_spans(con, "gone")
    note_responses(con, f"old.ledger SEMI JOIN gone USING ({_OF_CALL})")
    for decision in decisions_in(con):
        record(con, blot.decision(decision))
    record(con, _decision(con, customer, decision_id, who, found))
    check(con)


def _keep_spans(con: duckdb.DuckDBPyConnection) -> None:
    """The spans that stay. Words that may not stay are blotted out in those of others' calls."""
    words = [word for (word,) in con.execute("SELECT word FROM hidden").fetchall()]
    con.execute(f"CREATE TEMP TABLE blotted AS FROM candidate SEMI JOIN booked USING ({_OF_CALL})")
    con.execute(
        f"""
        INSERT INTO fresh.span BY NAME SELECT span.* REPLACE (
            CASE WHEN coalesce(names, false) THEN list_transform(details, lambda word:
                CASE WHEN list_contains($words, word) THEN '{ERASED}' ELSE word END)
            ELSE details END AS details)
        FROM old.span AS span ANTI JOIN gone USING ({_OF_CALL})
        LEFT JOIN blotted USING ({_OF_CALL})""",
        {"words": words},
    )
    con.execute(
        """
        INSERT INTO fresh.held_span BY NAME FROM old.held_span
        WHERE trace_id NOT IN (SELECT trace_id FROM mine)
        AND NOT list_has_any(details, $words)""",
        {"words": words},
    )
    con.execute("""
        INSERT INTO fresh.archived_span BY NAME FROM old.archived_span
        WHERE trace_id NOT IN (SELECT trace_id FROM mine)""")


def _keep_entries(con: duckdb.DuckDBPyConnection, customer: str) -> None:
    """The entries that stay, without the users of the customer; the others get into `summed`."""
    con.execute(
        f"""
        CREATE TEMP TABLE summed AS
        SELECT entry_id FROM old.ledger SEMI JOIN mine USING ({_OF_CALL})
        UNION SELECT entry_id FROM old.ledger WHERE customer_id = ?""",
        [customer],
    )
    con.execute(
        f"""
        INSERT INTO fresh.ledger BY NAME SELECT * REPLACE (
            CASE WHEN user_id IN (SELECT word FROM hidden) THEN NULL ELSE user_id END AS user_id,
            CASE WHEN list_contains(map_values(tags), $customer)
                THEN map_from_entries(list_transform(map_entries(tags), lambda tag:
                    {{'key': tag.key, 'value': CASE WHEN tag.value = $customer
                        THEN '{ERASED}' ELSE tag.value END}}))
                ELSE tags END AS tags)
        FROM old.ledger ANTI JOIN summed USING (entry_id)""",
        {"customer": customer},
    )


def _pattern(customer: str) -> str:
    """Where a text names a customer: anywhere, or as a word of its own if the name is short."""
    # DuckDB does not let a blank be escaped.
    name = re.escape(customer).replace(r"\ ", " ")
    return f"(?i){name}" if len(customer) >= _LONG else rf"(?i)(^|\W){name}(\W|$)"


class _Blot:
    """Takes what names the customer out of decisions; that they were made remains."""

    def __init__(self, con: duckdb.DuckDBPyConnection, customer: str) -> None:
        words = con.execute("SELECT word FROM hidden").fetchall()
        self._customer = customer
        self._hidden: Collection[str] = {word for (word,) in words}
        self.pattern = _pattern(customer)

    def decision(self, decision: Decision) -> Decision:
        """A decision as it stays."""
        content = dict(decision.content)
        if decision.kind == USERS_DECISION:
            content["users"] = {
                user: customer
                for user, customer in content["users"].items()
                if customer != self._customer and user not in self._hidden
            }
        if content.get("customer") == self._customer:
            # The rule by which calls were found may name users, tags or traces.
            content |= {"customer": ERASED, "rule": {}}
        return decision._replace(
            content=self._value(content),
            reason=self._text(decision.reason),
            made_by=self._text(decision.made_by),
        )

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self._text(value)
            case dict():
                return {self._text(name): self._value(item) for name, item in value.items()}
            case list():
                return [self._value(item) for item in value]
            case _:
                return value

    def _text(self, text: str) -> str:
        return re.sub(self.pattern, _blotted, text)


def _blotted(found: re.Match[str]) -> str:
    before, after = found.groups() or ("", "")
    return f"{before}{ERASED}{after}"


def _decision(
    con: duckdb.DuckDBPyConnection,
    customer: str,
    decision_id: str,
    who: Who,
    found: Mapping[str, Any],
) -> Decision:
    counts = ("calls", "tokens", "cost", "spans", "users")
    content = {
        "customer_hash": fingerprint(customer, decision_id),
        **{name: found[name] for name in counts},
    }
    return Decision(decision_id, ERASE, decided_at(con), *who, content, None)
