# SPDX-License-Identifier: Apache-2.0
"""Lend a batch to DuckDB under a name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

__all__ = ["registered"]


@contextmanager
def registered(
    con: duckdb.DuckDBPyConnection, name: str, table: pa.Table | Mapping[str, Any]
) -> Iterator[None]:
    """Let queries inside the block read `table` by `name`."""
    con.register(name, table if isinstance(table, pa.Table) else pa.table(table))
    try:
        yield
    finally:
        # Inside a transaction that a fault has ended DuckDB refuses even this; the fault matters.
        with suppress(duckdb.Error):
            con.unregister(name)
