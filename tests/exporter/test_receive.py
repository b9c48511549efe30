# SPDX-License-Identifier: Apache-2.0
"""The OTLP doors of a real exporter process."""

import asyncio
import gzip
import http.client
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from microdollar_exporter import connect
from microdollar_exporter.ask.connect import Card
from microdollar_exporter.errors import Busy, MalformedRequest, StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.receive.ingest import Ingest, RefusedExport
from microdollar_exporter.receive.status import refusal
from microdollar_exporter.store import Writer
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, key_values, request, span

PROTOBUF = {"content-type": "application/x-protobuf"}


def post(
    exporter: Exporter, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send one HTTP request to the exporter."""
    connection = http.client.HTTPConnection("127.0.0.1", exporter.http_port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def ledger_calls(exporter: Exporter) -> int:
    """How many calls are booked."""
    connection = connect(exporter.db)
    [row] = connection.sql("SELECT coalesce(sum(calls), 0)::BIGINT AS n FROM ledger").to_pylist()
    return int(row["n"])


def test_an_acknowledged_export_survives_a_kill(exporter: Exporter) -> None:
    """OK means that it is on disk."""
    exporter.export(request(call(), call()))
    exporter.kill()
    with Exporter(exporter.db) as again:
        assert ledger_calls(again) == 2


def test_a_redelivered_request_changes_nothing_also_after_a_restart(exporter: Exporter) -> None:
    """OTLP senders repeat what they got no answer for."""
    sent = request(call(), call())
    exporter.export(sent)
    exporter.export(sent)
    assert ledger_calls(exporter) == 2
    assert exporter.terminate() == 0
    with Exporter(exporter.db) as again:
        again.export(sent)
        assert ledger_calls(again) == 2


def test_both_doors_lead_to_the_same_ledger(exporter: Exporter) -> None:
    """gRPC, HTTP plain and HTTP gzipped; the same span by another door is the same span."""
    sent = request(call())
    exporter.export(sent)
    body = sent.SerializeToString()
    status, _, answer = post(exporter, "/v1/traces", body, PROTOBUF)
    assert (status, ExportTraceServiceResponse.FromString(answer)) == (
        200,
        ExportTraceServiceResponse(),
    )
    other = gzip.compress(request(call()).SerializeToString())
    headers = {**PROTOBUF, "content-encoding": "gzip"}
    assert post(exporter, "/v1/traces", other, headers)[0] == 200
    assert ledger_calls(exporter) == 2


def test_bad_spans_are_refused_by_partial_success_and_their_neighbours_stored(
    exporter: Exporter,
) -> None:
    """A sender must not send them again, so the reason is in the answer."""
    answer = exporter.export(request(call(), call(trace_id=b"short"), call(span_id=bytes(8))))
    assert answer.partial_success.rejected_spans == 2
    assert answer.partial_success.error_message == (
        "1 spans: span_id is not 8 bytes, or all zero; "
        "1 spans: trace_id is not 16 bytes, or all zero"
    )
    assert ledger_calls(exporter) == 1


def test_spans_that_are_not_genai_are_acknowledged_and_left(exporter: Exporter) -> None:
    """An exporter behind an unfiltered pipeline must not make its sender retry."""
    assert (
        exporter.export(request(span({"db.system": "postgresql"}))) == ExportTraceServiceResponse()
    )
    assert ledger_calls(exporter) == 0


def test_genai_spans_of_others_are_kept_as_evidence_and_not_booked(exporter: Exporter) -> None:
    """They may describe a call that is booked already."""
    exporter.export(request(call(), scope="opentelemetry.instrumentation.openai_v2"))
    assert ledger_calls(exporter) == 0
    connection = connect(exporter.db)
    assert connection.sql("SELECT rule FROM spans").to_pylist() == [{"rule": "gen_ai/1"}]


def test_a_malformed_request_is_invalid_argument(exporter: Exporter) -> None:
    """Sending it again cannot help."""
    with grpc.insecure_channel(f"127.0.0.1:{exporter.grpc_port}") as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            request_serializer=None,
            response_deserializer=None,
        )
        with pytest.raises(grpc.RpcError) as caught:
            export(b"\xff\xff\xff", timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert post(exporter, "/v1/traces", b"\xff\xff\xff", PROTOBUF)[0] == 400


def test_an_http_request_in_another_form_is_refused(exporter: Exporter) -> None:
    """A small bomb of zeros included."""
    refused = [
        ({"content-type": "text/plain"}, b"", 415),
        ({**PROTOBUF, "content-encoding": "br"}, b"", 415),
        ({**PROTOBUF, "content-encoding": "gzip"}, b"not gzip", 400),
        ({**PROTOBUF, "content-encoding": "gzip"}, b"", 400),
        ({**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(b"x" * 999)[:-9], 400),
        ({**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(bytes(65 << 20)), 413),
    ]
    for headers, body, status in refused:
        assert post(exporter, "/v1/traces", body, headers)[0] == status
    assert exporter.status()["requests_refused"] == len(refused)


def test_gzip_of_several_members_is_read_to_its_end(exporter: Exporter) -> None:
    """An acknowledgement for the first half would lose the second."""
    parts = [gzip.compress(request(call()).SerializeToString()) for _ in range(2)]
    headers = {**PROTOBUF, "content-encoding": "gzip"}
    assert post(exporter, "/v1/traces", b"".join(parts), headers)[0] == 200
    assert ledger_calls(exporter) == 2


def test_a_request_that_is_too_large_is_refused_by_a_code_of_ours(exporter: Exporter) -> None:
    """GRPC's own would promise that sending it again could help."""
    with pytest.raises(grpc.RpcError) as caught:
        exporter.export(request(call(gen_ai__input__messages="x" * (65 << 20))))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_request_beyond_the_default_size_of_grpc_is_taken(exporter: Exporter) -> None:
    """A sender drops what is refused for its size."""
    many = request(*(call(gen_ai__input__messages="x" * 100_000) for _ in range(60)))
    assert len(many.SerializeToString()) > 5_000_000
    exporter.export(many)
    assert ledger_calls(exporter) == 60


def test_concurrent_senders_are_all_acknowledged_and_all_counted(exporter: Exporter) -> None:
    """Twenty at a time, half of it sent twice."""
    requests = [request(*(call() for _ in range(10))) for _ in range(40)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(exporter.export, requests + requests[:20]))
    assert ledger_calls(exporter) == 400


def test_sigterm_writes_what_was_taken_and_leaves_an_ordinary_file(exporter: Exporter) -> None:
    """No address card, no write-ahead log, exit status 0."""
    exporter.export(request(call()))
    assert exporter.terminate() == 0
    assert not Card.path(exporter.db).exists()
    assert not exporter.db.with_name(exporter.db.name + ".wal").exists()
    connection = connect(exporter.db)
    assert connection.sql("SELECT count(*) AS n FROM spans").to_pylist() == [{"n": 1}]


def test_an_address_in_use_is_said_with_the_option_that_changes_it(
    exporter: Exporter, tmp_path: Path
) -> None:
    """For either door."""
    for ports, option in (
        ({"grpc_port": exporter.grpc_port}, "--grpc"),
        ({"http_port": exporter.http_port}, "--http"),
    ):
        with pytest.raises(RuntimeError, match=f"{option} HOST:PORT"):
            Exporter(tmp_path / "other.duckdb", **ports)


def test_counters_say_what_became_of_every_span(exporter: Exporter) -> None:
    """Nothing is dropped in silence."""
    sent = request(call(), call(span_id=b""), span({"a": "b"}), call(customer="x" * 300))
    exporter.export(sent)
    exporter.export(sent)
    counters = exporter.status()
    assert counters == {
        "requests": 2,
        "requests_refused": 0,
        "spans_evidence": 4,
        "spans_ignored": 2,
        "spans_refused": 2,
        "values_dropped": 2,
        "spans_stored": 2,
        "spans_duplicate": 2,
        "queries_running": 0,
    }
    assert "values of microdollar.customer.id are dropped" in exporter.log


def test_content_in_any_field_of_a_request_stays_out_of_files_and_log(exporter: Exporter) -> None:
    """Whatever a Collector in front has let through."""
    canary = "canary-93b1"
    sent = call(gen_ai__input__messages=canary, canary=canary, microdollar__call__sequence=canary)
    sent.name = sent.trace_state = sent.status.message = canary
    sent.events.add(name=canary, attributes=key_values({"exception.message": canary}))
    sent.links.add(trace_id=b"0" * 16, span_id=b"1" * 8, attributes=key_values({canary: canary}))
    made = request(sent, resource={"process.command_args": canary})
    made.resource_spans[0].schema_url = canary
    made.resource_spans[0].scope_spans[0].schema_url = canary
    made.resource_spans[0].scope_spans[0].scope.attributes.extend(key_values({canary: canary}))
    exporter.export(made)
    assert ledger_calls(exporter) == 1
    rows = [connect(exporter.db).sql(f"SELECT * FROM {t}").to_pylist() for t in ("spans", "ledger")]
    exporter.kill()
    files = [path.read_bytes() for path in exporter.db.parent.iterdir()]
    assert len(files) >= 2
    assert canary not in repr(rows) + repr(files) + exporter.log


def test_the_error_law() -> None:
    """Senders drop data on INTERNAL and UNKNOWN, and on RESOURCE_EXHAUSTED without RetryInfo."""
    law = {
        MalformedRequest("m"): (grpc.StatusCode.INVALID_ARGUMENT, 400, False),
        Busy("b"): (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, True),
        StoreUnavailable("s"): (grpc.StatusCode.UNAVAILABLE, 503, True),
        KeyError("a fault of ours"): (grpc.StatusCode.UNAVAILABLE, 503, True),
    }
    for error, (code, http_status, retried) in law.items():
        refused = refusal(error)
        assert (refused.code, refused.http_status) == (code, http_status)
        details = Status.FromString(refused.details()).details
        assert [detail.Is(RetryInfo.DESCRIPTOR) for detail in details] == [True] * retried


class _Failing(Writer):
    """A writer whose store is out of order."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def submit(self, evidence: Sequence[Evidence]) -> Future[int]:
        raise self._error


@pytest.mark.parametrize("error", [Busy("full"), StoreUnavailable("disk"), KeyError("ours")])
def test_a_fault_that_is_not_the_senders_asks_it_to_send_again(error: Exception) -> None:
    """And its message holds nothing of the request."""
    ingest = Ingest(_Failing(error))
    with pytest.raises(RefusedExport) as caught:
        asyncio.run(ingest.export(request(call("secret-customer")).SerializeToString()))
    assert caught.value.refusal.retry_after is not None
    assert "secret-customer" not in caught.value.refusal.message
    assert ingest.counters["requests_refused"] == 1
