# SPDX-License-Identifier: Apache-2.0
"""Metering spans are the app's in trace and resource, and independent of it in all else."""

import random
import time
from collections.abc import Generator, Iterator, Sequence
from contextvars import copy_context
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from microdollar import _call, _guard, _pipeline, _queue, customer
from microdollar_semconv import SCOPE_NAME
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation.conftest import Meter


class App:
    """An app with traces of its own."""

    def __init__(self, sampler: Sampler) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            sampler=sampler,
            resource=Resource({"service.name": "shop"}),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("app")


@pytest.fixture(params=[ALWAYS_ON, ALWAYS_OFF], ids=["always_on", "always_off"])
def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> App:
    app = App(request.param)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", app.provider)
    return app


@pytest.fixture(autouse=True)
def hostile_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would cut or lose spans of an ordinary provider."""
    for variable, value in {
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "2",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
    }.items():
        monkeypatch.setenv(variable, value)


@pytest.fixture
def no_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    yield


def call(http: ModuleType, fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    with http.Client() as client:
        client.post(fake.url("openai") + "/v1/chat/completions", json={"model": "gpt-5.6-sol"})


def test_a_call_joins_the_apps_trace_whatever_its_sampler(
    http: ModuleType, app: App, meter: Meter, fake: FakeProvider
) -> None:
    with app.tracer.start_as_current_span("work") as work:
        call(http, fake)
        assert trace.get_current_span() is work
    span = meter.span()
    assert span.context is not None
    assert span.parent is not None
    assert span.context.trace_id == work.get_span_context().trace_id
    assert span.parent.span_id == work.get_span_context().span_id
    assert span.context.trace_flags.sampled
    own = [span.name for span in app.exporter.get_finished_spans()]
    assert own == (["work"] if app.provider.sampler is ALWAYS_ON else [])
    assert span.resource.attributes["service.name"] == "shop"
    assert_whole(span)


def assert_whole(span: ReadableSpan) -> None:
    """No limit has cut anything off, and the span is what the conventions say."""
    attributes = span.attributes or {}
    assert attributes["gen_ai.request.model"] == "gpt-5.6-sol"
    assert attributes["gen_ai.usage.input_tokens"] == 5012
    assert span.dropped_attributes == 0
    assert span.name == "chat gpt-5.6-sol"
    assert span.kind is trace.SpanKind.CLIENT
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == SCOPE_NAME == "microdollar"
    assert span.instrumentation_scope.version == "0.1.0"
    assert not span.events
    assert not span.links


@pytest.mark.usefixtures("no_app")
def test_without_a_trace_a_call_is_a_root(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    call(http, fake)
    span = meter.span()
    assert span.parent is None
    assert_whole(span)


@pytest.mark.usefixtures("no_app")
def test_an_app_that_sets_its_provider_later_still_names_the_service(
    http: ModuleType, meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(http, fake)
    assert meter.span().resource.attributes["service.name"] != "shop"
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", App(ALWAYS_ON).provider)
    call(http, fake)
    assert meter.span().resource.attributes["service.name"] == "shop"


@pytest.mark.usefixtures("no_app")
def test_a_remote_parent_and_nothing_else_is_taken_from_the_context(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    remote = SpanContext(7, 9, True, TraceFlags(0), TraceState([("vendor", "secret")]))
    where = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    token = context.attach(baggage.set_baggage("a", "b", where))
    call(http, fake)
    context.detach(token)
    span = meter.span()
    assert span.context is not None
    assert span.context.trace_id == 7
    assert not span.context.trace_state
    assert span.parent is not None
    assert not span.parent.trace_state


@pytest.mark.usefixtures("no_app")
def test_the_apps_random_numbers_are_left_alone(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    """An app that seeds `random` neither sees other numbers nor gets the same ids twice."""
    contexts = []
    for _ in range(2):
        random.seed(1)
        state = random.getstate()
        call(http, fake)
        assert random.getstate() == state
        contexts.append(meter.span().context)
    assert contexts[0] is not None
    assert contexts[1] is not None
    assert contexts[0].trace_id != contexts[1].trace_id
    assert contexts[0].span_id != contexts[1].span_id


@pytest.mark.usefixtures("no_app")
def test_calls_are_numbered_without_gaps(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    for _ in range(3):
        call(http, fake)
    seen = [dict(span.attributes or {}) for span in meter.spans()]
    first = seen[0]["microdollar.call.sequence"]
    assert isinstance(first, int)
    numbers = [attributes["microdollar.call.sequence"] for attributes in seen]
    assert numbers == [first, first + 1, first + 2]
    assert len({attributes["microdollar.boot.id"] for attributes in seen}) == 1
    assert {attributes["microdollar.boot.dropped_calls"] for attributes in seen} == {0}


@pytest.mark.usefixtures("no_app")
def test_a_call_has_its_server_and_customer(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    with customer("acme", user="u1", feature="assistant"):
        call(http, fake)
    attributes = meter.attributes()
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["server.port"] == int(fake.url("openai").rpartition(":")[2])
    assert attributes["http.response.status_code"] == 200
    assert attributes["microdollar.customer.id"] == "acme"
    assert attributes["microdollar.user.id"] == "u1"
    assert attributes["microdollar.tag.feature"] == "assistant"
    assert attributes["openai.api.type"] == "chat_completions"
    assert "gen_ai.request.stream" not in attributes
    assert "gen_ai.response.time_to_first_chunk" not in attributes
    assert "error.type" not in attributes


NEVER_SENT = ["ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"]
PERHAPS_SENT = ["ReadTimeout", "ReadError", "WriteError", "RemoteProtocolError"]


@pytest.mark.usefixtures("no_app")
@pytest.mark.parametrize("name", NEVER_SENT + PERHAPS_SENT)
def test_a_call_that_cannot_have_arrived_consumed_nothing(
    http: ModuleType, meter: Meter, name: str
) -> None:
    failure = getattr(http, name)("made-up")

    def fail(_: object) -> None:
        raise failure

    url = "https://api.openai.com/v1/chat/completions"
    with http.Client(transport=http.MockTransport(fail)) as client:
        with pytest.raises(http.TransportError) as caught:
            client.post(url, json={})
        assert caught.value is failure
    span = meter.span()
    attributes = span.attributes or {}
    assert attributes["error.type"] == f"{http.__name__}.{name}"
    expected = "none" if name in NEVER_SENT else "missing"
    assert attributes["microdollar.usage.source"] == expected
    assert "http.response.status_code" not in attributes
    assert attributes["server.port"] == 443
    assert span.name == "chat"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None


@pytest.mark.usefixtures("no_app")
@pytest.mark.parametrize(
    ("status", "source", "error_type"),
    [(429, "none", "429"), (200, "missing", "{}.HTTPStatusError")],
)
def test_a_hook_that_raises_for_the_status_does_not_hide_it(
    http: ModuleType, meter: Meter, status: int, source: str, error_type: str
) -> None:
    def check(response: Any) -> None:
        raise http.HTTPStatusError("made-up", request=response.request, response=response)

    transport = http.MockTransport(lambda _: http.Response(status, json={}))
    with (
        http.Client(transport=transport, event_hooks={"response": [check]}) as client,
        pytest.raises(http.HTTPStatusError),
    ):
        client.post("https://api.openai.com/v1/chat/completions", json={})
    attributes = meter.attributes()
    assert attributes["http.response.status_code"] == status
    assert attributes["microdollar.usage.source"] == source
    assert attributes["error.type"] == error_type.format(http.__name__)


@pytest.mark.usefixtures("no_app")
def test_our_spans_are_not_in_the_sdks_own_metrics(meter: Meter) -> None:
    pipeline = _pipeline.current()
    assert pipeline is not None
    with mock.patch("opentelemetry.metrics.get_meter_provider", side_effect=AssertionError):
        _pipeline.Pipeline(pipeline.settings)


@pytest.mark.usefixtures("no_app")
def test_a_send_that_ends_in_another_context_is_not_felt(http: ModuleType, meter: Meter) -> None:
    """Frameworks drive one coroutine from several contexts."""

    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    class Transport(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, _: Any) -> Any:
            await Pause()
            return http.Response(200, json={})

    client = http.AsyncClient(transport=Transport())
    request = client.build_request(
        "POST", "https://api.openai.com/v1/chat/completions", headers={"X-Microdollar-User": "u"}
    )
    for end in ("return", "throw"):
        sending = client.send(request)
        copy_context().run(sending.send, None)
        assert "x-microdollar-user" not in request.headers
        if end == "return":
            with pytest.raises(StopIteration):
                copy_context().run(sending.send, None)
        else:
            with pytest.raises(ZeroDivisionError):
                copy_context().run(sending.throw, ZeroDivisionError)
        assert "x-microdollar-user" in request.headers
    assert [(span.attributes or {}).get("error.type") for span in meter.spans()] == [
        None,
        "ZeroDivisionError",
    ]


@pytest.mark.usefixtures("no_app")
def test_a_closed_client_makes_no_call(http: ModuleType, meter: Meter) -> None:
    client = http.Client()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.post("https://api.openai.com/v1/chat/completions", json={})
    assert meter.spans() == ()


@pytest.mark.usefixtures("no_app")
def test_a_call_is_told_of_as_it_was_when_it_ended(
    http: ModuleType, meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its span is made later, once, and is the same however often it has to be sent."""
    monkeypatch.setattr(_queue, "MIN_BACKOFF", 0.001)
    sent: list[ReadableSpan] = []
    export = meter.exporter.export

    def refuse_once(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent.extend(spans)
        return export(spans) if len(sent) > 1 else SpanExportResult.FAILURE

    monkeypatch.setattr(meter.exporter, "export", refuse_once)
    before = time.time_ns()
    call(http, fake)
    after = time.time_ns()
    span = meter.span()
    assert sent == [span, span]
    assert span.start_time is not None
    assert span.end_time is not None
    assert before <= span.start_time < span.end_time <= after


@pytest.mark.usefixtures("no_app")
def test_a_call_of_which_nothing_can_be_said_is_still_told_of(
    http: ModuleType,
    meter: Meter,
    fake: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    warnings_logged: list[str],
) -> None:
    monkeypatch.setattr(_guard, "reraise", False)
    monkeypatch.setattr(_call, "usage_attributes", None)
    call(http, fake)
    assert meter.span().attributes == {}
    (warning,) = warnings_logged
    assert warning.startswith("microdollar: internal fault in Call.span: TypeError at ")
