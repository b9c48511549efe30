# SPDX-License-Identifier: Apache-2.0
"""Reduce an OTLP span to evidence: the first function that sees a span, and the only allow-list.

Nothing that is not named in `ALLOWED` or `ALLOWED_PREFIXES` survives: no event, no link, no
status description, no span name. What an emitter puts into a prompt cannot reach the disk.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from microdollar_exporter.evidence import RESOURCE_CUSTOMER_ID, UNREAD_USAGE, Evidence
from microdollar_exporter.usage import BUCKETS, PARTS
from microdollar_semconv import SCOPE_NAME
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["ALLOWED", "ALLOWED_PREFIXES", "RULE_GEN_AI", "RULE_MICRODOLLAR", "Reduced", "reduce"]

RULE_MICRODOLLAR = "microdollar/1"
"""Spans of our own instrumentation: one per physical call, conforming to `semconv/`."""
RULE_GEN_AI = "gen_ai/1"
"""GenAI spans of anyone else: kept as evidence, not booked."""

MAX_TEXT = 256
MAX_NAMED = 16
"""How many tags, how many units, and how many further models one span may have."""
MAX_NAME = 64
MAX_ROWS_TEXT = 16_384
MAX_COUNT = 2**53
_MAX_NANOS = 2**63 - 1

Reader = Callable[[AnyValue], str | int | None]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _plain(text: str, longest: int = MAX_TEXT) -> str | None:
    """A short text of one line that UTF-8 can hold, or None when it is not one."""
    return text if 0 < len(text) <= longest and not _UNSAFE.search(text) else None


def _text(value: AnyValue) -> str | None:
    """A short single-line text; flags and numbers as OTel writes them; anything else is refused."""
    match value.WhichOneof("value"):
        case "string_value":
            text = value.string_value
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return repr(value.double_value)
        case _:
            return None
    return _plain(text)


def _texts(value: AnyValue) -> str | None:
    """A list of short words, joined with commas."""
    if value.WhichOneof("value") != "array_value":
        return _text(value)
    words = [_text(item) for item in value.array_value.values]
    joined = ",".join(word for word in words if word is not None)
    return joined if 0 < len(joined) <= MAX_TEXT else None


def _count(value: AnyValue) -> int | None:
    """A count: an integer, or a double without a fraction, that a double could hold exactly."""
    match value.WhichOneof("value"):
        case "int_value":
            number = value.int_value
        case "double_value" if value.double_value.is_integer():
            number = int(value.double_value)
        case _:
            return None
    return number if 0 <= number <= MAX_COUNT else None


def _usage_rows(value: AnyValue) -> str | None:
    """`microdollar.usage.additional`, rebuilt from the members that its definition names.

    All of it or nothing: a row left out would be money left out.
    """
    text = value.string_value
    if not 0 < len(text) <= MAX_ROWS_TEXT:
        return None
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_NAMED:
        return None
    kept = []
    for row in rows:
        name = row.get("model") if isinstance(row, dict) else None
        model = _plain(name) if isinstance(name, str) else None
        if model is None:
            return None
        counts = {key: row[key] for key in (*BUCKETS, *PARTS) if row.get(key) is not None}
        if not counts or not all(_is_count(count) for count in counts.values()):
            return None
        kept.append({"model": model, **counts})
    return json.dumps(kept, separators=(",", ":"))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


ALLOWED: Mapping[str, Reader] = {
    ga.OPERATION_NAME: _text,
    ga.PROVIDER_NAME: _text,
    ga.SYSTEM: _text,
    ga.REQUEST_MODEL: _text,
    ga.REQUEST_STREAM: _text,
    ga.RESPONSE_MODEL: _text,
    ga.RESPONSE_ID: _text,
    ga.RESPONSE_FINISH_REASONS: _texts,
    ga.RESPONSE_TIME_TO_FIRST_CHUNK: _text,
    ga.OPENAI_API_TYPE: _text,
    ga.OPENAI_RESPONSE_SERVICE_TIER: _text,
    ga.SERVER_ADDRESS: _text,
    ga.SERVER_PORT: _text,
    ga.HTTP_RESPONSE_STATUS_CODE: _text,
    ga.ERROR_TYPE: _text,
    ga.USAGE_INPUT_TOKENS: _count,
    ga.USAGE_OUTPUT_TOKENS: _count,
    ga.USAGE_CACHE_READ_INPUT_TOKENS: _count,
    ga.USAGE_CACHE_WRITE_INPUT_TOKENS: _count,
    ga.USAGE_REASONING_OUTPUT_TOKENS: _count,
    ga.USAGE_AUDIO_INPUT_TOKENS: _count,
    ga.USAGE_AUDIO_OUTPUT_TOKENS: _count,
    ga.USAGE_IMAGE_INPUT_TOKENS: _count,
    ga.USAGE_IMAGE_OUTPUT_TOKENS: _count,
    md.CUSTOMER_ID: _text,
    md.USER_ID: _text,
    md.BOOT_ID: _text,
    md.BOOT_DROPPED_CALLS: _text,
    md.CALL_SEQUENCE: _count,
    md.USAGE_SOURCE: _text,
    md.USAGE_TOOL_INPUT_TOKENS: _count,
    md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS: _count,
    md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS: _count,
    md.USAGE_ADDITIONAL: _usage_rows,
    md.RESPONSE_SERVICE_TIER: _text,
    md.RESPONSE_SPEED: _text,
    md.RESPONSE_INFERENCE_GEO: _text,
}
"""Every span attribute that may be kept, and how its value is read."""

ALLOWED_PREFIXES: Mapping[str, Reader] = {
    md.TAG_PREFIX: _text,
    md.USAGE_UNITS_PREFIX: _count,
}
"""The attributes whose last part the emitter names."""

_USAGE_PREFIXES = ("gen_ai.usage.", "microdollar.usage.")
_GEN_AI_MARKS = frozenset({ga.OPERATION_NAME, ga.PROVIDER_NAME, ga.SYSTEM})
_STATUS = {Status.STATUS_CODE_OK: "ok", Status.STATUS_CODE_ERROR: "error"}


@dataclass(slots=True)
class Reduced:
    """What became of the spans of one request.

    `evidence` is what to store. `ignored` counts spans that are not GenAI. `refused` counts, by
    reason, spans that can never be stored; `values_dropped` counts, by attribute name, allowed
    attributes whose value could not be kept.
    """

    evidence: list[Evidence] = field(default_factory=list)
    ignored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    values_dropped: Counter[str] = field(default_factory=Counter)


def reduce(request: ExportTraceServiceRequest) -> Reduced:
    """Reduce every span of an export request; one bad span never costs its neighbours."""
    reduced = Reduced()
    for resource_spans in request.resource_spans:
        resource = _Resource.read(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            scope_name, scope_version = _plain(scope.name), _plain(scope.version)
            for span in scope_spans.spans:
                if not any(attribute.key in _GEN_AI_MARKS for attribute in span.attributes):
                    reduced.ignored += 1
                    continue
                reason = _fault(span)
                if reason:
                    reduced.refused[reason] += 1
                    continue
                reduced.evidence.append(
                    _evidence(span, resource, scope_name, scope_version, reduced.values_dropped)
                )
    return reduced


@dataclass(frozen=True, slots=True)
class _Resource:
    service: str | None
    environment: str | None
    customer_id: str | None

    @classmethod
    def read(cls, attributes: Iterable[KeyValue]) -> "_Resource":
        found = {item.key: item.value for item in attributes}

        def text(*keys: str) -> str | None:
            return next((t for k in keys if k in found and (t := _text(found[k]))), None)

        return cls(
            service=text(ga.SERVICE_NAME),
            environment=text(ga.DEPLOYMENT_ENVIRONMENT_NAME, ga.DEPLOYMENT_ENVIRONMENT),
            customer_id=text(md.CUSTOMER_ID),
        )


def _fault(span: Span) -> str | None:
    """Why a span can never be stored, in words that hold nothing of its content."""
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "trace_id is not 16 bytes, or all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "span_id is not 8 bytes, or all zero"
    if not 0 < span.start_time_unix_nano <= _MAX_NANOS:
        return "start_time_unix_nano is zero or beyond the year 2262"
    if not 0 < span.end_time_unix_nano <= _MAX_NANOS:
        return "end_time_unix_nano is zero or beyond the year 2262"
    return None


def _evidence(
    span: Span,
    resource: _Resource,
    scope_name: str | None,
    scope_version: str | None,
    values_dropped: Counter[str],
) -> Evidence:
    attributes: dict[str, str] = {}
    usage: dict[str, int] = {}
    named: Counter[str] = Counter()
    unread: list[str] = []
    for item in span.attributes:
        key = item.key
        label = key
        reader = ALLOWED.get(key)
        if reader is None:
            prefix = next((p for p in ALLOWED_PREFIXES if key.startswith(p)), None)
            if prefix is None:
                continue
            named[prefix] += 1
            label = prefix
            if named[prefix] <= MAX_NAMED and _plain(key[len(prefix) :], MAX_NAME):
                reader = ALLOWED_PREFIXES[prefix]
        value = reader(item.value) if reader else None
        if value is None:
            values_dropped[label] += 1
            if label.startswith(_USAGE_PREFIXES):
                unread.append(key if label == key else label)
        elif isinstance(value, int):
            usage[key] = value
        else:
            attributes[key] = value
    if unread:
        attributes[UNREAD_USAGE] = ",".join(sorted(unread))
    if resource.customer_id:
        attributes[RESOURCE_CUSTOMER_ID] = resource.customer_id
    return Evidence(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() or None,
        started_at=span.start_time_unix_nano // 1000,
        ended_at=span.end_time_unix_nano // 1000,
        service=resource.service,
        environment=resource.environment,
        scope=scope_name,
        scope_version=scope_version,
        rule=RULE_MICRODOLLAR if scope_name == SCOPE_NAME else RULE_GEN_AI,
        status=_STATUS.get(span.status.code),
        boot_id=attributes.pop(md.BOOT_ID, None),
        call_sequence=usage.pop(md.CALL_SEQUENCE, None),
        attributes=attributes,
        usage=usage,
    )
