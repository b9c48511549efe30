# SPDX-License-Identifier: Apache-2.0
"""What only Mistral has: conversations and OCR."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, error_type, part
from microdollar.providers.wires import chat

__all__ = ["CONVERSATIONS", "OCR"]


def _read_ocr(body: Mapping[str, Any]) -> Facts:
    pages = count(part(body, "usage_info").get("pages_processed"))
    used = Usage() if pages is None else Usage(units={"pages": pages})
    return Facts(model=label(body.get("model")), usage=used, complete=bool(used))


def _read_conversation(body: Mapping[str, Any]) -> Facts:
    """Its id is not that of one answer: every turn of the conversation has it."""
    used = chat.usage(part(body, "usage"))
    return Facts(
        model=label(body.get("model")),
        error_type=error_type(body.get("error")),
        usage=used,
        complete=bool(used),
    )


def _fold_conversation(facts: Facts, event: Mapping[str, Any]) -> Facts:
    now = _read_conversation(event)
    if event.get("type") == "conversation.response.error":
        now = replace(now, error_type=label(event.get("code")) or "error")
    return replace(
        now,
        model=now.model or facts.model,
        usage=now.usage or facts.usage,
        error_type=now.error_type or facts.error_type,
        complete=now.complete or facts.complete,
    )


CONVERSATIONS = Endpoint(
    operation="chat",
    path=re.compile(r"/conversations(?:/[^/]+(?:/restart)?)?/?$"),
    read=_read_conversation,
    fold=_fold_conversation,
    matters=re.compile(rb'"usage"\s*:\s*\{|conversation\.response\.error'),
    text=re.compile(rb'"(?:content|arguments)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"'),
    names=frozenset({b"connectors", b"error"}),
    exact="all tokens, those of connectors as tool input, and calls of connectors",
    cut="nothing; output estimated",
)

OCR = Endpoint(
    operation="ocr",
    path=re.compile(r"/ocr/?$"),
    read=_read_ocr,
    exact="pages",
)
