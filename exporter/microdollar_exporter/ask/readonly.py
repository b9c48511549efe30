# SPDX-License-Identifier: Apache-2.0
"""Let one plain SELECT over the ledger through and nothing else.

A keyword check is not enough: `WITH … INSERT` and `EXPLAIN ANALYZE DELETE` begin harmlessly. The
query is parsed by DuckDB itself, whose serialiser knows SELECT only, and every table and function
in the tree has to be on a list.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any

import duckdb

from microdollar_exporter.errors import QueryRefused

__all__ = ["TABLES", "TABLE_FUNCTIONS", "check_select", "refuse_schemas"]

TABLES = frozenset(
    {"archive_part", "archived_span", "decision", "held_span", "ledger", "price_book"}
    | {"price_book_in_force", "price_row", "profile", "removed_calls", "removed_span"}
    | {"schema_version", "span", "spans"}
)
"""The tables of a ledger; what else stands in FROM is a subquery or a WITH of the query's own."""

TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
"""The functions that may stand in FROM. All others can reach files, settings or the catalog."""

_NOW = frozenset({"current_date", "current_timestamp", "get_current_timestamp", "now", "today"})
_WINDOW = frozenset(
    {
        *("cume_dist", "dense_rank", "fill", "first", "first_value", "lag", "last", "last_value"),
        *("lead", "nth_value", "ntile", "percent_rank", "rank", "rank_dense", "row_number"),
    }
)
_NO_PURE_FUNCTIONS = frozenset(
    {"current_setting", "getvariable", "json_serialize_plan", "parse_duckdb_log_message"}
)


def check_select(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise unless `sql` is one SELECT that only reads the ledger.

    Raises:
        QueryRefused: it is something else; the message says what.
    """
    try:
        sql.encode()
        statements = duckdb.extract_statements(sql)
    except (duckdb.Error, UnicodeError) as error:
        raise QueryRefused(f"the query cannot be parsed: {error}") from error
    if len(statements) != 1:
        raise QueryRefused(f"send one SELECT; this is {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise QueryRefused(f"send one SELECT; this is {statements[0].type.name}")
    serialised = con.execute("SELECT json_serialize_sql(?)", [statements[0].query]).fetchall()
    tree = json.loads(serialised[0][0])
    if tree["error"]:
        raise QueryRefused("send one plain SELECT; this statement is of another kind")
    nodes = list(_nodes(tree))
    tables = TABLES | {
        entry["key"].lower() for node in nodes for entry in _part(node, "cte_map").get("map", [])
    }
    functions = _pure_functions()
    for node in nodes:
        _check_table(node, tables)
        if node.get("type") == "TABLE_FUNCTION":
            name = str(_part(node, "function").get("function_name")).lower()
            _require(name in TABLE_FUNCTIONS, f"the table function {name}", TABLE_FUNCTIONS)
        elif "function_name" in node:
            name = str(node["function_name"]).lower()
            known = name in functions or name in TABLE_FUNCTIONS
            _require(known and node.get("catalog", "") == "", f"the function {name}")


def refuse_schemas(sql: str) -> None:
    """Raise if a query names a table together with its schema; what is no query is let through.

    Raises:
        QueryRefused: it does; the message says which.
    """
    if "main" not in sql.lower():
        # The only schema that a query may name.
        return
    with duckdb.connect() as con:
        serialised = con.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    for node in _nodes(json.loads(serialised[0][0])):
        name = ".".join(filter(None, (node.get("schema_name"), node.get("table_name"))))
        if node.get("type") == "BASE_TABLE" and node.get("schema_name"):
            raise QueryRefused(
                f"{name} has what was recorded later, too: as of a moment, write "
                f"{node['table_name']} alone"
            )


def _check_table(node: dict[str, Any], tables: frozenset[str]) -> None:
    if node.get("type") not in ("BASE_TABLE", "SHOW_REF"):
        return
    name = str(node.get("table_name", "")).strip('"').lower()
    plain = node.get("catalog_name", "") == "" and node.get("schema_name", "") in ("", "main")
    if node["type"] == "SHOW_REF" and not name:
        return
    _require(plain and name in tables, f"the table {name}", TABLES)


def _require(allowed: bool, what: str, instead: frozenset[str] = frozenset()) -> None:
    if not allowed:
        hint = f"; these are: {', '.join(sorted(instead))}" if instead else ""
        raise QueryRefused(f"{what} is not allowed{hint}")


@functools.cache
def _pure_functions() -> frozenset[str]:
    """Every built-in function whose value depends on its arguments alone, and the clock."""
    with duckdb.connect() as con:
        rows = con.execute("""
            SELECT DISTINCT function_name FROM duckdb_functions()
            WHERE schema_name = 'main' AND (
                (function_type IN ('scalar', 'aggregate', 'window') AND stability = 'CONSISTENT')
                OR (function_type = 'macro' AND NOT regexp_matches(
                    function_name, '^(current_|has_|inet_|pg_|user|session_user|get_block_size)'))
            )""").fetchall()
    names = frozenset(str(name).lower() for (name,) in rows)
    return (names | _NOW | _WINDOW) - _NO_PURE_FUNCTIONS


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a serialised statement."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _nodes(item)


def _part(node: dict[str, Any], name: str) -> dict[str, Any]:
    part = node.get(name)
    return part if isinstance(part, dict) else {}
