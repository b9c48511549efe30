# SPDX-License-Identifier: Apache-2.0
"""What emitters report of a call: one span each, in the words of its dialect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_semconv import SCOPE_NAME
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga
from tests.fakes.otlp import Value, key_values

__all__ = [
    "AGENT",
    "ANTHROPIC_SDK",
    "APP",
    "LITELLM",
    "LOOP",
    "OPENINFERENCE",
    "OPENLLMETRY",
    "OTEL",
    "OURS",
    "OURS_BEFORE_A_GATEWAY",
    "Emitter",
    "Report",
    "Tokens",
    "request_of",
]

SECOND: Final = 1_000_000


class Tokens(NamedTuple):
    """What a call consumed, in disjoint buckets."""

    uncached: int
    cached: int
    output: int

    def __add__(self, other: object) -> "Tokens":
        assert isinstance(other, Tokens)
        return Tokens(*(one + more for one, more in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One span that somebody reports. Its `name` is its own in a schedule; times are in µs.

    `process` is where it comes from; `delay` how long after its end it is handed to be sent.
    `poisonous` says that the receiver has a fault that this span meets.
    """

    name: str
    emitter: "Emitter"
    process: str
    trace_id: bytes
    span_id: bytes
    parent: bytes | None
    started_at: int
    ended_at: int
    model: str
    tokens: Tokens | None
    response_id: str | None
    customer: str | None
    delay: int = 0
    poisonous: bool = False

    @property
    def identity(self) -> tuple[str, str, int]:
        """What the receiver knows the span by."""
        return self.trace_id.hex(), self.span_id.hex(), self.started_at

    def span(self) -> Span:
        """The report on the wire."""
        return Span(
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent_span_id=self.parent or b"",
            name=self.emitter.span_name,
            kind=self.emitter.kind,
            start_time_unix_nano=self.started_at * 1000,
            end_time_unix_nano=self.ended_at * 1000,
            attributes=key_values(self.emitter.attributes(self)),
        )


@dataclass(frozen=True, slots=True)
class Emitter:
    """Something that makes spans of calls: its scope, and the attributes it gives them."""

    scope: str
    attributes: Callable[[Report], Mapping[str, Value]]
    span_name: str = "chat gpt-6-luna"
    kind: "Span.SpanKind" = Span.SPAN_KIND_CLIENT

    @property
    def is_ours(self) -> bool:
        """Whether it is our own instrumentation."""
        return self.scope == SCOPE_NAME


def request_of(*reports: Report) -> bytes:
    """An export of these reports, encoded."""
    made = ExportTraceServiceRequest()
    for report in reports:
        resource_spans = made.resource_spans.add()
        resource_spans.resource.attributes.extend(key_values({ga.SERVICE_NAME: report.process}))
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name = report.emitter.scope
        scope_spans.spans.append(report.span())
    return made.SerializeToString()


def _said(**values: Value | None) -> dict[str, Value]:
    """Attributes that have a value, with `__` for the dots of their names."""
    return {name.replace("__", "."): value for name, value in values.items() if value is not None}


def _conventional(report: Report) -> dict[str, Value]:
    """OpenTelemetry's names, with input that includes the cache."""
    tokens = report.tokens
    said = _said(
        gen_ai__operation__name="chat",
        gen_ai__provider__name="openai",
        gen_ai__request__model=report.model,
        gen_ai__response__model=report.model,
        gen_ai__response__id=report.response_id,
        microdollar__customer__id=report.customer,
    )
    if tokens is not None:
        said[ga.USAGE_INPUT_TOKENS] = tokens.uncached + tokens.cached
        said[ga.USAGE_CACHE_READ_INPUT_TOKENS] = tokens.cached
        said[ga.USAGE_OUTPUT_TOKENS] = tokens.output
    return said


def _ours(host: str) -> Callable[[Report], Mapping[str, Value]]:
    def attributes(report: Report) -> Mapping[str, Value]:
        missing = md.USAGE_SOURCE_MISSING
        source = missing if report.tokens is None else md.USAGE_SOURCE_PROVIDER
        return {
            **_conventional(report),
            ga.SERVER_ADDRESS: host,
            md.USAGE_SOURCE: source,
        }

    return attributes


def _openinference(report: Report) -> Mapping[str, Value]:
    assert report.tokens is not None
    return _said(
        openinference__span__kind="LLM",
        llm__model_name=report.model,
        llm__provider="openai",
        llm__token_count__prompt=report.tokens.uncached + report.tokens.cached,
        llm__token_count__prompt_details__cache_read=report.tokens.cached,
        llm__token_count__completion=report.tokens.output,
        microdollar__customer__id=report.customer,
    )


def _agent(report: Report) -> Mapping[str, Value]:
    return {**_conventional(report), ga.OPERATION_NAME: "invoke_agent"}


def _app(report: Report) -> Mapping[str, Value]:
    return _said(microdollar__customer__id=report.customer)


OURS: Final = Emitter(SCOPE_NAME, _ours("api.openai.com"))
"""Our instrumentation, at a provider's own host: nothing can know better."""
OURS_BEFORE_A_GATEWAY: Final = Emitter(SCOPE_NAME, _ours("llm.internal"))
ANTHROPIC_SDK: Final = Emitter("com.anthropic.sdk.python", _conventional)
OTEL: Final = Emitter("opentelemetry.instrumentation.genai.openai", _conventional)
OPENINFERENCE: Final = Emitter("openinference.instrumentation.openai", _openinference)
OPENLLMETRY: Final = Emitter("opentelemetry.instrumentation.openai.v1", _conventional)
LITELLM: Final = Emitter("litellm", _conventional)
AGENT: Final = Emitter("agent_framework", _agent, "invoke_agent helper")
"""An agent that may run elsewhere: its sum counts where nothing else is known."""
LOOP: Final = Emitter("strands.telemetry.tracer", _agent, "invoke_agent loop")
"""An agent that runs here: its sum only repeats the calls."""
APP: Final = Emitter("shop", _app, "POST /chat", Span.SPAN_KIND_SERVER)
"""A span that is no call, and may say whom the calls beneath it are for."""
