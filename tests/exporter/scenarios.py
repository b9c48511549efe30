# SPDX-License-Identifier: Apache-2.0
"""What really happens when several spans describe one call: the spans, and what has to be booked.

A scenario is a table of spans in the words of their emitters. Each call has 12 fresh input tokens,
1,000 read from a cache and 40 of output unless it says otherwise. Spans know each other by labels;
the ids are made from them, so that scenarios can share a store and come out the same every time.

`Booked` is an entry that has to stand in the end, whatever the order in which the spans arrive.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict, Unpack

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.fakes.otlp import STARTED_AT, Value, key_values, request

__all__ = ["SCENARIOS", "Booked", "Scenario", "Sketch"]

SECOND: Final = 1_000_000
HOUR: Final = 3600.0
DATED: Final = {"gpt-6-luna": "gpt-6-luna-2026-05-01", "claude-sonnet-5-5": "claude-sonnet-5-5"}


class Place(TypedDict, total=False):
    """Where and when a span is."""

    inside: str
    trace: str
    start: float
    lasts: float
    service: str


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A span before it has ids. Times are in seconds from the scenario's first.

    `inside` is the label of its parent, `trace` that of its trace. The attributes whose value is an
    `Id` get an id made from its label.
    """

    label: str
    scope: str
    attributes: Mapping[str, "Value | Id"]
    inside: str | None = None
    trace: str = "app"
    start: float = 0.0
    lasts: float = 1.0
    service: str = "shop"
    version: str = ""
    name: str = "chat"
    internal: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Id:
    """A response id as a provider gives them out: `form` and random characters for this label."""

    label: str
    form: str = "chatcmpl-"
    wrapped: bool = False

    def text(self, scenario: str) -> str:
        """The id; `wrapped` as LiteLLM does with those of the Responses API."""
        made = self.form + hashlib.sha256(f"{scenario}|{self.label}".encode()).hexdigest()[:40]
        if self.wrapped:
            inner = f"litellm:custom_llm_provider:openai;model_id:m1;response_id:{made}"
            return f"resp_{b64encode(inner.encode()).decode()}"
        return made


@dataclass(frozen=True)
class Booked:
    """An entry that stands: the span it names, whom it is for, and its buckets; None: no such."""

    label: str
    customer: str | None = None
    input_uncached: int | None = 12
    cache_read: int | None = 1000
    output: int | None = 40
    source: str = "provider"


@dataclass(frozen=True)
class Scenario:
    """Spans, and the entries that have to stand once all of them have arrived, in any order."""

    name: str
    spans: Sequence[Sketch]
    booked: Sequence[Booked]
    copies: int = field(default=1, kw_only=True)

    def __str__(self) -> str:
        return self.name

    def requests(self) -> list[ExportTraceServiceRequest]:
        """An export request for each span, and as many copies as there are."""
        return [self._request(sketch) for sketch in self.spans for _ in range(self.copies)]

    def identity(self, label: str) -> tuple[str, str, int]:
        """The trace, the span id and the start of a span, as evidence has them."""
        sketch = next(one for one in self.spans if one.label == label)
        trace_id, span_id = self._trace_id(sketch.trace), self._span_id(label)
        return trace_id.hex(), span_id.hex(), STARTED_AT + round(sketch.start * SECOND)

    def _request(self, sketch: Sketch) -> ExportTraceServiceRequest:
        started_at = STARTED_AT + round(sketch.start * SECOND)
        attributes = {
            name: value.text(self.name) if isinstance(value, Id) else value
            for name, value in sketch.attributes.items()
        }
        span = Span(
            trace_id=self._trace_id(sketch.trace),
            span_id=self._span_id(sketch.label),
            parent_span_id=b"" if sketch.inside is None else self._span_id(sketch.inside),
            name=sketch.name,
            kind=Span.SPAN_KIND_INTERNAL if sketch.internal else Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=started_at * 1000,
            end_time_unix_nano=(started_at + round(sketch.lasts * SECOND)) * 1000,
            attributes=key_values(attributes),
            status=Status(code=Status.STATUS_CODE_ERROR) if sketch.failed else None,
        )
        return request(
            span,
            scope=sketch.scope,
            scope_version=sketch.version,
            resource={"service.name": f"{self.name}: {sketch.service}"},
        )

    def _trace_id(self, label: str) -> bytes:
        return hashlib.blake2b(f"trace|{self.name}|{label}".encode(), digest_size=16).digest()

    def _span_id(self, label: str) -> bytes:
        return hashlib.blake2b(f"span|{self.name}|{label}".encode(), digest_size=8).digest()


