# SPDX-License-Identifier: Apache-2.0
"""Every sample of a metered operation gives exactly the usage of `expected.json`."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.provider import FakeProvider, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import (
    CALLS,
    ENTRIES,
    FAKES,
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


def address(fake: FakeProvider, entry: dict[str, Any]) -> str:
    path: str = "/" + entry["request"]["url"].split("/", 3)[3]
    return fake.url(FAKES[entry["provider"]]) + path


def send(http: ModuleType, fake: FakeProvider, name: str, reply: Reply, *, stream: bool) -> bytes:
    """Replay a sample through a client; the body as the app reads it."""
    entry = ENTRIES[name]
    fake.queue(FAKES[entry["provider"]], reply)
    request = (entry["request"]["method"], address(fake, entry))
    body = entry["request"]["body"] or None
    with http.Client() as client:
        if not stream:
            return bytes(client.request(*request, json=body).content)
        with client.stream(*request, json=body) as response:
            return b"".join(response.iter_bytes())


async def send_async(
    http: ModuleType, fake: FakeProvider, name: str, reply: Reply, *, stream: bool
) -> bytes:
    entry = ENTRIES[name]
    fake.queue(FAKES[entry["provider"]], reply)
    request = (entry["request"]["method"], address(fake, entry))
    body = entry["request"]["body"] or None
    async with http.AsyncClient() as client:
        if not stream:
            return bytes((await client.request(*request, json=body)).content)
        async with client.stream(*request, json=body) as response:
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
    }
    assert usage == usage_attributes(row)
    rows = json.loads(attributes.get("microdollar.usage.additional", "[]"))
    assert rows == additional(entry, row)
    assert attributes["microdollar.usage.source"] == source(entry, row)
    assert attributes["gen_ai.operation.name"] == OPERATIONS[entry["operation"]]
    assert attributes["gen_ai.provider.name"] == PROVIDERS[entry["provider"]]
    assert attributes.get("gen_ai.response.id") == entry["response_id"]
    facts = entry["price_facts"]
    tier = "openai" if entry["provider"] == "openai" else "microdollar"
    assert attributes.get(f"{tier}.response.service_tier") == facts.get("service_tier")
    assert attributes.get("microdollar.response.speed") == facts.get("speed")
    assert attributes.get("microdollar.response.inference_geo") == facts.get("inference_geo")
    # Gemini names the model in the path, the others in the body.
    path_model = entry["request"]["url"].rpartition("/")[2].partition(":")[0]
    asked = entry["request"]["body"].get("model", path_model)
    assert attributes["gen_ai.request.model"] == asked


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
    assert len(CALLS) == 20
    assert len(NOT_CALLS) == 6


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
