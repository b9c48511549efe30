# SPDX-License-Identifier: Apache-2.0
"""Other makers' wires as Google serves them: Claude and Mistral on Vertex, chat on Gemini."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Usage, total
from microdollar.providers._wire import count
from microdollar.providers.wires import chat
from microdollar.providers.wires.messages import MESSAGES

__all__ = ["RAW_CHAT", "RAW_MESSAGES", "THINKING_CHAT"]


def _usage(wire: Mapping[str, Any]) -> Usage:
    """Google's chat counts thoughts in the total only."""
    used = chat.usage(wire)
    overall, prompt = count(wire.get("total_tokens")), count(wire.get("prompt_tokens"))
    if used.output is None or overall is None or prompt is None:
        return used
    hidden = overall - prompt - used.output
    if hidden <= 0:
        return used
    return replace(used, output=total(used.output, hidden), reasoning=total(used.reasoning, hidden))


RAW_MESSAGES = replace(
    MESSAGES,
    # `count-tokens` counts, and no model has that name.
    path=re.compile(
        r"/publishers/anthropic/models/(?!count-tokens)(?P<model>[^/:]+):(?:raw|streamRaw)Predict$"
    ),
)

RAW_CHAT = replace(
    chat.CHAT,
    path=re.compile(
        r"/publishers/(?!anthropic/)[^/]+/models/(?P<model>[^/:]+):(?:raw|streamRaw)Predict$"
    ),
)

THINKING_CHAT = chat.chat(_usage, exact="all tokens, thinking included", silent=chat.ON_REQUEST)[0]
