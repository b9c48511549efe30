# SPDX-License-Identifier: Apache-2.0
"""The OTLP doors of a real exporter process."""

import asyncio
import gzip
import http.client
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from microdollar_exporter import connect
from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.ask.connect import Card
from microdollar_exporter.errors import (
    BrokenOff,
    Busy,
    Forbidden,
    MalformedRequest,
    RateLimited,
    StoreUnavailable,
    TokensUnreadable,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unsupported,
)
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.listen import LOOPBACK, HttpDoor, bind
from microdollar_exporter.receive import Bounds, Gate, GrpcDoor, Ingest, ingest, otlp_routes
from microdollar_exporter.receive.ingest import Body, Read, RefusedExport
from microdollar_exporter.receive.limits import Held
from microdollar_exporter.receive.status import Refusal, refusal
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, key_values, request, span

PROTOBUF = {"content-type": "application/x-protobuf"}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


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
    answer = exporter.send("POST", "/v1/traces", body, PROTOBUF)
    assert (answer.status, ExportTraceServiceResponse.FromString(answer.body)) == (
        200,
        ExportTraceServiceResponse(),
    )
    other = gzip.compress(request(call()).SerializeToString())
    headers = {**PROTOBUF, "content-encoding": "gzip"}
    assert exporter.send("POST", "/v1/traces", other, headers).status == 200
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


def test_genai_spans_of_others_are_booked_by_the_rule_of_their_dialect(exporter: Exporter) -> None:
    """The evidence says by which."""
    exporter.export(request(call(), scope="opentelemetry.instrumentation.openai_v2"))
    assert ledger_calls(exporter) == 1
    [row] = connect(exporter.db).sql("SELECT rule FROM spans").to_pylist()
    assert not row["rule"].startswith("microdollar/")