Attributes = dict[str, Value | Id]


def _said(attributes: Mapping[str, Value | Id | None]) -> Attributes:
    """Attributes without those that are not said."""
    return {name: value for name, value in attributes.items() if value is not None}


def _counts(
    output: int | None, whole: str, read: str | None, out: str, *, fresh: int = 12
) -> dict[str, Value | Id | None]:
    """The counts of a call under an emitter's names; none without `output`."""
    if output is None:
        return {}
    counted: dict[str, Value | Id | None] = {whole: fresh + 1000, out: output}
    return counted if read is None else {**counted, read: 1000}


def _gen_ai(
    response_id: "Id | str | None",
    output: int | None,
    *,
    provider: str = "openai",
    model: str = "gpt-6-luna",
    read: str | None = "gen_ai.usage.cache_read.input_tokens",
    **more: Value | Id | None,
) -> Attributes:
    """OpenTelemetry's attributes, with `__` for the dots of further names."""
    return _said(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.response.model": None if output is None else DATED[model],
            "gen_ai.response.id": response_id,
            **_counts(output, "gen_ai.usage.input_tokens", read, "gen_ai.usage.output_tokens"),
            **{name.replace("__", "."): value for name, value in more.items()},
        }
    )


def ours(
    label: str,
    response_id: "Id | str | None" = None,
    *,
    output: int | None = 40,
    customer: str | None = None,
    claude: bool = False,
    **place: Unpack[Place],
) -> Sketch:
    """A physical call that our instrumentation saw; without `output` its usage is missing."""
    attributes = _gen_ai(
        response_id,
        output,
        provider="anthropic" if claude else "openai",
        model="claude-sonnet-5-5" if claude else "gpt-6-luna",
        microdollar__usage__source="missing" if output is None else "provider",
        microdollar__customer__id=customer,
    )
    return Sketch(label=label, scope="microdollar", attributes=attributes, **place)


def ours_refused(label: str, **place: Unpack[Place]) -> Sketch:
    """An attempt that the provider refused, as our instrumentation saw it."""
    attributes = _gen_ai(
        None,
        None,
        microdollar__usage__source="none",
        error__type="429",
        http__response__status_code=429,
    )
    return Sketch(label=label, scope="microdollar", attributes=attributes, failed=True, **place)


def anthropic_sdk(label: str, response_id: "Id | None", **place: Unpack[Place]) -> Sketch:
    """A call as Anthropic's SDK reports it by itself."""
    attributes = _gen_ai(
        response_id,
        40,
        provider="anthropic",
        model="claude-sonnet-5-5",
        anthropic__request__id=Id("request", "req_"),
    )
    return Sketch(label=label, scope="com.anthropic.sdk.python", attributes=attributes, **place)


def genai(
    label: str,
    response_id: "Id | str | None" = None,
    *,
    output: int | None = 40,
    operation: str = "chat",
    **place: Unpack[Place],
) -> Sketch:
    """A call by OpenTelemetry's instrumentation of OpenAI."""
    attributes = _gen_ai(response_id, output, gen_ai__operation__name=operation)
    scope = "opentelemetry.instrumentation.genai.openai"
    return Sketch(label=label, scope=scope, version="1.3b0", attributes=attributes, **place)


def genai_refused(label: str, **place: Unpack[Place]) -> Sketch:
    """A call that failed, by OpenTelemetry's instrumentation of OpenAI."""
    attributes = _gen_ai(None, None, error__type="RateLimitError")
    scope = "opentelemetry.instrumentation.genai.openai"
    return Sketch(
        label=label,
        scope=scope,
        version="1.3b0",
        attributes=attributes,
        failed=True,
        **place,
    )


def openai_v2(label: str, response_id: "Id | None" = None, **place: Unpack[Place]) -> Sketch:
    """A call by its predecessor, which hides the cache."""
    attributes = _gen_ai(response_id, 40, read=None)
    scope = "opentelemetry.instrumentation.openai_v2"
    return Sketch(label=label, scope=scope, attributes=attributes, **place)


