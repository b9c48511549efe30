# SPDX-License-Identifier: Apache-2.0
"""`otel-collector-config.yaml` in a real Collector: what passes, what does not, what survives."""

import math
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from microdollar_exporter.allow import ALLOWED
from microdollar_exporter.dialects import MARKS
from microdollar_semconv import attributes, gen_ai
from tests.collector.obtain import CONFIG
from tests.collector.otlp import Values, by_key, key_values, make_request, make_span
from tests.collector.recording import RecordingBackend, recording_backend
from tests.collector.running import RunningCollector

# The first test may have to wait for the Collector to be built.
pytestmark = pytest.mark.timeout(1800)

CANARY = "canary-6f1d2c9e"

NAMES = Path(__file__).parents[1] / "collector"

EAGER = tuple(
    f"exporters::otlp/microdollar::retry_on_failure::{name}=50ms"
    for name in ("initial_interval", "max_interval")
)
"""Retries at once, so that a test need not wait for the back-off of an outage."""

RETRYABLE = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAVAILABLE,
)

CONTENT = tuple((NAMES / "content_attributes.txt").read_text("utf-8").split())
"""Where any dialect keeps prompts, answers, headers, errors and names of people."""


def _send(collector: RunningCollector, request: ExportTraceServiceRequest, timeout: float) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.Export(request, timeout=timeout, wait_for_ready=True)


def _call() -> Span:
    return make_span({"gen_ai.operation.name": "chat", "microdollar.customer.id": "acme"})


def _ids(spans: list[Span]) -> set[bytes]:
    return {span.span_id for span in spans}


@pytest.fixture
def backend() -> Iterator[RecordingBackend]:
    """Where the Collector exports to."""
    with recording_backend() as backend:
        yield backend


@pytest.fixture
def make_collector(
    otelcol: Path, backend: RecordingBackend, tmp_path: Path
) -> Iterator[Callable[..., RunningCollector]]:
    """Start Collectors on one and the same folder; whatever still runs is ended."""
    made: list[RunningCollector] = []

    def make(**environment: str) -> RunningCollector:
        made.append(
            RunningCollector(
                otelcol,
                folder=tmp_path,
                backend=backend.endpoint,
                settings=EAGER,
                environment=environment,
            )
        )
        return made[-1].start()

    yield make
    for collector in made:
        collector.kill()


@pytest.fixture
def collector(make_collector: Callable[..., RunningCollector]) -> RunningCollector:
    """A Collector with our configuration and nothing in its queue."""
    return make_collector()


