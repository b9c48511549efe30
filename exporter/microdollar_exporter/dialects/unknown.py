# SPDX-License-Identifier: Apache-2.0
"""Emitters that nobody has met: taken at OpenTelemetry's word."""

from typing import Final

from microdollar_exporter.dialects.conventions import Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect

__all__ = ["GEN_AI_1"]

GEN_AI_1: Final = Dialect(
    rule="gen_ai/1",
    source="open-telemetry/semantic-conventions-genai",
    rank=Rank.FRAMEWORK,
    cache=Cache.ASSUMED,
    takes_any_usage=True,
)
