# SPDX-License-Identifier: Apache-2.0
"""pydantic-ai and Logfire."""

from collections.abc import Collection, Mapping
from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.usage_names import has_usage
from microdollar_semconv import gen_ai as ga

__all__ = ["DIALECTS"]


_STREAMED: Final = frozenset({"chat", "text_completion"})
_FAILED: Final = frozenset({"17", "21"})
"""Logfire's levels of errors and of fatal ones."""


def _opens_a_stream(attributes: Mapping[str, str], names: Collection[str]) -> bool:
    """Whether a span is the request of a stream that got an answer.

    It ends with the headers. Usage comes on a log span beside it once the stream is read; a stream
    that the app abandons has none. A response's model says nothing: Logfire repeats the request's.
    """
    return (
        attributes.get("logfire.span_type") == "span"
        and attributes.get(ga.OPERATION_NAME) in _STREAMED
        and attributes.get("logfire.level_num") not in _FAILED
        and ga.RESPONSE_ID not in names
        and not has_usage(names)
    )


DIALECTS: Final = (
    Dialect(
        rule="pydantic-ai/1",
        source="pydantic-ai-slim 2.68.0: usage.py, _instrumentation.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("pydantic-ai",)),
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="logfire-claude-agent/1",
        source="logfire-sdk 5.4.0: integrations/claude_agent_sdk.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(scopes=("logfire.claude_agent_sdk",)),
        # The agent is a process of its own, and only the sum of its calls is known.
        agents=Agents.REMOTE,
    ),
    Dialect(
        rule="logfire-4.30/1",
        source="logfire 4.30.0: llm_providers/anthropic.py; pydantic/logfire#1812",
        rank=Rank.FRAMEWORK,
        spans=Spans(prefixes=("logfire",), before="4.31"),
        cache_at={"anthropic": Cache.EXCLUDED},
        hides_cache=True,
        agents=Agents.LOOPS,
        is_not_a_call=_opens_a_stream,
    ),
    Dialect(
        rule="logfire-5.2/1",
        source="logfire 4.31.0, 4.32.0 and 5.2.0: llm_providers/anthropic.py, openai.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(prefixes=("logfire",), before="5.3"),
        hides_cache=True,
        agents=Agents.LOOPS,
        is_not_a_call=_opens_a_stream,
    ),
    Dialect(
        rule="logfire/1",
        source="logfire-sdk 5.3.0 and 5.4.0: llm_providers/usage.py, llm_provider.py",
        rank=Rank.FRAMEWORK,
        spans=Spans(prefixes=("logfire",)),
        agents=Agents.LOOPS,
        is_not_a_call=_opens_a_stream,
    ),
)