def openinference(
    label: str, *, output: int | None = 40, kind: str = "LLM", **place: Unpack[Place]
) -> Sketch:
    """A span by OpenInference, which tells no response id."""
    attributes = {
        "openinference.span.kind": kind,
        "llm.system": "openai",
        "llm.model_name": "gpt-6-luna-2026-05-01",
        **_counts(
            output,
            "llm.token_count.prompt",
            "llm.token_count.prompt_details.cache_read",
            "llm.token_count.completion",
        ),
    }
    scope = "openinference.instrumentation.openai"
    return Sketch(
        label=label,
        scope=scope,
        version="0.1.66",
        internal=True,
        attributes=_said(attributes),
        **place,
    )


def openllmetry(
    label: str,
    response_id: "Id | str | None" = None,
    *,
    output: int | None = 40,
    customer: str | None = None,
    **place: Unpack[Place],
) -> Sketch:
    """A call by OpenLLMetry."""
    attributes = _gen_ai(
        response_id, output, traceloop__association__properties__customer_id=customer
    )
    scope = "opentelemetry.instrumentation.openai.v1"
    return Sketch(label=label, scope=scope, version="0.62.4", attributes=attributes, **place)


def pydantic_ai(
    label: str, response_id: "Id | None" = None, *, output: int | None = 40, **place: Unpack[Place]
) -> Sketch:
    """A call by pydantic-ai; one span may hold several responses."""
    attributes = _gen_ai(response_id, output)
    return Sketch(
        label=label, scope="pydantic-ai", version="2.68.0", attributes=attributes, **place
    )


def agent_loop(label: str, scope: str, *, output: int, **place: Unpack[Place]) -> Sketch:
    """An agent that runs in the app, with the sum of what is beneath it."""
    attributes = _gen_ai(None, output, gen_ai__operation__name="invoke_agent")
    return Sketch(label=label, scope=scope, internal=True, attributes=attributes, **place)


def mistral_agent(label: str, *, output: int | None = 40, **place: Unpack[Place]) -> Sketch:
    """An agent that runs at Mistral, by Mistral's SDK."""
    attributes = _gen_ai(
        None, output, provider="mistral_ai", gen_ai__operation__name="invoke_agent"
    )
    return Sketch(label=label, scope="mistralai_sdk_tracer", attributes=attributes, **place)


def litellm(
    label: str,
    response_id: "Id | str | None" = None,
    *,
    output: int | None = 40,
    cached: bool = False,
    **place: Unpack[Place],
) -> Sketch:
    """A request that went through the LiteLLM proxy, or was answered from its cache."""
    attributes = _gen_ai(response_id, output, litellm__cache_hit="true" if cached else "false")
    return Sketch(
        label=label, scope="litellm", name="litellm_request", attributes=attributes, **place
    )


def envoy(label: str, **place: Unpack[Place]) -> Sketch:
    """A request that went through the Envoy AI Gateway, which tells no response id."""
    inner = openinference(label)
    return Sketch(label=label, scope="envoyproxy/ai-gateway", attributes=inner.attributes, **place)


def ai_sdk(
    label: str, operation: str, response_id: "Id | str | None" = None, **place: Unpack[Place]
) -> Sketch:
    """A span by the Vercel AI SDK 6."""
    attributes = {
        "ai.operationId": operation,
        "ai.model.id": "gpt-6-luna",
        "ai.model.provider": "openai.responses",
        "ai.response.model": "gpt-6-luna-2026-05-01",
        "ai.response.id": response_id,
        "ai.usage.inputTokenDetails.noCacheTokens": 12,
        **_counts(
            40,
            "ai.usage.inputTokens",
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.outputTokens",
        ),
    }
    return Sketch(
        label=label,
        scope="ai",
        name=operation,
        internal=True,
        attributes=_said(attributes),
        **place,
    )


def adk(label: str, name: str, **place: Unpack[Place]) -> Sketch:
    """A span by Google's ADK."""
    attributes = _said(
        {
            "gen_ai.system": "gemini",
            "gen_ai.operation.name": None if name == "call_llm" else "generate_content",
            "gen_ai.request.model": "gemini-3.5-flash",
            **_counts(
                40,
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.cache_read.input_tokens",
                "gen_ai.usage.output_tokens",
            ),
        }
    )
    return Sketch(
        label=label,
        scope="gcp.vertex.agent",
        name=name,
        internal=True,
        attributes=attributes,
        **place,
    )


