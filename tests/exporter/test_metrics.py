# SPDX-License-Identifier: Apache-2.0
"""What the exporter says of itself: its metrics, its health, and nothing about a customer."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import grpc.aio
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client.parser import text_string_to_metric_families

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.receive import Bounds, Gate, GrpcDoor, Ingest
from microdollar_exporter.telemetry.metrics import METRICS
from microdollar_exporter.telemetry.otlp import otlp_reader
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request, span
from tests.fakes.ports import free_ports

PROTOBUF = {"content-type": "application/x-protobuf"}
ROOT = Path(__file__).parents[2]


def prometheus(exporter: Exporter) -> dict[str, float]:
    """Every figure at `GET /metrics`, by its name without our prefix and its last label."""
    answer = exporter.send("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("microdollar_exporter_")
            labels = [v for k, v in sample.labels.items() if not k.startswith("otel_scope")]
            found[" ".join([name, *labels])] = sample.value
    return found


def test_the_counters_say_what_became_of_everything(exporter: Exporter) -> None:
    """Requests by door, refusals by reason, spans by what they turned out to be."""
    made = request(
        call(),
        call(None),
        call(gen_ai__response__model="nebula-1", gen_ai__request__model="nebula-1"),
        call(customer="x" * 300),
        call(span_id=b""),
        span({"db.system": "postgresql"}),
    )
    exporter.export(made)
    exporter.export(made)
    exporter.send("POST", "/v1/traces", b"\xff", PROTOBUF)
    exporter.send("POST", "/v1/traces", b"", {"content-type": "text/plain"})
    found = prometheus(exporter)
    expected = {
        "request_received_total grpc": 2,
        "request_received_total http": 2,
        "request_refused_total malformed": 1,
        "request_refused_total unsupported": 1,
        "request_abandoned_total": 0,
        "span_received_total": 12,
        "span_ignored_total": 2,
        "span_refused_total span_id is not 8 bytes, or all zero": 2,
        "span_stored_total": 4,
        "span_deduplicated_total": 4,
        "value_dropped_total microdollar.customer.id": 2,
        "entry_superseded_total": 0,
        "call_unpriced_total": 1,
        "call_unassigned_total": 2,
        "commit_count_total": 2,
        "queue_requests": 0,
        "queue_size_bytes": 0,
        "queue_spans": 0,
        "query_active": 0,
        "request_duration_seconds_count grpc": 2,
        "lag_seconds_count": 2,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["commit_time_seconds_total"] > 0


def test_spans_from_the_future_are_booked_and_counted(exporter: Exporter) -> None:
    """A clock that is wrong by some hours is no news; one that is wrong by a day is."""
    now = time.time_ns() // 1000
    day = 86_400_000_000
    exporter.export(
        request(call(started_at=now + day - 60_000_000), call(started_at=now + day + 60_000_000))
    )
    found = prometheus(exporter)
    assert (found["span_stored_total"], found["span_ahead_total"]) == (2, 1)


def test_no_metric_names_a_customer_or_a_user(exporter: Exporter) -> None:
    """Whoever collects the metrics need not know whom the calls were for."""
    exporter.export(request(call("canary-customer", microdollar__user__id="canary-user")))
    assert b"canary" not in exporter.send("GET", "/metrics").body


def test_every_metric_is_in_the_documentation() -> None:
    """By its OpenTelemetry name, and no other is."""
    text = (ROOT / "docs" / "exporter.md").read_text("utf-8")
    named = set(re.findall(r"^\| `microdollar\.exporter\.([\w.]+)`", text, re.MULTILINE))
    assert named == {*METRICS, "request.duration", "lag"}


@contextmanager
def receiving() -> Iterator[tuple[str, list[ExportMetricsServiceRequest]]]:
    """An OTLP/HTTP server for metrics: its URL, and what it was sent."""
    received: list[ExportMetricsServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/metrics"
            received.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportMetricsServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None:
            """Not into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_metrics_are_sent_by_otlp_when_asked(tmp_path: Path) -> None:
    """At the latest when the exporter ends, so that the last figures are true."""
    with receiving() as (url, received):
        for options in (["--otlp-metrics"], []):
            exporter = Exporter(
                tmp_path / "meter.duckdb",
                options=options,
                environment={"OTEL_EXPORTER_OTLP_ENDPOINT": url},
            )
            exporter.export(request(call()))
            assert exporter.terminate() == 0
            sent = len(received)
    assert sent == len(received) > 0
    resource = received[-1].resource_metrics[0]
    attributes = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert attributes["service.name"] == "microdollar-exporter"
    values = {
        metric.name: metric.sum.data_points[0].as_int
        for metric in resource.scope_metrics[0].metrics
        if metric.WhichOneof("data") == "sum" and metric.sum.data_points
    }
    assert values["microdollar.exporter.span.stored"] == 1


