# SPDX-License-Identifier: Apache-2.0
"""Reranking, as the servers with OpenAI's wire report it."""

import re
from collections.abc import Mapping
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, first, part

__all__ = ["RERANK"]


def _read(body: Mapping[str, Any]) -> Facts:
    wire = part(body, "usage")
    searches = first(
        wire.get("search_units"), part(body, "meta", "billed_units").get("search_units")
    )
    taken = first(wire.get("prompt_tokens"), wire.get("total_tokens"))
    used = Usage(
        input_uncached=taken,
        output=None if taken is None else count(wire.get("completion_tokens")) or 0,
        units={} if searches is None else {"search_units": searches},
    )
    return Facts(
        response_id=label(body.get("id")),
        model=label(body.get("model")),
        usage=used,
        complete=bool(used),
    )


RERANK = Endpoint(
    operation="rerank",
    path=re.compile(r"/rerank/?$"),
    read=_read,
    names=frozenset({b"meta", b"billed_units"}),
    exact="tokens or search units, as reported",
)
