# SPDX-License-Identifier: Apache-2.0
"""Let one plain SELECT through and nothing else.

A keyword check is not enough: `WITH … INSERT` and `EXPLAIN ANALYZE DELETE` begin harmlessly. The
query is parsed by DuckDB itself, whose serialiser knows SELECT only, and the tree is walked.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from microdollar_exporter.errors import QueryRefused

__all__ = ["TABLE_FUNCTIONS", "check_select"]

TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
"""The functions that may stand in FROM. All others can reach files or change the database."""

_REFUSED_FUNCTIONS = frozenset(
    {"currval", "current_setting", "getenv", "nextval", "write_log", "json_execute_serialized_sql"}
)


def check_select(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise unless `sql` is one SELECT that only reads the ledger.

    Raises:
        QueryRefused: it is something else; the message says what.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryRefused(f"the query cannot be parsed: {error}") from error
    if len(statements) != 1:
        raise QueryRefused(f"send one SELECT; this is {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise QueryRefused(f"send one SELECT; this is {statements[0].type.name}")
    serialised = con.execute("SELECT json_serialize_sql(?)", [statements[0].query]).fetchall()
    tree = json.loads(serialised[0][0])
    if tree["error"]:
        raise QueryRefused("send one plain SELECT; this statement is of another kind")
    for kind, name in _functions(tree):
        if kind == "TABLE_FUNCTION" and name not in TABLE_FUNCTIONS:
            allowed = ", ".join(sorted(TABLE_FUNCTIONS))
            raise QueryRefused(f"the table function {name} is not allowed; these are: {allowed}")
        if name in _REFUSED_FUNCTIONS:
            raise QueryRefused(f"the function {name} is not allowed")


def _functions(node: Any) -> Iterator[tuple[str, str]]:
    """Every function call in a serialised statement, as (kind, name)."""
    if isinstance(node, list):
        for item in node:
            yield from _functions(item)
    elif isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            yield "TABLE_FUNCTION", str(node["function"].get("function_name", "")).lower()
        elif "function_name" in node:
            yield "FUNCTION", str(node["function_name"]).lower()
        for item in node.values():
            yield from _functions(item)
