# SPDX-License-Identifier: Apache-2.0
"""Exporter processes that end at a named point, by SIGKILL.

Each is `microdollar serve` itself in a process of its own. To have hundreds of them in little time
they are forked from one process, `python -m tests.simulation.zygote`, that has imported everything
and read the prices, and has done nothing else. It reads one JSON object a line: what to serve, and
where to die. For each it prints the process's id, and its wait status once it has ended.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Final, NoReturn

import duckdb

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.cli import main
from microdollar_exporter.price.shipped import shipped
from microdollar_exporter.receive import Ingest
from microdollar_exporter.store import Writer
from microdollar_exporter.store import file as file_module
from microdollar_exporter.store import store as store_module

__all__ = ["POINTS"]

_OF_REVERSALS: Final = " of reversals"
_BEFORE: Final = {
    "before the transaction": "BEGIN",
    "before COMMIT": "COMMIT",
    "before CHECKPOINT": "CHECKPOINT",
    "before a decision is recorded": "INSERT INTO decision",
}
_AFTER: Final = {
    "after inserting profiles": "INSERT INTO profile",
    "after inserting spans": "INSERT INTO span",
    "after inserting entries": "INSERT INTO ledger",
    "after COMMIT": "COMMIT",
    "after CHECKPOINT": "CHECKPOINT",
    "at a statement": "",
}
_INSIDE: Final = {"inside COMMIT": "COMMIT", "inside CHECKPOINT": "CHECKPOINT"}
POINTS: Final = (
    *(*_BEFORE, *_AFTER, *_INSIDE),
    *(point + _OF_REVERSALS for point in ("after inserting entries", "inside COMMIT")),
    "after booking",
    "after the futures are done",
    "before the answer is sent",
)
"""Where a process can end. The n-th time that it comes there it does."""


def die() -> NoReturn:
    """End at once, as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(1)


class _Fate:
    """Where this process ends: at the `turn`-th time at a point, `wait` µs into what happens.

    `reverses` says whether the transaction under way takes entries back; `delay` is how many
    seconds a commit waits for its disk.
    """

    def __init__(self, point: str, turn: int, wait: int) -> None:
        self.point = point.removesuffix(_OF_REVERSALS)
        self._only_reversals = point.endswith(_OF_REVERSALS)
        self.reverses = False
        self.delay = 0.0
        self._turn = turn
        self._wait = wait

    def reach(self, point: str) -> bool:
        """Count a visit to a point; whether it is the last."""
        if point != self.point or (self._only_reversals and not self.reverses):
            return False
        self._turn -= 1
        return self._turn == 0

    def around(self, statement: str, do: Callable[[], Any]) -> Any:
        """Do a statement, unless the end comes before, while or after it is done."""
        for point, begins in _BEFORE.items():
            if statement.startswith(begins) and self.reach(point):
                die()
        for point, begins in _INSIDE.items():
            if statement.startswith(begins) and self.reach(point):
                threading.Thread(target=self._die_soon, daemon=True).start()
                do()
                die()
        if statement == "COMMIT":
            time.sleep(self.delay)
        done = do()
        for point, begins in _AFTER.items():
            if statement.startswith(begins) and self.reach(point):
                die()
        return done

    def _die_soon(self) -> NoReturn:
        until = time.monotonic_ns() + self._wait * 1000
        while time.monotonic_ns() < until:
            pass
        die()


class _Connection:
    """A DuckDB connection on the way to the end."""

    def __init__(self, con: duckdb.DuckDBPyConnection, fate: _Fate) -> None:
        self._con = con
        self._fate = fate

    def execute(self, query: str, *parameters: Any) -> Any:
        statement = " ".join(query.split())
        return self._fate.around(statement, lambda: self._con.execute(query, *parameters))

    def begin(self) -> Any:
        return self._fate.around("BEGIN", self._con.begin)

    def commit(self) -> Any:
        return self._fate.around("COMMIT", self._con.commit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


def _prepare(fate: _Fate) -> None:
    """Put the end where it is wanted."""
    real_open = store_module.open_file

    def opened(*arguments: Any, **options: Any) -> Any:
        return _Connection(real_open(*arguments, **options), fate)

    store_module.open_file = opened
    booking, committing, exporting = Bookkeeper.__call__, Writer._commit, Ingest.export

    def book(self: Bookkeeper, *arguments: Any) -> Any:
        booked = booking(self, *arguments)
        fate.reverses = booked.superseded > 0
        if fate.reach("after booking"):
            die()
        return booked

    def commit(self: Writer, *arguments: Any) -> None:
        committing(self, *arguments)
        if fate.reach("after the futures are done"):
            die()

    async def export(self: Ingest, *arguments: Any) -> Any:
        response = await exporting(self, *arguments)
        if fate.reach("before the answer is sent"):
            die()
        return response

    Bookkeeper.__call__ = book  # type: ignore[method-assign]
    Writer._commit = commit  # type: ignore[method-assign]
    Ingest.export = export  # type: ignore[method-assign]


def _serve(wanted: dict[str, Any]) -> None:
    """Run `microdollar serve` until the end, or until told to stop."""
    fate = _Fate(wanted["point"], wanted["turn"], wanted["wait"])
    fate.delay = wanted["delay"]
    if "CHECKPOINT" in fate.point:
        store_module.CHECKPOINT_BYTES = 1
    _prepare(fate)
    where = ["--grpc", f"127.0.0.1:{wanted['grpc']}", "--http", "127.0.0.1:0"]
    main(["serve", "--db", wanted["db"], *where, *wanted["options"]])


def _ended(pid: int) -> int:
    """The exit status of an exporter once it has ended: at the latest with those who want it."""
    parent = os.getppid()
    while True:
        there, status = os.waitpid(pid, os.WNOHANG)
        if there:
            return os.waitstatus_to_exitcode(status)
        if os.getppid() != parent:
            os.kill(pid, signal.SIGKILL)
            sys.exit(1)
        time.sleep(0.002)


def _main() -> None:
    shipped()  # once, for all that are forked
    # One thread is enough for files this small, and many processes are about.
    file_module._WRITER_CONFIG = {**file_module._WRITER_CONFIG, "threads": "1"}
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if not pid:
            log = os.open(wanted["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                _serve(wanted)
            except SystemExit as ended:
                os._exit(ended.code if isinstance(ended.code, int) else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(_ended(pid), flush=True)


if __name__ == "__main__":
    _main()