def claude_code(label: str, **place: Unpack[Place]) -> Sketch:
    """A request of Claude Code, which gives the request's id for that of the response."""
    attributes: Attributes = {
        "gen_ai.system": "anthropic",
        "model": "claude-sonnet-5-5",
        "gen_ai.response.id": Id("request", "req_"),
        "input_tokens": 12,
        "cache_read_tokens": 1000,
        "output_tokens": 40,
    }
    scope = "com.anthropic.claude_code.tracing"
    return Sketch(
        label=label, scope=scope, name="claude_code.llm_request", attributes=attributes, **place
    )


def langfuse(label: str, **place: Unpack[Place]) -> Sketch:
    """A generation by Langfuse's wrapper."""
    attributes: Attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-6-luna",
        "langfuse.observation.usage_details": (
            '{"input": 12, "output": 40, "input_cache_read": 1000, "total": 1052}'
        ),
    }
    return Sketch(label=label, scope="langfuse-sdk", internal=True, attributes=attributes, **place)


def logfire_stream(label: str, **place: Unpack[Place]) -> Sketch:
    """A stream that is over, by Logfire: a span without length."""
    attributes = _gen_ai(None, 40, logfire__span_type="log", gen_ai__system="openai")
    place["lasts"] = 0
    return Sketch(label=label, scope="logfire.openai", attributes=attributes, **place)


def silent(label: str, customer: str | None = None) -> Booked:
    """An entry for a call of whose usage nobody knows."""
    return Booked(label, customer, None, None, None, "missing")


def refused(label: str, customer: str | None = None) -> Booked:
    """An entry for a call that consumed nothing."""
    return Booked(label, customer, None, None, None, "none")


