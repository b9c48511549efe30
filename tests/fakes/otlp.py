# SPDX-License-Identifier: Apache-2.0
"""OTLP requests as an emitter would send them."""

import itertools
import secrets
from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from microdollar_semconv import SCOPE_NAME
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["STARTED_AT", "Value", "call", "key_values", "request", "span"]

Value = str | bool | int | float | Sequence[str]

STARTED_AT = 1_795_219_200_000_000
"""2026-11-21 00:00 UTC, in microseconds: when spans start that say nothing else."""

_numbers = itertools.count(1)


def key_values(attributes: Mapping[str, Value]) -> list[KeyValue]:
    """Attributes in protobuf."""
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def _any(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=[_any(item) for item in value]))


def span(
    attributes: Mapping[str, Value],
    *,
    trace_id: bytes | None = None,
    span_id: bytes | None = None,
    started_at: int = STARTED_AT,
    name: str = "chat gpt-6-luna",
    kind: "Span.SpanKind.ValueType" = Span.SPAN_KIND_CLIENT,
    failed: bool = False,
) -> Span:
    """A span of one second with fresh ids; `started_at` is microseconds."""
    return Span(
        trace_id=secrets.token_bytes(16) if trace_id is None else trace_id,
        span_id=secrets.token_bytes(8) if span_id is None else span_id,
        name=name,
        kind=kind,
        start_time_unix_nano=started_at * 1000,
        end_time_unix_nano=(started_at + 1_000_000) * 1000,
        attributes=key_values(attributes),
        status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
    )


def call(
    customer: str | None = "acme",
    *,
    started_at: int = STARTED_AT,
    trace_id: bytes | None = None,
    span_id: bytes | None = None,
    **changes: Value | None,
) -> Span:
    """A span as our instrumentation emits it: 1,000 input tokens, 100 of them cached, 50 output.

    `changes` replace attributes, with `__` for the dots of their names; None takes one away.
    """
    attributes: dict[str, Value] = {
        ga.OPERATION_NAME: "chat",
        ga.PROVIDER_NAME: "openai",
        ga.REQUEST_MODEL: "gpt-6-luna",
        ga.RESPONSE_MODEL: "gpt-6-luna",
        ga.RESPONSE_ID: f"chatcmpl-{next(_numbers)}",
        ga.SERVER_ADDRESS: "api.openai.com",
        ga.HTTP_RESPONSE_STATUS_CODE: 200,
        ga.USAGE_INPUT_TOKENS: 1000,
        ga.USAGE_CACHE_READ_INPUT_TOKENS: 100,
        ga.USAGE_OUTPUT_TOKENS: 50,
        md.USAGE_SOURCE: md.USAGE_SOURCE_PROVIDER,
    }
    if customer is not None:
        attributes[md.CUSTOMER_ID] = customer
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            attributes.pop(key, None)
        else:
            attributes[key] = value
    return span(attributes, started_at=started_at, trace_id=trace_id, span_id=span_id)


def request(
    *spans: Span,
    scope: str = SCOPE_NAME,
    scope_version: str = "0.1.0",
    resource: Mapping[str, Value] | None = None,
) -> ExportTraceServiceRequest:
    """An export request with one resource and one scope."""
    made = ExportTraceServiceRequest()
    resource_spans = made.resource_spans.add()
    resource_spans.resource.attributes.extend(
        key_values({ga.SERVICE_NAME: "shop", **(resource or {})})
    )
    scope_spans: ScopeSpans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.scope.version = scope_version
    scope_spans.spans.extend(spans)
    return made
