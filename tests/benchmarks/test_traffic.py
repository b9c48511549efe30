# SPDX-License-Identifier: Apache-2.0
"""The traffic that benchmarks send is what our instrumentation sends, and its sums are its own."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.sender import LENGTH
from benchmarks.traffic import APPS, BATCH, MODELS, Sums, Traffic, generate
from docs.demo.run import HERE as DEMO
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga
from tests.collector.otlp import by_key
from tests.collector.recording import recording_backend
from tests.e2e.instrumented import app_environment
from tests.fakes.otlp import STARTED_AT
from tests.fakes.provider import PROVIDERS, FakeProvider, Replies

REQUESTS, PER_REQUEST = 20, 300
KIND = (ga.OPERATION_NAME, ga.PROVIDER_NAME, ga.OPENAI_API_TYPE, md.USAGE_SOURCE)
WHO = (md.CUSTOMER_ID, md.USER_ID, md.TAG_PREFIX + "feature")


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    path = tmp_path_factory.mktemp("traffic") / "traffic"
    return generate(
        path, spans=REQUESTS * PER_REQUEST, per_request=PER_REQUEST, start=STARTED_AT / 1e6
    )


def requests(traffic: Traffic) -> Iterator[ExportTraceServiceRequest]:
    with traffic.path.open("rb") as file:
        while head := file.read(LENGTH.size):
            yield ExportTraceServiceRequest.FromString(file.read(LENGTH.unpack(head)[0]))


def spans(traffic: Traffic) -> list[Span]:
    return [
        span
        for request in requests(traffic)
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def shapes(found: Iterable[Span]) -> dict[tuple[object, ...], list[tuple[str, object]]]:
    """For each kind of call its attributes in their order, each with the type of its value."""
    shapes: dict[tuple[object, ...], list[tuple[str, object]]] = {}
    for span in found:
        values = by_key(span.attributes)
        kind = [values[name].string_value if name in values else None for name in KIND]
        shapes[*kind, ga.REQUEST_STREAM in values] = [
            (one.key, one.value.WhichOneof("value"))
            for one in span.attributes
            if one.key not in WHO
        ]
    return shapes


def test_requests_are_exports_of_many_processes(traffic: Traffic) -> None:
    """A request larger than an export holds several, and a process numbers its calls from 1."""
    sequences = defaultdict(list)
    sizes = []
    for request in requests(traffic):
        for resource_spans in request.resource_spans:
            [scope_spans] = resource_spans.scope_spans
            sizes.append(len(scope_spans.spans))
            for span in scope_spans.spans:
                values = by_key(span.attributes)
                sequences[values[md.BOOT_ID].string_value].append(
                    values[md.CALL_SEQUENCE].int_value
                )
    assert sizes == [BATCH, PER_REQUEST - BATCH] * REQUESTS
    assert len(sequences) == APPS
    assert all(found == list(range(1, len(found) + 1)) for found in sequences.values())


def test_no_two_spans_have_the_same_id(traffic: Traffic) -> None:
    found = spans(traffic)
    assert len({span.span_id for span in found}) == len(found) == traffic.spans
    assert all(0 < span.start_time_unix_nano < span.end_time_unix_nano for span in found)


def test_the_sums_are_those_of_the_spans(traffic: Traffic) -> None:
    """Costs are those of genai-prices' calculator, call by call."""
    sums = {model.name: Sums() for model in MODELS}
    providers = {model.name: model.priced_by for model in MODELS}
    at = datetime.fromtimestamp(STARTED_AT / 1e6, UTC)
    for span in spans(traffic):
        values = {name: value.int_value for name, value in by_key(span.attributes).items()}
        model = by_key(span.attributes)[ga.REQUEST_MODEL].string_value
        given, made = values.get(ga.USAGE_INPUT_TOKENS, 0), values.get(ga.USAGE_OUTPUT_TOKENS, 0)
        read = values.get(ga.USAGE_CACHE_READ_INPUT_TOKENS, 0)
        written = values.get(ga.USAGE_CACHE_WRITE_INPUT_TOKENS, 0)
        usage = Usage(
            input_tokens=given,
            output_tokens=made,
            cache_read_tokens=read,
            cache_write_tokens=written,
        )
        cost = calc_price(
            usage, model, provider_id=providers[model], genai_request_timestamp=at
        ).total_price
        sums[model].calls += 1
        sums[model].input_uncached += given - read - written
        sums[model].cache_read += read
        sums[model].cache_write_5m += values.get(md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS, 0)
        sums[model].output += made
        sums[model].reasoning += values.get(ga.USAGE_REASONING_OUTPUT_TOKENS, 0)
        sums[model].cost += int(cost * 10**12)
    assert sums == traffic.sums
    assert all(one.calls and one.cost for one in sums.values())


def test_spans_have_the_attributes_of_metered_calls(traffic: Traffic) -> None:
    """The demo's app makes calls of every kind; only some of them are refused there."""
    with FakeProvider() as fake, recording_backend() as backend:
        for name in PROVIDERS:
            fake.respond(name, Replies(DEMO / "replies"))
        environment = app_environment(fake, f"http://127.0.0.1:{backend.port}")
        environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
        instrument = Path(sys.executable).with_name("opentelemetry-instrument")
        subprocess.run(
            [instrument, sys.executable, DEMO / "app.py"],
            env=environment,
            check=True,
            capture_output=True,
        )
        real = shapes(span for span in backend.spans if md.BOOT_ID in by_key(span.attributes))
    made = shapes(spans(traffic))
    answered = {kind for kind in made if md.USAGE_SOURCE_PROVIDER in kind}
    assert answered <= real.keys()
    for kind in made.keys() & real.keys():
        assert made[kind] == real[kind], kind
