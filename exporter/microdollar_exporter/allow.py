# SPDX-License-Identifier: Apache-2.0
"""The one allow-list: every attribute of a span that may be kept, and how its value is read.

What is not named here does not survive: no event, no link, no status description, no span name but
the few of `NAMES`. What an emitter puts into a prompt cannot reach the disk.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from microdollar_exporter.values import (
    MAX_NAME,
    MAX_NAMED,
    MAX_TEXT,
    Reader,
    count,
    json_counts,
    plain,
    python_counts,
    text,
    texts,
    usage_rows,
)
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = [
    "ALLOWED",
    "ALLOWED_PREFIXES",
    "MAX_NAME",
    "MAX_NAMED",
    "MAX_TEXT",
    "NAMES",
    "RESOURCE_ALLOWED",
    "WHOSE",
    "Field",
    "Keep",
    "Reader",
    "known_name",
    "plain",
    "text",
]


class Keep(Enum):
    """Where a value goes: by whether many spans share it, and what it is."""

    ATTRIBUTE = auto()
    """Text that many spans share: `Profile.attributes`."""
    DETAIL = auto()
    """Text that differs from call to call: `Evidence.details`."""
    USAGE = auto()
    """A number the emitter reported: `Evidence.usage`."""
    RESPONSE_ID = auto()
    """A spelling of the response's id; of several on one span the first in `ALLOWED` counts."""
    BOOT_ID = auto()
    CALL_SEQUENCE = auto()


class Field(NamedTuple):
    """How to read an attribute, and where to keep it."""

    keep: Keep
    read: Reader


_ATTRIBUTE: Final = Field(Keep.ATTRIBUTE, text)
_LIST: Final = Field(Keep.ATTRIBUTE, texts)
_DETAIL: Final = Field(Keep.DETAIL, text)
_USAGE: Final = Field(Keep.USAGE, count)
_RESPONSE_ID: Final = Field(Keep.RESPONSE_ID, text)


def _each(field: Field, prefix: str, *names: str) -> dict[str, Field]:
    return {prefix + name: field for name in names}


_OURS: Final[Mapping[str, Field]] = {
    md.CUSTOMER_ID: _DETAIL,
    md.USER_ID: _DETAIL,
    md.BOOT_ID: Field(Keep.BOOT_ID, text),
    md.BOOT_DROPPED_CALLS: _ATTRIBUTE,
    md.CALL_SEQUENCE: Field(Keep.CALL_SEQUENCE, count),
    md.USAGE_SOURCE: _ATTRIBUTE,
    md.USAGE_TOOL_INPUT_TOKENS: _USAGE,
    md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS: _USAGE,
    md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS: _USAGE,
    md.USAGE_ADDITIONAL: Field(Keep.DETAIL, usage_rows),
    md.USAGE_ESTIMATE_METHOD: _ATTRIBUTE,
    md.USAGE_ESTIMATE_MIN_OUTPUT_TOKENS: _DETAIL,
    md.USAGE_ESTIMATE_MAX_OUTPUT_TOKENS: _DETAIL,
    md.RESPONSE_SERVICE_TIER: _ATTRIBUTE,
    md.RESPONSE_SPEED: _ATTRIBUTE,
    md.RESPONSE_INFERENCE_GEO: _ATTRIBUTE,
}

