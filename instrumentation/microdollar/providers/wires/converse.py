# SPDX-License-Identifier: Apache-2.0
"""Bedrock's Converse. `inputTokens` is without cache, `totalTokens` with it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage, total
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, error_type, first, objects, part, units

__all__ = ["CONVERSE", "CONVERSE_STREAM", "usage"]


def usage(wire: Mapping[str, Any]) -> Usage:
    """The buckets of a usage object; its twins (`…Count`) are the same tokens."""
    written = first(wire.get("cacheWriteInputTokens"), wire.get("cacheWriteInputTokenCount"))
    minutes, hour = _lifetime(wire, "5m"), _lifetime(wire, "1h")
    return Usage(
        input_uncached=count(wire.get("inputTokens")),
        cache_read=first(wire.get("cacheReadInputTokens"), wire.get("cacheReadInputTokenCount")),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        cache_write=None if written is None else max(0, written - (minutes or 0) - (hour or 0)),
        output=count(wire.get("outputTokens")),
        units=units(part(wire, "serverToolUsage")),
    )


def _lifetime(wire: Mapping[str, Any], ttl: str) -> int | None:
    """Writes of a lifetime; 0 where the split is given without it, None without a split."""
    split = objects(wire.get("cacheDetails"))
    if not split:
        return None
    return total(0, *(count(item.get("inputTokens")) for item in split if item.get("ttl") == ttl))


def _read(body: Mapping[str, Any]) -> Facts:
    used = usage(part(body, "usage"))
    reason = label(body.get("stopReason"))
    # A router's ARN is in the path; which model it chose only the trace says.
    chosen = label(part(body, "trace", "promptRouter").get("invokedModelId"))
    return Facts(
        model=chosen and chosen.rpartition("/")[2],
        finish_reasons=(reason,) if reason else (),
        service_tier=label(part(body, "serviceTier").get("type")),
        usage=used,
        complete=bool(used),
    )


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    reason = label(part(event, "messageStop").get("stopReason"))
    if reason:
        return replace(facts, finish_reasons=(reason,))
    if "error" in event:
        return replace(facts, error_type=error_type(event["error"]) or "error")
    if "metadata" in event:
        return replace(_read(part(event, "metadata")), finish_reasons=facts.finish_reasons)
    return facts


_NAMES = frozenset(
    {b"metadata", b"messageStop", b"trace", b"promptRouter", b"serviceTier", b"error"}
)
_LIMIT = "all tokens; reasoning is not told apart"

CONVERSE = Endpoint(
    operation="chat",
    path=re.compile(r"/model/(?P<model>.+)/converse/?$"),
    read=_read,
    names=_NAMES,
    exact=_LIMIT,
)

CONVERSE_STREAM = Endpoint(
    operation="chat",
    path=re.compile(r"/model/(?P<model>.+)/converse-stream/?$"),
    read=_read,
    fold=_fold,
    matters=re.compile(rb'^\{"(?:metadata|messageStop|error)":'),
    text=re.compile(rb'"(?:text|input)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
    names=_NAMES,
    streams=True,
    exact=_LIMIT,
    cut="nothing; output estimated, though Bedrock bills the whole answer",
)
