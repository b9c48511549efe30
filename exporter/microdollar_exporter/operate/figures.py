# SPDX-License-Identifier: Apache-2.0
"""What a ledger holds, in few figures: enough to tell whether a copy is whole."""

import duckdb

from microdollar_exporter.usage import BUCKETS

__all__ = ["rows", "schema_version", "sums"]

_SUMMED = ("calls", *BUCKETS, "cost")


def rows(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The number of rows in each table."""
    tables = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY ALL"
    ).fetchall()
    return {name: _one(con, f'SELECT count(*) FROM "{name}"') for (name,) in tables}


def sums(con: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """The ledger's sums as exact decimal text, cost in microdollars; None where all is unknown."""
    columns = ", ".join(f"CAST(sum({name}) AS VARCHAR)" for name in _SUMMED)
    [found] = con.execute(f"SELECT {columns} FROM ledger").fetchall()
    return dict(zip(_SUMMED, found, strict=True))


def schema_version(con: duckdb.DuckDBPyConnection) -> int:
    """The version of the ledger's schema; 0 where the file holds no ledger."""
    if "schema_version" not in {name for (name,) in con.execute("SHOW TABLES").fetchall()}:
        return 0
    return _one(con, "SELECT coalesce(max(version), 0) FROM schema_version")


def _one(con: duckdb.DuckDBPyConnection, query: str) -> int:
    [(value,)] = con.execute(query).fetchall()
    return int(value)
