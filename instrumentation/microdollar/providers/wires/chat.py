# SPDX-License-Identifier: Apache-2.0
"""Chat completions, completions and embeddings, as OpenAI defined them and most have copied.

What is cached is inside the prompt count, and reasoning inside the output count, but for those
who count it apart, which shows in the total. The same number comes under several names.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from microdollar._facts import NOTHING, Facts, Usage, distinct, total
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint, Fold, Read
from microdollar.providers._wire import count, error_type, first, objects, part, reasons, units

__all__ = ["CHAT", "COMPLETIONS", "EMBEDDINGS", "chat", "fold", "read", "usage"]

ReadUsage = Callable[[Mapping[str, Any]], Usage]


def usage(wire: Mapping[str, Any], *, has_lifetimes: bool = True) -> Usage:
    """The buckets of a usage object. Without lifetimes, no cache write can be of 5 minutes."""
    details = part(wire, "prompt_tokens_details") or part(wire, "prompt_token_details")
    answer_details = part(wire, "completion_tokens_details")
    prompt = count(wire.get("prompt_tokens"))
    cached = first(
        details.get("cached_tokens"),
        wire.get("cached_tokens"),
        wire.get("num_cached_tokens"),
        wire.get("prompt_cache_hit_tokens"),
        wire.get("cache_read_input_tokens"),
    )
    written = first(
        details.get("cache_write_tokens"),
        details.get("cache_creation_tokens"),
        wire.get("cache_creation_input_tokens"),
    )
    split = part(details, "cache_creation_token_details")
    unsplit = None if has_lifetimes or written is None else 0
    minutes = first(split.get("ephemeral_5m_input_tokens"), unsplit)
    hour = first(split.get("ephemeral_1h_input_tokens"), unsplit)
    reasoning = first(answer_details.get("reasoning_tokens"), wire.get("reasoning_tokens"))
    return Usage(
        input_uncached=None if prompt is None else max(0, prompt - (cached or 0) - (written or 0)),
        cache_read=cached,
        cache_write_5m=minutes,
        cache_write_1h=hour,
        cache_write=None if written is None else max(0, written - (minutes or 0) - (hour or 0)),
        # Perplexity's citations and Mistral's connectors.
        input_tool=first(wire.get("citation_tokens"), wire.get("connector_tokens")),
        output=_output(wire, reasoning),
        reasoning=reasoning,
        audio_in=count(details.get("audio_tokens")),
        audio_out=count(answer_details.get("audio_tokens")),
        image_in=count(details.get("image_tokens")),
        image_out=count(answer_details.get("image_tokens")),
        units=_units(wire),
    )


def _output(wire: Mapping[str, Any], reasoning: int | None) -> int | None:
    prompt, answer = count(wire.get("prompt_tokens")), count(wire.get("completion_tokens"))
    if answer is None or not reasoning:
        return answer
    apart = total(prompt, answer, reasoning)
    # By the total at xAI. Perplexity's total has neither reasoning nor citations.
    if count(wire.get("total_tokens")) == apart or reasoning > answer or "citation_tokens" in wire:
        return total(answer, reasoning)
    return answer


_TOOLS = (
    *("connectors", "server_tool_use"),
    *("server_tool_use_details", "server_side_tool_usage_details"),
)
_COUNTED = (("search_queries", "num_search_queries"), ("audio_seconds", "prompt_audio_seconds"))


def _units(wire: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for name in _TOOLS:
        if name in wire:
            found.update(units(part(wire, name)))
    for unit, name in _COUNTED:
        number = count(wire.get(name))
        if number is not None:
            found[unit] = number
    return found


def _reported(body: Mapping[str, Any], read_usage: ReadUsage) -> Usage:
    """The usage of a body or a chunk: at its top, in Groq's own member, or in a choice."""
    choices = (part(choice, "usage") for choice in objects(body.get("choices")))
    for place in (part(body, "usage"), part(body, "x_groq", "usage"), *choices):
        if place and (known := read_usage(place)):
            return known
    return NOTHING.usage


