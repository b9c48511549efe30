# SPDX-License-Identifier: Apache-2.0
"""Fill a ledger with a month's history, to measure it at a size that takes days to reach.

The rows are those of calls that were really received, repeated by DuckDB with ids and processes of
their own and times spread over the month, in the order in which they would have come in.
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb

__all__ = ["DAYS", "fill"]

DAYS = 30
"""How much time the history covers."""

_TEXT_ID = "left(md5(concat({column}, '|', {number})), length({column}))"
_RESPONSE_PREFIX = "regexp_extract(response_id, '^[a-z]*[-_]?')"
_COLUMNS: Mapping[str, str] = {
    # Ids stay as long as they were, are equal where they were equal, and no less random.
    **dict.fromkeys(("trace_id", "span_id", "parent_span_id", "entry_id", "boot_id"), _TEXT_ID),
    "response_id": f"""{_RESPONSE_PREFIX} || left(
        to_base64(unhex(sha256(concat(response_id, '|', {{number}})))
            || unhex(md5(concat({{number}}, '|', response_id)))),
        length(response_id) - length({_RESPONSE_PREFIX}))""",
    "started_at": "{started_at}",
    "ended_at": "{started_at} + (ended_at - started_at)",
    # As if there had been a commit a minute.
    "received_at": "date_trunc('minute', {started_at}) + INTERVAL 1 MINUTE",
    "recorded_at": "date_trunc('minute', {started_at}) + INTERVAL 1 MINUTE",
}
"""The new value of each column that may not be repeated."""


def fill(db: Path, calls: int) -> None:
    """Repeat the calls of a ledger that no process has open, over the `DAYS` after the first one.

    Afterwards it holds `calls` or a few more. What it held stays, at the beginning.
    """
    # DuckDB's default of 16 MB would write the same blocks again and again.
    with duckdb.connect(str(db), config={"checkpoint_threshold": "1GB"}) as con:
        # Those that grow with the calls, each with its columns.
        tables: dict[str, list[str]] = dict(
            con.execute("""
                SELECT table_name, list(column_name)
                FROM duckdb_tables() JOIN duckdb_columns() USING (table_oid, table_name)
                GROUP BY table_name HAVING list_contains(list(column_name), 'trace_id')
                """).fetchall()
        )
        con.execute("ATTACH ':memory:' AS base")
        for table in tables:
            con.execute(f"CREATE TABLE base.{table} AS FROM {table}")
        [(first, last, count)] = con.execute(
            "SELECT epoch_us(min(started_at)), epoch_us(max(started_at)), count(*) FROM spans"
        ).fetchall()
        repetitions = -(-calls // count)
        step = DAYS * 86_400_000_000 // repetitions
        for number in range(1, repetitions):
            started_at = (
                f"make_timestamp({first + number * step} + CAST("
                f"(epoch_us(started_at) - {first}) * {step / (last - first):.9f} AS BIGINT))"
            )
            for table, columns in tables.items():
                changes = ", ".join(
                    f"{value.format(column=name, number=number, started_at=started_at)} AS {name}"
                    for name, value in _COLUMNS.items()
                    if name in columns
                )
                con.execute(f"INSERT INTO {table} SELECT * REPLACE ({changes}) FROM base.{table}")
