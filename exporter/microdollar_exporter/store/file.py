# SPDX-License-Identifier: Apache-2.0
"""Open a ledger's DuckDB file, so that its SQL reaches nothing outside it."""

import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from microdollar_exporter.errors import StoreError, StoreLocked

__all__ = ["open_file", "unusable"]

log = logging.getLogger(__name__)

_WRITER_CONFIG: Mapping[str, str] = {
    # DuckDB 1.5 and 2.x can both open a file of this storage version.
    "storage_compatibility_version": "v1.5.0",
    # Never by itself: the store does it, and can put it off while the file is being copied.
    "checkpoint_threshold": "1TB",
    "memory_limit": "2GB",
    "threads": "1",
}
_TURN_SECONDS = 0.1
_WAL_HEADER_BYTES = 64


def open_file(
    path: Path, *, read_only: bool, patience: float = 0.0, fold_at_close: bool = True
) -> duckdb.DuckDBPyConnection:
    """Open a ledger file, waiting up to `patience` seconds for another process to close it.

    Unless `fold_at_close`, closing leaves the write-ahead log where it is.

    Raises:
        StoreLocked: another process has the file open.
        StoreError: the file is not a DuckDB database, or cannot be read or created.
    """
    deadline = time.monotonic() + patience
    waited = False
    while True:
        try:
            con = _connect(path, {} if read_only else dict(_WRITER_CONFIG), read_only)
            break
        except StoreLocked as error:
            if time.monotonic() > deadline:
                raise
            if not waited:
                log.info("waiting: %s", error)
            waited = True
            time.sleep(_TURN_SECONDS)
    if not fold_at_close:
        con.execute("PRAGMA disable_checkpoint_on_shutdown")
        _keep_unread(con, path)
    con.execute("SET enable_progress_bar = false")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def _keep_unread(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Keep a write-ahead log of which DuckDB can read nothing: the next write will replace it.

    It takes one for what is left of a commit that was cut short, and mostly it is.
    """
    wal = path.with_name(path.name + ".wal")
    size = wal.stat().st_size if wal.exists() else 0
    [(read,)] = con.execute("SELECT wal_size FROM pragma_database_size()").fetchall()
    if size > _WAL_HEADER_BYTES and read == "0 bytes":
        kept = wal.with_name(f"{wal.name}.{time.time_ns()}")
        shutil.copyfile(wal, kept)
        log.warning("%s could not be read, and is kept as %s: no commit was found in it", wal, kept)


def _connect(path: Path, config: dict[str, Any], read_only: bool) -> duckdb.DuckDBPyConnection:
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(f"there is no folder {folder}: create it, or choose a file with --db")
    needed = os.R_OK if read_only else os.R_OK | os.W_OK
    if path.exists() and not os.access(path, needed):
        raise StoreError(f"this user may not {'read' if read_only else 'write'} {path}")
    if not read_only and not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"this user may not write in the folder {folder}, as DuckDB has to")
    try:
        return duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
            holder = re.search(r"PID (\d+)", str(error))
            process = f"process {holder[1]}" if holder else "another process"
            raise StoreLocked(
                f"{path} is open in {process}; if that is an exporter starting or stopping, try "
                "again; else stop it, or choose another file with --db"
            ) from error
        raise unusable(path, error) from error


def unusable(path: Path, error: duckdb.Error) -> StoreError:
    """The error for a file that DuckDB cannot use, with the way out."""
    return StoreError(
        f"cannot open {path}: {error}; the file is left as it is: put a copy of the ledger in "
        "its place, or choose another file with --db"
    )