def test_configuration_is_valid_as_it_stands(otelcol: Path, tmp_path: Path) -> None:
    """`otelcol validate` accepts the file with no variable set but the folder of the queue."""
    documented = {name for name, _ in _documented_variables()}
    environment = {key: value for key, value in os.environ.items() if key not in documented}
    done = subprocess.run(
        [otelcol, "validate", "--config", CONFIG],
        env={**environment, "OTEL_COLLECTOR_STORAGE": str(tmp_path / "queue")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _documented_variables() -> list[tuple[str, str]]:
    """The variables and defaults in the head comment of the file."""
    return re.findall(r"^#   ([A-Z_]+)=(\S+)", CONFIG.read_text("utf-8"), re.MULTILINE)


def test_documented_variables_are_the_ones_in_use() -> None:
    """The head comment lists every variable of the file, with the default it really has."""
    body = yaml.safe_dump(yaml.safe_load(CONFIG.read_text("utf-8")))
    used = re.findall(r"\$\{env:([A-Z_]+):-([^}]*)\}", body)
    assert sorted(set(used)) == sorted(_documented_variables())
    assert dict(used) == {
        "OTEL_COLLECTOR_GRPC": "127.0.0.1:4317",
        "OTEL_COLLECTOR_HTTP": "127.0.0.1:4318",
        "OTEL_COLLECTOR_HEALTH": "127.0.0.1:13133",
        "OTEL_COLLECTOR_STORAGE": "/var/lib/otelcol/file_storage/microdollar",
        "OTEL_COLLECTOR_QUEUE_BYTES": "1073741824",
        "MICRODOLLAR_GRPC": "127.0.0.1:14317",
        "MICRODOLLAR_INSECURE": "true",
    }


def test_nothing_in_the_configuration_may_lose_a_span() -> None:
    """The limiter comes first, nothing batches or samples, and the queue neither drops nor ends."""
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    assert config["service"]["pipelines"] == {
        "traces/microdollar": {
            "receivers": ["otlp"],
            "processors": ["memory_limiter", "filter/microdollar", "transform/microdollar"],
            "exporters": ["otlp/microdollar"],
        }
    }
    exporter = config["exporters"]["otlp/microdollar"]
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
    queue = exporter["sending_queue"]
    assert queue["block_on_overflow"] is True
    assert "batch" not in queue
    assert config["extensions"][queue["storage"]]["fsync"] is True


def test_every_attribute_of_our_own_spans_passes_unchanged(
    collector: RunningCollector, backend: RecordingBackend
) -> None:
    """Each name in `microdollar_semconv` reaches the backend with its type and value."""
    names = [
        value
        for module in (attributes, gen_ai)
        for constant, value in vars(module).items()
        if constant.isupper() and "." in value
    ]
    on_resource = {n for n in names if n.startswith(("service.", "deployment."))}
    assert len(on_resource) == 5
    assert len(names) > 40
    values: Values = {
        name + "feature" if name.endswith(".") else name: number
        for number, name in enumerate(sorted({*names} - on_resource))
    }
    values[gen_ai.RESPONSE_FINISH_REASONS] = ["stop", "length"]
    values[gen_ai.RESPONSE_TIME_TO_FIRST_CHUNK] = 0.25
    values[gen_ai.REQUEST_STREAM] = True
    values[attributes.USAGE_ADDITIONAL] = '[{"model":"gpt-image-2","output":1568}]'
    resource: Values = {name: f"value of {name}" for name in sorted(on_resource)}
    sent = make_span(values)
    sent.parent_span_id = b"\x07" * 8
    sent.status.code = Status.STATUS_CODE_ERROR

    _send(collector, make_request(sent, resource=resource), timeout=30)
    backend.wait_for_spans({sent.span_id})

    [received] = backend.spans
    assert by_key(received.attributes) == by_key(sent.attributes)
    [received_resource] = backend.resources
    assert by_key(received_resource.attributes) == by_key(key_values(resource))
    for one in (sent, received):
        one.ClearField("attributes")
    assert received == sent
    assert backend.scope_spans[0].scope.name == "microdollar"


def test_every_dialects_metadata_passes(
    collector: RunningCollector, backend: RecordingBackend
) -> None:
    """Counts, models, ids, tiers and customers pass in every spelling that is known."""
    sent = make_span({name: number for number, name in enumerate(ALLOWED)})
    _send(collector, make_request(sent), timeout=30)
    backend.wait_for_spans({sent.span_id})
    [received] = backend.spans
    assert sorted(by_key(received.attributes)) == sorted(ALLOWED)


def test_only_genai_spans_pass(collector: RunningCollector, backend: RecordingBackend) -> None:
    """One mark of any dialect lets a span through; its neighbours without a mark stay behind."""
    marked = [make_span({mark: "LLM"}) for mark in sorted(MARKS)]
    others = [
        make_span({}, "nothing"),
        make_span({"http.request.method": "GET", "server.address": "example.com"}, "GET"),
        make_span({"db.system.name": "postgresql", "model": "users"}, "SELECT"),
        make_span({"traceloop.association.properties.customer_id": "acme"}, "GET"),
    ]
    _send(collector, make_request(*others), timeout=30)
    _send(collector, make_request(others[0], *marked, *others[1:]), timeout=30)
    backend.wait_for_spans(_ids(marked))
    assert _ids(backend.spans) == _ids(marked)


def test_content_reaches_neither_the_backend_nor_the_disk_nor_the_log(
    collector: RunningCollector, backend: RecordingBackend
) -> None:
    """A canary in every known place of content leaves no trace, in an outage included."""
    backend.refuse(math.inf)
    sent = make_span(
        {
            "gen_ai.operation.name": "chat",
            "microdollar.customer.id": "acme",
            **{name: f"{name} {CANARY}" for name in CONTENT},
            **{f"private.{name}": CANARY for name in ALLOWED},
            **{f"{name}.private": CANARY for name in ("model", "user.id", "gen_ai.system")},
        }
    )
    sent.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=CANARY))
    for event in ("gen_ai.content.prompt", "exception", CANARY):
        sent.events.add(name=event, attributes=key_values({"gen_ai.prompt": CANARY}))
    request = make_request(
        sent, resource={"service.name": "shop", "process.command_line": f"--key={CANARY}"}
    )
    scope = request.resource_spans[0].scope_spans[0].scope
    scope.attributes.extend(key_values({"public_key": CANARY}))

    _send(collector, request, timeout=30)
    backend.wait_for_refusals(2)
    on_disk = [file.read_bytes() for file in collector.storage.rglob("*") if file.is_file()]
    backend.refuse(0)
    backend.wait_for_spans({sent.span_id})
    collector.terminate()

    [received] = backend.spans
    assert sorted(by_key(received.attributes)) == [
        "gen_ai.operation.name",
        "microdollar.customer.id",
    ]
    assert (list(received.events), received.status.message) == ([], "")
    assert received.status.code == Status.STATUS_CODE_ERROR
    assert sorted(by_key(backend.resources[0].attributes)) == ["service.name"]
    assert list(backend.scope_spans[0].scope.attributes) == []

    assert b"acme" in b"".join(on_disk)
    on_disk += [file.read_bytes() for file in collector.log.parent.rglob("*") if file.is_file()]
    assert CANARY.encode() not in b"".join(on_disk)
    assert CANARY.encode() not in backend.received_bytes


