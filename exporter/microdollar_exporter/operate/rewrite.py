# SPDX-License-Identifier: Apache-2.0
"""Put a fresh file in a ledger's place, with what is to stay of it.

A deleted row can still be read in the bytes of a DuckDB file, also after a checkpoint. What has to
be gone must never have been written: so what is to stay is written to another file, which takes
the ledger's name once it is whole and on disk. Until then the ledger is as it was.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import duckdb

from microdollar_exporter.errors import ActFailed, StoreError
from microdollar_exporter.operate.files import new_file, wal_of
from microdollar_exporter.store import Store

__all__ = ["Fill", "copy_whole", "rewrite"]

Fill = Callable[[duckdb.DuckDBPyConnection], None]
"""Brings what is to stay from the database `old` into the tables of the same names in `fresh`."""

_MEMORY: Final = "2GB"


def rewrite(store: Store, fill: Fill) -> None:
    """Write the ledger anew. Nothing is taken in and no question is answered meanwhile.

    Raises:
        StoreUnavailable: it is being copied just now, or a question does not end.
        StoreError: the fresh file cannot be written; the ledger is as it was.
        ActFailed: the fresh file would not hold what it has to; the ledger is as it was.
    """
    path = store.path
    with store.let_go(), duckdb.connect(config=_config(path)) as con:
        if wal_of(path).exists():
            raise ActFailed(f"{wal_of(path)} could not be folded into the ledger: try again")
        # Held to the end, so that no other process can write what would be lost.
        con.execute(f"ATTACH {_quoted(path)} AS old (READ_ONLY)")
        with new_file(path, replace=True) as draft:
            built = draft.with_name(draft.name + ".duckdb")
            try:
                _build(con, built, fill)
                _let_in_the_same(path, built)
                built.replace(draft)
            except duckdb.Error as error:
                raise StoreError(f"cannot write {path} anew: {error}") from error
            finally:
                for left in (built, wal_of(built)):
                    left.unlink(missing_ok=True)
                shutil.rmtree(_spill(path), ignore_errors=True)


def _build(con: duckdb.DuckDBPyConnection, built: Path, fill: Fill) -> None:
    built.unlink(missing_ok=True)
    wal_of(built).unlink(missing_ok=True)
    con.execute(f"ATTACH {_quoted(built)} AS fresh (STORAGE_VERSION 'v1.5.0')")
    try:
        con.execute("COPY FROM DATABASE old TO fresh (SCHEMA)")
        fill(con)
        con.execute("CHECKPOINT fresh")
    finally:
        con.execute("DETACH fresh")


def copy_whole(con: duckdb.DuckDBPyConnection, *tables: str) -> None:
    """Bring all of these tables into the fresh file."""
    for table in tables:
        con.execute(f"INSERT INTO fresh.{table} BY NAME FROM old.{table}")


def _config(path: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {"memory_limit": _MEMORY, "temp_directory": str(_spill(path))}


def _spill(path: Path) -> Path:
    """Where what does not fit into memory goes meanwhile."""
    return path.with_name(f".{path.name}.rewrite")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _let_in_the_same(old: Path, new: Path) -> None:
    """Give the fresh file the permissions and the owner of the old one."""
    stat = old.stat()
    new.chmod(stat.st_mode & 0o7777)
    if (stat.st_uid, stat.st_gid) != (new.stat().st_uid, new.stat().st_gid):
        os.chown(new, stat.st_uid, stat.st_gid)
