# SPDX-License-Identifier: Apache-2.0
"""Send a file of traffic over OTLP/gRPC, in a process of its own that does nothing else.

It knows no receiver: what it does to all of them is the same. One connection, as a Collector's
exporter has. What is refused for now is sent again.

    python -m benchmarks.sender PORT FILE [--warm-up N] [--in-flight N] [--twice] [--rate N]
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

__all__ = ["IN_FLIGHT", "LENGTH", "Sent", "send"]

LENGTH = struct.Struct(">I")
"""What stands before each request in a file of traffic: the number of its bytes."""
IN_FLIGHT = 10
"""Requests that wait for their answer at once: as many as a Collector's sending queue has
consumers by default."""
OPEN_LOOP_IN_FLIGHT = 100
"""At a given rate, none should have to wait for its turn; if one does, that is part of its
latency."""
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 120.0
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_FOR_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True)
class Sent:
    """How it went: seconds from the first send to the last answer, after the warm-up.

    `latencies` holds each request's seconds in the order of sending, `refused` counts answers that
    said "later", `cpu_seconds` is what the sender used.
    """

    seconds: float
    cpu_seconds: float
    refused: int
    latencies: Sequence[float]


def send(
    port: int,
    path: Path,
    *,
    warm_up: int = 0,
    in_flight: int = IN_FLIGHT,
    twice: bool = False,
    rate: float | None = None,
) -> Sent:
    """Send the requests of a file from another process and wait until all are acknowledged.

    The first `warm_up` requests are sent before the clock starts. `twice` sends every hundredth
    request again later, at least one. With a `rate` requests leave at so many a second, ready or
    not, and their latencies count from when they were due.

    Raises:
        CalledProcessError: a request was refused for good; stderr has said why.
    """
    command = [
        *(sys.executable, "-m", "benchmarks.sender", str(port), str(path)),
        *("--warm-up", str(warm_up), "--in-flight", str(in_flight)),
        *(["--twice"] if twice else []),
        *([] if rate is None else ["--rate", str(rate)]),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Sent(**json.loads(done.stdout))


def main() -> None:
    """Be the other process; the result goes to stdout as JSON."""
    parser = argparse.ArgumentParser(description="See the module.")
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--rate", type=float)
    asked = parser.parse_args()
    places = _places(asked.file)
    warm, timed = places[: asked.warm_up], places[asked.warm_up :]
    if asked.twice:
        timed += timed[::-100]
    in_flight = asked.in_flight if asked.rate is None else OPEN_LOOP_IN_FLIGHT
    with _Sender(asked.port, asked.file) as sender, ThreadPoolExecutor(in_flight) as pool:
        for _ in pool.map(sender.send, warm):
            pass
        sender.refused = 0
        cpu, begun = time.process_time(), time.perf_counter()
        if asked.rate is None:
            latencies = list(pool.map(sender.send, timed))
        else:
            latencies = _on_schedule(pool, sender.send, timed, asked.rate)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(json.dumps(asdict(Sent(seconds, cpu, sender.refused, latencies))))


Place = tuple[int, int]
"""Where a request lies in the file: offset and length."""


def _places(path: Path) -> list[Place]:
    places = []
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            [length] = LENGTH.unpack(head)
            places.append((file.tell(), length))
            file.seek(length, os.SEEK_CUR)
    return places


def _on_schedule(
    pool: ThreadPoolExecutor,
    send_one: Callable[[Place, float], float],
    places: Sequence[Place],
    rate: float,
) -> list[float]:
    begun = time.perf_counter()
    sent = []
    for number, place in enumerate(places):
        due = begun + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        sent.append(pool.submit(send_one, place, due))
    return [one.result() for one in sent]


class _Sender:
    """One connection to a receiver; `refused` counts answers that said "later"."""

    def __init__(self, port: int, path: Path) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._export = self._channel.unary_unary(_EXPORT)
        self._file = os.open(path, os.O_RDONLY)
        self._lock = threading.Lock()
        self.refused = 0

    def send(self, place: Place, due: float | None = None) -> float:
        """Send a request until it is acknowledged; returns the seconds since it was due."""
        offset, length = place
        body = os.pread(self._file, length, offset)
        since = time.perf_counter() if due is None else due
        while True:
            try:
                answer = self._export(body, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                if error.code() not in _FOR_NOW:
                    raise
                with self._lock:
                    self.refused += 1
                time.sleep(RETRY_SECONDS)
            else:
                took = time.perf_counter() - since
                partial = ExportTraceServiceResponse.FromString(answer).partial_success
                assert not partial.rejected_spans, partial.error_message
                return took

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        os.close(self._file)


if __name__ == "__main__":
    main()
