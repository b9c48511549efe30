# SPDX-License-Identifier: Apache-2.0
"""Run an app as its owner would: under `opentelemetry-instrument`, without touching its code."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.provider import FakeProvider

__all__ = ["APPS", "app_environment", "run_app", "started_app"]

APPS = Path(__file__).with_name("apps")
_INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")


def app_environment(provider: FakeProvider, endpoint: str) -> dict[str, str]:
    """The variables of an app that sends to `endpoint` and calls the fake provider."""
    machine = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "MICRODOLLAR_"))}
    return {
        **machine,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        # The Collector's configuration has a pipeline for traces alone.
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "MICRODOLLAR_HOSTS": provider.hosts,
        "OPENAI_BASE_URL": f"{provider.url('openai')}/v1",
        "ANTHROPIC_BASE_URL": provider.url("anthropic"),
        "GOOGLE_GEMINI_BASE_URL": provider.url("gemini"),
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_API_KEY": "none",
        "GEMINI_API_KEY": "none",
    }


@contextmanager
def started_app(
    app: str, *arguments: str, environment: Mapping[str, str], instrumented: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """Start an app of `apps/`; it is killed when it outlives the block."""
    command = [sys.executable, str(APPS / app), *arguments]
    if instrumented:
        command.insert(0, str(_INSTRUMENT))
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_app(
    app: str,
    *arguments: str,
    environment: Mapping[str, str],
    stdin: str = "",
    instrumented: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run an app of `apps/` to its end."""
    with started_app(
        app, *arguments, environment=environment, instrumented=instrumented
    ) as process:
        out, err = process.communicate(stdin, timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
