# SPDX-License-Identifier: Apache-2.0
"""Answers of the fake provider that tell calls apart."""

import itertools
import json
from collections.abc import Callable

from tests.fakes.provider import Received, Reply

__all__ = ["INPUT", "OUTPUT", "numbered_chat"]

INPUT, OUTPUT = 1000, 50


def numbered_chat() -> Callable[[Received], Reply]:
    """Chat completions with an id of their own, of 1,000 input and 50 output tokens each."""
    numbers = itertools.count(1)

    def answer(request: Received) -> Reply:
        body = {
            "id": f"chatcmpl-{next(numbers)}",
            "object": "chat.completion",
            "created": 1_795_000_000,
            "model": request.json["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "A made-up answer."},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": INPUT,
                "completion_tokens": OUTPUT,
                "total_tokens": INPUT + OUTPUT,
            },
        }
        return Reply(headers={"content-type": "application/json"}, body=json.dumps(body).encode())

    return answer
