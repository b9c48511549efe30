# SPDX-License-Identifier: Apache-2.0
"""Run apps with chosen emitters and see what they really send."""

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.emitters.answers import answer
from tests.emitters.environment import program
from tests.fakes.provider import PROVIDERS, FakeProvider
from tests.instrumentation.collector import Collector

__all__ = ["Apps", "app_environment", "decoded", "run_zero_code"]

_ROOT = Path(__file__).resolve().parents[2]


class Apps:
    """A context manager: the fake provider, a receiver that keeps all it is sent, and the host."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._host: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        interpreter = program()
        self._provider = self._opened.enter_context(FakeProvider())
        for name in PROVIDERS:
            self._provider.respond(name, answer)
        self._collector = self._opened.enter_context(Collector())
        self._host = self._opened.enter_context(
            subprocess.Popen(
                [str(interpreter), "-m", "tests.emitters.host"],
                cwd=_ROOT,
                env=app_environment(self._provider, self._collector.url)
                | frameworks_environment(self._collector.url),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._host is not None
        self._host.kill()
        self._opened.close()

    def run(
        self,
        service: str,
        emitters: Sequence[str] = (),
        *,
        apart: Sequence[str] = (),
        at_once: Sequence[str] = (),
        framework: str | None = None,
        content: bool = False,
        suppressing: bool = True,
    ) -> list[bytes]:
        """Run one app to its end; returns the OTLP requests it has sent.

        `emitters` are switched on in this order. The calls of `apart` are made one after the
        other, those of `at_once` three times each at the same time under one span.
        """
        assert self._host is not None
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        app = {
            "service": service,
            "emitters": list(emitters),
            "apart": list(apart),
            "at_once": list(at_once),
            "framework": framework,
            "content": content,
            "suppressing": suppressing,
        }
        print(json.dumps(app), file=self._host.stdin, flush=True)
        status = self._host.stdout.readline().strip()
        assert status == "0", f"the app {service} ended with status {status or 'none'}"
        return self._collector.take()


def run_zero_code(service: str) -> list[bytes]:
    """Start an app that makes each call once as its owner would, and everything switches itself on.

    Returns the OTLP requests it has sent.
    """
    command = [
        *(str(program("opentelemetry-instrument")), str(program())),
        *("-m", "tests.emitters.script"),
    ]
    with FakeProvider() as provider, Collector() as collector:
        for name in PROVIDERS:
            provider.respond(name, answer)
        environment = app_environment(provider, collector.url) | {"OTEL_SERVICE_NAME": service}
        subprocess.run(command, cwd=_ROOT, env=environment, check=True, timeout=120)
        return collector.take()


def app_environment(provider: FakeProvider, endpoint: str) -> dict[str, str]:
    """The variables of an app that sends to `endpoint` and calls the fake provider."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "MICRODOLLAR_", "LOGFIRE_", "LANGFUSE_", "LANGSMITH_"))
    }
    return kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
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


def frameworks_environment(endpoint: str) -> dict[str, str]:
    """The variables of frameworks that also send to a server of their own."""
    return {
        "LANGFUSE_BASE_URL": endpoint,
        "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
        "LANGFUSE_SECRET_KEY": "sk-lf-1",
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_TRACING_MODE": "otel",
        "LANGSMITH_API_KEY": "none",
        "LANGSMITH_ENDPOINT": endpoint,
    }


def decoded(bodies: Sequence[bytes]) -> ExportTraceServiceRequest:
    """OTLP requests as if they were one."""
    merged = ExportTraceServiceRequest()
    for body in bodies:
        merged.MergeFromString(body)
    return merged
