# SPDX-License-Identifier: Apache-2.0
"""Whether a large ledger takes in spans as fast as an empty one, in as much memory.

One ledger is filled with a month's history; then the same traffic goes to it and to an empty one,
in turns.

    python -m benchmarks.at_scale [--rows N] [--spans N] [--rounds N]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.history import DAYS, fill
from benchmarks.ingest import Run, rate, run_on
from benchmarks.receivers import CheckFailed, microdollar
from benchmarks.sender import send
from benchmarks.traffic import generate, seconds

__all__ = ["Scale", "measure"]

PER_REQUEST = 512
BASE = 480 * PER_REQUEST
"""Calls that are really received and then repeated: two of DuckDB's row groups, so that each
repetition fills whole ones."""


@dataclass(frozen=True)
class Scale:
    """The runs on an empty and on a full ledger, and what the full one takes on disk.

    `file_bytes` is the size of the full ledger's file, and `start_seconds` how long the exporter
    took to open it.
    """

    rows: int
    empty: Sequence[Run]
    full: Sequence[Run]
    file_bytes: int
    start_seconds: float


def main() -> None:
    """Measure and print the medians; the status is 1 when something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000_000, help="calls (default: 50,000,000)")
    parser.add_argument("--spans", type=int, default=300_000, help="of a run (default: 300,000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    asked = parser.parse_args()
    try:
        show(measure(asked.rows, spans=asked.spans, rounds=asked.rounds))
    except CheckFailed as error:
        sys.exit(str(error))


def measure(rows: int, *, spans: int, rounds: int) -> Scale:
    """Fill a ledger with `rows` calls, and run it and an empty one in turns.

    Raises:
        CheckFailed: a ledger did not hold exactly what was sent to it.
    """
    empty, full = [], []
    with tempfile.TemporaryDirectory() as name:
        large = Path(name) / "large"
        large.mkdir()
        traffic = Path(name) / "traffic"
        now = time.time()
        begin = now - DAYS * 86400 - rounds * seconds(spans)
        base = generate(traffic, spans=min(rows, BASE), per_request=PER_REQUEST, start=begin)
        with microdollar(large) as receiver:
            send(receiver.port, base.path)
            receiver.check(base)
        fill(large / "meter.duckdb", rows)
        file_bytes = (large / "meter.duckdb").stat().st_size
        started = time.perf_counter()
        with microdollar(large):
            start_seconds = time.perf_counter() - started
        for number in range(rounds):
            start = now - (rounds - number) * seconds(spans)
            sent = generate(
                traffic, spans=spans, per_request=PER_REQUEST, start=start, seed=number + 2
            )
            with tempfile.TemporaryDirectory(dir=name) as small:
                empty.append(run_on(microdollar(Path(small)), sent))
            full.append(run_on(microdollar(large), sent))
    return Scale(rows, empty, full, file_bytes, start_seconds)


def show(scale: Scale) -> None:
    """Print the medians, and the full ledger's beside the empty one's."""
    load, _, _ = os.getloadavg()
    print(
        f"\nledgers of no calls and of {scale.rows:,} ({scale.file_bytes / 1e9:.1f} GB, opened in "
        f"{scale.start_seconds:.1f} s), requests of {PER_REQUEST} spans, medians of "
        f"{len(scale.full)} runs each in turns, load average {load:.1f} on {os.cpu_count()} cores"
    )
    for name, runs in (("empty", scale.empty), ("full", scale.full)):
        rates = [run.rate for run in runs]
        print(
            f"{name:8}{rate(runs):10,.0f} spans/s ({min(rates):,.0f} to {max(rates):,.0f}), "
            f"CPU {statistics.median(run.cpu for run in runs):.1f} µs/span, "
            f"peak memory {max(run.peak_memory for run in runs) / 1e6:,.0f} MB"
        )
    print(f"{'ratio':8}{rate(scale.full) / rate(scale.empty):10.2f}")


if __name__ == "__main__":
    main()
