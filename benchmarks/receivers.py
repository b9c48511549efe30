# SPDX-License-Identifier: Apache-2.0
"""What takes the traffic: `microdollar serve` on a fresh ledger, and a Collector's file exporter.

Each runs as it is started in production, and each can show that it has everything: a figure of a
receiver that has lost or doubled something is no figure.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.sender import LENGTH
from benchmarks.traffic import Sums, Traffic
from microdollar_exporter import connect
from tests.collector.obtain import obtain
from tests.collector.running import RunningCollector
from tests.fakes.exporter import Exporter

__all__ = ["CheckFailed", "Receiver", "check_ledger", "collector", "microdollar"]

_CONFIG = Path(__file__).with_name("collector.yaml")
_TICKS = os.sysconf("SC_CLK_TCK")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class CheckFailed(Exception):
    """A receiver does not hold what was sent; the message says what differs."""


@dataclass(frozen=True)
class Receiver:
    """A running receiver: where it takes OTLP/gRPC, its process, and what shows that it has all.

    What it uses is added up over the process and those that it has started. `check` may end it, so
    figures of the process are taken before.
    """

    port: int
    pid: int
    check: Callable[[Traffic], None]

    def cpu_seconds(self) -> float:
        """What its processes have used so far, in user mode and in the kernel."""
        ticks = 0
        for pid in self._processes():
            after_name = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
            ticks += int(after_name[11]) + int(after_name[12])
        return ticks / _TICKS

    def peak_memory(self) -> int:
        """The most bytes of memory that each of its processes has held at once, added up."""
        return self._memory("VmHWM")

    def memory(self) -> int:
        """The bytes of memory its processes hold."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        kilobytes = 0
        for pid in self._processes():
            lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
        return 1024 * kilobytes

    def _processes(self) -> Iterator[int]:
        """The process, and those that it has started."""
        yield self.pid
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            yield from map(int, children.read_text("ascii").split())


@contextmanager
def microdollar(folder: Path, db: str = "meter.duckdb") -> Iterator[Receiver]:
    """`microdollar serve` on a ledger in this folder."""
    path = folder / db
    with Exporter(path) as exporter:
        since = _now()
        yield Receiver(
            exporter.grpc_port, exporter.pid, lambda sent: check_ledger(path, sent, since)
        )


def collector(
    form: Literal["json", "proto"],
) -> Callable[[Path], AbstractContextManager[Receiver]]:
    """A Collector that writes to a file in this format.

    Raises:
        CollectorUnavailable: there is none to be had.
    """
    binary = obtain()

    @contextmanager
    def run(folder: Path) -> Iterator[Receiver]:
        written = folder / f"spans.{form}"
        running = RunningCollector(
            binary,
            folder=folder,
            backend="",
            config=_CONFIG,
            environment={"BENCHMARK_FILE": str(written), "BENCHMARK_FORMAT": form},
        )

        def check(sent: Traffic) -> None:
            running.terminate()
            found = _COUNT[form](written)
            if found != sent.spans:
                raise CheckFailed(f"the Collector's file has {found} spans of {sent.spans}")

        with running:
            assert running.pid is not None
            yield Receiver(running.grpc_port, running.pid, check)

    return run


def check_ledger(db: Path, sent: Traffic, since: datetime) -> None:
    """Compare what a ledger has recorded since a moment (UTC) with what was sent to it.

    Raises:
        CheckFailed: it is not exactly that.
    """
    ledger = connect(db)
    sums = ", ".join(
        f"coalesce(sum({name}), 0)" if name != "cost" else "coalesce(sum(cost) * 1000000, 0)"
        for name in Sums.__slots__
    )
    rows = ledger.sql(
        f"SELECT request_model, {sums} FROM ledger WHERE recorded_at >= ?::TIMESTAMP GROUP BY ALL",
        [str(since)],
    ).to_pylist()
    found = {model: Sums(*map(int, of_it)) for model, *of_it in (row.values() for row in rows)}
    for model, expected in sent.sums.items():
        if found.get(model) != expected:
            raise CheckFailed(f"of {model} the ledger has {found.get(model)}, sent was {expected}")
    for table, moment in (("ledger", "recorded_at"), ("spans", "received_at")):
        query = f"SELECT count(*) FROM {table} WHERE {moment} >= ?::TIMESTAMP"
        [[rows]] = ledger.sql(query, [str(since)]).to_pydict().values()
        if rows != sent.spans:
            raise CheckFailed(f"{sent.spans} spans were sent, and {table} has {rows} more rows")


def _spans_in_json(path: Path) -> int:
    with path.open("rb") as file:
        return sum(line.count(b'"spanId":"') for line in file)


def _spans_in_proto(path: Path) -> int:
    spans = 0
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            [length] = LENGTH.unpack(head)
            request = ExportTraceServiceRequest.FromString(file.read(length))
            spans += sum(
                len(scope_spans.spans)
                for resource_spans in request.resource_spans
                for scope_spans in resource_spans.scope_spans
            )
    return spans


_COUNT = {"json": _spans_in_json, "proto": _spans_in_proto}
