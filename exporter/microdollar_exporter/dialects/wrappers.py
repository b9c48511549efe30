# SPDX-License-Identifier: Apache-2.0
"""Wrappers of an observability product around whatever an app calls: the Langfuse SDK."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.usage_names import GEN_AI, LANGFUSE

__all__ = ["DIALECTS"]

DIALECTS: Final = (
    Dialect(
        rule="langfuse/1",
        source="langfuse 5.0.4: openai.py, langchain/CallbackHandler.py, _client/attributes.py",
        rank=Rank.WRAPPER,
        spans=Spans(scopes=("langfuse-sdk",), marks=("langfuse.observation.type",)),
        families=(*LANGFUSE, GEN_AI),
        agents=Agents.LOOPS,
    ),
)
