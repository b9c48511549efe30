# SPDX-License-Identifier: Apache-2.0
"""Anthropic's Messages, wherever they are served.

`input_tokens` is without cache. In a stream, `message_start` has exact input, the split of cache
writes by lifetime, tier, geo and speed, and a placeholder for output; each `message_delta` then
replaces the counts it names, cumulatively.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, objects, part, present, units

__all__ = ["MESSAGES", "RESULTS", "fold", "read"]


def _counts(wire: Mapping[str, Any]) -> Usage:
    split = part(wire, "cache_creation")
    minutes = count(split.get("ephemeral_5m_input_tokens"))
    hour = count(split.get("ephemeral_1h_input_tokens"))
    written = count(wire.get("cache_creation_input_tokens"))
    return Usage(
        input_uncached=count(wire.get("input_tokens")),
        cache_read=count(wire.get("cache_read_input_tokens")),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        # A stream's writes can outgrow the split of its start; the rest has no known lifetime.
        cache_write=None if written is None else max(0, written - (minutes or 0) - (hour or 0)),
        output=count(wire.get("output_tokens")),
        reasoning=count(part(wire, "output_tokens_details").get("thinking_tokens")),
    )


def _units(wire: Mapping[str, Any]) -> dict[str, int]:
    tools = part(wire, "server_tool_use")
    return units({name: tools[name] for name in tools if name.endswith("_requests")})


def _rows(
    wire: Mapping[str, Any], model: str | None
) -> tuple[Usage, tuple[tuple[str, Usage], ...]]:
    """The usage of the response's own model, and that of others.

    With `iterations` (compaction, advisor, fallback) the counts above them are incomplete, and the
    sum of the iterations counts; one that names no model belongs to the response's model.
    """
    top = _counts(wire)
    sums: dict[str | None, Usage] = {}
    for iteration in objects(wire.get("iterations")):
        name = label(iteration.get("model")) or model
        sums[name] = sums.get(name, Usage()) + _counts(iteration)
    if not sums:
        return replace(top, units=_units(wire)), ()
    # The last iteration is the one that answered, should the response name its model differently.
    own = model if model in sums else list(sums)[-1]
    usage = sums.pop(own)
    if not sums:
        usage = _with_lifetimes(usage, top)
    reasoning = top.reasoning if usage.reasoning is None else usage.reasoning
    usage = replace(usage, reasoning=reasoning, units=_units(wire))
    return usage, tuple((name, other) for name, other in sums.items() if name is not None)


def _with_lifetimes(usage: Usage, top: Usage) -> Usage:
    """Take the split of cache writes from the counts above the iterations, where it alone is."""
    minutes, hour, written = top.cache_write_5m, top.cache_write_1h, usage.cache_write
    if usage.cache_write_5m is not None or minutes is None or hour is None or written is None:
        return usage
    if minutes + hour > written:
        return usage
    return replace(
        usage, cache_write_5m=minutes, cache_write_1h=hour, cache_write=written - minutes - hour
    )


def _facts(message: Mapping[str, Any], wire: Mapping[str, Any]) -> Facts:
    model = label(message.get("model"))
    usage, additional = _rows(wire, model)
    reason = label(message.get("stop_reason"))
    return Facts(
        response_id=label(message.get("id")),
        model=model,
        finish_reasons=(reason,) if reason else (),
        service_tier=label(wire.get("service_tier")),
        speed=label(wire.get("speed")),
        inference_geo=label(wire.get("inference_geo")),
        usage=usage,
        additional=additional,
        wire=wire,
    )


def read(body: Mapping[str, Any]) -> Facts:
    """Facts of a whole message."""
    facts = _facts(body, part(body, "usage"))
    error = label(part(body, "error").get("type"))
    return replace(facts, error_type=error, complete=bool(facts.usage))


def fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    """Each event replaces the counts it names; nothing is added."""
    kind = event.get("type")
    if kind == "error":
        return replace(facts, error_type=label(part(event, "error").get("type")) or "error")
    if kind == "message_stop":
        return replace(facts, complete=facts.usage.output is not None)
    if kind == "message_start":
        message = part(event, "message")
        wire = present(part(message, "usage"))
        wire.pop("output_tokens", None)
        return _facts(message, wire)
    if kind == "message_delta":
        reason = label(part(event, "delta").get("stop_reason"))
        wire = {**facts.wire, **present(part(event, "usage"))}
        now = _facts({"id": facts.response_id, "model": facts.model, "stop_reason": reason}, wire)
        return replace(now, complete=reason is not None and now.usage.output is not None)
    return facts


def _read_result(line: Mapping[str, Any]) -> Facts:
    """A line of a batch's results; only of those that succeeded is anything billed."""
    return read(part(line, "result", "message"))


_NAMES = frozenset(
    {b"message", b"delta", b"error", b"result", b"cache_creation", b"server_tool_use"}
)

MESSAGES = Endpoint(
    operation="chat",
    # Not those of a thread, which OpenAI has.
    path=re.compile(r"(?:^|/v1|/anthropic)/messages/?$"),
    read=read,
    fold=fold,
    matters=re.compile(rb'"type"\s*:\s*"(?:message_(?:start|delta|stop)|error)"'),
    text=re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
    names=_NAMES,
    exact="all tokens, those of other models inside an answer as rows of their own, searches",
    cut="input exact, but for what server tools add later; output estimated",
)

RESULTS = Endpoint(
    operation="chat",
    path=re.compile(r"/messages/batches/[^/]+/results/?$"),
    method="GET",
    read=_read_result,
    names=_NAMES,
    results=True,
    exact="all tokens of each result, under its own id",
)
