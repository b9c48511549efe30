# SPDX-License-Identifier: Apache-2.0
"""OpenAI: chat completions, completions, responses, embeddings.

Cached and written tokens are inside the prompt count, reasoning inside the output count. The wire
has no 5-minute or 1-hour cache writes; what is written goes to `cache_write`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage, distinct
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint, Provider
from microdollar.providers._wire import count, objects, part
from microdollar_semconv import gen_ai

__all__ = ["PROVIDER"]


def _usage(
    wire: Mapping[str, Any], prompt: str = "input_tokens", answer: str = "output_tokens"
) -> Usage:
    taken = count(wire.get(prompt))
    details = part(wire, prompt + "_details")
    answer_details = part(wire, answer + "_details")
    cached = count(details.get("cached_tokens"))
    written = count(details.get("cache_write_tokens"))
    no_lifetime = None if written is None else 0
    return Usage(
        input_uncached=None if taken is None else max(0, taken - (cached or 0) - (written or 0)),
        cache_read=cached,
        cache_write_5m=no_lifetime,
        cache_write_1h=no_lifetime,
        cache_write=written,
        output=count(wire.get(answer)),
        reasoning=count(answer_details.get("reasoning_tokens")),
        audio_in=count(details.get("audio_tokens")),
        audio_out=count(answer_details.get("audio_tokens")),
        image_in=count(details.get("image_tokens")),
        image_out=count(answer_details.get("image_tokens")),
    )


def _error_type(error: object) -> str | None:
    return label(part(error).get("type")) or label(part(error).get("code"))


def _read_chat(body: Mapping[str, Any]) -> Facts:
    usage = _usage(part(body, "usage"), "prompt_tokens", "completion_tokens")
    return Facts(
        response_id=label(body.get("id")),
        model=label(body.get("model")),
        finish_reasons=_finish_reasons(body),
        error_type=_error_type(body.get("error")),
        service_tier=label(body.get("service_tier")),
        usage=usage,
        complete=bool(usage),
    )


def _finish_reasons(body: Mapping[str, Any]) -> tuple[str, ...]:
    return distinct(
        *(label(choice.get("finish_reason")) for choice in objects(body.get("choices")))
    )


def _fold_chat(facts: Facts, event: Mapping[str, Any]) -> Facts:
    """Usage comes, if the caller asked for it, on one last chunk without choices."""
    now = _read_chat(event)
    reasons = distinct(*facts.finish_reasons, *now.finish_reasons)
    usage = now.usage or facts.usage
    return Facts(
        response_id=now.response_id or facts.response_id,
        model=now.model or facts.model,
        finish_reasons=reasons,
        error_type=now.error_type or facts.error_type,
        service_tier=now.service_tier or facts.service_tier,
        usage=usage,
        # Running counts, which some servers put on every chunk, are final with the last one.
        complete=bool(usage) and (bool(reasons) or not objects(event.get("choices"))),
    )


def _read_embeddings(body: Mapping[str, Any]) -> Facts:
    facts = _read_chat(body)
    # An embedding has no output tokens, so none are reported.
    return replace(facts, usage=replace(facts.usage, output=0)) if facts.usage else facts


def _read_response(body: Mapping[str, Any]) -> Facts:
    usage = _usage(part(body, "usage"))
    searches = count(part(body, "tool_usage", "web_search").get("num_requests"))
    if searches is not None:
        usage = replace(usage, units={"web_search": searches})
    reason = label(part(body, "incomplete_details").get("reason")) or label(body.get("status"))
    return Facts(
        response_id=label(body.get("id")),
        model=label(body.get("model")),
        finish_reasons=(reason,) if reason else (),
        error_type=label(part(body, "error").get("code")) or _error_type(body.get("error")),
        service_tier=label(body.get("service_tier")),
        usage=usage,
        additional=_image_generation(body),
        complete=bool(usage),
    )


def _image_generation(body: Mapping[str, Any]) -> tuple[tuple[str, Usage], ...]:
    """The images a response drew: tokens of another model, outside `usage`."""
    usage = _usage(part(body, "tool_usage", "image_gen"))
    if not usage.input_uncached and not usage.output:
        return ()
    for tool in objects(body.get("tools")):  # the echoed definition names the model
        if tool.get("type") == "image_generation" and (model := label(tool.get("model"))):
            return ((model, usage),)
    return (("image_generation", usage),)


def _fold_response(facts: Facts, event: Mapping[str, Any]) -> Facts:
    """The terminal event repeats the whole response; only there is usage."""
    kind = event.get("type")
    if kind == "error":
        error = part(event, "error") or event
        return replace(facts, error_type=label(error.get("code")) or label(error.get("type")))
    now = _read_response(part(event, "response"))
    if kind == "response.created":
        return replace(now, finish_reasons=(), complete=False)
    return replace(
        now,
        response_id=now.response_id or facts.response_id,
        model=now.model or facts.model,
        service_tier=now.service_tier or facts.service_tier,
    )


_CHAT_EVENTS = re.compile(rb'"usage"\s*:\s*\{|"finish_reason"\s*:\s*"|"error"\s*:')

PROVIDER = Provider(
    name="openai",
    hosts=("api.openai.com",),
    tier_attribute=gen_ai.OPENAI_RESPONSE_SERVICE_TIER,
    endpoints=(
        Endpoint(
            operation="chat",
            path=re.compile(r"/chat/completions/?$"),
            read=_read_chat,
            fold=_fold_chat,
            matters=_CHAT_EVENTS,
            api_type="chat_completions",
        ),
        Endpoint(
            operation="text_completion",
            path=re.compile(r"/completions/?$"),
            read=_read_chat,
            fold=_fold_chat,
            matters=_CHAT_EVENTS,
        ),
        Endpoint(
            operation="chat",
            path=re.compile(r"/responses(/compact)?/?$"),
            read=_read_response,
            fold=_fold_response,
            matters=re.compile(
                rb'"type"\s*:\s*"(?:response\.(?:created|completed|incomplete|failed)|error)"'
            ),
            api_type="responses",
        ),
        Endpoint(
            operation="embeddings",
            path=re.compile(r"/embeddings/?$"),
            read=_read_embeddings,
            members=("id", "model", "usage"),
        ),
    ),
)
