# SPDX-License-Identifier: Apache-2.0
"""Runs apps, one for each line of JSON on stdin, each in a process of its own.

What takes seconds, importing the SDKs and the emitters and the first call of an SDK, is done once,
before any emitter is switched on. Each app is then a fork: as new as a process that has just been
started, in a fiftieth of the time.

Runs in the apps' environment, as `python -m tests.emitters.host`.
"""

import asyncio
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

from tests.emitters import calls, frameworks, switches

__all__: list[str] = []

_IMPORTED: Final = (
    "genai_prices.data",
    "logfire",
    "logfire._internal.integrations.llm_providers.anthropic",
    "logfire._internal.integrations.llm_providers.openai",
    "microdollar.instrumentor",
    "microdollar._send",
    "openai.resources.beta",
    "openai.resources.beta.realtime",
    "openai.resources.beta.threads",
    "openai.resources.completions",
    "openai.resources.images",
    "openinference.instrumentation.anthropic",
    "openinference.instrumentation.openai",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.genai.anthropic",
    "opentelemetry.instrumentation.genai.openai",
    "opentelemetry.instrumentation.openai.v1",
)
"""None of them does anything before it is switched on."""


def main() -> None:
    """Run the apps one after the other; a line on stdout tells the exit status of each."""
    os.environ["ANTHROPIC_OPEN_TELEMETRY"] = "false"
    for name in _IMPORTED:
        importlib.import_module(name)
    calls.apart(list(calls.CALLS))
    asyncio.run(calls.at_once(list(calls.CALLS), times=1))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(app: dict[str, Any]) -> int:
    try:
        _app(**app)
    except BaseException:  # a child must never go on as its parent
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()
    return 0


def _app(
    *,
    service: str,
    emitters: list[str],
    apart: list[str],
    at_once: list[str],
    framework: str | None,
    content: bool,
    suppressing: bool,
) -> None:
    """Switch the emitters on in this order, make the calls, and send every span."""
    os.environ |= {"OTEL_SERVICE_NAME": service, **switches.CONTENT[content]}
    flush = _set_up(with_logfire=any(name.startswith("logfire") for name in emitters))
    for name in emitters:
        switches.SWITCHES[name](suppressing)
    calls.apart(apart)
    if at_once:
        asyncio.run(calls.at_once(at_once, times=3))
    if framework is not None:
        frameworks.FRAMEWORKS[framework](content)
    flush()
    if "microdollar" in emitters:
        import microdollar

        assert microdollar.flush()


def _set_up(*, with_logfire: bool) -> Callable[[], object]:
    """Set OpenTelemetry up as an app does, with Logfire by its own function."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if with_logfire:
        import logfire

        logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
        flush: Callable[[], object] = logfire.force_flush
        return flush
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.force_flush


if __name__ == "__main__":
    main()
