# SPDX-License-Identifier: Apache-2.0
"""What the SDKs of model vendors emit by themselves."""

from collections.abc import Collection, Mapping
from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_semconv import gen_ai as ga

__all__ = ["DIALECTS"]


def _repeats_a_message(_: Mapping[str, str], names: Collection[str]) -> bool:
    """Whether a `chat` span only repeats one message of a conversation.

    The SDK makes one for each message in the answer of an agent; no request went with it.
    """
    return ga.SERVER_ADDRESS not in names


DIALECTS: Final = (
    Dialect(
        rule="anthropic-sdk/1",
        source="anthropic 2.11.0: _tracing.py",
        rank=Rank.VENDOR,
        spans=Spans(prefixes=("com.anthropic.sdk.",)),
    ),
    Dialect(
        rule="mistral-sdk/1",
        source="mistralai 3.7.0: extra/observability/otel.py",
        rank=Rank.VENDOR,
        spans=Spans(scopes=("mistralai_sdk_tracer",)),
        agents=Agents.REMOTE,
        is_not_a_call=_repeats_a_message,
    ),
)
