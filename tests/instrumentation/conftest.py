# SPDX-License-Identifier: Apache-2.0
"""A metered process: the fake provider in front, an exporter in memory behind."""

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import microdollar
from microdollar import _customer, _guard, _pipeline
from tests.fakes.provider import FakeProvider


class Meter:
    """What the meter has reported."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self.exporter = exporter

    def spans(self) -> Sequence[ReadableSpan]:
        """The spans since the last question."""
        assert microdollar.flush(10)
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        return spans

    def span(self) -> ReadableSpan:
        """The one span since the last question."""
        (span,) = self.spans()
        return span

    def attributes(self) -> Mapping[str, Any]:
        """The attributes of the one span since the last question."""
        return self.span().attributes or {}


@pytest.fixture(scope="session")
def running() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def fake(running: FakeProvider) -> Iterator[FakeProvider]:
    """The fake provider, whose queue every test has to use up."""
    running._received.clear()
    yield running
    unused = [queue.popleft() for queue in running._queues.values() if queue]
    assert not unused


@pytest.fixture(autouse=True)
def faults_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own faults fail the test, and what is logged once is logged once per test."""
    monkeypatch.setattr(_guard, "reraise", True)
    monkeypatch.setattr(_guard, "_seen", set())
    monkeypatch.setattr(_customer, "metering_started", True)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def meter(
    running: FakeProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Meter]:
    """Metering is on, and the fake provider's listeners are declared hosts."""
    monkeypatch.setenv("MICRODOLLAR_HOSTS", running.hosts)
    monkeypatch.setattr("microdollar._exporter.load", lambda _settings: exporter)
    microdollar.instrument()
    yield Meter(exporter)
    microdollar.uninstrument()
    assert microdollar.flush(10)
    _pipeline._pipelines.clear()


@pytest.fixture(params=["httpx2", "httpx"])
def http(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two libraries."""
    pytest.importorskip(request.param)
    return importlib.import_module(request.param)


@pytest.fixture
def warnings_logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The messages the meter has logged."""
    caplog.set_level(logging.INFO, logger="microdollar")
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    _guard.logger.addHandler(handler)
    yield messages
    _guard.logger.removeHandler(handler)
