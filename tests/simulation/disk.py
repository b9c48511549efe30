# SPDX-License-Identifier: Apache-2.0
"""A ledger file whose disk can fail, and whose process can die, at any statement.

The fault is put between the store and DuckDB, so that all the rest is the exporter's own code.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import Any, Final

import duckdb

from microdollar_exporter.store import store as store_module

__all__ = ["Disk", "Killed", "Mishap"]


class Killed(BaseException):
    """The process died here; what was on disk at this moment has been kept."""


class Mishap(Enum):
    """What happens at a statement."""

    REFUSED = auto()
    """The statement is not done: the disk is full, or memory is."""
    UNANSWERED = auto()
    """The statement is done, and reported as failed all the same."""
    ODD = auto()
    """The statement is not done, for a reason that nobody has thought of."""
    FATAL = auto()
    """DuckDB gives up."""
    KILLED = auto()
    """The process dies before the statement."""
    TORN = auto()
    """The power fails during the statement: of what it wrote, some first part is on disk."""


_REFUSALS: Final[Sequence[Callable[[], Exception]]] = (
    lambda: duckdb.IOException("IO Error: Could not write file: No space left on device"),
    lambda: duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"),
    MemoryError,
)


class Disk:
    """Where a schedule's ledger lies; `path` is the file, or what a crash has left of it."""

    def __init__(self, folder: Path, random: Random) -> None:
        self._folder = folder
        self._random = random
        self._number = 0
        self.path = folder / "0.duckdb"
        self.statements = 0
        self.mishaps: list[Mishap] = []
        self._due: int | None = None
        self._mishap = Mishap.REFUSED
        self._at_commit = False

    def ready(self, mishap: Mishap, after: int | None) -> None:
        """Let something happen after some statements; None: at the next commit."""
        self._mishap = mishap
        self._at_commit = after is None
        self._due = None if after is None else self.statements + after

    def calm(self) -> None:
        """Let nothing happen that has not happened yet."""
        self._due, self._at_commit = None, False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Every ledger opened inside the block is on this disk."""
        real = store_module.open_file

        def opened(*arguments: Any, **options: Any) -> Any:
            return _Connection(real(*arguments, **options), self)

        store_module.open_file = opened
        try:
            yield
        finally:
            store_module.open_file = real

    def do(self, kind: str, statement: Callable[[], Any]) -> Any:
        """Do a statement, or let happen what is due."""
        self.statements += 1
        due = self._due is not None and self.statements >= self._due
        if not due and not (self._at_commit and kind == "commit"):
            return statement()
        self.calm()
        mishap = self._mishap
        if mishap is Mishap.TORN and kind != "commit":
            mishap = Mishap.KILLED
        self.mishaps.append(mishap)
        match mishap:
            case Mishap.REFUSED:
                raise self._random.choice(_REFUSALS)()
            case Mishap.UNANSWERED:
                statement()
                raise self._random.choice(_REFUSALS)()
            case Mishap.ODD:
                raise duckdb.InvalidInputException("Invalid Input Error: made up by the test")
            case Mishap.FATAL:
                raise duckdb.FatalException("FATAL Error: the database has been invalidated")
            case Mishap.KILLED:
                self.keep()
                raise Killed
            case Mishap.TORN:
                self._tear(statement)
                raise Killed

    def keep(self) -> None:
        """Keep what is on disk now, for the process that comes after this one."""
        here = self.path
        self._number += 1
        self.path = self._folder / f"{self._number}.duckdb"
        shutil.copyfile(here, self.path)
        if _log(here).exists():
            shutil.copyfile(_log(here), _log(self.path))

    def _tear(self, commit: Callable[[], Any]) -> None:
        """Keep the file with the first part of what a commit adds to the write-ahead log."""
        here = self.path
        self.keep()
        before = _log(here).read_bytes() if _log(here).exists() else b""
        commit()
        after = _log(here).read_bytes() if _log(here).exists() else b""
        # A commit that has folded the log into the file is told from one that has only begun.
        if len(after) > len(before) and after.startswith(before):
            torn = self._random.randint(len(before), len(after))
            _log(self.path).write_bytes(after[:torn])


def _log(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


class _Connection:
    """A DuckDB connection as the store uses it, on a disk."""

    def __init__(self, con: duckdb.DuckDBPyConnection, disk: Disk) -> None:
        self._con = con
        self._disk = disk

    def execute(self, query: str, *parameters: Any) -> Any:
        return self._disk.do("execute", lambda: self._con.execute(query, *parameters))

    def begin(self) -> Any:
        return self._disk.do("begin", self._con.begin)

    def commit(self) -> Any:
        return self._disk.do("commit", self._con.commit)

    def rollback(self) -> Any:
        return self._con.rollback()

    def register(self, name: str, table: Any) -> Any:
        return self._con.register(name, table)

    def unregister(self, name: str) -> Any:
        return self._con.unregister(name)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._con.cursor()

    def close(self) -> None:
        self._con.close()
