# SPDX-License-Identifier: Apache-2.0
"""The forms in which OTLP arrives: protobuf and JSON, packed and plain."""

import base64
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from microdollar_exporter import connect
from microdollar_exporter.errors import MalformedRequest, TooLarge, Unsupported
from microdollar_exporter.receive.encodings import unpack
from microdollar_exporter.receive.otlp_json import to_protobuf
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "deflate": zlib.compress,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """One exporter for all that can be told apart in it."""
    with Exporter(tmp_path_factory.mktemp("forms") / "meter.duckdb") as running:
        yield running


def outputs(exporter: Exporter, customer: str) -> list[int]:
    """The output tokens of a customer's calls in the ledger."""
    query = "SELECT output FROM ledger WHERE customer_id = ? ORDER BY ALL"
    return [row["output"] for row in connect(exporter.db).sql(query, [customer]).to_pylist()]


def otlp_json(made: ExportTraceServiceRequest) -> dict[str, Any]:
    """A request as OTLP/JSON: protobuf's mapping, with ids in hexadecimal and enums as numbers."""
    document: dict[str, Any] = json_format.MessageToDict(made, use_integers_for_enums=True)
    for resource_spans in document.get("resourceSpans", ()):
        for scope_spans in resource_spans.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return document


def spans_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans of its only scope."""
    found: list[dict[str, Any]] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return found


def read(document: Any) -> tuple[ExportTraceServiceRequest, int]:
    """What the JSON door makes of a document."""
    body, refused = to_protobuf(json.dumps(document).encode())
    return ExportTraceServiceRequest.FromString(body), refused


@pytest.mark.parametrize("packed", ["identity", *PACKERS])
def test_protobuf_and_json_lead_to_the_same_ledger(shared: Exporter, packed: str) -> None:
    """Plain and packed; each answers in the form that it was asked in."""
    sent = request(call(packed), call(packed, gen_ai__usage__output_tokens=7))
    forms = [
        (PROTOBUF, sent.SerializeToString()),
        (JSON, json.dumps(otlp_json(sent)).encode()),
    ]
    before = shared.status()["spans_duplicate"]
    for form, body in forms:
        headers = {**form, "content-encoding": packed}
        content = PACKERS[packed](body) if packed in PACKERS else body
        answer = shared.send("POST", "/v1/traces", content, headers)
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == form["content-type"]
        assert answer.body == (b"{}" if form == JSON else b"")
        assert outputs(shared, packed) == [7, 50]
    assert shared.status()["spans_duplicate"] == before + 2


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_grpc_may_be_packed_too(shared: Exporter, compression: grpc.Compression) -> None:
    """As the Collector does unless told otherwise."""
    customer = f"grpc-{compression.name}"
    shared.export(request(call(customer)), compression=compression)
    assert outputs(shared, customer) == [50]


def test_a_partial_success_is_told_in_json(shared: Exporter) -> None:
    """With a 64-bit count as text, as protobuf's mapping has it."""
    document = otlp_json(request(call("partial"), call("partial")))
    spans_of(document)[0]["traceId"] = "no hexadecimal"
    answer = shared.send("POST", "/v1/traces", json.dumps(document), JSON)
    assert answer.json() == {
        "partialSuccess": {
            "rejectedSpans": "1",
            "errorMessage": "1 spans: it is not an OTLP/JSON span: ids are hexadecimal, times are "
            "nanoseconds",
        }
    }
    assert outputs(shared, "partial") == [50]


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"content-type": "text/plain"}, b"", 415, "application/x-protobuf or application/json"),
        ({}, b"", 415, "application/x-protobuf or application/json"),
        ({**PROTOBUF, "content-encoding": "br"}, b"", 415, "use gzip, zstd, deflate or none"),
        ({**PROTOBUF, "content-encoding": "gzip, zstd"}, b"", 415, "use gzip, zstd"),
        (PROTOBUF, b"\xff\xff\xff", 400, "not an OTLP ExportTraceServiceRequest in protobuf"),
        (JSON, b"{", 400, "not an OTLP ExportTraceServiceRequest in JSON"),
        (JSON, b"[]", 400, "in JSON"),
        ({**JSON, "content-encoding": "gzip"}, b"{}", 400, "not gzip, as content-encoding says"),
        ({**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(bytes(65 << 20)), 413, "67108864"),
        ({**PROTOBUF, "content-encoding": "zstd"}, zstd.compress(bytes(65 << 20)), 413, "67108864"),
        ({**JSON, "content-encoding": "gzip"}, gzip.compress(bytes(17 << 20)), 413, "16777216"),
    ],
)
def test_what_is_not_read_is_refused_by_a_status_that_says_why(
    shared: Exporter, headers: dict[str, str], body: bytes, status: int, message: str
) -> None:
    """A `google.rpc.Status`: in protobuf to who speaks protobuf, else in JSON."""
    before = shared.status()["requests_refused"]
    answer = shared.send("POST", "/v1/traces", body, headers)
    assert answer.status == status
    if headers.get("content-type") == PROTOBUF["content-type"]:
        assert answer.headers["content-type"] == PROTOBUF["content-type"]
        said = Status.FromString(answer.body)
    else:
        assert answer.headers["content-type"] == "application/json"
        said = json_format.ParseDict(answer.json(), Status())
    assert said.code == 3
    assert message in said.message
    assert shared.status()["requests_refused"] == before + 1


