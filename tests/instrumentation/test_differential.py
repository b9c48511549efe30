# SPDX-License-Identifier: Apache-2.0
"""The app sees the same with and without us: every sample, sync and async, however it ends.

Time is told by order: the transport and the app write into one log, so that a chunk that came
later or earlier by as little as one step shows.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.replies import SAMPLES, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import CALLS

ENTRIES: list[dict[str, Any]] = [
    entry
    for entry in json.loads((SAMPLES / "expected.json").read_bytes())
    if entry["request"]["url"].startswith("https://") and (SAMPLES / entry["file"]).exists()
]
PIECES = 9
PRIVATE = {"X-Microdollar-Customer": "acme", "baggage": "tenant=acme"}


@dataclass
class World:
    """What a provider sends and receives, and everything that happens in order."""

    http: ModuleType
    entry: dict[str, Any]
    encoding: str = ""
    error: bool = False
    log: list[Any] = field(default_factory=list)

    def answer(self, request: Any) -> Any:
        self.log.append(("sent", request.method, str(request.url), sent_headers(request)))
        reply = sample(self.entry["file"])
        body = gzip.compress(reply.body, mtime=0) if self.encoding else reply.body
        headers = dict(reply.headers)
        if self.encoding:
            headers["content-encoding"] = self.encoding
        kind = type("Pieces", (Pieces, self.http.SyncByteStream, self.http.AsyncByteStream), {})
        return self.http.Response(reply.status, headers=headers, stream=kind(self, body))


def sent_headers(request: Any) -> list[tuple[bytes, bytes]]:
    """The headers as sent, apart from those that must not be."""
    private = {name.lower().encode() for name in PRIVATE}
    return [(name, value) for name, value in request.headers.raw if name.lower() not in private]


class Pieces:
    """The body, in pieces; its last one may be an error."""

    def __init__(self, world: World, body: bytes) -> None:
        size = len(body) // PIECES + 1
        self.world = world
        self.pieces = [body[start : start + size] for start in range(0, len(body), size)]

    def __iter__(self) -> Iterator[bytes]:
        for number, piece in enumerate(self.pieces):
            if self.world.error and number == len(self.pieces) // 2:
                raise self.world.http.ReadError("made-up")
            self.world.log.append(("yields", number))
            yield piece
        self.world.log.append("ends")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            await asyncio.sleep(0)
            yield piece

    def close(self) -> None:
        self.world.log.append("closed")

    async def aclose(self) -> None:
        self.close()


def outcome(world: World, response: Any) -> list[Any]:
    world.log.append(
        (
            type(response).__module__,
            response.status_code,
            response.headers.raw,
            response.http_version,
            response.num_bytes_downloaded,
            response.is_closed,
            response.is_stream_consumed,
            sorted(response.request.headers.raw),
        )
    )
    return world.log


def sync(world: World, way: str) -> list[Any]:
    http, request = world.http, world.entry["request"]
    with http.Client(transport=http.MockTransport(world.answer)) as client:
        made = client.build_request(
            request["method"], request["url"], json=request["body"] or None, headers=PRIVATE
        )
        try:
            response = client.send(made, stream=way != "read")
            if way == "read":
                world.log.append(("got", response.content))
            for number, chunk in enumerate(response.iter_raw() if way != "read" else ()):
                world.log.append(("got", chunk, response.num_bytes_downloaded))
                if way == "leave" and number == 1:
                    break
            response.close()
        except http.ReadError as error:
            world.log.append((type(error), str(error), error.request is made))
            return world.log
        return outcome(world, response)


async def unsync(world: World, way: str) -> list[Any]:
    http, request = world.http, world.entry["request"]
    async with http.AsyncClient(transport=http.MockTransport(world.answer)) as client:
        made = client.build_request(
            request["method"], request["url"], json=request["body"] or None, headers=PRIVATE
        )
        try:
            response = await client.send(made, stream=way != "read")
            if way == "read":
                world.log.append(("got", response.content))
            else:
                number = 0
                async for chunk in response.aiter_raw():
                    world.log.append(("got", chunk, response.num_bytes_downloaded))
                    number += 1
                    if way == "leave" and number == 2:
                        break
            await response.aclose()
        except http.ReadError as error:
            world.log.append((type(error), str(error), error.request is made))
            return world.log
        return outcome(world, response)


WAYS = [
    (asynchronous, way, encoding, error)
    for asynchronous in (False, True)
    for way in ("read", "iterate", "leave")
    for encoding, error in (("", False), ("gzip", False), ("", True))
]


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["file"] for entry in ENTRIES])
def test_the_app_sees_the_same(
    http: ModuleType, request: pytest.FixtureRequest, entry: dict[str, Any]
) -> None:
    def run() -> list[list[Any]]:
        logs = []
        for asynchronous, way, encoding, error in WAYS:
            world = World(http, entry, encoding, error)
            logs.append(asyncio.run(unsync(world, way)) if asynchronous else sync(world, way))
        return logs

    plain = run()
    meter: Meter = request.getfixturevalue("meter")
    for metered, unmetered in zip(run(), plain, strict=True):
        assert metered == unmetered
    assert meter.spans() or entry["file"] not in CALLS
