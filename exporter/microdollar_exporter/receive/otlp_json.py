# SPDX-License-Identifier: Apache-2.0
"""OTLP in JSON, turned into OTLP in protobuf, so that one way leads on from both.

OTLP/JSON is protobuf's JSON mapping with differences: ids are hexadecimal and not base64, enums
are numbers, unknown names are ignored. Source: the OTLP specification, "JSON Protobuf Encoding".
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter.errors import MalformedRequest

__all__ = ["NOT_A_SPAN", "to_protobuf"]

NOT_A_SPAN = "it is not an OTLP/JSON span: ids are hexadecimal, times are nanoseconds"
"""Why single spans are refused."""

_IDS = ("traceId", "spanId", "parentSpanId")
_UNREAD = ("events", "links")
_FAULTS = (json_format.Error, ValueError, TypeError, RecursionError, OverflowError)


def to_protobuf(body: bytes) -> tuple[bytes, int]:
    """The request in protobuf, and how many of its spans were not OTLP/JSON and are left out.

    Raises:
        MalformedRequest: the body is not an OTLP request in JSON.
    """
    try:
        document = json.loads(body)
        refused = sum(_prepare(spans) for spans in _span_lists(document))
        try:
            request = _parse(document)
        except _FAULTS:
            document = _well_formed(document)
            refused += sum(_keep_readable(spans) for spans in _span_lists(document))
            request = _parse(document)
    except _FAULTS as error:
        raise MalformedRequest(
            "the body is not an OTLP ExportTraceServiceRequest in JSON"
        ) from error
    return request.SerializeToString(), refused


def _parse(document: Any) -> ExportTraceServiceRequest:
    return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _span_lists(document: Any) -> Iterator[list[Any]]:
    for resource_spans in _members(document, "resourceSpans"):
        for scope_spans in _members(resource_spans, "scopeSpans"):
            yield _members(scope_spans, "spans")


def _members(value: Any, name: str) -> list[Any]:
    if not isinstance(value, dict):
        raise TypeError(f"what holds {name} is no object")
    members = value.get(name)
    if members is not None and not isinstance(members, list):
        raise TypeError(f"{name} is no list")
    return members or []


def _prepare(spans: list[Any]) -> int:
    """Spell the spans as protobuf does; returns how many cannot be, which are left out."""
    kept = [span for span in spans if _spelt(span)]
    refused = len(spans) - len(kept)
    spans[:] = kept
    return refused


def _spelt(span: Any) -> bool:
    if not isinstance(span, dict):
        return False
    for name in _UNREAD:
        span.pop(name, None)
    try:
        for name in _IDS:
            if span.get(name):
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    except (ValueError, TypeError):
        return False
    return True


def _keep_readable(spans: list[Any]) -> int:
    kept = [span for span in spans if _readable(span)]
    refused = len(spans) - len(kept)
    spans[:] = kept
    return refused


def _readable(span: dict[str, Any]) -> bool:
    try:
        json_format.ParseDict(span, Span(), ignore_unknown_fields=True)
    except _FAULTS:
        return False
    return True


def _well_formed(value: Any) -> Any:
    """The same with U+FFFD for halves of characters, which JavaScript's texts can end in."""
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case list():
            return [_well_formed(item) for item in value]
        case dict():
            return {_well_formed(name): _well_formed(item) for name, item in value.items()}
        case _:
            return value
