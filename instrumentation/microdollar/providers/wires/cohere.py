# SPDX-License-Identifier: Apache-2.0
"""Cohere, which bills other numbers than it processes. The model is only in the request."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, part

__all__ = ["ENDPOINTS"]


def _usage(wire: Mapping[str, Any], *, no_output: bool = False) -> Usage:
    units = {
        name: number
        for name in ("search_units", "classifications", "images")
        if (number := count(wire.get(name))) is not None
    }
    taken = count(wire.get("input_tokens"))
    answer = 0 if no_output and taken is not None else count(wire.get("output_tokens"))
    return Usage(input_uncached=taken, output=answer, units=units)


def _read(body: Mapping[str, Any], *, no_output: bool = False) -> Facts:
    wire = part(body, "usage", "billed_units") or part(body, "meta", "billed_units")
    used = _usage(wire, no_output=no_output)
    reason = label(body.get("finish_reason"))
    return Facts(
        response_id=label(body.get("id")),
        finish_reasons=(reason,) if reason else (),
        usage=used,
        complete=bool(used),
    )


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    """The first event has the id, the last the usage; version 1 ends with the whole answer."""
    now = _read(part(event, "delta") or part(event, "response"))
    failed = now.finish_reasons in {("ERROR",), ("ERROR_TOXIC",)}
    return replace(
        now,
        response_id=label(event.get("id")) or facts.response_id or now.response_id,
        error_type="error" if failed else facts.error_type,
    )


_NAMES = frozenset({b"meta", b"delta", b"response", b"billed_units"})
_EXACT = "billed units, which are fewer than the tokens that are processed"

_CHAT = Endpoint(
    operation="chat",
    path=re.compile(r"/v[12]/(?:chat|generate|summarize)/?$"),
    read=_read,
    fold=_fold,
    matters=re.compile(rb'"(?:type|event_type)"\s*:\s*"(?:message-(?:start|end)|stream-end)"'),
    text=re.compile(
        rb'"(?:text|tool_plan|arguments|thinking)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
    ),
    names=_NAMES,
    exact=_EXACT,
    cut="nothing; output estimated",
)


def _unstreamed(operation: str, name: str, *, no_output: bool = False) -> Endpoint:
    return Endpoint(
        operation=operation,
        path=re.compile(rf"/v[12]/{name}/?$"),
        read=partial(_read, no_output=no_output),
        names=_NAMES,
        exact=_EXACT,
    )


ENDPOINTS = (
    _CHAT,
    _unstreamed("embeddings", "embed", no_output=True),
    _unstreamed("rerank", "rerank"),
    _unstreamed("classify", "classify"),
)
