# SPDX-License-Identifier: Apache-2.0
"""Bedrock's invoke: the own wire of each family of models, and Bedrock's counts beside it.

The model is what the path addresses: a prefix such as `eu.` is part of its price.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage, total
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, error_type, first, objects, part
from microdollar.providers.wires import chat, converse, messages

__all__ = ["INVOKE", "INVOKE_EMBEDDINGS", "INVOKE_STREAM"]

_METRICS = "amazon-bedrock-invocationMetrics"
_COUNT = re.compile(r"[0-9]{1,15}")


def _usage(body: Mapping[str, Any]) -> Usage:
    """The counts of the families that have names of their own for them."""
    wire = part(body, "usage") or part(body, "metadata", "usage")
    if "inputTokens" in wire:  # Nova
        return converse.usage(wire)
    if "prompt_tokens" in wire:  # the open models with OpenAI's wire, AI21
        return chat.usage(wire)
    answers = (count(item.get("tokenCount")) for item in objects(body.get("results")))
    return Usage(  # Titan, Llama
        input_uncached=first(body.get("inputTextTokenCount"), body.get("prompt_token_count")),
        output=first(body.get("totalOutputTextTokenCount"), body.get("generation_token_count"))
        if "results" not in body
        else total(*answers),
    )


def _metrics(body: Mapping[str, Any]) -> Usage:
    """Bedrock's own counts, on the last event of a stream; input is without cache."""
    wire = part(body, _METRICS)
    return Usage(
        input_uncached=count(wire.get("inputTokenCount")),
        cache_read=count(wire.get("cacheReadInputTokenCount")),
        cache_write=count(wire.get("cacheWriteInputTokenCount")),
        output=count(wire.get("outputTokenCount")),
    )


def _read_head(headers: Mapping[str, str]) -> Usage:
    """Bedrock's own counts, beside a body of any family; input is without cache."""

    def counted(name: str) -> int | None:
        text = headers.get(f"x-amzn-bedrock-{name}-token-count") or ""
        return count(int(text)) if _COUNT.fullmatch(text) else None

    return Usage(
        input_uncached=counted("input"),
        cache_read=counted("cache-read-input"),
        cache_write=counted("cache-write-input"),
        output=counted("output"),
    )


def _read_embedding_head(headers: Mapping[str, str]) -> Usage:
    used = _read_head(headers)
    return replace(used, output=0) if used else used


def _read(body: Mapping[str, Any]) -> Facts:
    if label(body.get("type")) in {"message", "error"}:
        return replace(messages.read(body), model=None)
    used = _usage(body)
    return Facts(usage=used, error_type=error_type(body.get("error")), complete=bool(used))


def _read_embedding(body: Mapping[str, Any]) -> Facts:
    facts = _read(body)
    # An embedding has no output tokens, so none are reported.
    return replace(facts, usage=replace(facts.usage, output=0)) if facts.usage else facts


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    kind = event.get("type")
    if isinstance(kind, str) and (kind.startswith("message_") or kind == "error"):
        facts = replace(messages.fold(facts, event), model=None)
    elif "error" in event:
        facts = replace(facts, error_type=error_type(event["error"]) or "error")
    elif used := _usage(event):
        facts = replace(facts, usage=used)
    if _METRICS not in event:
        return facts
    # The family's own counts say more: they have lifetimes.
    own = facts.usage if facts.usage.output is not None else _metrics(event)
    return replace(facts, usage=own, complete=bool(own))


_NAMES = frozenset(
    {
        *(b"message", b"delta", b"error", b"results", b"metadata", b"cache_creation"),
        *(_METRICS.encode(), b"server_tool_use"),
    }
)

INVOKE_EMBEDDINGS = Endpoint(
    operation="embeddings",
    path=re.compile(r"/model/(?P<model>.*embed.*)/invoke/?$"),
    read=_read_embedding,
    read_head=_read_embedding_head,
    exact="tokens of Titan; of others where Bedrock counts them in headers",
    silent="families without a count in body and headers",
)

INVOKE = Endpoint(
    operation="chat",
    path=re.compile(r"/model/(?P<model>.+)/invoke/?$"),
    read=_read,
    read_head=_read_head,
    names=_NAMES,
    exact="all tokens of Claude, Nova, Titan, Llama, and of models with OpenAI's wire; of others "
    "where Bedrock counts them in headers",
    silent="families without counts in body and headers",
)

INVOKE_STREAM = Endpoint(
    operation="chat",
    path=re.compile(r"/model/(?P<model>.+)/invoke-with-response-stream/?$"),
    read=_read,
    fold=_fold,
    matters=re.compile(
        rb'"type"\s*:\s*"(?:message_(?:start|delta|stop)|error)"|invocationMetrics'
        rb'|"usage"\s*:\s*\{|"error"\s*:|"prompt_token_count"'
    ),
    text=re.compile(
        rb'"(?:text|thinking|partial_json|generation|outputText|content)"\s*:\s*'
        rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
    ),
    names=_NAMES,
    streams=True,
    exact="all tokens; without the lifetime of cache writes but for Claude",
    cut="for Claude, input exact; output estimated, though Bedrock bills the whole answer",
    silent="some open models",
)
