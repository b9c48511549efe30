# SPDX-License-Identifier: Apache-2.0
"""Hostile bytes at both doors: no fault of ours, no stop, and good requests around them stored."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exporter.test_receive_forms import otlp_json
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

GOOD = request(call(), call(None)).SerializeToString()
CANARY = "canary-7d2e"
TYPES = ("application/x-protobuf", "application/json", "application/grpc", "text/plain", "")
HEADERS = (
    *("authorization", "baggage", "cookie", "forwarded", "from", "host", "origin", "referer"),
    *("tracestate", "user-agent", "via", "x-api-key", "x-forwarded-for", "x-request-id"),
    *("x-microdollar-customer", CANARY),
)
PATHS = (
    *("/v1/traces", f"/v1/traces?{CANARY}=1", f"/{CANARY}", f"/v1/acts/{CANARY}"),
    *(f"/v1/report?customer={CANARY}", f"/metrics?{CANARY}", f"/healthz/{CANARY}"),
)
ENCODINGS = ("identity", "gzip", "zstd", "deflate", "br", "gzip, gzip", "")

hostile = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """One exporter for all of it; in the end it has no fault in its log and closes in order."""
    exporter = Exporter(tmp_path_factory.mktemp("hostile") / "meter.duckdb")
    yield exporter
    assert exporter.terminate() == 0
    assert "a fault" not in exporter.log
    assert "Traceback" not in exporter.log
    assert "ASGI" not in exporter.log


@st.composite
def mutated(draw: st.DrawFn, good: bytes = GOOD) -> bytes:
    """A good request with bytes taken out, put in and changed."""
    body = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        position = draw(st.integers(0, len(body)))
        length = draw(st.integers(0, 12))
        body[position : position + length] = draw(st.binary(max_size=12))
    return bytes(body)


def still_works(exporter: Exporter) -> None:
    """A good request is stored, by either door."""
    before = exporter.status()["spans_stored"]
    exporter.export(request(call()))
    body = request(call()).SerializeToString()
    headers = {"content-type": "application/x-protobuf"}
    assert exporter.send("POST", "/v1/traces", body, headers).status == 200
    assert exporter.status()["spans_stored"] == before + 2


@hostile
@given(body=st.one_of(st.binary(max_size=300), mutated()))
def test_bytes_over_grpc_are_taken_or_refused_for_good(shared: Exporter, body: bytes) -> None:
    """Never by a code on which a sender would send them again, or that hides a fault."""
    try:
        shared.export_bytes(body)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert str(error.details()).startswith("the body is not")


@hostile
@given(
    body=st.one_of(
        st.binary(max_size=300),
        mutated(),
        mutated(json.dumps(otlp_json(request(call()))).encode()),
    ),
    form=st.sampled_from(TYPES),
    encoding=st.sampled_from(ENCODINGS),
)
def test_bytes_over_http_are_taken_or_refused_for_good(
    shared: Exporter, body: bytes, form: str, encoding: str
) -> None:
    """By a status that says so."""
    headers = {"content-type": form, "content-encoding": encoding}
    answer = shared.send("POST", "/v1/traces", body, headers)
    assert answer.status in (200, 400, 415)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
)
names = st.sampled_from(
    [
        *("resourceSpans", "resource", "scopeSpans", "scope", "spans", "attributes"),
        *("traceId", "spanId", "kind", "key", "value", "name", "status", "code"),
        *("stringValue", "intValue", "arrayValue", "kvlistValue", "values", "startTimeUnixNano"),
    ]
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@hostile
@given(document=documents)
def test_json_of_any_shape_is_taken_or_refused_for_good(shared: Exporter, document: object) -> None:
    """With our names in the wrong places."""
    body = json.dumps({"resourceSpans": document}, ensure_ascii=True)
    answer = shared.send("POST", "/v1/traces", body, {"content-type": "application/json"})
    assert answer.status in (200, 400)


@hostile
@given(data=st.one_of(st.binary(max_size=200), mutated(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n")))
def test_what_is_not_http_is_let_go(shared: Exporter, data: bytes) -> None:
    """At either port."""
    for port in (shared.http_port, shared.grpc_port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            try:
                answer = line.recv(65536)
            except ConnectionError:
                continue
        assert b" 500 " not in answer.split(b"\r\n")[0]


def test_the_exporter_still_works(shared: Exporter) -> None:
    """After all of the above."""
    still_works(shared)
    refused = shared.status()["requests_refused_by_reason"]
    assert {"malformed", "unsupported"} <= set(refused)
    assert "fault" not in refused


def test_senders_that_vanish_in_the_middle_leave_nothing_under_way(shared: Exporter) -> None:
    """Neither memory nor a place in the line."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", shared.http_port)) as line:
            line.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n"
                b"content-type: application/x-protobuf\r\n\r\n" + bytes(1000)
            )
    calls = []
    with shared.channel() as channel:
        export = channel.stream_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        for _ in range(20):
            calls.append(export.future(iter(())))
        for made in calls:
            assert made.exception().code() == grpc.StatusCode.INVALID_ARGUMENT
    while shared.status()["requests_under_way"]:
        pass
    assert shared.status()["bytes_under_way"] == 0
    assert shared.status()["requests_refused_by_reason"]["broken_off"] == 40
    still_works(shared)


def test_a_canary_in_headers_paths_and_queries_is_found_nowhere(tmp_path: Path) -> None:
    """Tokens and baggage stand there, and now and then a prompt."""
    with Exporter(tmp_path / "meter.duckdb") as exporter:
        headers = dict.fromkeys(HEADERS, CANARY)
        good = request(call()).SerializeToString()
        for path in PATHS:
            for method in ("POST", "GET", CANARY.upper()):
                for form in ("application/x-protobuf", "application/json", CANARY):
                    for encoding in ("identity", CANARY):
                        sent = {**headers, "content-type": form, "content-encoding": encoding}
                        exporter.send(method, path, good, sent)
                        exporter.send(method, path, CANARY, sent)
        keys = ("authorization", "baggage", "user-agent", "x-microdollar-customer", "x-canary-bin")
        metadata = [(key, CANARY.encode() if key.endswith("-bin") else CANARY) for key in keys]
        exporter.export_bytes(good, metadata=metadata)
        with pytest.raises(grpc.RpcError):
            exporter.export_bytes(CANARY.encode(), metadata=metadata)
        exporter.send("GET", "/metrics")
        for line in (f"GET /{CANARY} HTTP/9.9", f"{CANARY}: {CANARY}", f"GET /\u00e9{CANARY}"):
            with socket.create_connection(("127.0.0.1", exporter.http_port)) as raw:
                raw.sendall(f"{line}\r\n\r\n".encode())
                raw.recv(1000)
        found = exporter.send("GET", "/metrics").body + json.dumps(exporter.status()).encode()
        assert exporter.status()["spans_stored"] == 1
        exporter.kill()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"meter.duckdb"} < set(files)
    files |= {"the log": exporter.log.encode(), "its figures": found}
    assert [name for name, content in files.items() if CANARY.encode() in content.lower()] == []
