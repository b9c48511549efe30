# SPDX-License-Identifier: Apache-2.0
"""Open a ledger's DuckDB file, so that its SQL reaches nothing outside it."""

import logging
import os
import re
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
}
_TURN_SECONDS = 0.1


def open_file(path: Path, *, read_only: bool, patience: float = 0.0) -> duckdb.DuckDBPyConnection:
    """Open a ledger file, waiting up to `patience` seconds for another process to close it.

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
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


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