_CALL: Final[Mapping[str, Field]] = {
    ga.OPERATION_NAME: _ATTRIBUTE,
    ga.PROVIDER_NAME: _ATTRIBUTE,
    ga.SYSTEM: _ATTRIBUTE,
    ga.REQUEST_MODEL: _ATTRIBUTE,
    ga.REQUEST_STREAM: _ATTRIBUTE,
    ga.REQUEST_CHOICE_COUNT: _ATTRIBUTE,
    ga.REQUEST_REASONING_LEVEL: _ATTRIBUTE,
    ga.REQUEST_PREVIOUS_RESPONSE_ID: _DETAIL,
    ga.RESPONSE_MODEL: _ATTRIBUTE,
    ga.RESPONSE_ID: _RESPONSE_ID,
    ga.RESPONSE_STATUS: _ATTRIBUTE,
    ga.RESPONSE_FINISH_REASONS: _LIST,
    "gen_ai.response.finish_reason": _LIST,
    ga.RESPONSE_TIME_TO_FIRST_CHUNK: _DETAIL,
    "gen_ai.is_streaming": _ATTRIBUTE,
    ga.AGENT_ID: _ATTRIBUTE,
    ga.AGENT_NAME: _ATTRIBUTE,
    ga.AGENT_VERSION: _ATTRIBUTE,
    ga.WORKFLOW_NAME: _ATTRIBUTE,
    ga.TOOL_NAME: _ATTRIBUTE,
    ga.TOOL_TYPE: _ATTRIBUTE,
    ga.TOOL_CALL_ID: _DETAIL,
    ga.PROMPT_NAME: _ATTRIBUTE,
    ga.PROMPT_VERSION: _ATTRIBUTE,
    ga.OPENAI_API_TYPE: _ATTRIBUTE,
    ga.OPENAI_REQUEST_SERVICE_TIER: _ATTRIBUTE,
    ga.OPENAI_RESPONSE_SERVICE_TIER: _ATTRIBUTE,
    ga.OLD_OPENAI_REQUEST_SERVICE_TIER: _ATTRIBUTE,
    ga.OLD_OPENAI_RESPONSE_SERVICE_TIER: _ATTRIBUTE,
    "gen_ai.response.service_tier": _ATTRIBUTE,
    ga.SERVER_ADDRESS: _ATTRIBUTE,
    ga.SERVER_PORT: _ATTRIBUTE,
    ga.HTTP_RESPONSE_STATUS_CODE: _ATTRIBUTE,
    "http.status_code": _ATTRIBUTE,
    ga.ERROR_TYPE: _ATTRIBUTE,
    ga.RPC_METHOD: _ATTRIBUTE,
}

_VENDORS: Final[Mapping[str, Field]] = {
    **_each(_ATTRIBUTE, "anthropic.", "request.service_tier", "response.service_tier"),
    "anthropic.request.id": _DETAIL,
    "openinference.span.kind": _ATTRIBUTE,
    **_each(_ATTRIBUTE, "llm.", "provider", "system", "model_name", "request.type", "is_streaming"),
    **_each(_ATTRIBUTE, "llm.", "request.model_name", "response.model_name"),
    "embedding.model_name": _ATTRIBUTE,
    "reranker.model_name": _ATTRIBUTE,
    "traceloop.span.kind": _ATTRIBUTE,
    **_each(_ATTRIBUTE, "ai.", "operationId", "model.id", "model.provider", "response.model"),
    "ai.response.finishReason": _ATTRIBUTE,
    "ai.response.id": _RESPONSE_ID,
    "langfuse.observation.type": _ATTRIBUTE,
    "langfuse.observation.model.name": _ATTRIBUTE,
    "langsmith.span.kind": _ATTRIBUTE,
    "logfire.span_type": _ATTRIBUTE,
    "logfire.level_num": _ATTRIBUTE,
    "litellm.cache_hit": _ATTRIBUTE,
    "litellm.request.purpose": _ATTRIBUTE,
    "litellm.call_id": _DETAIL,
    # Claude Code.
    "model": _ATTRIBUTE,
    "request_id": _DETAIL,
    "client_request_id": _DETAIL,
}

