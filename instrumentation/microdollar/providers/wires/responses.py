# SPDX-License-Identifier: Apache-2.0
"""OpenAI's Responses, also as others serve it. Every detail is a part of the count it details."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, error_type, first, objects, part, units

__all__ = ["RESPONSES", "responses", "usage"]


def usage(wire: Mapping[str, Any], *, has_lifetimes: bool = True) -> Usage:
    """The buckets of a usage object. Without lifetimes, no cache write can be of 5 minutes."""
    taken = count(wire.get("input_tokens"))
    details = part(wire, "input_tokens_details")
    answer_details = part(wire, "output_tokens_details")
    # Perplexity uses Anthropic's names, with OpenAI's meaning.
    cached = first(details.get("cached_tokens"), details.get("cache_read_input_tokens"))
    written = first(details.get("cache_write_tokens"), details.get("cache_creation_input_tokens"))
    unsplit = None if has_lifetimes or written is None else 0
    return Usage(
        input_uncached=None if taken is None else max(0, taken - (cached or 0) - (written or 0)),
        cache_read=cached,
        cache_write_5m=unsplit,
        cache_write_1h=unsplit,
        cache_write=written,
        output=count(wire.get("output_tokens")),
        reasoning=count(answer_details.get("reasoning_tokens")),
        audio_in=count(details.get("audio_tokens")),
        audio_out=count(answer_details.get("audio_tokens")),
        image_in=count(details.get("image_tokens")),
        image_out=count(answer_details.get("image_tokens")),
        units=_units(wire),
    )


def _units(wire: Mapping[str, Any]) -> dict[str, int]:
    calls = {
        name: part(call).get("invocation")
        for name, call in part(wire, "tool_calls_details").items()
    }
    return {
        **units(calls),
        **units(part(wire, "server_tool_use_details")),
        **units(part(wire, "server_side_tool_usage_details")),
    }


def _read(body: Mapping[str, Any], *, has_lifetimes: bool) -> Facts:
    used = usage(part(body, "usage"), has_lifetimes=has_lifetimes)
    searches = count(part(body, "tool_usage", "web_search").get("num_requests"))
    if searches is not None:
        used = replace(used, units={**used.units, "web_search": searches})
    reason = label(part(body, "incomplete_details").get("reason")) or label(body.get("status"))
    error = part(body, "error")
    return Facts(
        response_id=label(body.get("id")),
        model=label(body.get("model")),
        finish_reasons=(reason,) if reason else (),
        error_type=label(error.get("code")) or error_type(error),
        service_tier=label(body.get("service_tier")),
        usage=used,
        additional=_image_generation(body),
        complete=bool(used),
    )


def _image_generation(body: Mapping[str, Any]) -> tuple[tuple[str, Usage], ...]:
    """The images a response drew: tokens of another model, outside `usage`."""
    used = usage(part(body, "tool_usage", "image_gen"))
    if not used.input_uncached and not used.output:
        return ()
    for tool in objects(body.get("tools")):  # the echoed definition names the model
        if tool.get("type") == "image_generation" and (model := label(tool.get("model"))):
            return ((model, used),)
    return (("image_generation", used),)


def _fold(facts: Facts, event: Mapping[str, Any], *, has_lifetimes: bool) -> Facts:
    """The terminal event repeats the whole response; only there is usage."""
    kind = event.get("type")
    if kind == "error":
        error = part(event, "error") or event
        return replace(facts, error_type=label(error.get("code")) or label(error.get("type")))
    now = _read(part(event, "response"), has_lifetimes=has_lifetimes)
    if kind == "response.created":
        return replace(now, finish_reasons=(), complete=False)
    return replace(
        now,
        response_id=now.response_id or facts.response_id,
        model=now.model or facts.model,
        service_tier=now.service_tier or facts.service_tier,
    )


def responses(*, has_lifetimes: bool) -> Endpoint:
    """The operation at a server that does, or does not, have cache writes by lifetime."""
    return Endpoint(
        operation="chat",
        path=re.compile(r"/responses(/compact)?/?$"),
        read=partial(_read, has_lifetimes=has_lifetimes),
        fold=partial(_fold, has_lifetimes=has_lifetimes),
        matters=re.compile(
            rb'"type"\s*:\s*"(?:response\.(?:created|completed|incomplete|failed)|error)"'
        ),
        text=re.compile(rb'"delta"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
        names=frozenset({b"response", b"tool_usage", b"tools", b"incomplete_details", b"error"}),
        api_type="responses",
        exact="all tokens, and those of images drawn inside a response as a row of their own",
        cut="nothing; output estimated",
        silent="background responses, whose usage comes with a later retrieval",
    )


RESPONSES = responses(has_lifetimes=True)
