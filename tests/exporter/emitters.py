# SPDX-License-Identifier: Apache-2.0
"""One call as each emitter reports it: 12 fresh tokens, 1,000 read from a cache, 40 of output.

Attribute by attribute as the source of the named package writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from microdollar_exporter.evidence import Role
from microdollar_exporter.usage import Usage
from tests.fakes.otlp import Value

__all__ = ["EMITTERS", "Emitter"]

READ = Usage(input_uncached=12, cache_read=1000, output=40)
SPLIT = READ._replace(cache_write=0)


@dataclass(frozen=True, kw_only=True)
class Emitter:
    """What one emitter sends, and what becomes of it."""

    rule: str
    scope: str
    attributes: Mapping[str, Value]
    version: str = ""
    name: str = "chat"
    internal: bool = False
    role: Role = "call"
    provider: str | None = "openai"
    operation: str = "chat"
    request_model: str | None = "gpt-6-luna"
    response_model: str | None = "gpt-6-luna-2026-05-01"
    response_id: str | None = "chatcmpl-1"
    usage: Usage = READ
    source: str = "provider"
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.rule


def _gen_ai(
    provider: str | None = "openai",
    *,
    whole: int | str | None = 1012,
    read: int | str | None = 1000,
    created: int | str | None = None,
    output: int | str | None = 40,
    **more: Value | None,
) -> dict[str, Value]:
    """OpenTelemetry's attributes, with `__` for the dots of further names; None leaves one out."""
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": "gpt-6-luna",
        "gen_ai.response.model": "gpt-6-luna-2026-05-01",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": whole,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": created,
        "gen_ai.usage.output_tokens": output,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _old(system: str, **more: Value | None) -> dict[str, Value]:
    """The same by the conventions before v1.37."""
    return _gen_ai(None, gen_ai__system=system, **more)  # type: ignore[arg-type]


_CLAUDE = {
    "gen_ai.request.model": "claude-sonnet-5-5",
    "gen_ai.response.model": "claude-sonnet-5-5-20260701",
    "gen_ai.response.id": "msg_1",
}
_CLAUDE_EXPECTED = {
    "request_model": "claude-sonnet-5-5",
    "response_model": "claude-sonnet-5-5-20260701",
    "response_id": "msg_1",
    "provider": "anthropic",
}
HIDDEN = "this emitter does not say how much of the input was cached"

