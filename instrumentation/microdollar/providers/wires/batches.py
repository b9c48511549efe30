# SPDX-License-Identifier: Apache-2.0
"""The results of a batch in a file of OpenAI's form: an answer of any kind in each line.

The same tokens are in the batch object, which every poll repeats; so only the file counts.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts
from microdollar.providers._endpoint import Endpoint, Read
from microdollar.providers._wire import count, part

__all__ = ["batches"]


def batches(chat: Endpoint, embeddings: Endpoint, responses: Endpoint) -> Endpoint:
    """The downloads of a provider with these operations."""

    def reader(body: Mapping[str, Any]) -> Read:
        if body.get("object") == "response":
            return responses.read
        return embeddings.read if body.get("object") == "list" else chat.read

    def read(line: Mapping[str, Any]) -> Facts:
        response = part(line, "response")
        if (count(response.get("status_code")) or 0) >= 300:
            return Facts()
        body = part(response, "body")
        return replace(reader(body)(body), service_tier="batch")

    return Endpoint(
        operation="chat",
        path=re.compile(r"/files/[^/]+/content/?$"),
        method="GET",
        read=read,
        names=chat.names | responses.names | {b"response", b"body"},
        results=True,
        exact="all tokens of each result, under its own id",
    )