_COUNTS: Final[Mapping[str, Field]] = {
    **_each(_USAGE, "gen_ai.usage.", "input_tokens", "prompt_tokens"),
    **_each(_USAGE, "gen_ai.usage.", "output_tokens", "completion_tokens", "total_tokens"),
    **_each(_USAGE, "gen_ai.usage.cache_read", ".input_tokens", "_input_tokens"),
    **_each(_USAGE, "gen_ai.usage.cache_write", ".input_tokens", "_input_tokens"),
    **_each(_USAGE, "gen_ai.usage.cache_creation", ".input_tokens", "_input_tokens"),
    **_each(_USAGE, "gen_ai.usage.", "reasoning.output_tokens", "reasoning_tokens"),
    **_each(_USAGE, "gen_ai.usage.text.", "input_tokens", "output_tokens"),
    **_each(_USAGE, "gen_ai.usage.image.", "input_tokens", "output_tokens"),
    **_each(_USAGE, "gen_ai.usage.audio.", "input_tokens", "output_tokens"),
    "gen_ai.usage.video.input_tokens": _USAGE,
    **_each(_USAGE, "gen_ai.usage.", "input_audio_tokens", "output_audio_tokens"),
    "gen_ai.usage.output_image_tokens": _USAGE,
    **{
        f"gen_ai.usage.{kind}.cache_read.input_tokens": _USAGE
        for kind in ("text", "image", "audio")
    },
    **_each(_USAGE, "gen_ai.usage.experimental.", "reasoning_tokens", "system_instruction_tokens"),
    **_each(
        _USAGE, "gen_ai.usage.prompt_tokens_details.", "cached_tokens", "cache_creation_tokens"
    ),
    **_each(_USAGE, "gen_ai.usage.completion_tokens_details.", "reasoning_tokens", "audio_tokens"),
    # pydantic-ai; a name that is not here is a detail of no price.
    **_each(_USAGE, "gen_ai.usage.details.", "cache_read_tokens", "cache_write_tokens"),
    **_each(
        _USAGE, "gen_ai.usage.details.", "cache_read_input_tokens", "cache_creation_input_tokens"
    ),
    **_each(_USAGE, "gen_ai.usage.details.", "reasoning_tokens", "thoughts_tokens"),
    **_each(_USAGE, "gen_ai.usage.details.", "input_audio_tokens", "output_audio_tokens"),
    **_each(_USAGE, "gen_ai.usage.details.", "cache_audio_read_tokens", "text_prompt_tokens"),
    **_each(_USAGE, "gen_ai.usage.details.", "text_candidates_tokens"),
    **_each(
        _USAGE,
        "gen_ai.usage.details.",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    ),
    **_each(
        Field(Keep.USAGE, python_counts),
        "gen_ai.usage.",
        "input_token_details",
        "output_token_details",
    ),
    **_each(_USAGE, "gen_ai.aggregated_usage.", "input_tokens", "output_tokens"),
    **_each(_USAGE, "gen_ai.usage.partial.", "input_tokens", "output_tokens"),
    **_each(
        _USAGE,
        "anthropic.usage.cache_creation.",
        "ephemeral_5m_input_tokens",
        "ephemeral_1h_input_tokens",
    ),
    **_each(_USAGE, "anthropic.usage.compaction.", "input_tokens", "output_tokens"),
    "mistral_ai.ocr.usage.pages_processed": _USAGE,
    **_each(_USAGE, "llm.usage.", "prompt_tokens", "completion_tokens", "total_tokens"),
    "llm.usage.reasoning_tokens": _USAGE,
    **_each(_USAGE, "llm.token_count.", "prompt", "completion", "total"),
    **_each(_USAGE, "llm.token_count.prompt_details.", "cache_read", "cache_input", "cache_write"),
    "llm.token_count.prompt_details.audio": _USAGE,
    **_each(_USAGE, "llm.token_count.completion_details.", "reasoning", "audio"),
    **_each(_USAGE, "ai.usage.", "inputTokens", "promptTokens", "tokens"),
    **_each(_USAGE, "ai.usage.", "outputTokens", "completionTokens", "totalTokens"),
    **_each(_USAGE, "ai.usage.", "cachedInputTokens", "reasoningTokens"),
    **_each(
        _USAGE,
        "ai.usage.inputTokenDetails.",
        "noCacheTokens",
        "cacheReadTokens",
        "cacheWriteTokens",
    ),
    **_each(_USAGE, "ai.usage.outputTokenDetails.", "textTokens", "reasoningTokens"),
    "langfuse.observation.usage_details": Field(Keep.USAGE, json_counts),
    **_each(_USAGE, "codex.usage.", "reasoning_output_tokens", "total_tokens"),
    **_each(_USAGE, "codex.turn.token_usage.", "input_tokens", "output_tokens"),
    # Claude Code.
    **_each(_USAGE, "", "input_tokens", "output_tokens", "cache_read_tokens"),
    **_each(_USAGE, "cache_creation", "_tokens", "_5m_tokens", "_1h_tokens"),
}

