# SPDX-License-Identifier: Apache-2.0
"""A stream passes untouched, and its call ends exactly once however the app leaves it."""

import asyncio
import copy
import gc
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import anthropic
import openai
import pytest

from microdollar import _call
from tests.fakes.provider import FakeProvider, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.test_samples import check

CHAT = "openai.chat.stream.sse"
MESSAGES = "anthropic.messages.stream.sse"
START = sample(MESSAGES).body.index(b"event: content_block_start")


def test_a_stream_can_be_copied(http: ModuleType, meter: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", sample(CHAT))
    with http.Client() as client, client.stream("POST", chat(fake), json={}) as response:
        stream = copy.copy(response.stream)
        assert isinstance(stream, http.SyncByteStream)
        with pytest.raises(AttributeError):
            stream.__class__.__new__(stream.__class__).anything  # noqa: B018
        response.read()
    assert len(meter.spans()) == 1


def chat(fake: FakeProvider) -> str:
    return fake.url("openai") + "/v1/chat/completions"


def messages(fake: FakeProvider) -> str:
    return fake.url("anthropic") + "/v1/messages"


BODY = {"model": "claude-opus-5-5", "stream": True}


def check_partial(attributes: Any) -> None:
    """The message has begun and nothing else is known."""
    assert attributes["microdollar.usage.source"] == "provider_partial"
    assert attributes["gen_ai.response.id"] == "msg_sampleAn02"
    assert attributes["gen_ai.usage.input_tokens"] == 41 + 8000 + 1500
    assert "gen_ai.usage.output_tokens" not in attributes


def test_bytes_pass_at_once(http: ModuleType, meter: Meter, fake: FakeProvider) -> None:
    """The app sees the first bytes although the server has not sent the others."""
    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    with http.Client() as client, client.stream("POST", messages(fake), json=BODY) as response:
        assert next(response.iter_raw()) == sample(MESSAGES).body[:START]
    attributes = meter.attributes()
    check_partial(attributes)
    assert "error.type" not in attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_leaving_early(http: ModuleType, meter: Meter, fake: FakeProvider, leave: str) -> None:
    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    with http.Client() as client:
        request = client.build_request("POST", messages(fake), json=BODY)
        response = client.send(request, stream=True)
        chunks = response.iter_bytes()
        next(chunks)
        assert meter.spans() == ()
        if leave == "close":
            response.close()
        else:
            del chunks, response
            gc.collect()
        check_partial(meter.attributes())


def test_a_response_that_is_never_read(http: ModuleType, meter: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", sample(CHAT))
    with http.Client() as client:
        response = client.send(
            client.build_request("POST", chat(fake), json={"model": "m"}), stream=True
        )
        response.close()
        response.close()
    assert meter.attributes()["microdollar.usage.source"] == "missing"


def test_leaving_early_async(http: ModuleType, meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        async with (
            http.AsyncClient() as client,
            client.stream("POST", messages(fake), json=BODY) as response,
        ):
            async for _ in response.aiter_bytes():
                break

    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    asyncio.run(call())
    check_partial(meter.attributes())


def test_an_abandoned_async_iterator(meter: Meter, fake: FakeProvider) -> None:
    """The SDK's stream is dropped without being closed; the end of the loop cleans up."""

    async def call() -> None:
        async with anthropic.AsyncAnthropic(
            base_url=fake.url("anthropic"), api_key="none"
        ) as client:
            stream = await client.messages.create(
                model="claude-opus-5-5",
                max_tokens=9,
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
            )
            await anext(aiter(stream))
            del stream
            gc.collect()

    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    asyncio.run(call())
    gc.collect()
    check_partial(meter.attributes())


def test_cancellation_reaches_the_app_and_ends_the_call(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    async def read(started: asyncio.Event) -> None:
        async with (
            http.AsyncClient() as client,
            client.stream("POST", messages(fake), json=BODY) as response,
        ):
            async for _ in response.aiter_bytes():
                started.set()

    async def call() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(read(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    asyncio.run(call())
    attributes = meter.attributes()
    check_partial(attributes)
    assert attributes["error.type"] == "asyncio.exceptions.CancelledError"


def test_cancellation_before_the_response(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    """Nobody knows whether the model has run, so the usage is missing, not none."""

    async def call() -> None:
        async with http.AsyncClient() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.post(messages(fake), json={"model": "m"})

    fake.queue("anthropic", Reply(delay=30))
    asyncio.run(call())
    attributes = meter.attributes()
    assert attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert attributes["microdollar.usage.source"] == "missing"


@pytest.mark.parametrize("cut", [START, len(sample(MESSAGES).body) - 40])
def test_a_connection_that_breaks(
    http: ModuleType, meter: Meter, fake: FakeProvider, cut: int
) -> None:
    """The app sees the library's own exception; what was complete before it stays complete."""
    fake.queue("anthropic", replace(sample(MESSAGES), cut_after=cut))
    with (
        http.Client() as client,
        client.stream("POST", messages(fake), json=BODY) as response,
        pytest.raises(http.RemoteProtocolError),
    ):
        response.read()
    attributes = meter.attributes()
    assert attributes["error.type"] == f"{http.__name__}.RemoteProtocolError"
    if cut == START:
        check_partial(attributes)
    else:
        assert attributes["microdollar.usage.source"] == "provider"
        assert attributes["gen_ai.usage.output_tokens"] == 312


def test_a_broken_array_keeps_what_it_told(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    events = [line[6:] for line in sample("gemini.generate.stream.sse").body.split(b"\r\n") if line]
    whole = b"[" + b",\r\n".join(events) + b"]"
    fake.queue(
        "gemini",
        Reply(
            headers={"content-type": "application/json"},
            body=whole,
            chunk=1400,
            cut_after=whole.index(b'"finishReason"'),
        ),
    )
    url = fake.url("gemini") + "/v1beta/models/gemini-3.6-flash:streamGenerateContent"
    with (
        http.Client() as client,
        client.stream("POST", url, json={}) as response,
        pytest.raises(http.RemoteProtocolError),
    ):
        response.read()
    attributes = meter.attributes()
    assert attributes["microdollar.usage.source"] == "provider_partial"
    assert attributes["gen_ai.usage.output_tokens"] == 35 + 140


def test_an_exception_in_the_apps_loop_is_the_apps(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    with (
        http.Client() as client,
        pytest.raises(ZeroDivisionError),
        client.stream("POST", messages(fake), json=BODY) as response,
    ):
        for _ in response.iter_bytes():
            raise ZeroDivisionError
    attributes = meter.attributes()
    check_partial(attributes)
    assert "error.type" not in attributes


def test_the_openai_sdk_stops_before_the_end(meter: Meter, fake: FakeProvider) -> None:
    """It closes the body at `[DONE]`; usage has been seen by then."""
    body = sample(CHAT).body
    fake.queue("openai", replace(sample(CHAT), body=body + b": more\n\n", hang_after=len(body)))
    with openai.OpenAI(base_url=fake.url("openai") + "/v1", api_key="none") as client:
        stream = client.chat.completions.create(
            model="gpt-5.6-sol",
            messages=[],
            stream=True,
            stream_options={"include_usage": True},
        )
        assert len(list(stream)) == 5
    check(CHAT, meter.attributes())


def test_a_call_ends_once_when_many_things_end_it(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", sample(CHAT))
    with http.Client() as client:
        request = client.build_request("POST", chat(fake), json={"model": "gpt-5.6-sol"})
        response = client.send(request, stream=True)
        (call,) = _call._open.values()
        response.read()
        response.close()
        threads = [threading.Thread(target=call.finish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        call.fail(ValueError())
        del response
        gc.collect()
    check(CHAT, meter.attributes())
    assert not _call._open


def test_what_a_library_offers_on_a_response_still_works(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", sample(CHAT), sample(CHAT), sample(CHAT))
    with http.Client() as client:
        with client.stream("POST", chat(fake), json={}) as response:
            assert isinstance(response.stream, http.SyncByteStream)
            assert not isinstance(response.stream, http.AsyncByteStream)
            assert b"".join(response.iter_raw()) == sample(CHAT).body
            assert response.num_bytes_downloaded == len(sample(CHAT).body)
            with pytest.raises(http.StreamConsumed):
                next(response.iter_raw())
        assert response.elapsed.total_seconds() > 0
        with client.stream("POST", chat(fake), json={}) as response:
            assert list(response.iter_lines())[-2:] == ["data: [DONE]", ""]
        response = client.post(chat(fake), json={})
        assert response.content == sample(CHAT).body
        assert response.elapsed.total_seconds() > 0
        assert pickle.loads(pickle.dumps(response)).content == response.content  # noqa: S301
    assert len(meter.spans()) == 3


class Chunks:
    """A byte stream of a transport with ideas of its own."""

    note = "kept"

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_second_iteration_sees_what_the_library_gives(
    http: ModuleType, meter: Meter, times: int
) -> None:
    """The openai SDK drains a body with a second iterator; both are passed on as they are."""
    body = sample(CHAT).body

    def stream(_: Any) -> Any:
        kind = type("Stream", (Chunks, http.SyncByteStream), {})
        return http.Response(200, headers=sample(CHAT).headers, stream=kind(body[:99], body[99:]))

    with http.Client(transport=http.MockTransport(stream)) as client:
        request = client.build_request(
            "POST", "https://api.openai.com/v1/chat/completions", json={"model": "gpt-5.6-sol"}
        )
        response = client.send(request, stream=True)
        for _ in range(times):
            assert list(response.stream) == [body[:99], body[99:]]
        response.close()
    check(CHAT, meter.attributes())


def test_a_mock_response_that_is_already_read(http: ModuleType, meter: Meter) -> None:
    """A streamed send of a response with content never touches its stream."""
    reply = sample("openai.chat.json")
    transport = http.MockTransport(
        lambda _: http.Response(200, headers=reply.headers, content=reply.body)
    )
    with (
        http.Client(transport=transport) as client,
        client.stream(
            "POST", "https://api.openai.com/v1/chat/completions", json={"model": "gpt-5.6-sol"}
        ) as response,
    ):
        assert response.read() == reply.body
    check("openai.chat.json", meter.attributes())


def test_open_calls_end_with_the_process(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("anthropic", replace(sample(MESSAGES), hang_after=START))
    with http.Client() as client:
        request = client.build_request("POST", messages(fake), json=BODY)
        response = client.send(request, stream=True)
        next(response.iter_bytes())
        _call.finish_all()
        check_partial(meter.attributes())
        response.close()
    assert meter.spans() == ()