def test_the_metrics_are_never_sent_to_the_exporter_itself(tmp_path: Path) -> None:
    """It says so at the start, instead of refusing its own requests for ever."""
    [port] = free_ports(1)
    for host in ("127.0.0.1", "localhost"):
        result = CliRunner(env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{port}"}).invoke(
            main,
            [
                *("serve", "--db", str(tmp_path / "meter.duckdb"), "--otlp-metrics"),
                *("--http", f"127.0.0.1:{port}", "--grpc", "127.0.0.1:0"),
            ],
        )
        assert result.exit_code == 1
        assert result.stderr.startswith(
            f"Error: OTEL_EXPORTER_OTLP_ENDPOINT is 'http://{host}:{port}', which is this exporter "
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        ("http://127.0.0.1:4318", ("0.0.0.0", 4318)),  # noqa: S104 - compared, not bound
        ("http://localhost:4318/v1/metrics", ("::", 4318)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
    ],
)
def test_an_endpoint_of_our_own_is_recognised(endpoint: str, own: tuple[str, int]) -> None:
    """By what it leads to, not by how it is written."""
    with pytest.raises(UsageError, match="which is this exporter itself"):
        otlp_reader({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}, [own])


def test_another_server_on_this_machine_is_not_the_exporter() -> None:
    """Another port, or another address with the same one; none at all is said."""
    own = [("127.0.0.1", 4318), ("127.0.0.1", 4317)]
    for endpoint in (
        "http://127.0.0.1:4319",
        "http://127.0.0.2:4318",
        "http://nowhere.invalid:4318",
    ):
        otlp_reader({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}, own).shutdown()
    with pytest.raises(UsageError, match="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        otlp_reader({}, own)


def test_a_real_exporter_is_alive_ready_and_serving(exporter: Exporter) -> None:
    """For a supervisor, a load balancer, and a gRPC client."""
    for path in ("/healthz", "/readyz"):
        answer = exporter.send("GET", path)
        assert (answer.status, answer.json()) == (200, {"status": "ok"})
    with exporter.channel() as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for service in ("", "opentelemetry.proto.collector.trace.v1.TraceService"):
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=30)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check(health_pb2.HealthCheckRequest(service="other"), timeout=30)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


class _Idle:
    """A writer that nothing is given to."""

    def submit(self, _: object) -> Future[int]:
        raise AssertionError


def test_health_over_grpc_follows_the_writer(tmp_path: Path) -> None:
    """Who watches hears of every change, and of the end."""
    status = health_pb2.HealthCheckResponse
    healthy = True

    async def scene() -> list[int]:
        nonlocal healthy
        guard = Guard(TokenFile(tmp_path / "tokens"))
        ingest = Ingest(_Idle(), guard, Gate(Bounds()))
        doors = GrpcDoor(ingest, lambda: healthy)
        port = await doors.start("127.0.0.1:0", None)
        seen: list[int] = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            async for answer in watch:
                seen.append(answer.status)
                match len(seen):
                    case 1:
                        healthy = False
                    case 2:
                        healthy = True
                    case 3:
                        stopping = asyncio.create_task(doors.stop(5))
                    case _:
                        break
            watch.cancel()
        await stopping
        ingest.close()
        return seen

    assert asyncio.run(scene()) == [
        status.SERVING,
        status.NOT_SERVING,
        status.SERVING,
        status.NOT_SERVING,
    ]
