# SPDX-License-Identifier: Apache-2.0
"""Every sample of a metered operation gives exactly the usage of `expected.json`."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

import microdollar
from tests.fakes.provider import FakeProvider, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import (
    CALLS,
    DECLARED,
    ENTRIES,
    NOT_CALLS,
    OPERATIONS,
    PROVIDERS,
    additional,
    row_of,
    source,
    usage_attributes,
)

SHAPES: dict[str, dict[str, Any]] = {
    "whole": {},
    "by 1": {"chunk": 1},
    "by 7": {"chunk": 7},
    "by 1400": {"chunk": 1400},
    "gzip": {"encoding": "gzip", "chunk": 3},
    "deflate": {"encoding": "deflate"},
}


@pytest.fixture
def meter(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """The hosts of self-hosted samples are declared; all others are known."""
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", DECLARED)
    microdollar.instrument()
    return meter


def rerouted(http: ModuleType, request: Any, fake: FakeProvider) -> Any:
    """The request as the fake gets it, whatever host it was made for."""
    url = request.url.copy_with(scheme="http", host="127.0.0.1", port=fake.port("openai"))
    return http.Request(request.method, url, headers=request.headers, stream=request.stream)


def client(http: ModuleType, fake: FakeProvider) -> Any:
    class Transport(http.HTTPTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            return super().handle_request(rerouted(http, request, fake))

    return http.Client(transport=Transport())


def async_client(http: ModuleType, fake: FakeProvider) -> Any:
    class Transport(http.AsyncHTTPTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            return await super().handle_async_request(rerouted(http, request, fake))

    return http.AsyncClient(transport=Transport())


def send(http: ModuleType, fake: FakeProvider, name: str, reply: Reply, *, stream: bool) -> bytes:
    """Replay a sample through a client to its own host; the body as the app reads it."""
    entry = ENTRIES[name]["request"]
    fake.queue("openai", reply)
    request = (entry["method"], entry["url"])
    body = entry["body"] or None
    with client(http, fake) as sender:
        if not stream:
            return bytes(sender.request(*request, json=body).content)
        with sender.stream(*request, json=body) as response:
            return b"".join(response.iter_bytes())


async def send_async(
    http: ModuleType, fake: FakeProvider, name: str, reply: Reply, *, stream: bool
) -> bytes:
    entry = ENTRIES[name]["request"]
    fake.queue("openai", reply)
    request = (entry["method"], entry["url"])
    body = entry["body"] or None
    async with async_client(http, fake) as sender:
        if not stream:
            return bytes((await sender.request(*request, json=body)).content)
        async with sender.stream(*request, json=body) as response:
            return b"".join([chunk async for chunk in response.aiter_bytes()])


def check(name: str, attributes: Mapping[str, Any]) -> None:
    """Compare a span with `expected.json`, in both directions."""
    entry = ENTRIES[name]
    row = row_of(entry, attributes.get("gen_ai.response.model"))
    usage = {
        key: value
        for key, value in attributes.items()
        if key.startswith(("gen_ai.usage.", "microdollar.usage."))
        and key not in ("microdollar.usage.source", "microdollar.usage.additional")
        and not key.startswith("microdollar.usage.estimate.")
    }
    assert usage == usage_attributes(row)
    rows = json.loads(attributes.get("microdollar.usage.additional", "[]"))
    assert rows == additional(entry, row)
    assert attributes["microdollar.usage.source"] == source(entry, row)
    assert attributes["gen_ai.operation.name"] == OPERATIONS[entry["operation"]]
    assert attributes["gen_ai.provider.name"] == PROVIDERS.get(entry["provider"], entry["provider"])
    assert attributes.get("gen_ai.response.id") == entry["response_id"]
    facts = entry["price_facts"]
    tier = "openai" if entry["provider"] in ("openai", "azure") else "microdollar"
    said = facts.get("service_tier") or VERTEX_TIERS.get(facts.get("traffic_type"))
    assert attributes.get(f"{tier}.response.service_tier") == said
    assert attributes.get("microdollar.response.speed") == facts.get("speed")
    # A batch names no place: Anthropic says so in a word, which is passed on.
    geo = attributes.get("microdollar.response.inference_geo")
    assert geo == facts.get("inference_geo") or geo == "not_available"
    assert attributes.get("gen_ai.request.model") == asked(entry)


VERTEX_TIERS = {"ON_DEMAND_PRIORITY": "priority", "ON_DEMAND": "on_demand"}


def asked(entry: dict[str, Any]) -> str | None:
    """The model that the request names: in the path where there is one, else in the body."""
    path = unquote(entry["request"]["url"].partition("?")[0])
    found = re.search(
        r"/(?:deployments/([^/]+)/|model/(.+)/(?:converse|invoke)|models/([^/:]+):)", path
    )
    named = next(filter(None, found.groups()), None) if found else None
    model: str | None = named or entry["request"]["body"].get("model")
    return model


@pytest.mark.parametrize(
    ("shape", "stream"), [("whole", False), ("gzip", False), *((shape, True) for shape in SHAPES)]
)
@pytest.mark.parametrize("name", CALLS)
def test_a_sample_gives_the_expected_usage(
    http: ModuleType, meter: Meter, fake: FakeProvider, name: str, shape: str, stream: bool
) -> None:
    reply = replace(sample(name), **SHAPES[shape])
    assert send(http, fake, name, reply, stream=stream) == reply.body
    check(name, meter.attributes())


@pytest.mark.parametrize(("shape", "stream"), [("whole", False), ("gzip", True)])
@pytest.mark.parametrize("name", CALLS)
def test_a_sample_gives_the_expected_usage_async(
    http: ModuleType, meter: Meter, fake: FakeProvider, name: str, shape: str, stream: bool
) -> None:
    reply = replace(sample(name), **SHAPES[shape])
    assert asyncio.run(send_async(http, fake, name, reply, stream=stream)) == reply.body
    check(name, meter.attributes())


@pytest.mark.parametrize("name", NOT_CALLS)
def test_counting_and_reading_again_are_not_calls(
    http: ModuleType, meter: Meter, fake: FakeProvider, name: str
) -> None:
    assert send(http, fake, name, sample(name), stream=False) == sample(name).body
    assert meter.spans() == ()


def test_the_samples_cover_both_kinds() -> None:
    assert len(CALLS) == 68
    assert len(NOT_CALLS) == 4


@pytest.mark.parametrize("encoding", ["zstd", "br"])
def test_encodings_that_need_a_library(meter: Meter, fake: FakeProvider, encoding: Any) -> None:
    reply = replace(sample("openai.chat.stream.sse"), encoding=encoding, chunk=5)
    assert send(httpx2, fake, "openai.chat.stream.sse", reply, stream=True) == reply.body
    check("openai.chat.stream.sse", meter.attributes())


def test_a_gemini_stream_without_sse_is_an_array_of_its_events(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    name = "gemini.generate.stream.sse"
    events = [line[6:] for line in sample(name).body.split(b"\r\n") if line]
    reply = Reply(
        headers={"content-type": "application/json; charset=UTF-8"},
        body=b"[" + b",\r\n".join(events) + b"\n]\n",
        chunk=7,
    )
    assert send(http, fake, name, reply, stream=True) == reply.body
    check(name, meter.attributes())