EMITTERS = (
    Emitter(
        rule="microdollar/1",
        scope="microdollar",
        attributes=_gen_ai(microdollar__usage__source="provider"),
    ),
    Emitter(
        rule="otel-genai/1",
        scope="opentelemetry.instrumentation.genai.openai",
        version="1.3b0",
        attributes=_gen_ai(
            openai__response__service_tier="default", server__address="api.openai.com"
        ),
    ),
    Emitter(
        rule="otel-genai/1",
        scope="opentelemetry.instrumentation.genai.anthropic",
        version="1.3b0",
        attributes={
            **_gen_ai("anthropic", gen_ai__usage__cache_write__input_tokens=0),
            **_CLAUDE,
        },
        usage=SPLIT,
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="otel-genai/1",
        scope="opentelemetry.instrumentation.google_genai",
        version="1.3b0",
        attributes=_gen_ai("vertex_ai", gen_ai__operation__name="generate_content"),
        provider="gcp.vertex_ai",
        operation="generate_content",
    ),
    Emitter(
        # openai-v2 in its experimental mode, and whatever else calls itself so.
        rule="otel-genai/1",
        scope="opentelemetry.util.genai.handler",
        version="1.3b0",
        attributes=_gen_ai(),
    ),
    Emitter(
        rule="otel-openai-v2/1",
        scope="opentelemetry.instrumentation.openai_v2",
        attributes=_old("openai", read=None),
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
    ),
    Emitter(
        rule="otel-botocore/1",
        scope="opentelemetry.instrumentation.botocore.bedrock-runtime",
        version="0.66b2",
        attributes=_old(
            "aws.bedrock",
            whole=12,
            created=0,
            gen_ai__request__model="us.anthropic.claude-sonnet-5-5-v1:0",
            gen_ai__response__model=None,
            gen_ai__response__id=None,
            rpc__method="Converse",
        ),
        provider="aws.bedrock",
        request_model="us.anthropic.claude-sonnet-5-5-v1:0",
        response_model=None,
        response_id=None,
        usage=SPLIT,
    ),
    Emitter(
        rule="otel-vertexai/1",
        scope="opentelemetry.instrumentation.vertexai",
        version="2.2b0",
        attributes=_old("vertex_ai", read=None),
        provider="gcp.vertex_ai",
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
    ),
    Emitter(
        rule="openllmetry/1",
        scope="opentelemetry.instrumentation.openai.v1",
        version="0.62.4",
        name="openai.chat",
        attributes=_gen_ai(
            "azure.ai.openai",
            gen_ai__usage__total_tokens=1052,
            gen_ai__is_streaming=False,
            gen_ai__user="u1",
        ),
        provider="azure.ai.openai",
    ),
    Emitter(
        # Before 0.45, told by its own names in a scope that nobody knows.
        rule="openllmetry/1",
        scope="shop.llm",
        name="openai.chat",
        attributes={
            "gen_ai.system": "OpenAI",
            "llm.request.type": "chat",
            "gen_ai.request.model": "gpt-6-luna",
            "gen_ai.response.model": "gpt-6-luna-2026-05-01",
            "gen_ai.usage.prompt_tokens": 1012,
            "gen_ai.usage.completion_tokens": 40,
            "gen_ai.usage.cache_read_input_tokens": 1000,
            "llm.usage.total_tokens": 1052,
        },
        response_id=None,
    ),
    Emitter(
        rule="openllmetry-anthropic/1",
        scope="opentelemetry.instrumentation.anthropic",
        version="0.62.4",
        name="anthropic.chat",
        attributes={
            **_gen_ai("anthropic", created=0, gen_ai__usage__total_tokens=1052),
            **_CLAUDE,
        },
        usage=SPLIT,
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="openllmetry-anthropic-0.39/1",
        scope="opentelemetry.instrumentation.anthropic",
        version="0.39.3",
        name="anthropic.chat",
        attributes={**_gen_ai("anthropic", read=1000), **_CLAUDE},
        notes=(
            "ambiguous: input of 1012 tokens may include 1000 of the cache or not; "
            "12 taken as uncached, else 1012",
        ),
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="openllmetry-bedrock/1",
        scope="opentelemetry.instrumentation.bedrock",
        version="0.62.4",
        attributes=_gen_ai("aws.bedrock", whole=12, created=0, gen_ai__usage__total_tokens=52),
        provider="aws.bedrock",
        usage=SPLIT,
    ),
    Emitter(
        rule="openllmetry-google/1",
        scope="opentelemetry.instrumentation.google_generativeai",
        version="0.62.4",
        attributes=_gen_ai(
            "gcp.gen_ai",
            output=30,
            gen_ai__operation__name="generate_content",
            gen_ai__usage__total_tokens=1052,
        ),
        provider="gcp.gen_ai",
        operation="generate_content",
        usage=READ._replace(reasoning=10),
        notes=(
            "output raised by 10 tokens of the total that are neither input nor output: "
            "thoughts, or prompts of tools",
        ),
    ),
    Emitter(
        rule="openllmetry-langchain/1",
        scope="opentelemetry.instrumentation.langchain",
        version="0.62.4",
        name="ChatOpenAI.chat",
        attributes=_gen_ai(gen_ai__usage__total_tokens=1052),
    ),
    Emitter(
        rule="openinference/1",
        scope="openinference.instrumentation.openai",
        version="0.1.66",
        name="ChatCompletion",
        internal=True,
        attributes={
            "openinference.span.kind": "LLM",
            "llm.system": "openai",
            "llm.provider": "azure",
            "llm.model_name": "gpt-6-luna-2026-05-01",
            "llm.request.model_name": "gpt-6-luna",
            "llm.token_count.prompt": 1012,
            "llm.token_count.prompt_details.cache_read": 1000,
            "llm.token_count.completion": 40,
            "llm.token_count.total": 1052,
        },
        provider="azure.ai.openai",
        response_id=None,
    ),
    Emitter(
        # With OPENINFERENCE_ENABLE_GENAI_SEMCONV it says everything twice.
        rule="openinference/1",
        scope="openinference.instrumentation.anthropic",
        version="3.1.0",
        name="Messages",
        internal=True,
        attributes={
            **_gen_ai("anthropic"),
            **_CLAUDE,
            "openinference.span.kind": "LLM",
            "llm.provider": "anthropic",
            "llm.model_name": "claude-sonnet-5-5-20260701",
            "llm.token_count.prompt": 1012,
            "llm.token_count.prompt_details.cache_read": 1000,
            "llm.token_count.completion": 40,
        },
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="openinference-js-anthropic-0.1/1",
        scope="@arizeai/openinference-instrumentation-anthropic",
        version="0.1.22",
        internal=True,
        attributes={
            "openinference.span.kind": "LLM",
            "llm.provider": "anthropic",
            "llm.model_name": "claude-sonnet-5-5-20260701",
            "llm.token_count.prompt": 12,
            "llm.token_count.prompt_details.cache_read": 1000,
            "llm.token_count.completion": 40,
        },
        provider="anthropic",
        request_model=None,
        response_model="claude-sonnet-5-5-20260701",
        response_id=None,
    ),
    Emitter(
        rule="pydantic-ai/1",
        scope="pydantic-ai",
        version="2.68.0",
        attributes=_gen_ai(
            gen_ai__system="openai",
            gen_ai__usage__details__cache_read_tokens=1000,
            gen_ai__usage__details__reasoning_tokens=8,
        ),
        usage=READ._replace(reasoning=8),
    ),
    Emitter(
        rule="logfire/1",
        scope="logfire.openai",
        version="5.4.0",
        name="Chat Completion with {request_data[model]!r}",
        attributes=_gen_ai(gen_ai__system="openai", logfire__span_type="span"),
    ),
    Emitter(
        rule="logfire-5.2/1",
        scope="logfire.anthropic",
        version="5.2.0",
        attributes={**_gen_ai("anthropic", read=None, logfire__span_type="span"), **_CLAUDE},
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="logfire-4.30/1",
        scope="logfire.anthropic",
        version="4.30.0",
        attributes={
            **_gen_ai("anthropic", whole=12, read=None, logfire__span_type="span"),
            **_CLAUDE,
        },
        usage=Usage(input_uncached=12, output=40),
        notes=(HIDDEN,),
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="logfire-claude-agent/1",
        scope="logfire.claude_agent_sdk",
        version="5.4.0",
        name="invoke_agent",
        internal=True,
        attributes=_gen_ai(
            "anthropic",
            gen_ai__operation__name="invoke_agent",
            gen_ai__request__model=None,
            gen_ai__response__model=None,
            gen_ai__response__id=None,
            logfire__span_type="span",
        ),
        role="agent",
        provider="anthropic",
        operation="invoke_agent",
        request_model=None,
        response_model=None,
        response_id=None,
    ),
    Emitter(
        rule="langfuse/1",
        scope="langfuse-sdk",
        version="5.0.4",
        name="OpenAI-generation",
        internal=True,
        attributes={
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-6-luna",
            "langfuse.observation.usage_details": (
                '{"input": 12, "output": 40, "input_cache_read": 1000, "total": 1052}'
            ),
        },
        provider="openai",
        response_model=None,
        response_id=None,
        notes=("provider openai taken from the model's name",),
    ),
    Emitter(
        rule="ai-sdk/1",
        scope="gen_ai",
        attributes=_gen_ai("azure.ai.inference"),
        provider="azure.ai.inference",
    ),
    Emitter(
        rule="ai-sdk-6/1",
        scope="ai",
        name="ai.generateText.doGenerate",
        internal=True,
        attributes={
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.id": "claude-sonnet-5-5",
            "ai.model.provider": "anthropic.messages",
            "gen_ai.system": "anthropic.messages",
            "ai.response.model": "claude-sonnet-5-5-20260701",
            "ai.response.id": "msg_1",
            "ai.usage.inputTokens": 1012,
            "ai.usage.inputTokenDetails.noCacheTokens": 12,
            "ai.usage.inputTokenDetails.cacheReadTokens": 1000,
            "ai.usage.cachedInputTokens": 1000,
            "ai.usage.outputTokens": 40,
            "ai.usage.totalTokens": 1052,
            "gen_ai.usage.input_tokens": 1012,
            "gen_ai.usage.output_tokens": 40,
        },
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="ai-sdk-5/1",
        scope="ai",
        name="ai.streamText.doStream",
        internal=True,
        attributes={
            "ai.operationId": "ai.streamText.doStream",
            "ai.model.id": "gpt-6-luna",
            "ai.model.provider": "openai.responses",
            "ai.response.model": "gpt-6-luna-2026-05-01",
            "ai.response.id": "aitxt-1",
            "ai.usage.inputTokens": 1012,
            "ai.usage.cachedInputTokens": 1000,
            "ai.usage.outputTokens": 40,
            "ai.usage.totalTokens": 1052,
        },
        response_id="aitxt-1",
    ),
    Emitter(
        rule="ai-sdk-4/1",
        scope="ai",
        name="ai.generateText.doGenerate",
        internal=True,
        attributes={
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.id": "gpt-6-luna",
            "ai.model.provider": "openai.chat",
            "ai.response.model": "gpt-6-luna-2026-05-01",
            "gen_ai.response.id": "chatcmpl-1",
            "ai.usage.promptTokens": 1012,
            "ai.usage.completionTokens": 40,
        },
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
    ),
    Emitter(
        rule="litellm/1",
        scope="litellm",
        name="chat gpt-6-luna",
        attributes=_gen_ai("azure", litellm__cache_hit=False, gen_ai__usage__total_tokens=1052),
        provider="azure.ai.openai",
    ),
    Emitter(
        # With content switched off it names no operation, only its call type.
        rule="litellm-default/1",
        scope="litellm",
        name="litellm_request",
        internal=True,
        attributes=_old(
            "vertex_ai_beta",
            read=None,
            gen_ai__operation__name=None,
            llm__request__type="acompletion",
            llm__is_streaming="False",
            litellm__cache_hit=False,
            gen_ai__usage__total_tokens=1052,
        ),
        provider="gcp.vertex_ai",
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
    ),
    Emitter(
        rule="envoy-ai-gateway/1",
        scope="envoyproxy/ai-gateway",
        name="ChatCompletion",
        internal=True,
        attributes={
            "openinference.span.kind": "LLM",
            "llm.system": "openai",
            "llm.model_name": "gpt-6-luna-2026-05-01",
            "llm.token_count.prompt": 1012,
            "llm.token_count.prompt_details.cache_read": 1000,
            "llm.token_count.completion": 40,
        },
        request_model=None,
        response_id=None,
    ),
    Emitter(
        rule="envoy-ai-gateway/1",
        scope="envoyproxy/ai-gateway",
        attributes=_gen_ai("azure.openai"),
        provider="azure.ai.openai",
    ),
    Emitter(
        rule="agentgateway/1",
        scope="agentgateway",
        attributes=_gen_ai(
            "anthropic", whole=12, gen_ai__response__id=None, gen_ai__usage__reasoning_tokens=8
        ),
        provider="anthropic",
        response_id=None,
        usage=READ._replace(reasoning=8),
    ),
    Emitter(
        rule="agentgateway/1",
        scope="agentgateway",
        attributes=_gen_ai(gen_ai__response__id=None),
        response_id=None,
    ),
    Emitter(
        rule="claude-code/1",
        scope="com.anthropic.claude_code.tracing",
        version="1.0.0",
        name="claude_code.llm_request",
        internal=True,
        attributes={
            "gen_ai.system": "anthropic",
            "model": "claude-sonnet-5-5",
            "gen_ai.response.id": "req_1",
            "request_id": "req_1",
            "input_tokens": 12,
            "output_tokens": 40,
            "cache_read_tokens": 1000,
            "cache_creation_tokens": 0,
        },
        provider="anthropic",
        request_model="claude-sonnet-5-5",
        response_model=None,
        response_id="req_1",
        usage=SPLIT,
    ),
    Emitter(
        rule="codex/1",
        scope="codex_cli_rs",
        name="stream_request",
        internal=True,
        attributes={
            "model": "gpt-6-luna",
            "gen_ai.usage.input_tokens": 1012,
            "gen_ai.usage.cache_read.input_tokens": 1000,
            "gen_ai.usage.cache_write.input_tokens": 0,
            "gen_ai.usage.output_tokens": 40,
            "codex.usage.reasoning_output_tokens": 8,
            "codex.usage.total_tokens": 1052,
        },
        operation=None,  # type: ignore[arg-type]
        response_model=None,
        response_id=None,
        usage=SPLIT._replace(reasoning=8),
        notes=(
            "provider openai taken from the model's name",
            "nothing says that this was a model call; its usage was taken for one",
        ),
    ),
    Emitter(
        rule="strands/1",
        scope="strands.telemetry.tracer",
        internal=True,
        attributes=_old(
            "strands-agents",
            created=0,
            gen_ai__request__model="us.anthropic.claude-sonnet-5-5-v1:0",
            gen_ai__response__model=None,
            gen_ai__response__id=None,
            gen_ai__usage__prompt_tokens=1012,
            gen_ai__usage__completion_tokens=40,
            gen_ai__usage__cache_read_input_tokens=1000,
            gen_ai__usage__cache_write_input_tokens=0,
            gen_ai__usage__total_tokens=1052,
        ),
        provider="aws.bedrock",
        request_model="us.anthropic.claude-sonnet-5-5-v1:0",
        response_model=None,
        response_id=None,
        usage=SPLIT,
        notes=("provider aws.bedrock taken from the model's name",),
    ),
    Emitter(
        rule="google-adk/1",
        scope="gcp.vertex.agent",
        version="2.13.0",
        name="generate_content gemini-3.5-flash",
        internal=True,
        attributes=_old(
            "gemini",
            gen_ai__operation__name="generate_content",
            gen_ai__request__model="gemini-3.5-flash",
            gen_ai__response__model=None,
            gen_ai__response__id=None,
            gen_ai__usage__experimental__reasoning_tokens=8,
        ),
        provider="gcp.gemini",
        operation="generate_content",
        request_model="gemini-3.5-flash",
        response_model=None,
        response_id=None,
        usage=READ._replace(reasoning=8),
    ),
    Emitter(
        rule="google-adk/1",
        scope="gcp.vertex.agent",
        version="1.0.0",
        name="call_llm",
        internal=True,
        attributes=_old(
            "gcp.vertex.agent",
            gen_ai__operation__name=None,
            gen_ai__request__model="gemini-3.5-flash",
            gen_ai__response__model=None,
            gen_ai__response__id=None,
        ),
        provider="gcp.gen_ai",
        operation="generate_content",
        request_model="gemini-3.5-flash",
        response_model=None,
        response_id=None,
        notes=("provider gcp.gen_ai taken from the model's name",),
    ),
    Emitter(
        rule="agent-framework/1",
        scope="agent_framework",
        version="1.23.0",
        attributes={**_gen_ai("anthropic", whole=12, created=0), **_CLAUDE},
        usage=SPLIT,
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="agent-framework-default/1",
        scope="agent_framework",
        version="1.23.0",
        attributes=_old("openai", read=None),
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
    ),
    Emitter(
        rule="semantic-kernel/1",
        scope="semantic_kernel.utils.telemetry.model_diagnostics.decorators",
        internal=True,
        attributes=_old(
            "openai",
            read=None,
            gen_ai__operation__name="text_completions",
            gen_ai__response__model=None,
            server__address="https://api.openai.com/v1/",
        ),
        operation="text_completion",
        response_model=None,
        usage=Usage(input_uncached=1012, output=40),
        notes=(HIDDEN,),
    ),
    Emitter(
        rule="spring-ai/1",
        scope="org.springframework.boot",
        version="4.0.1",
        attributes={
            **_old(
                "anthropic",
                whole="12",
                read="1000",
                created="0",
                output="40",
                gen_ai__usage__total_tokens="52",
            ),
            **_CLAUDE,
        },
        usage=SPLIT,
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="spring-ai/1",
        scope="org.springframework.boot",
        version="4.0.1",
        attributes=_old("openai", whole="1012", read="1000", output="40"),
    ),
    Emitter(
        rule="langsmith/1",
        scope="langsmith",
        name="ChatOpenAI",
        internal=True,
        attributes=_old(
            "openai",
            read=None,
            langsmith__span__kind="llm",
            gen_ai__usage__total_tokens=1052,
            gen_ai__usage__input_token_details="{'cache_read': 1000, 'audio': None}",
            gen_ai__usage__output_token_details="{'reasoning': 8}",
        ),
        usage=READ._replace(reasoning=8),
    ),
    Emitter(
        rule="langsmith/1",
        scope="langsmith",
        name="ChatOpenAI",
        internal=True,
        attributes=_old(
            "openai",
            read=None,
            langsmith__span__kind="llm",
            gen_ai__response__service_tier="flex",
            gen_ai__usage__input_token_details="{'flex_cache_read': 1000, 'flex': 12}",
            gen_ai__usage__output_token_details="{'flex_reasoning': 8, 'flex': 32}",
        ),
        usage=READ._replace(reasoning=8),
    ),
    Emitter(
        rule="anthropic-sdk/1",
        scope="com.anthropic.sdk.python",
        version="2.11.0",
        name="anthropic.messages.create",
        attributes={
            **_gen_ai(
                "anthropic",
                gen_ai__usage__cache_write__input_tokens=0,
                anthropic__usage__cache_creation__ephemeral_5m_input_tokens=0,
                anthropic__usage__cache_creation__ephemeral_1h_input_tokens=0,
                gen_ai__usage__reasoning__output_tokens=8,
                anthropic__response__service_tier="standard",
                anthropic__request__id="req_1",
                server__address="api.anthropic.com",
            ),
            **_CLAUDE,
        },
        usage=SPLIT._replace(cache_write_5m=0, cache_write_1h=0, reasoning=8),
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="mistral-sdk/1",
        scope="mistralai_sdk_tracer",
        internal=True,
        attributes=_gen_ai("mistral_ai", server__address="api.mistral.ai:443"),
        provider="mistral_ai",
    ),
    Emitter(
        rule="openlit/1",
        scope="openlit.instrumentation.openai",
        attributes=_gen_ai(created=0, gen_ai__usage__total_tokens=1052),
        usage=SPLIT,
    ),
    Emitter(
        rule="openlit/1",
        scope="openlit.instrumentation.anthropic.anthropic",
        attributes={
            **_gen_ai("anthropic", whole=12, created=0, gen_ai__usage__total_tokens=52),
            **_CLAUDE,
        },
        usage=SPLIT,
        **_CLAUDE_EXPECTED,  # type: ignore[arg-type]
    ),
    Emitter(
        rule="gen_ai/1",
        scope="shop.llm",
        attributes=_gen_ai(),
        notes=(
            "input of 1012 tokens assumed to include 1000 of the cache; "
            "if it does not, 1012 instead of 12 were uncached",
        ),
    ),
)
