# SPDX-License-Identifier: Apache-2.0
"""How many spans a second are taken in for good, beside an OpenTelemetry Collector's file exporter.

Ours acknowledges a request when its spans are deduplicated, priced, booked and on disk; the
Collector when it has handed them to a file's buffer. Both get the same bytes from the same sender,
in turns, so that what else happens on the machine meets both.

    python -m benchmarks.ingest [--spans N] [--rounds N] [--sizes N,N]
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.receivers import CheckFailed, Receiver, collector, microdollar
from benchmarks.sender import IN_FLIGHT, send
from benchmarks.traffic import Traffic, generate
from tests.collector.obtain import CollectorUnavailable

__all__ = [
    "OURS",
    "PEER",
    "PROTOBUF_PEER",
    "SIZES",
    "Run",
    "Start",
    "measure",
    "rate",
    "run_on",
    "show",
]

SIZES = (512, 8192)
"""Spans in a request."""
WARM_UP = 0.1
"""The part of the traffic that is sent before the clock starts."""
OURS = "microdollar"
PEER = "Collector, JSON"
"""With the file exporter's default format."""
PROTOBUF_PEER = "Collector, protobuf"

Start = Callable[[Path], AbstractContextManager[Receiver]]
"""Starts a receiver with its files in a folder."""


@dataclass(frozen=True)
class Run:
    """One run: spans a second, and what it took.

    CPU is in seconds per million spans, memory the receiver's most in bytes. `refused` counts
    requests that had to be sent again.
    """

    rate: float
    cpu: float
    sender_cpu: float
    peak_memory: int
    refused: int


def main() -> None:
    """Measure all sizes and print the medians; the status is 1 when something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spans", type=int, default=300_000, help="of a run (default: 300,000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument(
        "--sizes", default="512,8192", help="spans in a request (default: 512,8192)"
    )
    asked = parser.parse_args()
    try:
        for size in map(int, asked.sizes.split(",")):
            show(size, measure(size, spans=asked.spans, rounds=asked.rounds))
    except (CheckFailed, CollectorUnavailable) as error:
        sys.exit(str(error))


def measure(per_request: int, *, spans: int, rounds: int) -> Mapping[str, Sequence[Run]]:
    """The runs of each receiver, in turns, of requests of this size.

    Raises:
        CheckFailed: a receiver did not hold exactly what was sent; nothing is timed unless ours has
            shown before that it does, with requests sent twice among them.
        CollectorUnavailable: there is no peer to be had.
    """
    receivers: Mapping[str, Start] = {
        OURS: microdollar,
        PEER: collector("json"),
        PROTOBUF_PEER: collector("proto"),
    }
    runs: dict[str, list[Run]] = {name: [] for name in receivers}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traffic = generate(folder / "traffic", spans=spans, per_request=per_request)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            run_on(microdollar(Path(fresh)), traffic, twice=True)
        for _ in range(rounds):
            for receiver, start in receivers.items():
                with tempfile.TemporaryDirectory(dir=folder) as fresh:
                    runs[receiver].append(run_on(start(Path(fresh)), traffic))
    return runs


def run_on(
    starting: AbstractContextManager[Receiver], traffic: Traffic, *, twice: bool = False
) -> Run:
    """Send the traffic to a receiver that runs for this alone, and check that it has it all.

    `twice` sends some of it again.

    Raises:
        CheckFailed: it has not.
    """
    warm_up = int(traffic.requests * WARM_UP)
    with starting as receiver:
        before = receiver.cpu_seconds()
        sent = send(receiver.port, traffic.path, warm_up=warm_up, twice=twice)
        cpu = receiver.cpu_seconds() - before
        peak_memory = receiver.peak_memory()
        receiver.check(traffic)
    timed = traffic.per_request * len(sent.latencies)
    return Run(
        rate=timed / sent.seconds,
        cpu=cpu / traffic.spans * 1e6,
        sender_cpu=sent.cpu_seconds / timed * 1e6,
        peak_memory=peak_memory,
        refused=sent.refused,
    )


def rate(runs: Sequence[Run]) -> float:
    """The median spans a second."""
    return statistics.median(run.rate for run in runs)


def show(per_request: int, found: Mapping[str, Sequence[Run]]) -> None:
    """Print the medians of each receiver, and ours beside them."""
    rounds = len(found[OURS])
    load, _, _ = os.getloadavg()
    print(
        f"\nrequests of {per_request:,} spans, {IN_FLIGHT} in flight, medians of {rounds} runs "
        f"each in turns, load average {load:.1f} on {os.cpu_count()} cores"
    )
    print(
        f"{'':22}{'spans/s':>10}{'min':>10}{'max':>10}{'CPU µs/span':>13}{'sender':>8}"
        f"{'peak MB':>9}{'again':>7}{'ratio':>9}"
    )
    for name, runs in found.items():
        rates = [run.rate for run in runs]
        print(
            f"{name:22}{rate(runs):10,.0f}{min(rates):10,.0f}{max(rates):10,.0f}"
            f"{statistics.median(run.cpu for run in runs):13.1f}"
            f"{statistics.median(run.sender_cpu for run in runs):8.1f}"
            f"{max(run.peak_memory for run in runs) / 1e6:9,.0f}"
            f"{sum(run.refused for run in runs):7}"
            f"{rate(found[OURS]) / rate(runs):9.2f}"
        )


if __name__ == "__main__":
    main()