SCENARIOS: Final[Sequence[Scenario]] = (
    # One span.
    Scenario(
        "one call of ours", [ours("call", Id("a"), customer="acme")], [Booked("call", "acme")]
    ),
    Scenario(
        "the same span delivered three times",
        [openllmetry("call", Id("a"))],
        [Booked("call")],
        copies=3,
    ),
    # Two instrumentations on one call.
    Scenario(
        "two instrumentations around each other, one without an id",
        [openinference("outer"), openllmetry("inner", Id("a"), inside="outer")],
        [Booked("outer")],
    ),
    Scenario(
        "three instrumentations, the middle one without an id",
        [
            openllmetry("outer", Id("a")),
            openinference("middle", inside="outer"),
            genai("inner", Id("a"), inside="middle"),
        ],
        [Booked("inner")],
    ),
    Scenario(
        "two instrumentations of a stream, beside each other",
        [openinference("one", start=0.001), openllmetry("other", Id("a"))],
        [Booked("one")],
    ),
    Scenario(
        "beside each other with outputs that differ: two calls",
        [openinference("one", output=41), openllmetry("other", Id("a"))],
        [Booked("one", output=41), Booked("other")],
    ),
    Scenario(
        "beside each other, begun two seconds apart: two calls",
        [openinference("one", lasts=5), openllmetry("other", Id("a"), start=2)],
        [Booked("one"), Booked("other")],
    ),
    Scenario(
        "beside each other, one after the other: two calls",
        [openinference("one", lasts=0.2), openllmetry("other", Id("a"), start=0.3)],
        [Booked("one"), Booked("other")],
    ),
    Scenario(
        "one tells the cache apart and is believed though its rank is lower",
        [openai_v2("plain", Id("a")), openllmetry("split", Id("a"), inside="plain")],
        [Booked("split")],
    ),
    Scenario(
        "a wrapper around a call of ours",
        [langfuse("wrapper"), ours("call", Id("a"), inside="wrapper")],
        [Booked("call")],
    ),
    Scenario(
        "a stream reported once it is over",
        [ours("call", Id("a"), lasts=5), logfire_stream("over", start=5.01)],
        [Booked("call")],
    ),
    Scenario(
        "no span of the app around two instrumentations: a trace for each",
        [
            openllmetry("one", Id("a"), trace="1"),
            openinference("other", trace="2", start=0.002, lasts=0.999),
        ],
        [Booked("other")],
    ),
    Scenario(
        "two processes with the same call in traces of their own: two calls",
        [
            openllmetry("one", Id("a"), trace="1"),
            openinference("other", trace="2", service="till"),
        ],
        [Booked("one"), Booked("other")],
    ),
    # SDK-native plus ours.
    Scenario(
        "the SDK's own span and ours",
        [
            anthropic_sdk("sdk", Id("a", "msg_")),
            ours("call", Id("a", "msg_"), claude=True, inside="sdk"),
        ],
        [Booked("call")],
    ),
    Scenario(
        "the SDK's span around two refused attempts and a successful one",
        [
            genai("sdk", Id("a"), lasts=3),
            ours_refused("first", inside="sdk", lasts=0.2),
            ours_refused("second", inside="sdk", start=0.8, lasts=0.2),
            ours("third", Id("a"), inside="sdk", start=2),
        ],
        [refused("first"), refused("second"), Booked("third")],
    ),
    Scenario(
        "the same without an id on the outer span",
        [
            openinference("sdk", lasts=3),
            ours_refused("first", inside="sdk", lasts=0.2),
            ours("second", Id("a"), inside="sdk", start=2),
        ],
        [refused("first"), Booked("second")],
    ),
    Scenario(
        "the successful attempt was never reported: the SDK's span counts for all",
        [
            genai("sdk", Id("a"), lasts=3),
            ours_refused("first", inside="sdk", lasts=0.2),
            ours_refused("second", inside="sdk", start=0.8, lasts=0.2),
        ],
        [Booked("sdk")],
    ),
    Scenario(
        "a stream cut off and tried again: both were consumed",
        [
            genai("sdk", Id("a"), lasts=3),
            ours("cut", Id("b"), inside="sdk", output=5),
            ours("whole", Id("a"), inside="sdk", start=2),
        ],
        [Booked("cut", output=5), Booked("whole")],
    ),
    Scenario(
        "a call that failed, seen by two",
        [genai_refused("sdk"), ours_refused("call", inside="sdk", start=0.1, lasts=0.5)],
        [refused("call")],
    ),
    # Gateway plus client.
    Scenario(
        "client and gateway in one trace",
        [genai("client", Id("a")), litellm("gateway", Id("a"), inside="client", start=0.1)],
        [Booked("client")],
    ),
    Scenario(
        "the gateway's clock is three seconds behind",
        [genai("client", Id("a"), start=3), litellm("gateway", Id("a"), inside="client")],
        [Booked("client")],
    ),
    Scenario(
        "client and gateway in two traces",
        [genai("client", Id("a")), litellm("gateway", Id("a"), trace="gateway", start=0.1)],
        [Booked("client")],
    ),
    Scenario(
        "client and gateway both with our instrumentation, in two traces",
        [
            ours("client", Id("a"), customer="acme"),
            ours("gateway", Id("a"), trace="gateway", start=0.1, service="gateway"),
        ],
        [Booked("client", "acme")],
    ),
    Scenario(
        "client and gateway without ids, between them a span that nobody recorded",
        [
            openinference("client"),
            envoy("gateway", inside="never seen", start=0.1, service="gateway"),
        ],
        [Booked("client")],
    ),
    Scenario(
        "client and gateway without ids in two traces: nothing says that they are one",
        [openinference("client"), envoy("gateway", trace="gateway", service="gateway")],
        [Booked("client"), Booked("gateway")],
    ),
    Scenario(
        "the gateway tries twice for one call of the client",
        [
            ours("client", Id("a"), lasts=3),
            ours_refused("first", inside="client", start=0.1, service="gateway"),
            ours("second", Id("a"), inside="client", start=1.5, service="gateway"),
        ],
        [refused("first"), Booked("second")],
    ),
    Scenario(
        "LiteLLM answers the second time from its cache",
        [litellm("bought", Id("a")), litellm("cached", Id("a"), start=60, cached=True)],
        [Booked("bought"), refused("cached")],
    ),
    Scenario(
        "the client cannot tell that LiteLLM answered from its cache",
        [
            genai("client", Id("a")),
            litellm("gateway", Id("a"), inside="client", start=0.1, cached=True),
        ],
        [refused("gateway")],
    ),
    Scenario(
        "LiteLLM wraps the response id, and our instrumentation inside it sees the true one",
        [
            genai("client", Id("a", "resp_", wrapped=True)),
            ours("call", Id("a", "resp_"), trace="proxy", start=0.2, service="proxy"),
        ],
        [Booked("call")],
    ),
    # Agents and chains.
    Scenario(
        "an agent and a chain that repeat the sum of their calls",
        [
            openinference("chain", kind="CHAIN", output=80, lasts=5),
            agent_loop("agent", "pydantic-ai", output=80, inside="chain", lasts=5),
            pydantic_ai("first", Id("a"), inside="agent"),
            pydantic_ai("second", Id("b"), inside="agent", start=2),
        ],
        [Booked("first"), Booked("second")],
    ),
    Scenario(
        "Strands: the agent repeats what it used in its whole life",
        [
            agent_loop("first agent", "strands.telemetry.tracer", output=40, trace="1"),
            genai("first", Id("a"), inside="first agent", trace="1"),
            agent_loop("second agent", "strands.telemetry.tracer", output=80, trace="2", start=9),
            genai("second", Id("b"), inside="second agent", trace="2", start=9),
        ],
        [Booked("first"), Booked("second")],
    ),
    Scenario(
        "Agent Framework puts the last response's id on the agent",
        [
            Sketch(
                label="agent",
                scope="agent_framework",
                internal=True,
                attributes=_gen_ai(Id("b"), 80, gen_ai__operation__name="invoke_agent"),
            ),
            genai("first", Id("a"), inside="agent"),
            genai("second", Id("b"), inside="agent", start=2),
        ],
        [Booked("first"), Booked("second")],
    ),
    Scenario(
        "an agent elsewhere is the only one to report usage",
        [mistral_agent("agent")],
        [Booked("agent")],
    ),
    Scenario(
        "an agent elsewhere whose calls were reported",
        [
            mistral_agent("agent", output=80, lasts=5),
            ours("first", Id("a"), inside="agent"),
            ours("second", Id("b"), inside="agent", start=2),
        ],
        [Booked("first"), Booked("second")],
    ),
    Scenario(
        "an agent elsewhere whose call reported no usage",
        [mistral_agent("agent"), ours("call", Id("a"), output=None, inside="agent")],
        [Booked("agent")],
    ),
    Scenario(
        "an agent elsewhere inside a call that reports the same",
        [openinference("call"), mistral_agent("agent", inside="call")],
        [Booked("call")],
    ),
    Scenario(
        "an agent elsewhere that reports nothing",
        [mistral_agent("agent", output=None), ours("call", Id("a"), inside="agent")],
        [Booked("call")],
    ),
    Scenario(
        "AI SDK: the root repeats the call",
        [
            ai_sdk("root", "ai.generateText"),
            ai_sdk("call", "ai.generateText.doGenerate", Id("a"), inside="root"),
        ],
        [Booked("call")],
    ),
    Scenario(
        "AI SDK: ids that it made up say nothing",
        [
            ai_sdk("one", "ai.streamText.doStream", "aitxt-4f9KbXnQ81LsWzTq"),
            ai_sdk("other", "ai.streamText.doStream", "aitxt-4f9KbXnQ81LsWzTq"),
        ],
        [Booked("one"), Booked("other")],
    ),
    Scenario(
        "ADK: call_llm repeats the generate_content inside it",
        [
            adk("outer", "call_llm"),
            adk("inner", "generate_content gemini-3.5-flash", inside="outer"),
        ],
        [Booked("inner")],
    ),
    Scenario(
        "ADK: call_llm with nothing inside",
        [adk("call", "call_llm")],
        [Booked("call")],
    ),
    # Sums of several calls.
    Scenario(
        "a span that continues a response sums two calls",
        [
            pydantic_ai("sum", Id("b"), output=80, lasts=5),
            ours("first", Id("a"), inside="sum"),
            ours("second", Id("b"), inside="sum", start=2),
        ],
        [Booked("first"), Booked("second")],
    ),
    Scenario(
        "of two calls one was never reported: the outer span counts for both",
        [
            pydantic_ai("sum", output=100, lasts=5),
            ours("first", Id("a"), output=89, inside="sum"),
        ],
        [Booked("sum", output=100)],
    ),
    Scenario(
        "nine tenths are no gap",
        [
            pydantic_ai("sum", output=100, lasts=5),
            ours("first", Id("a"), output=90, inside="sum"),
        ],
        [Booked("first", output=90)],
    ),
    Scenario(
        "two instrumentations of the one call that was reported do not fill the gap",
        [
            pydantic_ai("sum", output=100, lasts=5),
            openinference("one", output=50, inside="sum"),
            openllmetry("other", Id("a"), output=50, inside="sum"),
        ],
        [Booked("sum", output=100)],
    ),
    # Parallel calls and ids that say little.
    Scenario(
        "parallel calls that look the same",
        [ours("one"), ours("two"), ours("three")],
        [Booked("one"), Booked("two"), Booked("three")],
    ),
    Scenario(
        "two parallel calls that look the same, with two instrumentations beside each other",
        [
            openinference("one"),
            openinference("two"),
            openllmetry("one too", Id("a")),
            openllmetry("two too", Id("b")),
        ],
        [Booked("one"), Booked("two")],
    ),
    Scenario(
        "Ollama: the same number in two traces",
        [
            genai("one", "chatcmpl-7", trace="1"),
            openllmetry("two", "chatcmpl-7", trace="2", start=9),
        ],
        [Booked("one"), Booked("two")],
    ),
    Scenario(
        "Ollama: the same number, one after the other",
        [genai("one", "chatcmpl-7"), openllmetry("two", "chatcmpl-7", start=9)],
        [Booked("one"), Booked("two")],
    ),
    Scenario(
        "Ollama: the same number at the same time from one scope",
        [genai("one", "chatcmpl-7"), genai("two", "chatcmpl-7")],
        [Booked("one"), Booked("two")],
    ),
    Scenario(
        "Ollama: the same number at the same time from two scopes",
        [genai("one", "chatcmpl-7", lasts=9), openllmetry("two", "chatcmpl-7", start=5)],
        [Booked("one")],
    ),
    Scenario(
        "a stored response is fetched again",
        [
            genai("call", Id("a", "resp_")),
            genai("fetch", Id("a", "resp_"), operation="fetch_response", start=60),
        ],
        [Booked("call")],
    ),
    Scenario(
        "Claude Code tells the request's id, the SDK both",
        [
            claude_code("one", trace="1"),
            anthropic_sdk("other", Id("a", "msg_"), trace="2", service="proxy"),
        ],
        [Booked("other")],
    ),
    # No usage.
    Scenario(
        "a stream of which nobody reports usage",
        [
            openinference("outer", output=None),
            genai("middle", Id("a"), output=None, inside="outer"),
            ours("inner", Id("a"), output=None, inside="middle"),
        ],
        [silent("inner")],
    ),
    Scenario(
        "a stream of which only the outer span reports usage",
        [openllmetry("outer", Id("a")), ours("inner", Id("a"), output=None, inside="outer")],
        [Booked("outer")],
    ),
    Scenario(
        "a stream of which only the one beside reports usage",
        [openinference("silent", output=None), openllmetry("counted", Id("a"))],
        [Booked("counted")],
    ),
    Scenario(
        "two parallel streams, each with one that reports usage and one that does not",
        [
            openinference("silent", output=None, lasts=2),
            openinference("silent too", output=None, start=0.001, lasts=2.5),
            openllmetry("counted", Id("a"), start=0.002, lasts=1.999),
            openllmetry("counted too", Id("b"), start=0.003, lasts=2.498),
        ],
        [Booked("counted"), Booked("counted too")],
    ),
    Scenario(
        "a failed attempt is not the stream beside it",
        [genai_refused("failed"), openllmetry("call", Id("a"), start=0.5)],
        [refused("failed"), Booked("call")],
    ),
    # What only a loser knows.
    Scenario(
        "only the witness that loses names the customer",
        [
            openllmetry("outer", Id("a"), customer="acme"),
            ours("call", Id("a"), inside="outer"),
        ],
        [Booked("call", "acme")],
    ),
    Scenario(
        "only a call that an outer span counts for names the customer",
        [
            pydantic_ai("sum", output=100, lasts=5),
            ours("first", Id("a"), output=40, inside="sum", customer="acme"),
        ],
        [Booked("sum", "acme", output=100)],
    ),
    # Far apart in time.
    Scenario(
        "one response, told by three traces, each within a day of the next",
        [
            openllmetry("first", Id("a"), trace="first"),
            openllmetry("next", Id("a"), trace="next", start=20 * HOUR),
            openllmetry("last", Id("a"), trace="last", start=40 * HOUR),
        ],
        [Booked("first")],
    ),
    Scenario(
        "an agent elsewhere that runs for 30 hours, with a call late in it",
        [
            mistral_agent("agent", output=80, lasts=30 * HOUR),
            ours("call", Id("a"), output=40, inside="agent", start=25 * HOUR),
        ],
        [Booked("call")],
    ),
)
"""Every scenario. None has more than four spans, so that all orders of arrival can be tried."""