def test_http_is_a_door_too(collector: RunningCollector, backend: RecordingBackend) -> None:
    """OTLP/HTTP with protobuf leads to the same backend."""
    sent = _call()
    answer = urllib.request.urlopen(
        urllib.request.Request(
            f"{collector.http_endpoint}/v1/traces",
            data=make_request(sent).SerializeToString(),
            headers={"Content-Type": "application/x-protobuf"},
        ),
        timeout=30,
    )
    with answer:
        assert answer.status == 200
    backend.wait_for_spans({sent.span_id})
    assert _ids(backend.spans) == {sent.span_id}


def test_unavailable_is_retried_until_it_is_ok(
    collector: RunningCollector, backend: RecordingBackend
) -> None:
    """Three refusals and an OK make one delivery."""
    backend.refuse(3)
    sent = _call()
    _send(collector, make_request(sent), timeout=30)
    backend.wait_for_spans({sent.span_id})
    assert len(backend.refused) == 3
    assert [span.span_id for span in backend.spans] == [sent.span_id]


def test_orderly_end_in_an_outage_keeps_the_queue(
    collector: RunningCollector, backend: RecordingBackend
) -> None:
    """What was accepted before SIGTERM, with the backend down, is delivered after a restart."""
    backend.refuse(math.inf)
    sent = [_call() for _ in range(20)]
    for span in sent:
        _send(collector, make_request(span), timeout=30)
    collector.terminate()
    assert backend.spans == []
    backend.refuse(0)
    collector.start()
    backend.wait_for_spans(_ids(sent))
    assert _ids(backend.spans) == _ids(sent)


def test_kill_with_a_full_queue_loses_nothing_that_was_accepted(
    make_collector: Callable[..., RunningCollector], backend: RecordingBackend
) -> None:
    """A full queue refuses by waiting; after SIGKILL and a restart all it took is delivered."""
    collector = make_collector(OTEL_COLLECTOR_QUEUE_BYTES="4000")
    backend.refuse(math.inf)
    accepted: list[Span] = []
    while len(accepted) < 1000:
        sent = _call()
        try:
            _send(collector, make_request(sent), timeout=5)
        except grpc.RpcError as error:
            # Who ends the waiting first, client or server, is chance; OTLP retries all of these.
            assert error.code() in RETRYABLE
            assert "queue is full" not in error.details()
            break
        accepted.append(sent)
    # About a hundred bytes a span: it was the size that stopped us, and neither much too early
    # nor never.
    assert 10 < len(accepted) < 60
    backend.wait_for_refusals(1)
    collector.kill()
    assert backend.spans == []

    backend.refuse(0)
    collector.start()
    backend.wait_for_spans(_ids(accepted))
    # The sender of the last one was told nothing, so it may be there as well.
    assert _ids(backend.spans) - {sent.span_id} == _ids(accepted)
    after = _call()
    _send(collector, make_request(after), timeout=30)
    backend.wait_for_spans({after.span_id})
