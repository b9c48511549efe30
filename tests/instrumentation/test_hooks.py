# SPDX-License-Identifier: Apache-2.0
"""What is patched, when, once, and how it is undone."""

import subprocess
import sys
import textwrap
from http.client import HTTPConnection
from types import ModuleType
from typing import Any

import aiohttp
import httpx2
import pytest
from botocore.httpsession import URLLib3Session
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from requests.adapters import HTTPAdapter

import microdollar
from microdollar import _hooks, _pipeline
from microdollar.instrumentor import MicrodollarInstrumentor
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation.conftest import Meter

METERING: list[tuple[type, str]] = [
    (httpx2.Client, "send"),
    (httpx2.AsyncClient, "send"),
    (W3CBaggagePropagator, "inject"),
    (HTTPConnection, "putheader"),
]
STRIPPING: list[tuple[type, str]] = [
    (httpx2.Client, "_send_single_request"),
    (httpx2.AsyncClient, "_send_single_request"),
    (HTTPAdapter, "send"),
    (aiohttp.ClientSession, "_request"),
    (aiohttp.ClientRequest, "send"),
    (URLLib3Session, "send"),
]
PLACES = METERING + STRIPPING


def patched() -> list[Any]:
    return [owner.__dict__[name] for owner, name in PLACES]


def run(code: str) -> str:
    """Run code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_public_names_are_these() -> None:
    assert microdollar.__all__ == ["customer", "flush", "instrument", "uninstrument"]


def test_uninstrument_restores_the_very_originals() -> None:
    before = patched()
    for _ in range(2):
        microdollar.instrument()
        microdollar.instrument()
        assert all(now is not then for now, then in zip(patched(), before, strict=True))
        microdollar.uninstrument()
        microdollar.uninstrument()
        assert patched() == before
        assert _pipeline.current() is None


def test_the_entry_point_class_is_the_same_switch() -> None:
    before = patched()
    MicrodollarInstrumentor().instrument()
    microdollar.uninstrument()
    assert patched() == before
    assert MicrodollarInstrumentor().instrumentation_dependencies() == ()


def test_a_wrapper_above_ours_keeps_working(
    meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours cannot be removed from below it, so it passes on, and is not added twice."""
    ours = httpx2.Client.send
    count = []

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        count.append(1)
        return ours(self, *args, **kwargs)

    monkeypatch.setattr(httpx2.Client, "send", theirs)
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    url = fake.url("openai") + "/v1/chat/completions"
    with httpx2.Client() as client:
        microdollar.uninstrument()
        client.post(url, json={})
        assert meter.spans() == ()
        microdollar.instrument()
        client.post(url, json={})
        assert len(meter.spans()) == 1
    assert len(count) == 2
    monkeypatch.undo()
    microdollar.uninstrument()
    assert (httpx2.Client, "send") not in _hooks._patches


