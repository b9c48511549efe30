# SPDX-License-Identifier: Apache-2.0
"""Gemini's interactions. Thoughts and tool use are outside the other counts, the cache inside."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage, total
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, error_type, objects, part, present, units

__all__ = ["INTERACTIONS"]


def _usage(wire: Mapping[str, Any]) -> Usage:
    taken = count(wire.get("total_input_tokens"))
    cached = count(wire.get("total_cached_tokens"))
    thoughts = count(wire.get("total_thought_tokens"))
    searches = {
        kind: item.get("count")
        for item in objects(wire.get("grounding_tool_count"))
        if (kind := label(item.get("type")))
    }
    return Usage(
        input_uncached=None if taken is None else max(0, taken - (cached or 0)),
        cache_read=cached,
        input_tool=count(wire.get("total_tool_use_tokens")),
        output=total(count(wire.get("total_output_tokens")), thoughts),
        reasoning=thoughts,
        audio_in=_modality(wire, "audio", "input"),
        audio_out=_modality(wire, "audio", "output"),
        image_in=_modality(wire, "image", "input"),
        image_out=_modality(wire, "image", "output"),
        units=units(searches),
    )


def _modality(wire: Mapping[str, Any], modality: str, way: str) -> int | None:
    """Tokens of a modality; 0 where the split is given without it, None without a split."""
    split = objects(wire.get(f"{way}_tokens_by_modality"))
    if not split:
        return None
    of_it = (item for item in split if str(item.get("modality")).lower() == modality)
    return total(0, *(count(item.get("tokens")) for item in of_it))


def _facts(body: Mapping[str, Any], wire: Mapping[str, Any]) -> Facts:
    status = label(body.get("status"))
    return Facts(
        response_id=label(body.get("id")),
        model=label(body.get("model")),
        finish_reasons=(status,) if status and status != "in_progress" else (),
        error_type=error_type(body.get("error")),
        service_tier=label(body.get("service_tier")),
        usage=_usage(wire),
        wire=wire,
    )


def _read(body: Mapping[str, Any]) -> Facts:
    facts = _facts(body, part(body, "usage"))
    return replace(facts, complete=bool(facts.usage))


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    """Steps carry running totals; the last event of an interaction has all of it."""
    whole = part(event, "interaction")
    final = present(part(whole, "usage"))
    # A step's own share is in `step_usage`; `usage` and `total_usage` are running totals.
    running = part(event, "usage") or part(event, "metadata", "total_usage")
    now = _facts(whole, final or {**facts.wire, **present(running)})
    return replace(
        now,
        response_id=now.response_id or facts.response_id,
        model=now.model or facts.model,
        finish_reasons=now.finish_reasons or facts.finish_reasons,
        error_type=error_type(event.get("error")) or now.error_type or facts.error_type,
        service_tier=now.service_tier or facts.service_tier,
        complete=bool(now.usage) and (facts.complete or bool(final)),
    )


INTERACTIONS = Endpoint(
    operation="generate_content",
    path=re.compile(r"/interactions/?$"),
    read=_read,
    fold=_fold,
    matters=re.compile(rb'"(?:usage|total_usage|interaction|error)"\s*:\s*\{'),
    text=re.compile(rb'"text"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
    names=frozenset({b"interaction", b"error", b"metadata"}),
    exact="all tokens, thinking and tool use included, and billable searches",
    cut="running totals up to the last step",
    silent="background interactions, whose usage comes with a later retrieval",
)