def test_a_malformed_request_is_invalid_argument(exporter: Exporter) -> None:
    """Sending it again cannot help."""
    with pytest.raises(grpc.RpcError) as caught:
        exporter.export_bytes(b"\xff\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert exporter.send("POST", "/v1/traces", b"\xff\xff\xff", PROTOBUF).status == 400


def test_gzip_of_several_members_is_read_to_its_end(exporter: Exporter) -> None:
    """An acknowledgement for the first half would lose the second."""
    parts = [gzip.compress(request(call()).SerializeToString()) for _ in range(2)]
    headers = {**PROTOBUF, "content-encoding": "gzip"}
    assert exporter.send("POST", "/v1/traces", b"".join(parts), headers).status == 200
    assert ledger_calls(exporter) == 2


def test_a_request_that_is_too_large_is_refused_by_a_code_of_ours(tmp_path: Path) -> None:
    """GRPC's own would promise that sending it again could help; far beyond, it is gRPC's."""
    options = ["--max-request-mib", "1"]
    with Exporter(tmp_path / "meter.duckdb", options=options) as exporter:
        exporter.export_bytes(
            request(call(gen_ai__input__messages="x" * 1_000_000)).SerializeToString()
        )
        for mebibytes, code, reason in (
            (1.5, grpc.StatusCode.INVALID_ARGUMENT, "too_large"),
            (2.5, grpc.StatusCode.RESOURCE_EXHAUSTED, "broken_off"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                exporter.export_bytes(bytes(int(mebibytes * 1024 * 1024)))
            assert caught.value.code() == code
            assert exporter.status()["requests_refused_by_reason"][reason] == 1


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
    other = tmp_path / "other.duckdb"
    with pytest.raises(RuntimeError, match="--grpc HOST:PORT"):
        Exporter(other, grpc_port=exporter.grpc_port)
    with pytest.raises(RuntimeError, match="--http HOST:PORT"):
        Exporter(other, http_port=exporter.http_port)


def test_counters_say_what_became_of_every_span(exporter: Exporter) -> None:
    """Nothing is dropped in silence."""
    sent = request(call(), call(span_id=b""), span({"a": "b"}), call(customer="x" * 300))
    exporter.export(sent)
    exporter.export(sent)
    counters = exporter.status()
    assert counters == {
        "requests": 2,
        "requests_refused": 0,
        "requests_refused_by_reason": {},
        "requests_abandoned": 0,
        "requests_under_way": 0,
        "bytes_under_way": 0,
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
    code = grpc.StatusCode
    law = {
        MalformedRequest("m"): ("malformed", code.INVALID_ARGUMENT, 400, None),
        BrokenOff("m"): ("broken_off", code.INVALID_ARGUMENT, 400, None),
        TooLarge("m"): ("too_large", code.INVALID_ARGUMENT, 413, None),
        Unsupported("m"): ("unsupported", code.INVALID_ARGUMENT, 415, None),
        Unauthenticated("m"): ("unauthenticated", code.UNAUTHENTICATED, 401, None),
        Forbidden("m"): ("forbidden", code.PERMISSION_DENIED, 403, None),
        Busy("m"): ("busy", code.RESOURCE_EXHAUSTED, 429, 1),
        RateLimited("m", 7): ("rate_limited", code.RESOURCE_EXHAUSTED, 429, 7),
        TooSlow("m"): ("too_slow", code.UNAVAILABLE, 503, 1),
        TokensUnreadable("m"): ("tokens_unreadable", code.UNAVAILABLE, 503, 1),
        StoreUnavailable("m"): ("store_unavailable", code.UNAVAILABLE, 503, 1),
        KeyError("a fault of ours"): ("fault", code.UNAVAILABLE, 503, 1),
    }
    for error, (reason, expected, http_status, retry_after) in law.items():
        refused = refusal(error)
        assert (refused.reason, refused.code, refused.http_status) == (
            reason,
            expected,
            http_status,
        )
        status = Status.FromString(refused.details())
        assert (status.code, status.message) == (expected.value[0], refused.message)
        retries = []
        for detail in status.details:
            info = RetryInfo()
            assert detail.Unpack(info)
            retries.append(info.retry_delay.seconds)
        assert retries == ([] if retry_after is None else [retry_after])
        assert json_format.Parse(refused.json(), Status()) == status


class _Failing:
    """A writer whose store is out of order."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def submit(self, evidence: Sequence[Evidence]) -> Future[int]:
        raise self._error


def refused_by(folder: Path, error: Exception, read: Read) -> tuple[Ingest, Refusal]:
    """What a sender is told when storing raises this, and the request arrives so."""

    async def scene() -> tuple[Ingest, Refusal]:
        taken = Ingest(_Failing(error), Guard(TokenFile(folder / "tokens")), Gate(Bounds()))
        with pytest.raises(RefusedExport) as caught:
            await taken.export("grpc", None, 0, read)
        taken.close()
        return taken, caught.value.refusal

    return asyncio.run(scene())


@pytest.mark.parametrize("error", [Busy("full"), StoreUnavailable("disk"), KeyError("secret")])
def test_a_fault_that_is_not_the_senders_asks_it_to_send_again(
    tmp_path: Path, error: Exception
) -> None:
    """And its message holds nothing of the request, wherever on the way it is."""

    async def arrives(_: Held) -> Body:
        return Body(request(call("secret-customer")).SerializeToString())

    async def breaks(_: Held) -> Body:
        raise error

    for read in (arrives, breaks):
        taken, refused = refused_by(tmp_path, error, read)
        assert refused.retry_after is not None
        assert "secret" not in refused.message
        assert taken.refused == {refused.reason: 1}


def test_no_fault_behind_a_door_is_internal_or_unknown(tmp_path: Path) -> None:
    """Senders drop data on those: over gRPC as over HTTP the answer is to send again."""
    body = request(call()).SerializeToString()

    def send(grpc_port: int, http_port: int) -> tuple[grpc.StatusCode, int]:
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            error = channel.unary_unary(EXPORT).future(body, timeout=30).exception()
        line = http.client.HTTPConnection("127.0.0.1", http_port, timeout=30)
        with closing(line):
            line.request("POST", "/v1/traces", body, PROTOBUF)
            return error.code(), line.getresponse().status

    async def scene() -> tuple[grpc.StatusCode, int]:
        taken = Ingest(_Failing(KeyError()), Guard(TokenFile(tmp_path / "t")), Gate(Bounds()))
        grpc_door = GrpcDoor(taken, lambda: True)
        port = await grpc_door.start("127.0.0.1:0", None)
        http_door = HttpDoor(bind("--http", LOOPBACK), otlp_routes(taken), 5)
        told = await asyncio.to_thread(send, port, http_door.address.port)
        await asyncio.gather(grpc_door.stop(5), http_door.stop())
        taken.close()
        return told

    assert asyncio.run(scene()) == (grpc.StatusCode.UNAVAILABLE, 503)


@pytest.mark.parametrize(("silent_seconds", "lines"), [(60, 1), (0, 3)])
def test_a_reason_is_logged_again_after_a_minute(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    silent_seconds: int,
    lines: int,
) -> None:
    """A disk that is full again must be seen again, and no flood may fill it with lines."""
    monkeypatch.setattr(ingest, "_SILENT_SECONDS", silent_seconds)

    async def breaks(_: Held) -> Body:
        raise StoreUnavailable("the disk is full")

    async def scene() -> None:
        taken = Ingest(_Failing(KeyError()), Guard(TokenFile(tmp_path / "t")), Gate(Bounds()))
        for _ in range(3):
            with pytest.raises(RefusedExport):
                await taken.export("grpc", None, 0, breaks)
        taken.close()

    asyncio.run(scene())
    assert caplog.messages == [
        f"an export is refused: the disk is full; {count} so far for this reason "
        "(said once a minute)"
        for count in range(1, lines + 1)
    ]


def test_a_request_that_takes_too_long_to_arrive_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow sender holds room that others could use."""
    monkeypatch.setattr(ingest, "_ARRIVAL_SECONDS", 0)

    async def scene() -> Refusal:
        taken = Ingest(_Failing(KeyError()), Guard(TokenFile(tmp_path / "t")), gate)

        async def read(_: Held) -> Body:
            await asyncio.Event().wait()
            raise AssertionError

        with pytest.raises(RefusedExport) as caught:
            await taken.export("http", None, 10, read)
        taken.close()
        return caught.value.refusal

    gate = Gate(Bounds())
    assert asyncio.run(scene()).reason == "too_slow"
    assert (gate.bytes, gate.requests) == (0, 0)


def test_a_sender_that_leaves_is_counted_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """It will send again: nothing was promised to it."""

    async def scene() -> Ingest:
        taken = Ingest(_Failing(KeyError()), Guard(TokenFile(tmp_path / "t")), gate)

        async def read(_: Held) -> Body:
            arriving.set()
            await asyncio.Event().wait()
            raise AssertionError

        arriving = asyncio.Event()
        task = asyncio.create_task(taken.export("grpc", None, 10, read))
        await arriving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        taken.close()
        return taken

    gate = Gate(Bounds())
    taken = asyncio.run(scene())
    assert (taken.abandoned, taken.refused.total(), gate.bytes, gate.requests) == (1, 0, 0, 0)
