# SPDX-License-Identifier: Apache-2.0
"""Ask the fake provider for every sample named on stdin, in each way a client can ask.

Each line of stdin is JSON: `sample`, `url`, `body`. The customer of a call is
`<sample>|<client>|<way>`, so that its ledger entries can be found.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import httpx2


def headers(sample: str, client: str, way: str) -> dict[str, str]:
    """What names the sample to the fake provider, and the customer to the meter."""
    return {
        "content-type": "application/json",
        "x-sample": sample,
        "x-chunk": "7" if way == "cut" else "",
        "x-microdollar-customer": f"{sample}|{client}|{way}",
        "x-microdollar-user": "u1",
        "x-microdollar-tags": f"feature={way}",
    }


def ask(library: Any, name: str, call: dict[str, Any]) -> None:
    """Whole and streamed, with the synchronous client."""
    with library.Client(timeout=30) as client:
        for way in ("whole", "streamed", "cut"):
            arguments = {
                "content": json.dumps(call["body"]),
                "headers": headers(call["sample"], name, way),
            }
            if way == "whole":
                client.post(call["url"], **arguments)
                continue
            with client.stream("POST", call["url"], **arguments) as response:
                for _ in response.iter_bytes():
                    pass


async def ask_async(library: Any, name: str, call: dict[str, Any]) -> None:
    """Streamed, with the asynchronous client."""
    arguments = {
        "content": json.dumps(call["body"]),
        "headers": headers(call["sample"], name, "async"),
    }
    async with (
        library.AsyncClient(timeout=30) as client,
        client.stream("POST", call["url"], **arguments) as response,
    ):
        async for _ in response.aiter_lines():
            pass


def main() -> None:
    """Replay every line."""
    for line in sys.stdin:
        call = json.loads(line)
        for library, name in ((httpx, "httpx"), (httpx2, "httpx2")):
            ask(library, name, call)
            asyncio.run(ask_async(library, name, call))


if __name__ == "__main__":
    main()
