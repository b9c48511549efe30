# SPDX-License-Identifier: Apache-2.0
"""What `erase` and `retain` have in common: evidence that goes, and the sums that stay.

Of removed calls a ledger keeps sums by the day and by whatever nobody can be known by. Such a sum
is an entry without a trace: no call. Of removed spans it keeps the numbers that their processes
gave them, so that they are not taken for missing.
"""

import json
import time
from typing import Final, NamedTuple

import duckdb

from microdollar_exporter.ask.closed import CLOSE_PERIOD
from microdollar_exporter.customer import ERASED
from microdollar_exporter.errors import ActFailed
from microdollar_exporter.operate.rewrite import copy_whole
from microdollar_exporter.store import Decision
from microdollar_exporter.store.removed import FINGERPRINT, RESPONSE_FINGERPRINT
from microdollar_exporter.usage import BUCKETS, PARTS
from microdollar_semconv import attributes as md

__all__ = [
    "Sums",
    "check",
    "copy_profiles",
    "copy_the_rest",
    "decided_at",
    "note_calls",
    "note_responses",
    "note_spans",
    "record",
    "sum_up",
]

_CLOSINGS: Final = """
    SELECT made_at, make_timestamp(CAST(content->>'$.first' AS BIGINT)),
        make_timestamp(CAST(content->>'$.end' AS BIGINT))
    FROM old.decision WHERE kind = ?"""
_SUMMED: Final = ("calls", *BUCKETS, *PARTS)
_OF_A_SUM: Final = (
    *("kind", "provider", "operation", "service_tier", "usage_source", "rule"),
    *("price_status", "price_row", "price_book"),
)
_NAMED: Final = ("service", "environment", "request_model", "response_model", "price_note")
"""What a sender words, in which a customer's name may be."""
_WHOLE: Final = ("schema_version", "price_book", "price_row", "price_book_in_force", "archive_part")
_HANDLED: Final = frozenset(
    {*_WHOLE, "ledger", "span", "profile", "decision", "removed_span", "removed_calls"}
    | {"held_span", "archived_span"}
)
_NOWHERE: Final = "$^"
"""A pattern that is in no text."""
_UNITS: Final = """
    map_from_entries(list_transform(
        list_distinct(flatten(list_transform(all_units, lambda units: map_keys(units)))),
        lambda unit: {'key': unit, 'value': CAST(list_sum(list_transform(
            all_units, lambda units: coalesce(units[unit], 0))) AS BIGINT)}
    ))"""


class Sums(NamedTuple):
    """Which entries become sums, and how these are told apart.

    `entries` is a FROM clause over `old.ledger`, `tags` the SQL of what stays of the tags.
    `decision` and `reason` are written into the sums. `customer` becomes `erased`, and so does
    every word in which the `pattern` is.
    """

    entries: str
    tags: str
    decision: str
    reason: str
    customer: str = ""
    pattern: str = _NOWHERE


def sum_up(con: duckdb.DuckDBPyConnection, sums: Sums) -> None:
    """Write the sums of entries, by the day of the calls and the day of their recording.

    A closing, and where its period begins and ends, part a day: closed figures stay what they are.
    """
    closings = con.execute(_CLOSINGS, [CLOSE_PERIOD]).fetchall()
    words = [f"{_without(name)} AS {name}" for name in _NAMED]
    con.execute(
        f"""
        INSERT INTO fresh.ledger BY NAME
        SELECT md5(concat_ws('|', 'sums', $decision, row_number() OVER ())) AS entry_id,
            * EXCLUDE (all_units, is_unpriced, recorded_on, closings),
            '' AS trace_id, '' AS span_id, 0 AS position, 0 AS revision,
            coalesce({_UNITS}, MAP {{}}) AS units,
            $decision AS decision, $reason AS reason
        FROM (
            SELECT {", ".join(_OF_A_SUM)}, {", ".join(words)},
                CASE WHEN customer_id = $customer THEN '{ERASED}' ELSE customer_id END
                    AS customer_id,
                {sums.tags} AS tags,
                greatest(CAST(CAST(started_at AS DATE) AS TIMESTAMP), list_max(list_filter(
                    CAST($edges AS TIMESTAMP[]), lambda edge: edge <= started_at
                ))) AS started_at,
                CAST(recorded_at AS DATE) AS recorded_on, cost IS NULL AS is_unpriced,
                len(list_filter(
                    CAST($closed_at AS TIMESTAMP[]), lambda moment: moment < recorded_at
                )) AS closings,
                max(recorded_at) AS recorded_at, sum(cost) AS cost,
                sum(list_cost) AS list_cost,
                {", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in _SUMMED)},
                list(units) FILTER (cardinality(units) > 0) AS all_units
            FROM {sums.entries} GROUP BY ALL
        )""",
        {
            "decision": sums.decision,
            "reason": sums.reason,
            "customer": sums.customer,
            "pattern": sums.pattern,
            "closed_at": [made_at for made_at, *_ in closings],
            "edges": [edge for _, *edges in closings for edge in edges],
        },
    )


def _without(name: str) -> str:
    """The SQL of a text in which the pattern may not be."""
    return f"CASE WHEN regexp_matches({name}, $pattern) THEN '{ERASED}' ELSE {name} END"


