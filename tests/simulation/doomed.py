# SPDX-License-Identifier: Apache-2.0
"""Exporters that are going to die, and a sender that keeps count of what it sends them."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Self, cast

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from microdollar_exporter.store import Store
from tests.fakes.ports import free_ports
from tests.simulation.books import check_bills, check_books, stored_names
from tests.simulation.episodes import Episode
from tests.simulation.reports import request_of

__all__ = ["KILLED", "CountingSender", "Doomed", "Zygote", "accepted", "copied", "export", "kept"]

KILLED: Final = -signal.SIGKILL
_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PATIENCE: Final = 60.0


class Zygote:
    """The process that exporters are forked from; one at a time."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "exporters.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def exporter(
        self,
        db: Path,
        point: str = "",
        turn: int = 1,
        wait: int = 0,
        *,
        delay: float = 0.0,
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> "Doomed":
        """An exporter that ends when it is at a point for the `turn`-th time; see `zygote`.

        `delay` is how many seconds its disk takes for a commit, `port` where it takes OTLP/gRPC if
        not on any that is free, `options` are those of `serve`.
        """
        port = free_ports(1)[0] if port is None else port
        wanted = {
            "db": str(db),
            "grpc": port,
            "point": point,
            "turn": turn,
            "wait": wait,
            "delay": delay,
            "options": list(options),
            "log": str(self._log),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return Doomed(int(self.line()), port, self)

    def line(self) -> str:
        """The next that it says."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, "the zygote has ended:\n" + self.log
        return said

    @property
    def says_something(self) -> bool:
        """Whether there is a line to read."""
        readable, _, _ = select.select([self._process.stdout], [], [], 0)
        return bool(readable)

    @property
    def log(self) -> str:
        """What all its exporters have logged."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


class Doomed:
    """A running exporter. As a context manager it is ended at the latest with the block."""

    def __init__(self, pid: int, port: int, zygote: Zygote) -> None:
        self.pid = pid
        self.port = port
        self._zygote = zygote
        self._status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is None:
            self.kill()

    def kill(self) -> int:
        """SIGKILL, if it still runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit status once it has ended."""
        if self._status is None:
            self._status = int(self._zygote.line())
        return self._status

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._status is None and not self._zygote.says_something

    def ready(self) -> bool:
        """Wait until it listens; False when it has ended before."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if not self.runs:
                return False
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.005)
        raise AssertionError("the exporter did not start:\n" + self._zygote.log)


class CountingSender:
    """Sends requests until each is acknowledged, and keeps count for itself."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.acknowledged: set[str] = set()
        self._waiting: dict[bytes, set[str]] = {}

    @property
    def done(self) -> bool:
        """Whether everything has been acknowledged."""
        return not self._waiting

    def add(self, episodes: Sequence[Episode], size: int) -> None:
        """Have episodes to report, in requests of `size` reports as they come."""
        self.episodes += episodes
        reports = [report for episode in episodes for report in episode.worst_first]
        for first in range(0, len(reports), size):
            some = reports[first : first + size]
            self._waiting[request_of(*some)] = {report.name for report in some}

    def send(self, port: int, at_once: int = 3) -> None:
        """Send everything that is not acknowledged, so many requests at once, until one fails."""
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            send = export(channel)
            bodies = list(self._waiting)
            for first in range(0, len(bodies), at_once):
                some = bodies[first : first + at_once]
                answers = [send.future(body, timeout=_PATIENCE) for body in some]
                accepted = [_accepted(answer) for answer in answers]
                for body, done in zip(some, accepted, strict=True):
                    if done:
                        self.acknowledged |= self._waiting.pop(body)
                if not all(accepted):
                    return


def accepted(port: int, request: ExportTraceServiceRequest) -> bool:
    """Send one request; whether it was acknowledged."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return _accepted(export(channel).future(request.SerializeToString(), timeout=_PATIENCE))


def export(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(_EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)


def _accepted(answer: grpc.Future) -> bool:
    """Whether a request was acknowledged, all of it; a sender sends again when not."""
    try:
        response = cast(ExportTraceServiceResponse, answer.result())
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error
        return False
    assert not response.partial_success.rejected_spans, response
    return True


def copied(db: Path, folder: Path) -> Path:
    """A copy of what a dead process has left of a ledger."""
    target = folder / "copy.duckdb"
    for suffix in ("", ".wal"):
        source = db.with_name(db.name + suffix)
        copy = target.with_name(target.name + suffix)
        copy.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, copy)
    return target


@contextmanager
def _opened(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as store:
        yield store


def kept(path: Path, sender: CountingSender, *, everything: bool = False) -> int:
    """Fail unless a ledger holds what was acknowledged, each call once, as the sender counts it.

    Returns how many entries have been taken back in it.
    """
    with _opened(path) as store, closing(store.cursor()) as con:
        check_books(con)
        stored = stored_names(con, sender.episodes)
        lost = sender.acknowledged - stored
        assert not lost, f"acknowledged and lost: {sorted(lost)}"
        check_bills(con, sender.episodes, stored)
        if everything:
            assert stored == _names(sender.episodes)
        [(reversals,)] = con.execute(
            "SELECT count(*) FROM ledger WHERE kind = 'reversal'"
        ).fetchall()
    return int(reversals)


def _names(episodes: Iterable[Episode]) -> set[str]:
    return {report.name for episode in episodes for report in episode.reports}
