# SPDX-License-Identifier: Apache-2.0
"""Copy a ledger's file as of one moment, whether or not an exporter is writing it.

DuckDB changes what its file holds at checkpoints only, and each of them rewrites a header at the
file's beginning. A copy during which the header has stayed the same is therefore whole: that is
checked, and it is all that is relied on. Asking the exporter to put checkpoints off makes sure that
the copy comes to an end; meanwhile it goes on taking spans in.
"""

import os
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import duckdb

from microdollar_exporter.errors import ActFailed, MicrodollarError, StoreError, StoreLocked
from microdollar_exporter.operate.door import ask_exporter
from microdollar_exporter.operate.figures import rows, schema_version
from microdollar_exporter.operate.files import wal_of
from microdollar_exporter.operate.hold import HOLD_SECONDS
from microdollar_exporter.store.file import open_file

__all__ = ["copy_ledger"]

_HEADER_BYTES = 3 * 4096
_CHUNK = 8 * 1024 * 1024
_ATTEMPTS = 10
_RENEW_SECONDS = HOLD_SECONDS / 3
_PATIENCE_SECONDS = 5.0
_TURN_SECONDS = 0.1


class _Moment(NamedTuple):
    """What the ledger is at the moment of the copy: so much of its log, so many rows."""

    wal_bytes: int
    rows: Mapping[str, int]


class _Changed(Exception):
    """There was a checkpoint during the copy."""


def copy_ledger(db: Path, to: Path) -> None:
    """Copy the ledger in `db` as it is now, whatever its schema version, to the file `to`.

    Raises:
        StoreError: the ledger cannot be read, or the copy cannot be written.
        ActFailed: the copy is not what the ledger was; nothing but `to` was touched.
    """
    for _ in range(_ATTEMPTS):
        header = _header(db)
        moment = _hold(db) or _at_rest(db)
        try:
            _copy(db, to, moment.wal_bytes, header)
            _finish(to, moment)
        except _Changed:
            continue
        finally:
            wal_of(to).unlink(missing_ok=True)
        return
    raise ActFailed(f"{db} changed under each of {_ATTEMPTS} copies: try again")


def _hold(db: Path) -> _Moment | None:
    held = ask_exporter(db, "hold", {"seconds": HOLD_SECONDS})
    return _Moment(held["wal_bytes"], held["rows"]) if held else None


def _at_rest(db: Path) -> _Moment:
    """The ledger in a file that no exporter serves, with its log folded in."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            # Without a log there is nothing to recover, and no need to write.
            whole = not wal_of(db).exists()
            with closing(open_file(db, read_only=whole, fold_at_close=whole)) as con:
                if not schema_version(con):
                    raise StoreError(f"{db} is a DuckDB file without a ledger: name another")
                if not whole:
                    con.execute("CHECKPOINT")
                return _Moment(0, rows(con))
        except StoreLocked:
            held = _hold(db)
            if held:
                return held
            if time.monotonic() > deadline:
                raise
            time.sleep(_TURN_SECONDS)


def _copy(db: Path, to: Path, wal_bytes: int, header: bytes) -> None:
    renewed = time.monotonic()
    try:
        with db.open("rb", buffering=0) as source, to.open("wb", buffering=0) as target:
            while chunk := source.read(_CHUNK):
                _write(target, chunk)
                # Bit by bit: a commit of the exporter would wait for all of it at once.
                os.fdatasync(target.fileno())
                if time.monotonic() - renewed > _RENEW_SECONDS:
                    with suppress(MicrodollarError):
                        _hold(db)
                    renewed = time.monotonic()
        if wal_bytes:
            with wal_of(db).open("rb") as source, wal_of(to).open("wb", buffering=0) as target:
                left = wal_bytes
                while chunk := source.read(min(left, _CHUNK)):
                    _write(target, chunk)
                    left -= len(chunk)
    except FileNotFoundError as error:
        raise _Changed from error
    except OSError as error:
        raise StoreError(f"cannot copy {db} to {to}: {error}") from error
    if _header(db) != header:
        raise _Changed


def _write(target: BinaryIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[target.write(rest) :]


def _header(db: Path) -> bytes:
    try:
        with db.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreError(f"cannot read {db}: {error}") from error


def _finish(copy: Path, moment: _Moment) -> None:
    """Fold the log into the copy, and see that everything is there."""
    try:
        with closing(open_file(copy, read_only=not moment.wal_bytes)) as con:
            found = rows(con)
            if moment.wal_bytes:
                con.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise ActFailed(f"the copy cannot be read: {error}") from error
    if found != moment.rows:
        raise ActFailed(f"the copy holds {found} rows, and the ledger {dict(moment.rows)}")
