# SPDX-License-Identifier: Apache-2.0
"""Coding agents. Their log events and metrics repeat these spans and are not received."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.usage_names import CLAUDE_CODE, GEN_AI

__all__ = ["DIALECTS"]

DIALECTS: Final = (
    Dialect(
        rule="claude-code/1",
        source="Claude Code 2.1.329, read in its binary",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("com.anthropic.claude_code.tracing",)),
        families=(CLAUDE_CODE, GEN_AI),
        cache=Cache.EXCLUDED,
        agents=Agents.LOOPS,
        call_names={"claude_code.llm_request": "chat"},
    ),
    Dialect(
        rule="codex/1",
        source="Codex CLI 0.169.0, read in its binary",
        rank=Rank.FRAMEWORK,
        spans=Spans(marks=("codex.usage.",)),
        agents=Agents.LOOPS,
        takes_any_usage=True,
    ),
)
