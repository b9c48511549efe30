# SPDX-License-Identifier: Apache-2.0
"""OpenInference (Arize). Where it also writes `gen_ai` names, its own are read."""

from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.usage_names import GEN_AI, OPENINFERENCE

__all__ = ["DIALECTS"]

_FAMILIES = (OPENINFERENCE, GEN_AI)
_JS = "@arizeai/openinference-instrumentation-"

DIALECTS: Final = (
    Dialect(
        rule="openinference-js-anthropic-0.1/1",
        source="Arize-ai/openinference#3734, first released in 0.2.8",
        rank=Rank.OPENINFERENCE,
        spans=Spans(scopes=(_JS + "anthropic",), before="0.2.8"),
        families=_FAMILIES,
        cache=Cache.EXCLUDED,
        agents=Agents.LOOPS,
    ),
    Dialect(
        rule="openinference/1",
        source="openinference-instrumentation-openai 0.1.66, -anthropic 3.1.0, -langchain 0.1.80",
        rank=Rank.OPENINFERENCE,
        spans=Spans(
            prefixes=("openinference.instrumentation.", _JS), marks=("openinference.span.kind",)
        ),
        families=_FAMILIES,
        agents=Agents.LOOPS,
    ),
)
