# SPDX-License-Identifier: Apache-2.0
"""Anthropic: messages.

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
from microdollar.providers._endpoint import Endpoint, Provider
from microdollar.providers._wire import count, objects, part, present
from microdollar_semconv import attributes

__all__ = ["PROVIDER"]

_UNIT = re.compile(r"([a-z][a-z0-9_]{0,39})_requests")


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
    units = {}
    for name, value in part(wire, "server_tool_use").items():
        unit, number = _UNIT.fullmatch(name), count(value)
        if unit is not None and number is not None:
            units[unit[1]] = number
    return units


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


def _read(body: Mapping[str, Any]) -> Facts:
    facts = _facts(body, part(body, "usage"))
    error = label(part(body, "error").get("type"))
    return replace(facts, error_type=error, complete=bool(facts.usage))


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
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


PROVIDER = Provider(
    name="anthropic",
    hosts=("api.anthropic.com",),
    tier_attribute=attributes.RESPONSE_SERVICE_TIER,
    endpoints=(
        Endpoint(
            operation="chat",
            path=re.compile(r"/messages/?$"),
            read=_read,
            fold=_fold,
            matters=re.compile(rb'"type"\s*:\s*"(?:message_(?:start|delta|stop)|error)"'),
        ),
    ),
)
