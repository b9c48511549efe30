# SPDX-License-Identifier: Apache-2.0
"""OTLP trace messages for tests, made from plain dictionaries."""

from collections.abc import Iterable
from itertools import count

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fakes.otlp import Value, key_values

__all__ = ["Value", "Values", "by_key", "key_values", "make_request", "make_span"]

Values = dict[str, Value]

_serial = count(1)


def by_key(attributes: Iterable[KeyValue]) -> dict[str, AnyValue]:
    """OTLP attributes as a dictionary, with the types they have on the wire."""
    return {attribute.key: attribute.value for attribute in attributes}


def make_span(attributes: Values, name: str = "chat gpt-6-luna") -> Span:
    """A client span of one second with ids that no other span of this process has."""
    number = next(_serial)
    return Span(
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        name=name,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=1_790_000_000_000_000_000,
        end_time_unix_nano=1_790_000_001_000_000_000,
        attributes=key_values(attributes),
    )


def make_request(*spans: Span, resource: Values | None = None) -> ExportTraceServiceRequest:
    """An export of these spans from one resource, in our own scope."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(key_values(resource or {"service.name": "shop"}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "microdollar"
    scope_spans.spans.extend(spans)
    return request
