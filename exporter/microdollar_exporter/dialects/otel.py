# SPDX-License-Identifier: Apache-2.0
"""The instrumentations of the OpenTelemetry project."""

from collections.abc import Mapping
from typing import Final

from microdollar_exporter.dialects.conventions import Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_semconv import gen_ai as ga

__all__ = ["DIALECTS", "UTIL_GENAI"]


def _counted_in_characters(attributes: Mapping[str, str]) -> bool:
    """Whether the counts are characters divided by six: `InvokeModel` of Cohere and Mistral."""
    model = attributes.get(ga.REQUEST_MODEL, "")
    return attributes.get(ga.RPC_METHOD, "").startswith("InvokeModel") and (
        "cohere." in model or "mistral." in model
    )


UTIL_GENAI: Final = Dialect(
    rule="otel-genai/1",
    source="opentelemetry-util-genai 1.3b0, -genai-openai, -genai-anthropic, -google-genai",
    rank=Rank.OPENTELEMETRY,
    spans=Spans(
        scopes=("opentelemetry.instrumentation.google_genai",),
        prefixes=("opentelemetry.instrumentation.genai.",),
    ),
)
"""All that is built on `opentelemetry-util-genai`."""

DIALECTS: Final = (
    UTIL_GENAI,
    Dialect(
        rule="otel-openai-v2/1",
        source="opentelemetry-instrumentation-openai-v2 2.4b0: patch.py, default mode",
        rank=Rank.OPENTELEMETRY,
        spans=Spans(scopes=("opentelemetry.instrumentation.openai_v2",)),
        hides_cache=True,
    ),
    Dialect(
        rule="otel-botocore/1",
        source="opentelemetry-instrumentation-botocore 0.66b2: extensions/bedrock.py",
        rank=Rank.OPENTELEMETRY,
        spans=Spans(scopes=("opentelemetry.instrumentation.botocore.bedrock-runtime",)),
        cache=Cache.EXCLUDED,
        is_estimate=_counted_in_characters,
    ),
    Dialect(
        rule="otel-vertexai/1",
        source="opentelemetry-instrumentation-vertexai 2.2b0",
        rank=Rank.OPENTELEMETRY,
        # OpenLLMetry's package of the same scope has versions of its own.
        spans=Spans(scopes=("opentelemetry.instrumentation.vertexai",), since="2"),
        hides_cache=True,
    ),
)
