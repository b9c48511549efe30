# SPDX-License-Identifier: Apache-2.0
"""Agent and application frameworks, and LangSmith's export of their runs."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_semconv import gen_ai as ga

__all__ = ["DIALECTS"]

_ANTHROPIC_EXCLUDES = {"anthropic": Cache.EXCLUDED}

DIALECTS: Final = (
    Dialect(
        rule="strands/1",
        source="strands-agents 1.62.0: telemetry/tracer.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("strands.telemetry.tracer",)),
        # Its agents report the sums of their whole life, call after call.
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="google-adk/1",
        source="google-adk 2.13.0: telemetry/tracing.py, _token_usage.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("gcp.vertex.agent",)),
        agents=Agents.LOOPS,
        # Beneath it there may be a `generate_content` with the same counts, which goes before it.
        call_names={"call_llm": "generate_content"},
    ),
    Dialect(
        rule="agent-framework/1",
        source="agent-framework-core 1.23.0: observability.py, gen_ai_latest_experimental",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("agent_framework",), having=ga.PROVIDER_NAME),
        cache_at=_ANTHROPIC_EXCLUDES,
    ),
    Dialect(
        rule="agent-framework-default/1",
        source="agent-framework-core 1.23.0: observability.py, default mode",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("agent_framework",)),
        cache_at=_ANTHROPIC_EXCLUDES,
        hides_cache=True,
    ),
    Dialect(
        rule="semantic-kernel/1",
        source="semantic-kernel 1.45.0: utils/telemetry/model_diagnostics/decorators.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(prefixes=("semantic_kernel.",)),
        hides_cache=True,
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="spring-ai/1",
        source="spring-ai main 2026-08-21; the scope is that of Spring Boot's tracer",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("org.springframework.boot",)),
        cache_at={**_ANTHROPIC_EXCLUDES, "aws.bedrock": Cache.UNKNOWN},
        total_proves=False,
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="langsmith/1",
        source="langsmith 0.14.17: _internal/otel/_otel_exporter.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("langsmith",), marks=("langsmith.span.kind",)),
        total_proves=False,
        agents=Agents.LOOPS,
    ),
)