def _models(body: Mapping[str, Any], read_usage: ReadUsage) -> list[tuple[str, Usage]]:
    """What the models of a compound system used; its own counts are their sum."""
    sums: dict[str, Usage] = {}
    for place in (body, part(body, "x_groq")):
        for item in objects(part(place, "usage_breakdown").get("models")):
            model = label(item.get("model"))
            if model is not None:
                sums[model] = sums.get(model, Usage()) + read_usage(part(item, "usage"))
        if sums:
            break
    return [(model, used) for model, used in sums.items() if used]


def read(body: Mapping[str, Any], *, read_usage: ReadUsage = usage) -> Facts:
    """Facts of a whole answer, or of one chunk."""
    models = _models(body, read_usage) if "usage_breakdown" in body or "x_groq" in body else []
    model, used = models[0] if models else (label(body.get("model")), _reported(body, read_usage))
    return Facts(
        response_id=label(body.get("id")),
        model=model,
        finish_reasons=reasons(body.get("choices"), "finish_reason"),
        error_type=error_type(body.get("error")),
        service_tier=label(body.get("service_tier"))
        or label(part(body, "usage").get("service_tier")),
        usage=used,
        additional=tuple(models[1:]),
        complete=bool(used),
    )


def fold(facts: Facts, event: Mapping[str, Any], *, read_usage: ReadUsage = usage) -> Facts:
    """Usage comes on the last chunk or on every one; the last counts, and none is added."""
    now = read(event, read_usage=read_usage)
    ended = distinct(*facts.finish_reasons, *now.finish_reasons)
    used = now.usage or facts.usage
    return Facts(
        response_id=now.response_id or facts.response_id,
        # The models of a compound system take the place of its own name.
        model=(facts.additional and facts.model) or now.model or facts.model,
        finish_reasons=ended,
        error_type=now.error_type or facts.error_type,
        service_tier=now.service_tier or facts.service_tier,
        usage=facts.usage if facts.additional and not now.additional else used,
        additional=now.additional or facts.additional,
        # Running counts, which some servers put on every chunk, are final with the last one.
        complete=bool(used) and (bool(ended) or not objects(event.get("choices"))),
    )


def _read_embeddings(body: Mapping[str, Any], *, read_usage: ReadUsage) -> Facts:
    facts = read(body, read_usage=read_usage)
    # An embedding has no output tokens, so none are reported.
    return replace(facts, usage=replace(facts.usage, output=0)) if facts.usage else facts


_NAMES = frozenset(
    {
        *(b"choices", b"x_groq", b"models", b"error", b"prompt_tokens_details"),
        *(b"completion_tokens_details", b"message"),
    }
)
_MATTERS = re.compile(
    rb'"(?:usage|usage_breakdown)"\s*:\s*\{|"finish_reason"\s*:\s*"|"error"\s*:\s*[{"]'
)
_CHAT_TEXT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|arguments)"\s*:\s*'
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
)
_COMPLETION_TEXT = re.compile(rb'"text"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"')

_CUT = "running counts where the server sends them, else nothing; output estimated"


def chat(read_usage: ReadUsage, *, exact: str = "all tokens", silent: str) -> tuple[Endpoint, ...]:
    """The operations of a server that reports usage in this way."""
    reader: Read = partial(read, read_usage=read_usage)
    folder: Fold = partial(fold, read_usage=read_usage)
    return (
        Endpoint(
            operation="chat",
            path=re.compile(r"/(?:chat|agents)/completions/?$"),
            read=reader,
            fold=folder,
            matters=_MATTERS,
            text=_CHAT_TEXT,
            names=_NAMES,
            api_type="chat_completions",
            exact=exact,
            cut=_CUT,
            silent=silent,
        ),
        Endpoint(
            operation="text_completion",
            path=re.compile(r"/completions/?$"),
            read=reader,
            fold=folder,
            matters=_MATTERS,
            text=_COMPLETION_TEXT,
            names=_NAMES,
            exact=exact,
            cut=_CUT,
            silent=silent,
        ),
        Endpoint(
            operation="embeddings",
            path=re.compile(r"/embeddings/?$"),
            read=partial(_read_embeddings, read_usage=read_usage),
        ),
    )


ON_REQUEST = "streams without `stream_options.include_usage`"
CHAT, COMPLETIONS, EMBEDDINGS = chat(usage, silent=ON_REQUEST)
