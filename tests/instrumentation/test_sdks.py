# SPDX-License-Identifier: Apache-2.0
"""The current SDKs, sync and async, streamed and not, are metered without a change to them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from tests.fakes.provider import FakeProvider, Reply, error, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.test_samples import check

PROMPT: Any = [{"role": "user", "content": "hi"}]


def openai_options(fake: FakeProvider) -> dict[str, Any]:
    return {"base_url": fake.url("openai") + "/v1", "api_key": "none", "max_retries": 1}


def anthropic_options(fake: FakeProvider) -> dict[str, Any]:
    return {"base_url": fake.url("anthropic"), "api_key": "none", "max_retries": 0}


def gemini(fake: FakeProvider) -> genai.Client:
    return genai.Client(api_key="none", http_options=types.HttpOptions(base_url=fake.url("gemini")))


def drain(stream: Iterator[Any]) -> None:
    for _ in stream:
        pass


async def adrain(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


OPENAI: dict[str, Callable[[Any], Any]] = {
    "openai.chat.json": lambda c: c.chat.completions.create(model="gpt-5.6-sol", messages=PROMPT),
    "openai.chat.stream.sse": lambda c: c.chat.completions.create(
        model="gpt-5.6-sol",
        messages=PROMPT,
        stream=True,
        stream_options={"include_usage": True},
    ),
    "openai.chat.stream.no-usage.sse": lambda c: c.chat.completions.create(
        model="gpt-5.6-sol", messages=PROMPT, stream=True
    ),
    "openai.completions.json": lambda c: c.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="hi"
    ),
    "openai.responses.json": lambda c: c.responses.create(model="gpt-5.6-sol", input="hi"),
    "openai.responses.stream.sse": lambda c: c.responses.create(
        model="gpt-6-luna", input="hi", stream=True
    ),
    "openai.responses.compact.json": lambda c: c.responses.compact(model="gpt-6-luna", input="hi"),
    "openai.embeddings.json": lambda c: c.embeddings.create(
        model="text-embedding-3-small", input="hi"
    ),
}

ANTHROPIC: dict[str, str] = {
    "anthropic.messages.json": "claude-sonnet-5-5",
    "anthropic.messages.fallback.json": "claude-fable-5-2",
    "anthropic.messages.stream.sse": "claude-opus-5-5",
    "anthropic.messages.stream.cut.sse": "claude-haiku-5-5",
    "anthropic.messages.stream.server-tool.sse": "claude-sonnet-5-5",
    "anthropic.messages.stream.compaction.sse": "claude-opus-5-5",
}


@pytest.mark.parametrize("shape", [{}, {"chunk": 7}, {"encoding": "gzip"}], ids=str)
@pytest.mark.parametrize("name", OPENAI)
def test_openai(meter: Meter, fake: FakeProvider, name: str, shape: dict[str, Any]) -> None:
    fake.queue("openai", replace(sample(name), **shape))
    with openai.OpenAI(**openai_options(fake)) as client:
        answer = OPENAI[name](client)
        if name.endswith(".sse"):
            drain(answer)
        check(name, meter.attributes())


@pytest.mark.parametrize("shape", [{}, {"chunk": 7}, {"encoding": "gzip"}], ids=str)
@pytest.mark.parametrize("name", OPENAI)
def test_openai_async(meter: Meter, fake: FakeProvider, name: str, shape: dict[str, Any]) -> None:
    async def call() -> None:
        async with openai.AsyncOpenAI(**openai_options(fake)) as client:
            answer = await OPENAI[name](client)
            if name.endswith(".sse"):
                await adrain(answer)

    fake.queue("openai", replace(sample(name), **shape))
    asyncio.run(call())
    check(name, meter.attributes())


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropic(meter: Meter, fake: FakeProvider, name: str) -> None:
    fake.queue("anthropic", sample(name))
    with anthropic.Anthropic(**anthropic_options(fake)) as client:
        message: dict[str, Any] = {"model": ANTHROPIC[name], "max_tokens": 9, "messages": PROMPT}
        if name.endswith(".sse"):
            with client.messages.stream(**message) as stream:
                stream.get_final_message()
        else:
            client.messages.create(**message)
        check(name, meter.attributes())


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropic_async(meter: Meter, fake: FakeProvider, name: str) -> None:
    async def call() -> None:
        async with anthropic.AsyncAnthropic(**anthropic_options(fake)) as client:
            message: dict[str, Any] = {
                "model": ANTHROPIC[name],
                "max_tokens": 9,
                "messages": PROMPT,
            }
            if name.endswith(".sse"):
                async with client.messages.stream(**message) as stream:
                    await stream.get_final_message()
            else:
                await client.messages.create(**message)

    fake.queue("anthropic", sample(name))
    asyncio.run(call())
    check(name, meter.attributes())


GEMINI = ["gemini.generate.json", "gemini.generate.blocked.json", "gemini.generate.stream.sse"]


@pytest.mark.parametrize("name", GEMINI)
def test_gemini(meter: Meter, fake: FakeProvider, name: str) -> None:
    fake.queue("gemini", sample(name))
    with gemini(fake) as client:
        arguments: dict[str, Any] = {"model": "gemini-3.6-flash", "contents": "hi"}
        if name.endswith(".sse"):
            drain(client.models.generate_content_stream(**arguments))
        else:
            client.models.generate_content(**arguments)
        check(name, meter.attributes())


@pytest.mark.parametrize("over", ["aiohttp", "httpx2"])
@pytest.mark.parametrize("name", GEMINI)
def test_gemini_async(meter: Meter, fake: FakeProvider, name: str, over: str) -> None:
    async def call() -> None:
        async with httpx2.AsyncClient() as httpx:
            chosen: Any = {"httpx_async_client": httpx} if over == "httpx2" else {}
            options = types.HttpOptions(base_url=fake.url("gemini"), **chosen)
            await ask(genai.Client(api_key="none", http_options=options))

    async def ask(owner: genai.Client) -> None:
        async with owner.aio as client:
            arguments: dict[str, Any] = {"model": "gemini-3.6-flash", "contents": "hi"}
            if name.endswith(".sse"):
                await adrain(await client.models.generate_content_stream(**arguments))
            else:
                await client.models.generate_content(**arguments)

    fake.queue("gemini", sample(name))
    asyncio.run(call())
    check(name, meter.attributes())


def test_each_retry_is_a_call_of_its_own(meter: Meter, fake: FakeProvider) -> None:
    busy = sample("openai.error.429.json")
    busy = replace(busy, headers={"content-type": "application/json", "retry-after-ms": "1"})
    fake.queue("openai", busy, sample("openai.chat.json"))
    with openai.OpenAI(**openai_options(fake)) as client:
        OPENAI["openai.chat.json"](client)
    spans = meter.spans()
    first, second = (dict(span.attributes or {}) for span in spans)
    assert first["error.type"] == "429"
    assert first["http.response.status_code"] == 429
    assert first["microdollar.usage.source"] == "none"
    assert spans[0].status.status_code.name == "ERROR"
    assert spans[0].status.description is None
    assert second["microdollar.usage.source"] == "provider"
    assert "error.type" not in second
    number: Any = first["microdollar.call.sequence"]
    assert second["microdollar.call.sequence"] == number + 1


def test_an_error_event_after_http_200_is_an_error(meter: Meter, fake: FakeProvider) -> None:
    name = "anthropic.messages.stream.error.sse"
    fake.queue("anthropic", sample(name))
    with (
        anthropic.Anthropic(**anthropic_options(fake)) as client,
        pytest.raises(anthropic.APIError),
    ):
        drain(
            client.messages.create(
                model="claude-sonnet-5-5", max_tokens=9, messages=PROMPT, stream=True
            )
        )
    span = meter.span()
    check(name, span.attributes or {})
    assert (span.attributes or {})["error.type"] == "overloaded_error"
    assert (span.attributes or {})["http.response.status_code"] == 200
    assert span.status.status_code.name == "ERROR"


def test_an_error_in_an_openai_stream_is_an_error(meter: Meter, fake: FakeProvider) -> None:
    events = b'data: {"error":{"message":"made-up","type":"server_error","code":null}}\n\n'
    fake.queue("openai", replace(sample("openai.chat.stream.sse"), body=events))
    with openai.OpenAI(**openai_options(fake)) as client, pytest.raises(openai.APIError):
        drain(OPENAI["openai.chat.stream.sse"](client))
    attributes = meter.attributes()
    assert attributes["error.type"] == "server_error"
    assert attributes["microdollar.usage.source"] == "missing"


def test_a_failed_response_is_an_error_with_its_code(meter: Meter, fake: FakeProvider) -> None:
    body = b'{"id":"resp_1","model":"gpt-6-luna","status":"failed","usage":null,'
    body += b'"error":{"code":"server_error","message":"made-up"}}'
    event = b'data: {"type":"response.failed","response":' + body + b"}\n\n"
    fake.queue("openai", replace(sample("openai.responses.stream.sse"), body=event))
    with openai.OpenAI(**openai_options(fake)) as client:
        drain(OPENAI["openai.responses.stream.sse"](client))
    attributes = meter.attributes()
    assert attributes["error.type"] == "server_error"
    assert attributes["gen_ai.response.id"] == "resp_1"
    assert attributes["microdollar.usage.source"] == "missing"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_refused_call_consumed_nothing(meter: Meter, fake: FakeProvider, provider: Any) -> None:
    fake.queue(provider, error(provider, 400, "made-up"))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError, genai.errors.APIError)):
        if provider == "openai":
            with openai.OpenAI(**openai_options(fake)) as client:
                OPENAI["openai.chat.stream.sse"](client)
        elif provider == "anthropic":
            with anthropic.Anthropic(**anthropic_options(fake)) as other:
                other.messages.create(model="m", max_tokens=9, messages=PROMPT, stream=True)
        else:
            with gemini(fake) as third:
                drain(third.models.generate_content_stream(model="m", contents="hi"))
    attributes = meter.attributes()
    assert attributes["error.type"] == "400"
    assert attributes["microdollar.usage.source"] == "none"
    assert not [name for name in attributes if name.startswith("gen_ai.usage.")]


def test_raw_and_streaming_responses_of_the_sdk(meter: Meter, fake: FakeProvider) -> None:
    name = "openai.chat.json"
    fake.queue("openai", sample(name), sample(name))
    with openai.OpenAI(**openai_options(fake)) as client:
        chat = client.chat.completions
        raw = chat.with_raw_response.create(model="gpt-5.6-sol", messages=PROMPT)
        assert raw.parse().id == "chatcmpl-SampleAa01"
        check(name, meter.attributes())
        with chat.with_streaming_response.create(model="gpt-5.6-sol", messages=PROMPT) as response:
            assert meter.spans() == ()
            assert response.read() == sample(name).body
        check(name, meter.attributes())


def test_an_unknown_encoding_is_no_reason_to_fail(
    meter: Meter, fake: FakeProvider, warnings_logged: list[str]
) -> None:
    headers = {"content-type": "application/json", "content-encoding": "rot13"}
    fake.queue("openai", Reply(headers=headers, body=sample("openai.chat.json").body))
    with openai.OpenAI(**openai_options(fake)) as client:
        chat = client.chat.completions
        with chat.with_streaming_response.create(model="gpt-5.6-sol", messages=PROMPT) as response:
            response.read()
    assert meter.attributes()["microdollar.usage.source"] == "missing"
    assert warnings_logged == ["microdollar: a response had a content encoding that cannot be read"]
