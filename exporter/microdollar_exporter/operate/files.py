# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, and stay after a power cut."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microdollar_exporter.errors import ActFailed, StoreError

__all__ = ["new_file", "require_absent", "sha256", "sync", "wal_of"]

_CHUNK = 8 * 1024 * 1024


@contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary file to write, which becomes `path` when the block ends without an error.

    Nothing that is there is overwritten unless `replace` says so.

    Raises:
        StoreError: it cannot be written there, or something is there.
        ActFailed: another process is writing it just now.
    """
    if not replace:
        require_absent(path)
    draft = path.with_name(f".{path.name}.partial")
    try:
        # One name, so that what a killed process left behind is used up by the next.
        with draft.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ActFailed(f"another process is writing {path}: let it end") from error
            os.truncate(draft, 0)
            try:
                yield draft
                sync(draft)
                if replace:
                    draft.replace(path)
                else:
                    _link(draft, path)
                sync(path.parent)
            finally:
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error


def require_absent(path: Path) -> None:
    """Raise if there is anything at `path`, or no folder to put it into.

    Raises:
        StoreError: the message says what.
    """
    if path.exists() or path.is_symlink():
        raise StoreError(f"{path} is there already: move it away, or choose another name")
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent}: create it, or choose another")


def sync(path: Path) -> None:
    """Have what was written to a file or a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wal_of(db: Path) -> Path:
    """Where the write-ahead log of a DuckDB file lies."""
    return db.with_name(db.name + ".wal")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(draft: Path, path: Path) -> None:
    """Give a file its name, unless another has it: `rename` would take it from that one."""
    try:
        path.hardlink_to(draft)
    except FileExistsError as error:
        raise StoreError(
            f"{path} is there already: move it away, or choose another name"
        ) from error