@pytest.mark.parametrize(
    ("variable", "value"), [("MICRODOLLAR_ENABLED", "false"), ("OTEL_SDK_DISABLED", "true")]
)
def test_switched_off_it_only_keeps_our_headers_from_leaving(
    fake: FakeProvider, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    before = patched()
    monkeypatch.setenv(variable, value)
    fake.queue("openai", sample("openai.chat.json"))
    microdollar.instrument()
    try:
        changed = [
            place for place, now, then in zip(PLACES, patched(), before, strict=True) if now != then
        ]
        assert changed == STRIPPING
        assert _pipeline.current() is None
        with httpx2.Client(headers={"X-Microdollar-Customer": "acme", "baggage": "a=b"}) as client:
            client.post(fake.url("openai") + "/v1/chat/completions", json={})
    finally:
        microdollar.uninstrument()
    assert patched() == before
    assert fake.received[0].header("x-microdollar-customer") is None
    assert fake.received[0].header("baggage") == "a=b"


def test_a_library_imported_later_is_patched_then() -> None:
    code = """
        import sys, microdollar
        microdollar.instrument()
        assert "httpx2" not in sys.modules
        import httpx2
        print(hasattr(httpx2.Client.send, "__wrapped__"), microdollar.flush(0))
    """
    assert run(code) == "True True"


def test_an_alias_is_not_patched_twice() -> None:
    code = """
        import microdollar
        microdollar.instrument()
        import httpx2
        httpx2.alias_httpx()
        import httpx
        assert httpx is httpx2
        print(hasattr(httpx.Client.send.__wrapped__, "__wrapped__"))
        microdollar.uninstrument()
        print(hasattr(httpx.Client.send, "__wrapped__"))
    """
    assert run(code) == "False\nFalse"


def test_an_import_never_fails_because_of_us(tmp_path: Any) -> None:
    (tmp_path / "httpx.py").write_text("x = 1\n")
    code = f"""
        import sys, logging
        sys.path.insert(0, {str(tmp_path)!r})
        logging.disable()
        import microdollar
        microdollar.instrument()
        import httpx
        print(httpx.x)
    """
    assert run(code) == "1"


def test_a_call_inside_suppressed_instrumentation_is_metered(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    """Other meters suppress what lies below them; the bill does not shrink by that."""
    fake.queue("openai", sample("openai.chat.json"))
    with http.Client() as client, suppress_instrumentation():
        url = fake.url("openai") + "/v1/chat/completions"
        client.post(url, json={}, headers={"X-Microdollar-Customer": "acme"})
    assert meter.attributes()["microdollar.customer.id"] == "acme"
    assert fake.received[0].header("x-microdollar-customer") is None


def test_the_meters_own_requests_are_not_metered(
    http: ModuleType, fake: FakeProvider, running: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an exporter that goes through a metered client, to a host that is a provider's."""
    batches = []

    class Exporter(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            batches.append(len(spans))
            with http.Client() as client:
                client.post(fake.url("openai") + "/v1/chat/completions", json={})
            return super().export(spans)

    monkeypatch.setenv("MICRODOLLAR_HOSTS", running.hosts)
    monkeypatch.setattr("microdollar._exporter.load", lambda _settings: Exporter())
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    microdollar.instrument()
    try:
        with http.Client() as client:
            client.post(fake.url("openai") + "/v1/chat/completions", json={})
        assert microdollar.flush(10)
    finally:
        microdollar.uninstrument()
        assert microdollar.flush(10)
        _pipeline._pipelines.clear()
    assert batches == [1]
    assert len(fake.received) == 2


@pytest.mark.parametrize("timeout", [-1.0, 0.0, float("inf"), float("nan")])
@pytest.mark.usefixtures("meter")
def test_no_timeout_of_a_flush_raises(timeout: float) -> None:
    assert microdollar.flush(timeout) is True


@pytest.mark.parametrize("body", [b"{" * 9, b'{"a":' * 100_000, b"[]", b"", b'{"model":5}'])
def test_no_request_body_keeps_a_call_from_being_metered(
    http: ModuleType, meter: Meter, fake: FakeProvider, body: bytes
) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    with http.Client() as client:
        client.post(fake.url("openai") + "/v1/chat/completions", content=body)
    attributes = meter.attributes()
    assert "gen_ai.request.model" not in attributes
    assert attributes["microdollar.usage.source"] == "provider"


def test_a_request_that_is_itself_a_stream_is_left_alone(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    with http.Client() as client:
        url = fake.url("openai") + "/v1/chat/completions"
        client.post(url, content=iter([b'{"model":', b'"m"}']))
    assert fake.received[0].json == {"model": "m"}
    assert meter.span().name == "chat"


def test_the_signature_stays(meter: Meter) -> None:
    import inspect

    parameters = list(inspect.signature(httpx2.Client.send).parameters)
    assert parameters[:3] == ["self", "request", "stream"]
    assert inspect.iscoroutinefunction(httpx2.AsyncClient.send)
