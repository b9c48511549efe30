# SPDX-License-Identifier: Apache-2.0
"""OpenLLMetry (Traceloop). Its names changed with 0.45, 0.49 and 0.55; their meaning did not."""

from typing import Final

from microdollar_exporter.dialects.conventions import Cache, Output, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans

__all__ = ["DIALECTS"]

_SCOPE = "opentelemetry.instrumentation."

DIALECTS: Final = (
    Dialect(
        rule="openllmetry-anthropic/1",
        source="opentelemetry-instrumentation-anthropic 0.62.4: streaming.py; since at least 0.40",
        rank=Rank.OPENLLMETRY,
        spans=Spans(scopes=(_SCOPE + "anthropic",), since="0.40"),
        output=Output.HIGH_IN_STREAMS,
    ),
    Dialect(
        rule="openllmetry-anthropic-0.39/1",
        source="not read: before the versions that include the cache",
        rank=Rank.OPENLLMETRY,
        spans=Spans(scopes=(_SCOPE + "anthropic",), before="0.40"),
        cache=Cache.UNKNOWN,
        output=Output.HIGH_IN_STREAMS,
    ),
    Dialect(
        rule="openllmetry-bedrock/1",
        source="opentelemetry-instrumentation-bedrock 0.62.4; traceloop/openllmetry#4449",
        rank=Rank.OPENLLMETRY,
        spans=Spans(scopes=(_SCOPE + "bedrock",)),
        cache=Cache.EXCLUDED,
        total_proves=False,
    ),
    Dialect(
        rule="openllmetry-google/1",
        source="opentelemetry-instrumentation-google-generativeai 0.62.4: span_utils.py",
        rank=Rank.OPENLLMETRY,
        spans=Spans(scopes=(_SCOPE + "google_generativeai",)),
        output=Output.WITHOUT_THOUGHTS,
        total_proves=False,
    ),
    Dialect(
        rule="openllmetry-langchain/1",
        source="opentelemetry-instrumentation-langchain 0.62.4: callback_handler.py",
        rank=Rank.OPENLLMETRY,
        spans=Spans(scopes=(_SCOPE + "langchain",)),
        # As the LangChain package of the provider reports it; those of Bedrock do both.
        cache_at={"aws.bedrock": Cache.UNKNOWN},
    ),
    Dialect(
        rule="openllmetry/1",
        source="opentelemetry-instrumentation-openai 0.62.4, traceloop-sdk 0.62.4",
        rank=Rank.OPENLLMETRY,
        spans=Spans(
            scopes=(
                *(_SCOPE + f"openai.v{version}" for version in (0, 1)),
                *(
                    _SCOPE + package
                    for package in (
                        "alephalpha",
                        "cohere",
                        "crewai",
                        "groq",
                        "haystack",
                        "llamaindex",
                        "mistralai",
                        "ollama",
                        "openai_agents",
                        "replicate",
                        "sagemaker",
                        "together",
                        "transformers",
                        "vertexai",
                        "watsonx",
                        "writer",
                    )
                ),
                "traceloop.tracer",
            ),
            marks=("traceloop.span.kind", "llm.request.type"),
        ),
        # Up to 0.44 nothing else tells calls of the Responses API.
        call_names={"openai.response": "chat"},
    ),
)
