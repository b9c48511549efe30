# SPDX-License-Identifier: Apache-2.0
"""Ollama's own wire. A count that is absent, as of a cached prompt, is unknown and not zero."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count

__all__ = ["ENDPOINTS"]


def _read(body: Mapping[str, Any]) -> Facts:
    prompt = count(body.get("prompt_eval_count"))
    cached = count(body.get("prompt_eval_cached_count"))
    used = Usage(
        input_uncached=None if prompt is None else max(0, prompt - (cached or 0)),
        cache_read=cached,
        output=count(body.get("eval_count")),
    )
    reason = label(body.get("done_reason"))
    return Facts(
        model=label(body.get("model")),
        finish_reasons=(reason,) if reason else (),
        error_type="error" if "error" in body else None,
        usage=used,
        complete=bool(used) and body.get("done") is not False,
    )


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    now = _read(event)
    return replace(now, model=now.model or facts.model)


def _read_embedding(body: Mapping[str, Any]) -> Facts:
    facts = _read(body)
    return replace(facts, usage=replace(facts.usage, output=0)) if facts.usage else facts


ENDPOINTS = (
    Endpoint(
        operation="chat",
        path=re.compile(r"/api/chat/?$"),
        read=_read,
        fold=_fold,
        matters=re.compile(rb'"done"\s*:\s*true|"error"\s*:'),
        text=re.compile(rb'"(?:content|thinking)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
        exact="all tokens; newer servers tell cached ones apart",
        cut="nothing; output estimated",
        silent="input on older servers, of a prompt that was cached",
    ),
    Endpoint(
        operation="text_completion",
        path=re.compile(r"/api/generate/?$"),
        read=_read,
        fold=_fold,
        matters=re.compile(rb'"done"\s*:\s*true|"error"\s*:'),
        text=re.compile(rb'"(?:response|thinking)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
        exact="all tokens; newer servers tell cached ones apart",
        cut="nothing; output estimated",
        silent="input on older servers, of a prompt that was cached",
    ),
    Endpoint(
        operation="embeddings",
        path=re.compile(r"/api/(?:embed|embeddings)/?$"),
        read=_read_embedding,
        silent="`/api/embeddings`",
    ),
)
