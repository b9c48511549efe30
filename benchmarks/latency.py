# SPDX-License-Identifier: Apache-2.0
"""How long an app's export waits for its acknowledgement while others send.

Exports of 100 spans leave on schedule, whether or not earlier ones have been answered, and their
waiting counts from when they were due: nothing is left out because the receiver was slow. The peer
is a Collector's file exporter under the same load, which acknowledges before anything is on disk.

    python -m benchmarks.latency [--rate SPANS_PER_SECOND] [--seconds N]
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ingest import OURS, PEER, Start, rate, run_on
from benchmarks.receivers import CheckFailed, collector, microdollar
from benchmarks.sender import send
from benchmarks.traffic import generate
from tests.collector.obtain import CollectorUnavailable

__all__ = ["Latency", "measure"]

PER_REQUEST = 100
WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Latency:
    """Seconds that exports waited at this many spans a second, in the order of sending."""

    rate: float
    waited: Sequence[float]

    def percentile(self, percent: float) -> float:
        """The seconds within which so many percent of the exports were answered."""
        ordered = sorted(self.waited)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def main() -> None:
    """Measure and print the percentiles; the status is 1 when something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rate", type=float, help="spans a second (default: half of what is measured first)"
    )
    parser.add_argument("--seconds", type=float, default=30, help="of each (default: 30)")
    asked = parser.parse_args()
    try:
        show(measure(asked.rate or half_the_most(), seconds=asked.seconds))
    except (CheckFailed, CollectorUnavailable) as error:
        sys.exit(str(error))


def half_the_most(spans: int = 300_000, rounds: int = 3) -> float:
    """Half of what ours takes a second, in requests of 512 spans."""
    with tempfile.TemporaryDirectory() as name:
        traffic = generate(Path(name) / "traffic", spans=spans, per_request=512)
        runs = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=name) as fresh:
                runs.append(run_on(microdollar(Path(fresh)), traffic))
    return rate(runs) / 2


def measure(spans_per_second: float, *, seconds: float) -> Mapping[str, Latency]:
    """Load each receiver for so long, after a few seconds that do not count.

    Raises:
        CheckFailed: a receiver did not hold exactly what was sent.
        CollectorUnavailable: there is no peer to be had.
    """
    receivers: Mapping[str, Start] = {OURS: microdollar, PEER: collector("json")}
    requests_per_second = spans_per_second / PER_REQUEST
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spans = int(spans_per_second * (WARM_UP_SECONDS + seconds))
        traffic = generate(folder / "traffic", spans=spans, per_request=PER_REQUEST)
        for receiver, start in receivers.items():
            with tempfile.TemporaryDirectory(dir=folder) as fresh, start(Path(fresh)) as running:
                warm_up = int(requests_per_second * WARM_UP_SECONDS)
                sent = send(running.port, traffic.path, warm_up=warm_up, rate=requests_per_second)
                running.check(traffic)
            found[receiver] = Latency(spans_per_second, sent.latencies)
    return found


def show(found: Mapping[str, Latency]) -> None:
    """Print the percentiles of each receiver."""
    ours = found[OURS]
    load, _, _ = os.getloadavg()
    print(
        f"\n{len(ours.waited):,} exports of {PER_REQUEST} spans at {ours.rate:,.0f} spans/s, "
        f"load average {load:.1f} on {os.cpu_count()} cores"
    )
    for name, latency in found.items():
        p50, p99 = latency.percentile(50), latency.percentile(99)
        print(
            f"{name:22}p50 {1000 * p50:8.1f} ms, p99 {1000 * p99:8.1f} ms, "
            f"max {1000 * max(latency.waited):8.1f} ms"
        )


if __name__ == "__main__":
    main()
