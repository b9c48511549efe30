# SPDX-License-Identifier: Apache-2.0
"""OpenLIT."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Output, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.operations import OPERATIONS

__all__ = ["DIALECTS"]

DIALECTS: Final = (
    Dialect(
        rule="openlit/1",
        source="openlit 1.45.0: instrumentation/{openai,anthropic,bedrock}/utils.py",
        rank=Rank.OPENLLMETRY,
        spans=Spans(scopes=("openlit",), prefixes=("openlit.",)),
        cache_at={"anthropic": Cache.EXCLUDED, "aws.bedrock": Cache.EXCLUDED},
        total_proves=False,
        output=Output.GUESSED_IN_STREAMS,
        agents=Agents.LOOPS,
        operations={
            **OPERATIONS,
            "audio": "speech",
            "speech_to_text": "transcription",
            "text_to_speech": "speech",
        },
    ),
)