def test_a_connection_is_kept_after_answers_of_any_kind(shared: Exporter) -> None:
    """A sender that has to connect anew for each batch would be slow."""
    connection = shared.connection()
    body = request(call()).SerializeToString()
    large = bytes(2 << 20)
    for headers, sent, status in (
        (PROTOBUF, body, 200),
        ({"content-type": "text/plain"}, large, 415),
        (PROTOBUF, b"\xff", 400),
        (PROTOBUF, body, 200),
    ):
        connection.request("POST", "/v1/traces", sent, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is not None
    connection.close()


def test_a_chunked_request_is_read_and_bounded(tmp_path: Path) -> None:
    """Without a length beforehand it is counted as it comes."""
    with Exporter(tmp_path / "meter.duckdb", options=["--max-request-mib", "1"]) as exporter:
        for parts, status in (
            ([request(call()).SerializeToString()], 200),
            ([bytes(512 * 1024)] * 3, 413),
        ):
            connection = exporter.connection()
            connection.request("POST", "/v1/traces", iter(parts), PROTOBUF, encode_chunked=True)
            assert connection.getresponse().status == status
            connection.close()


@pytest.mark.parametrize("name", PACKERS)
@given(body=st.binary(max_size=2000), spare=st.integers(0, 3))
def test_what_was_packed_is_unpacked_up_to_the_limit(name: str, body: bytes, spare: int) -> None:
    """To the byte, and over every member of the stream."""
    pack = PACKERS[name]
    packed = pack(body[:7]) + pack(body[7:])
    assert unpack(name.upper(), packed, len(body) + spare) == body
    if body:
        with pytest.raises(TooLarge):
            unpack(name, packed, len(body) - 1)


@pytest.mark.parametrize("name", PACKERS)
def test_a_stream_that_is_not_whole_is_malformed(name: str) -> None:
    """Else the half that arrived would be acknowledged as the whole."""
    packed = PACKERS[name](b"some bytes")
    for end in range(len(packed)):
        with pytest.raises(MalformedRequest):
            unpack(name, packed[:end], 100)
    with pytest.raises(MalformedRequest):
        unpack(name, packed + b"x", 100)


def test_a_stream_of_very_many_members_is_malformed() -> None:
    """Each is a decompressor to set up, and a few bytes to send."""
    assert unpack("gzip", gzip.compress(b"") * 2000, 1) == b""
    with pytest.raises(MalformedRequest, match="more than 2000"):
        unpack("gzip", gzip.compress(b"") * 2001, 1)


def test_a_zstd_window_of_more_than_8_mib_is_malformed() -> None:
    """It is memory that a sender chooses."""
    parameter = zstd.CompressionParameter.window_log
    for window, allowed in ((23, True), (24, False)):
        packer = zstd.ZstdCompressor(options={parameter: window})
        packed = packer.compress(b"abc") + packer.flush()
        if allowed:
            assert unpack("zstd", packed, 3) == b"abc"
        else:
            with pytest.raises(MalformedRequest):
                unpack("zstd", packed, 3)


def test_an_encoding_that_is_not_read_is_unsupported() -> None:
    """Two at once included; none and `identity` are the same."""
    assert unpack("", b"x", 1) == unpack("identity", b"x", 1) == b"x"
    for name in ("br", "gzip, gzip", "x"):
        with pytest.raises(Unsupported):
            unpack(name, b"x", 1)


def test_json_numbers_may_be_numbers_or_text_and_unknown_names_are_ignored() -> None:
    """As the OTLP specification has it; bytes are base64, enums are numbers."""
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "B7AD6B7169203331",
        "parentSpanId": "",
        "kind": 3,
        "startTimeUnixNano": "1795219200000000000",
        "endTimeUnixNano": 1795219201000000000,
        "status": {"code": 2},
        "unknown": {"x": 1},
        "attributes": [
            {"key": "a", "value": {"intValue": "12"}},
            {"key": "b", "value": {"intValue": 13}},
            {"key": "c", "value": {"doubleValue": 1.5}},
            {"key": "d", "value": {"boolValue": True}},
            {"key": "e", "value": {"bytesValue": "AAEC"}},
            {"key": "f", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
        ],
        "events": [{"name": "never read"}],
        "links": [{"traceId": "never read"}],
    }
    made, refused = read(
        {"resourceSpans": [{"scopeSpans": [{"spans": [span], "later": []}]}], "more": None}
    )
    [found] = made.resource_spans[0].scope_spans[0].spans
    assert refused == 0
    assert found.trace_id.hex() == span["traceId"]
    assert found.span_id.hex() == "b7ad6b7169203331"
    assert found.parent_span_id == b""
    assert (found.kind, found.status.code) == (3, 2)
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (
        1795219200000000000,
        1795219201000000000,
    )
    values = [attribute.value for attribute in found.attributes]
    assert [value.int_value for value in values[:2]] == [12, 13]
    assert (values[2].double_value, values[3].bool_value) == (1.5, True)
    assert (values[4].bytes_value, values[5].array_value.values[0].string_value) == (
        b"\x00\x01\x02",
        "x",
    )
    assert not found.events
    assert not found.links


@pytest.mark.parametrize(
    "fault",
    [
        {"traceId": "xyz"},
        {"parentSpanId": "0"},
        {"spanId": 5},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": -1},
        {"endTimeUnixNano": 10**400},
        {"kind": []},
        {"attributes": "none"},
        {"attributes": [{"key": "a", "value": {"intValue": "9223372036854775808"}}]},
    ],
)
def test_one_span_that_is_not_otlp_json_costs_no_other(fault: dict[str, Any]) -> None:
    """It is counted, and the rest goes on."""
    document = otlp_json(request(call(), call(), call()))
    spans_of(document)[1] |= fault
    made, refused = read(document)
    assert refused == 1
    kept = [span.span_id.hex() for span in made.resource_spans[0].scope_spans[0].spans]
    assert kept == [span["spanId"] for span in spans_of(otlp_json_without(document, 1))]


def otlp_json_without(document: dict[str, Any], position: int) -> dict[str, Any]:
    """The same without one span."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    del spans_of(copy)[position]
    return copy


def test_half_a_character_costs_no_span() -> None:
    """JavaScript cuts texts in the middle of an emoji and writes the half as an escape."""
    document = otlp_json(request(call(gen_ai__input__messages="x")))
    body = json.dumps(document).replace('"x"', '"\\ud83d"').encode()
    assert b'"\\ud83d"' in body
    made, refused = to_protobuf(body)
    assert refused == 0
    assert "\ufffd".encode() in made


@pytest.mark.parametrize(
    "document",
    [
        None,
        5,
        "text",
        [],
        {"resourceSpans": 5},
        {"resourceSpans": [5]},
        {"resourceSpans": {"scopeSpans": []}},
        {"resourceSpans": [{"scopeSpans": [{"spans": "text"}]}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": {"a": 1}}]}]},
        {"resourceSpans": [{"resource": {"attributes": 5}}]},
    ],
)
def test_json_of_another_shape_is_malformed(document: Any) -> None:
    """As a whole, because what it holds cannot be told."""
    with pytest.raises(MalformedRequest):
        read(document)


def test_json_that_is_nested_very_deep_is_malformed() -> None:
    """And no fault of ours."""
    for body in (b"[" * 100_000, b'{"resourceSpans":' * 5000, b"1" * 5000):
        with pytest.raises(MalformedRequest):
            to_protobuf(body)


def test_an_empty_request_is_a_request() -> None:
    """Some senders begin with one."""
    documents: list[dict[str, Any]] = [{}, {"resourceSpans": []}, {"resourceSpans": None}]
    for document in documents:
        assert read(document) == (ExportTraceServiceRequest(), 0)
    assert ExportTraceServiceResponse().SerializeToString() == b""
