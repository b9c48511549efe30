# SPDX-License-Identifier: Apache-2.0
"""The Vercel AI SDK. Its tracers have no version, so its names tell which one it is."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.operations import OPERATIONS
from microdollar_exporter.dialects.usage_names import AI_SDK, GEN_AI

__all__ = ["DIALECTS"]

_MARKS = ("ai.operationId", "ai.usage.")
_FAMILIES = (AI_SDK, GEN_AI)

DIALECTS: Final = (
    Dialect(
        rule="ai-sdk/1",
        source="npm @ai-sdk/otel 1.0.173, the default of ai 7",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("gen_ai",)),
        families=(GEN_AI, AI_SDK),
        agents=Agents.LOOPS,
        operations={
            **OPERATIONS,
            "ai.generateSpeech": "speech",
            "ai.transcribe": "transcription",
            "ai.streamTranscribe": "transcription",
        },
    ),
    Dialect(
        rule="ai-sdk-6/1",
        source="npm @ai-sdk/otel 1.0.173: LegacyOpenTelemetry",
        rank=Rank.FRAMEWORK,
        spans=Spans(
            scopes=("ai",), marks=_MARKS, having="ai.usage.inputTokenDetails.noCacheTokens"
        ),
        families=_FAMILIES,
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="ai-sdk-4/1",
        source="npm ai 4.3.19",
        rank=Rank.FRAMEWORK,
        spans=Spans(
            scopes=("ai",),
            marks=_MARKS,
            having="ai.usage.promptTokens",
            lacking="ai.usage.cachedInputTokens",
        ),
        families=_FAMILIES,
        hides_cache=True,
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="ai-sdk-5/1",
        source="npm ai 5.0.60 and 6.0.5, whose spans look the same; vercel/ai#8794",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("ai",), marks=_MARKS),
        families=_FAMILIES,
        # 5 leaves the cache out where the provider does, 6 adds it.
        cache_at={
            "anthropic": Cache.UNKNOWN,
            "aws.bedrock": Cache.UNKNOWN,
            "gcp.vertex_ai": Cache.UNKNOWN,
        },
        agents=Agents.LOOPS,
    ),
)
