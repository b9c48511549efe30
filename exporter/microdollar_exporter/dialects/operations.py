# SPDX-License-Identifier: Apache-2.0
"""The operations that are calls of a model, by all the words for them, and those that are not."""

from collections.abc import Mapping
from typing import Final

__all__ = ["AGENT", "NOT_CALLS", "NOT_CALL_NAMES", "OPERATIONS", "SPAN_KINDS"]

AGENT: Final = "invoke_agent"

OPERATIONS: Final[Mapping[str, str]] = {
    "chat": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
    "embeddings": "embeddings",
    "generate_content": "generate_content",
    "image": "image_generation",
    "image_generation": "image_generation",
    "interaction": "generate_content",
    "messages": "chat",
    "rerank": "rerank",
    "response": "chat",
    "responses": "chat",
    "speech": "speech",
    "text_completion": "text_completion",
    "text_completions": "text_completion",
    "transcription": "transcription",
}
"""`gen_ai.operation.name` and `llm.request.type` of model calls, in OpenTelemetry's words."""

NOT_CALLS: Final = frozenset(
    {
        "agent_step",
        "chain",
        "create_agent",
        "decide",
        "execute_event_loop_cycle",
        "execute_tool",
        "fetch_response",
        "framework",
        "invoke_workflow",
        "plan",
        "retrieval",
        "tokenize",
        *(f"{act}_memory" for act in ("search", "create", "update", "upsert", "delete")),
        *(f"{act}_memory_store" for act in ("create", "delete")),
    }
)
"""Operations around model calls, which repeat their usage or have none."""

NOT_CALL_NAMES: Final = frozenset({"raw_gen_ai_request", "anthropic.messages.count_tokens"})
"""Names of spans that are no calls, whatever else is on them."""

SPAN_KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "openinference.span.kind": {"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"},
    "langfuse.observation.type": {"generation": "chat", "embedding": "embeddings"},
    "langsmith.span.kind": {"llm": "chat"},
    # Nothing a traceloop decorator or a LangChain chain wraps is itself a call.
    "traceloop.span.kind": {},
    "ai.operationId": {
        "ai.generateText.doGenerate": "chat",
        "ai.streamText.doStream": "chat",
        "ai.generateObject.doGenerate": "chat",
        "ai.streamObject.doStream": "chat",
        "ai.embed.doEmbed": "embeddings",
        "ai.embedMany.doEmbed": "embeddings",
        "ai.rerank.doRerank": "rerank",
    },
}
"""The attributes by which emitters tell a call of a model from what is around it, and the values
that mean a call. Any other value means something else."""