def note_calls(con: duckdb.DuckDBPyConnection, spans: str, pattern: str = _NOWHERE) -> None:
    """Keep the numbers of removed calls; `spans` is a FROM clause over `old.span`."""
    copy_whole(con, "removed_calls")
    con.execute(
        f"""
        INSERT INTO fresh.removed_calls BY NAME
        SELECT service, environment, boot_id, min(number) AS first_sequence,
            max(number) AS last_sequence, arg_min(started_at, number) AS first_at,
            arg_max(started_at, number) AS last_at, max(dropped) AS dropped
        FROM (
            SELECT *, number - row_number() OVER (PARTITION BY boot_id ORDER BY number) AS run
            FROM (
                SELECT DISTINCT ON (boot_id, call_sequence)
                    {_without("service")} AS service,
                    {_without("environment")} AS environment,
                    boot_id, call_sequence AS number, started_at,
                    coalesce(TRY_CAST(
                        attributes['{md.BOOT_DROPPED_CALLS}'] AS BIGINT), 0) AS dropped
                FROM {spans} JOIN old.profile USING (profile_id)
                WHERE boot_id IS NOT NULL AND call_sequence > 0
                ORDER BY boot_id, call_sequence, started_at
            )
        ) GROUP BY service, environment, boot_id, run""",
        {"pattern": pattern},
    )


def copy_profiles(con: duckdb.DuckDBPyConnection, customer: str = "") -> None:
    """Bring what the spans that stay have in common, without this word.

    What was changed is no longer found by its hash.
    """
    con.execute(
        f"""
        INSERT INTO fresh.profile BY NAME SELECT * REPLACE (
            CASE WHEN list_contains(map_values(attributes), $customer)
                THEN '{ERASED} ' || profile_id ELSE fingerprint END AS fingerprint,
            map_from_entries(list_transform(map_entries(attributes), lambda entry:
                {{'key': entry.key, 'value': CASE WHEN entry.value = $customer
                    THEN '{ERASED}' ELSE entry.value END}})) AS attributes)
        FROM old.profile WHERE profile_id IN (
            SELECT profile_id FROM fresh.span UNION SELECT profile_id FROM fresh.held_span
        )""",
        {"customer": customer},
    )


def decided_at(con: duckdb.DuckDBPyConnection) -> int:
    """Now, and later than anything in the books."""
    [(last,)] = con.execute("SELECT max(epoch_us(recorded_at)) FROM old.ledger").fetchall()
    return max(time.time_ns() // 1000, (last or 0) + 1)


def record(con: duckdb.DuckDBPyConnection, decision: Decision) -> None:
    """Write a decision into the fresh file."""
    con.execute(
        "INSERT INTO fresh.decision VALUES (?, ?, make_timestamp(?), ?, ?, ?, ?)",
        [
            *(decision.decision_id, decision.kind, decision.made_at, decision.made_by),
            *(decision.reason, json.dumps(decision.content), decision.undoes),
        ],
    )


def note_spans(con: duckdb.DuckDBPyConnection, spans: str) -> None:
    """Keep hashes of what removed spans were known by; `spans` is a FROM clause with that."""
    _note(con, FINGERPRINT, spans)


def note_responses(con: duckdb.DuckDBPyConnection, calls: str) -> None:
    """Keep hashes of the responses of removed calls, of which others may tell yet."""
    _note(con, RESPONSE_FINGERPRINT, calls)


def _note(con: duckdb.DuckDBPyConnection, fingerprint: str, source: str) -> None:
    con.execute(f"""
        INSERT INTO fresh.removed_span BY NAME
        SELECT DISTINCT CAST(started_at AS DATE) AS started_on, {fingerprint} AS fingerprint
        FROM {source} WHERE {fingerprint} IS NOT NULL""")


def copy_the_rest(con: duckdb.DuckDBPyConnection) -> None:
    """Bring all that names nobody: price books, and what says which versions were here.

    Raises:
        ActFailed: there is a table that nobody has thought of.
    """
    tables = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'old'"
    ).fetchall()
    unknown = sorted({name for (name,) in tables} - _HANDLED)
    if unknown:
        raise ActFailed(f"it is not known what the table {unknown[0]} holds: nothing was removed")
    copy_whole(con, *_WHOLE)


def check(con: duckdb.DuckDBPyConnection) -> None:
    """See that every sum of the ledger is what it was.

    Raises:
        ActFailed: one is not.
    """
    columns = ", ".join(f"sum({name})" for name in (*_SUMMED, "cost", "list_cost"))
    found = [
        (
            con.execute(f"SELECT {columns} FROM {database}.ledger").fetchall(),
            con.execute(f"""
                SELECT unit.key, sum(unit.value) AS total
                FROM (SELECT unnest(map_entries(units)) AS unit FROM {database}.ledger)
                GROUP BY ALL HAVING total <> 0 ORDER BY ALL""").fetchall(),
        )
        for database in ("old", "fresh")
    ]
    if found[0] != found[1]:
        raise ActFailed(f"the sums would be {found[1]} and not {found[0]}: nothing was removed")
