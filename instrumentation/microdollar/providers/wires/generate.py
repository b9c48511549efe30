# SPDX-License-Identifier: Apache-2.0
"""Google's generateContent, streamGenerateContent and embeddings, at Gemini and at Vertex.

The prompt count includes what was read from a cache and excludes what tools put in. Thoughts are
normally outside the candidates' count. Every chunk of a stream repeats the counts, cumulatively.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage, distinct, total
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, objects, part, present

__all__ = ["EMBED", "GENERATE", "PREDICT", "PREDICT_IMAGES", "STREAM_GENERATE"]


def _usage(wire: Mapping[str, Any]) -> Usage:
    prompt = count(wire.get("promptTokenCount"))
    cached = count(wire.get("cachedContentTokenCount"))
    return Usage(
        input_uncached=None if prompt is None else max(0, prompt - (cached or 0)),
        cache_read=cached,
        input_tool=count(wire.get("toolUsePromptTokenCount")),
        output=_output(wire),
        reasoning=count(wire.get("thoughtsTokenCount")),
        audio_in=_modality(wire, "AUDIO", "promptTokensDetails", "toolUsePromptTokensDetails"),
        audio_out=_modality(wire, "AUDIO", "candidatesTokensDetails"),
        image_in=_modality(wire, "IMAGE", "promptTokensDetails", "toolUsePromptTokensDetails"),
        image_out=_modality(wire, "IMAGE", "candidatesTokensDetails"),
    )


def _output(wire: Mapping[str, Any]) -> int | None:
    candidates = count(wire.get("candidatesTokenCount"))
    thoughts = count(wire.get("thoughtsTokenCount"))
    overall = count(wire.get("totalTokenCount"))
    given = total(
        count(wire.get("promptTokenCount")), count(wire.get("toolUsePromptTokenCount")), candidates
    )
    if candidates is None and thoughts is None:
        # A blocked prompt: nothing was generated if the prompt accounts for the whole total.
        return 0 if overall is not None and overall == given else None
    if candidates is not None and thoughts and overall == given:
        return candidates  # here the thoughts are inside the candidates' count
    return total(candidates, thoughts)


def _modality(wire: Mapping[str, Any], modality: str, *lists: str) -> int | None:
    """Tokens of a modality; 0 where the details are given without it, None without details."""
    details = [item for name in lists for item in objects(wire.get(name))]
    if not details:
        return None
    return total(
        0, *(count(item.get("tokenCount")) for item in details if item.get("modality") == modality)
    )


def _tier(wire: Mapping[str, Any]) -> str | None:
    """The tier in the word of the Gemini API; Vertex says `ON_DEMAND_PRIORITY` for `priority`."""
    traffic = label(wire.get("trafficType"))
    if traffic is not None:
        traffic = traffic.lower().removeprefix("on_demand_")
    return label(wire.get("serviceTier")) or traffic


def _facts(body: Mapping[str, Any], wire: Mapping[str, Any]) -> Facts:
    reasons = (label(item.get("finishReason")) for item in objects(body.get("candidates")))
    return Facts(
        response_id=label(body.get("responseId")),
        model=label(body.get("modelVersion")),
        finish_reasons=distinct(*reasons),
        error_type=label(part(body, "error").get("status")),
        service_tier=_tier(wire),
        usage=_usage(wire),
        wire=wire,
    )


def _read(body: Mapping[str, Any]) -> Facts:
    facts = _facts(body, part(body, "usageMetadata"))
    return replace(facts, complete=bool(facts.usage))


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    now = _facts(event, {**facts.wire, **present(part(event, "usageMetadata"))})
    # Some models give a reason with every chunk. Only one that was missing before is the last's;
    # otherwise the end of the stream has to tell.
    ended = bool(facts.wire and now.finish_reasons and not facts.finish_reasons)
    ended = ended or "blockReason" in part(event, "promptFeedback")
    return replace(
        now,
        response_id=now.response_id or facts.response_id,
        model=now.model or facts.model,
        finish_reasons=distinct(*facts.finish_reasons, *now.finish_reasons),
        error_type=now.error_type or facts.error_type,
        complete=bool(now.usage) and (facts.complete or ended),
    )


def _read_embedding(body: Mapping[str, Any]) -> Facts:
    prompt = count(part(body, "usageMetadata").get("promptTokenCount"))
    # An embedding has no output tokens, so none are reported.
    usage = Usage() if prompt is None else Usage(input_uncached=prompt, output=0)
    return Facts(usage=usage, complete=bool(usage))


def _read_prediction(body: Mapping[str, Any]) -> Facts:
    counts = [
        count(part(item, "embeddings", "statistics").get("token_count"))
        for item in objects(body.get("predictions"))
    ]
    prompt = total(*counts)
    characters = count(part(body, "metadata").get("billableCharacterCount"))
    usage = Usage(
        input_uncached=prompt,
        output=None if prompt is None else 0,
        units={} if characters is None else {"billable_characters": characters},
    )
    return Facts(usage=usage, complete=bool(usage))


_NAMES = frozenset({b"candidates", b"promptFeedback", b"error"})
_MODEL = r"/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+)"
_TEXT = re.compile(rb'"text"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"')
_EXACT = "all tokens, thinking and tool use included"

GENERATE = Endpoint(
    operation="generate_content",
    path=re.compile(_MODEL + ":generateContent$"),
    read=_read,
    names=_NAMES,
    exact=_EXACT,
)

STREAM_GENERATE = Endpoint(
    operation="generate_content",
    path=re.compile(_MODEL + ":streamGenerateContent$"),
    read=_read,
    fold=_fold,
    text=_TEXT,
    names=_NAMES,
    streams=True,
    complete_at_end=True,
    exact=_EXACT,
    cut="running counts up to the last chunk",
)

EMBED = Endpoint(
    operation="embeddings",
    path=re.compile(r"/models/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)$"),
    read=_read_embedding,
    silent="older models",
)

PREDICT = Endpoint(
    operation="embeddings",
    path=re.compile(r"/models/(?P<model>[^/:]*(?:embedding|gecko)[^/:]*):predict$"),
    read=_read_prediction,
    names=frozenset({b"predictions", b"embeddings", b"statistics", b"metadata"}),
    exact="tokens, and the characters by which some models are billed",
)

PREDICT_IMAGES = Endpoint(
    operation="image_generation",
    path=re.compile(r"/models/(?P<model>imagen[^/:]*):predict$"),
    read=_read_prediction,
    silent="always: images are billed by the piece",
)
