# SPDX-License-Identifier: Apache-2.0
"""What metering adds to the start of an app: `opentelemetry-instrument python -c pass`.

The peer is the same command with the `microdollar` entry point switched off. The two alternate, so
that what else happens on the machine meets both.

    python benchmarks/startup.py [--runs N]
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the pairs and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15, help="pairs of runs (default: 15)")
    runs = parser.parse_args().runs
    command = [_opentelemetry_instrument(), sys.executable, "-c", "pass"]
    # No exporters of the app's, so that neither side waits at its end for a Collector.
    common = os.environ | {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    off = common | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "microdollar"}
    _run(command, off), _run(command, common)  # warms the file cache
    pairs = [(_run(command, off), _run(command, common)) for _ in range(runs)]
    for position, kind in enumerate(("elapsed", "CPU")):
        without = statistics.median(pair[0][position] for pair in pairs)
        metered = statistics.median(pair[1][position] for pair in pairs)
        added = statistics.median(pair[1][position] - pair[0][position] for pair in pairs)
        print(
            f"{kind + ' time:':14}without {without:6.1f} ms, with {metered:6.1f} ms, "
            f"difference {added:+6.1f} ms (median of {runs} pairs), ratio {metered / without:.3f}"
        )


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Elapsed and CPU milliseconds of one run."""
    cpu, start = _cpu(), time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    return 1000 * (time.perf_counter() - start), 1000 * (_cpu() - cpu)


def _cpu() -> float:
    """CPU seconds of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _opentelemetry_instrument() -> str:
    beside = Path(sys.executable).with_name("opentelemetry-instrument")
    found = str(beside) if beside.exists() else shutil.which("opentelemetry-instrument")
    if found is None:
        sys.exit("opentelemetry-instrument is not installed")
    return found


if __name__ == "__main__":
    main()
