# SPDX-License-Identifier: Apache-2.0
"""All that is claimed of the server's speed and size, measured on this machine.

Each part can be run alone: `ingest`, `latency`, `disk` and `at_scale`. Files lie in `$TMPDIR`,
which has to be on a real disk, with 20 GB to spare for the default number of rows. The status says
nothing of speed: it is 1 when something that was sent is missing, or there twice.

    python -m benchmarks.server [--rows N] [--spans N] [--rounds N] [--seconds N] [--calls N]
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import at_scale, disk, ingest, latency
from benchmarks.receivers import CheckFailed
from tests.collector.obtain import CollectorUnavailable

__all__ = ["Figure"]


@dataclass(frozen=True)
class Figure:
    """What was measured beside what we want: at least, or at most; None where we only tell."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def row(self) -> str:
        """The figure as a line of the table."""
        wanted, met = "", ""
        if self.at_least is not None:
            wanted = f"≥ {self.at_least:,.10g}"
            met = "met" if self.value >= self.at_least else "missed"
        elif self.at_most is not None:
            wanted = f"≤ {self.at_most:,.10g}"
            met = "met" if self.value <= self.at_most else "missed"
        digits = 0 if self.value >= 1000 else 1 if self.value >= 10 else 2
        return f"{self.name:52}{self.value:12,.{digits}f} {self.unit:11}{wanted:>10}  {met}"


def main() -> None:
    """Measure everything, part by part, and end with one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000_000, help="in the large ledger")
    parser.add_argument("--spans", type=int, default=300_000, help="of a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns")
    parser.add_argument("--seconds", type=float, default=30, help="of load, for the latency")
    parser.add_argument("--calls", type=int, default=1_000_000, help="for the size on disk")
    try:
        figures = list(_figures(parser.parse_args()))
    except (CheckFailed, CollectorUnavailable) as error:
        sys.exit(str(error))
    print()
    for figure in figures:
        print(figure.row())


def _figures(asked: argparse.Namespace) -> Iterator[Figure]:
    rates = []
    for size in ingest.SIZES:
        runs = ingest.measure(size, spans=asked.spans, rounds=asked.rounds)
        ingest.show(size, runs)
        ours = ingest.rate(runs[ingest.OURS])
        rates.append(ours)
        name = f"durable ingest, requests of {size:,} spans"
        yield Figure(name, ours, "spans/s", at_least=50_000)
        for peer in (ingest.PEER, ingest.PROTOBUF_PEER):
            wanted = 1.0 if peer == ingest.PEER else None
            beside = ours / ingest.rate(runs[peer])
            yield Figure(f"  beside a file exporter ({peer})", beside, "times", at_least=wanted)
    waited = latency.measure(rates[0] / 2, seconds=asked.seconds)
    latency.show(waited)
    name = "p99 of an export of 100 spans under half that load"
    yield Figure(name, 1000 * waited[ingest.OURS].percentile(99), "ms", at_most=50)
    size_on_disk = disk.measure(asked.calls)
    disk.show(size_on_disk, columns=False)
    name = "evidence and ledger of a call on disk"
    yield Figure(name, size_on_disk.bytes_per_call, "bytes", at_most=200)
    scale = at_scale.measure(asked.rows, spans=asked.spans, rounds=asked.rounds)
    at_scale.show(scale)
    name = f"rate at {asked.rows:,} calls beside rate at none"
    yield Figure(name, ingest.rate(scale.full) / ingest.rate(scale.empty), "times", at_least=0.9)
    memory = [statistics.median(run.peak_memory for run in r) for r in (scale.full, scale.empty)]
    yield Figure("  and peak memory", memory[0] / memory[1], "times")


if __name__ == "__main__":
    main()
