# SPDX-License-Identifier: Apache-2.0
"""Gateways: LiteLLM, Envoy AI Gateway, agentgateway."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.operations import OPERATIONS
from microdollar_exporter.dialects.usage_names import GEN_AI, LANGFUSE, OPENINFERENCE
from microdollar_semconv import gen_ai as ga

__all__ = ["DIALECTS"]

_LITELLM_CALLS = {
    "anthropic_messages": "chat",
    "completion": "chat",
    "completion_with_retries": "chat",
    "embedding": "embeddings",
    "generate_content": "generate_content",
    "generate_content_stream": "generate_content",
    "image_edit": "image_generation",
    "image_generation": "image_generation",
    "image_variation": "image_generation",
    "ocr": "generate_content",
    "pass_through_endpoint": "chat",
    "realtime": "chat",
    "rerank": "rerank",
    "responses": "chat",
    "speech": "speech",
    "text_completion": "text_completion",
    "transcription": "transcription",
}
_LITELLM_OPERATIONS = {
    **OPERATIONS,
    **_LITELLM_CALLS,
    **{f"a{call}": operation for call, operation in _LITELLM_CALLS.items()},
    "_arealtime": "chat",
}
"""LiteLLM's call types, each also in its asynchronous form; its `completion` is a chat."""

_LITELLM_MARKS = ("litellm.cache_hit", "litellm.call_id")
_LITELLM_FAMILIES = (GEN_AI, OPENINFERENCE, *LANGFUSE)

DIALECTS: Final = (
    Dialect(
        rule="litellm/1",
        source="litellm 1.109.1: integrations/opentelemetry.py, gen_ai_latest_experimental; otel/",
        rank=Rank.GATEWAY,
        spans=Spans(scopes=("litellm",), marks=_LITELLM_MARKS, having=ga.PROVIDER_NAME),
        families=_LITELLM_FAMILIES,
        agents=Agents.LOOPS,
        operations=_LITELLM_OPERATIONS,
        call_names={"litellm_request": "chat"},
    ),
    Dialect(
        rule="litellm-default/1",
        source="litellm 1.109.1: integrations/opentelemetry.py, default mode",
        rank=Rank.GATEWAY,
        spans=Spans(scopes=("litellm",), marks=_LITELLM_MARKS),
        families=_LITELLM_FAMILIES,
        hides_cache=True,
        agents=Agents.LOOPS,
        operations=_LITELLM_OPERATIONS,
        call_names={"litellm_request": "chat"},
    ),
    Dialect(
        rule="envoy-ai-gateway/1",
        source="envoyproxy/ai-gateway v1.1.0: internal/tracing, internal/translator",
        rank=Rank.GATEWAY,
        spans=Spans(scopes=("envoyproxy/ai-gateway",)),
        families=(OPENINFERENCE, GEN_AI),
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="agentgateway/1",
        source="agentgateway main 2026-08-21",
        rank=Rank.GATEWAY,
        spans=Spans(scopes=("agentgateway",)),
        cache_at={"anthropic": Cache.EXCLUDED},
        agents=Agents.LOOPS,
    ),
)
