# SPDX-License-Identifier: Apache-2.0
"""Run the whole way once on this machine: app → Collector → exporter → DuckDB → report.

`make demo` starts it. Everything is real but the providers: a local server stands in for them
and answers in their wire formats. With `MICRODOLLAR_DEMO_COLLECTOR=none` the app sends directly
to the exporter.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from microdollar_exporter.ask.connect import connect
from microdollar_exporter.ask.render import render
from microdollar_exporter.ask.report import report_on
from tests.collector.obtain import CollectorUnavailable, obtain
from tests.collector.running import CollectorFailed, RunningCollector
from tests.e2e.instrumented import app_environment
from tests.fakes.exporter import Exporter
from tests.fakes.provider import FakeProvider, Replies

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUTPUT = ROOT / "demo-output"
CALLS = 16
"""Physical calls that one run of `app.py` makes."""
ARRIVAL_SECONDS = 30


def main() -> int:
    """Run the demo; the exit status is 1 when a call did not arrive."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    db = OUTPUT / "meter.duckdb"
    with ExitStack() as stack:
        say("Exporter: microdollar serve, on a fresh DuckDB file")
        exporter = stack.enter_context(Exporter(db))
        endpoint = collector(stack, exporter) or f"http://127.0.0.1:{exporter.http_port}"
        say("Providers: a local stand-in for OpenAI, Anthropic and Gemini")
        provider = stack.enter_context(FakeProvider())
        replies = Replies(HERE / "replies")
        for name in ("openai", "anthropic", "gemini"):
            provider.respond(name, replies)
        say("App: opentelemetry-instrument python docs/demo/app.py")
        run_app(provider, endpoint)
        say("Ledger: waiting until every call has arrived")
        arrived = wait_for_calls(db)
        report = report_on(connect(db), "customer")
    print("\n" + render(report, "table"))
    csv = OUTPUT / "usage.csv"
    csv.write_text(render(report, "csv"), "utf-8")
    if arrived != CALLS:
        print(f"Only {arrived} of {CALLS} calls arrived; see {OUTPUT}.", file=sys.stderr)
        return 1
    print(
        "A call is one request to a provider: two of them were refused, and one of those was "
        "tried again.\nWhat the line above says is explained in exporter/README.md.\n\n"
        f"The same as CSV: {csv.relative_to(ROOT)}. More: .venv/bin/microdollar report "
        f"--db {db.relative_to(ROOT)} --by customer,model\n\n"
        "With your own app:\n"
        "  1. pip install microdollar-exporter, and start: microdollar serve\n"
        "  2. pip install microdollar, and start the app with: opentelemetry-instrument python …\n"
        '  3. Say whom a call is for: with microdollar.customer("acme"): …'
    )
    return 0


def collector(stack: ExitStack, exporter: Exporter) -> str | None:
    """Start a Collector in front of the exporter; None when there is none to be had."""
    if os.environ.get("MICRODOLLAR_DEMO_COLLECTOR") == "none":
        say("Collector: left out, the app sends directly to the exporter")
        return None
    say("Collector: OpenTelemetry Collector with otel-collector-config.yaml")
    try:
        running = stack.enter_context(
            RunningCollector(obtain(), folder=OUTPUT, backend=f"127.0.0.1:{exporter.grpc_port}")
        )
    except (CollectorUnavailable, CollectorFailed) as error:
        say(f"Collector: none to be had, so the app sends directly to the exporter: {error}")
        return None
    return f"http://127.0.0.1:{running.http_port}"


def run_app(provider: FakeProvider, endpoint: str) -> None:
    """Run the app as its owner would, but for the addresses of the stand-in."""
    environment = app_environment(provider, endpoint) | {"OTEL_SERVICE_NAME": "demo-app"}
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    subprocess.run(
        [instrument, sys.executable, HERE / "app.py"], env=environment, check=True, timeout=120
    )


def wait_for_calls(db: Path) -> int:
    """How many calls are booked, once all are or the time is up."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        calls = int(report_on(connect(db)).total["calls"])
        if calls >= CALLS or time.monotonic() > deadline:
            return calls
        time.sleep(0.2)


def say(step: str) -> None:
    """Show progress."""
    print(f"· {step}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