WHOSE: Final[Mapping[str, Field]] = {
    **_each(_DETAIL, "", "tenant.id", "customer.id", "tenant_id", "customer_id"),
    **_each(_DETAIL, "app.", "tenant.id", "customer.id", "tenant_id", "customer_id"),
    **_each(_DETAIL, "", ga.ENDUSER_PSEUDO_ID, ga.ENDUSER_ID, ga.USER_ID, ga.USER_HASH),
    **_each(_DETAIL, "", ga.SESSION_ID, ga.CONVERSATION_ID, "conversation.id"),
    **_each(_DETAIL, "", "gen_ai.user", "llm.user"),
    **_each(
        _DETAIL,
        "traceloop.association.properties.",
        *("customer_id", "tenant_id", "user_id", "session_id"),
    ),
    **_each(_DETAIL, "langfuse.", "user.id", "session.id"),
    **_each(
        _DETAIL,
        "langsmith.metadata.",
        *("customer_id", "tenant_id", "user_id", "session_id"),
    ),
    **_each(_DETAIL, "ai.telemetry.metadata.", *("customerId", "tenantId", "userId", "sessionId")),
    **_each(_DETAIL, "ai.settings.context.", *("customerId", "tenantId", "userId", "sessionId")),
    **_each(_DETAIL, "litellm.", "end_user.id", "team.id"),
    **_each(
        _DETAIL,
        "metadata.user_api_key_",
        *("end_user_id", "user_id", "team_id", "org_id"),
    ),
    **_each(
        _DETAIL,
        "litellm.metadata.user_api_key_",
        *("end_user_id", "user_id", "team_id", "org_id"),
    ),
}
"""What names customers, users, sessions and conversations, by other emitters' attributes."""

ALLOWED: Final[Mapping[str, Field]] = {**_OURS, **_CALL, **_VENDORS, **_COUNTS, **WHOSE}
"""Every span attribute that may be kept, and how its value is read."""

ALLOWED_PREFIXES: Final[Mapping[str, Field]] = {
    md.TAG_PREFIX: _ATTRIBUTE,
    md.USAGE_UNITS_PREFIX: _USAGE,
}
"""The attributes whose last part the emitter names."""

RESOURCE_ALLOWED: Final[Mapping[str, Field]] = {
    md.CUSTOMER_ID: _ATTRIBUTE,
    "tenant.id": _ATTRIBUTE,
    "customer.id": _ATTRIBUTE,
    ga.SERVICE_NAMESPACE: _ATTRIBUTE,
    ga.SERVICE_VERSION: _ATTRIBUTE,
    "telemetry.sdk.name": _ATTRIBUTE,
    "telemetry.sdk.language": _ATTRIBUTE,
    "telemetry.sdk.version": _ATTRIBUTE,
}
"""Attributes of the resource that are kept, beside the service and the environment."""

NAMES: Final = frozenset(
    {
        "anthropic.messages.count_tokens",
        "call_llm",
        "claude_code.llm_request",
        "litellm_request",
        "openai.response",
        "raw_gen_ai_request",
    }
)
"""The span names that may be kept: those by which a dialect tells its spans apart."""


def known_name(name: str) -> str | None:
    """A span's name if it is one that may be kept, else None: emitters put prompts into names."""
    return name if name in NAMES else None
