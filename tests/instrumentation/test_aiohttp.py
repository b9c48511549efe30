# SPDX-License-Identifier: Apache-2.0
"""`aiohttp` is metered as httpx is: every sample, read in every way, and the app sees the same."""

import asyncio
import gc
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp.streams import StreamReader
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

import microdollar
from microdollar import _aiohttp, customer
from tests.fakes.provider import FakeProvider, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import CALLS, DECLARED, ENTRIES, NOT_CALLS
from tests.instrumentation.test_samples import check

CHAT = "https://api.openai.com/v1/chat/completions"
STREAM = "openai.chat.stream.sse"


@pytest.fixture
def declared(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts of self-hosted samples are declared; all others are known."""
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", DECLARED)
    microdollar.instrument()


def session(fake: FakeProvider, **options: Any) -> aiohttp.ClientSession:
    """Connects to the fake, whatever host a request is for."""

    async def reroute(request: Any, handler: Any) -> Any:
        request.url = request.url.with_scheme("http").with_host("127.0.0.1")
        request.url = request.url.with_port(fake.port("openai"))
        return await handler(request)

    return aiohttp.ClientSession(middlewares=(reroute,), **options)


def request(client: aiohttp.ClientSession, name: str, **options: Any) -> Any:
    entry = ENTRIES[name]["request"]
    return client.request(entry["method"], entry["url"], json=entry["body"] or None, **options)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("name", CALLS)
def test_a_sample_gives_the_expected_usage(meter: Meter, fake: FakeProvider, name: str) -> None:
    async def call() -> None:
        async with session(fake) as client:
            async with request(client, name) as response:
                assert await response.read() == reply.body
            check(name, meter.attributes())
            async with request(client, name) as response:
                assert b"".join([c async for c in response.content.iter_any()]) == reply.body
            check(name, meter.attributes())

    reply = sample(name)
    fake.queue("openai", reply, replace(reply, chunk=7, encoding="gzip"))
    asyncio.run(call())
    assert not _aiohttp._watched


@pytest.mark.parametrize("name", NOT_CALLS)
def test_counting_and_reading_again_are_not_calls(
    meter: Meter, fake: FakeProvider, name: str
) -> None:
    async def call() -> None:
        async with session(fake) as client, request(client, name) as response:
            await response.read()

    fake.queue("openai", sample(name))
    asyncio.run(call())
    assert meter.spans() == ()


async def lines(content: StreamReader) -> bytes:
    return b"".join([line async for line in content])


async def chunks(content: StreamReader) -> bytes:
    return b"".join([chunk async for chunk, _ in content.iter_chunks()])


async def pieces(content: StreamReader) -> bytes:
    return b"".join([chunk async for chunk in content.iter_chunked(10)])


async def exactly(content: StreamReader) -> bytes:
    return await content.readexactly(len(sample(STREAM).body))


WAYS: dict[str, Callable[[StreamReader], Awaitable[bytes]]] = {
    "read": lambda content: content.read(),
    "lines": lines,
    "chunks": chunks,
    "pieces": pieces,
    "exactly": exactly,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [{}, {"chunk": 100}, {"encoding": "br", "chunk": 9}], ids=str)
def test_however_the_app_reads_the_body(
    meter: Meter, fake: FakeProvider, way: str, shape: dict[str, Any]
) -> None:
    async def call() -> bytes:
        async with session(fake) as client, request(client, STREAM) as response:
            return await WAYS[way](response.content)

    fake.queue("openai", replace(sample(STREAM), **shape))
    assert asyncio.run(call()) == sample(STREAM).body
    check(STREAM, meter.attributes())


@pytest.mark.parametrize("where", ["session", "request"])
def test_a_compressed_body_that_the_app_reads_as_it_is(
    meter: Meter, fake: FakeProvider, where: str
) -> None:
    raw = {"auto_decompress": False}

    async def call() -> bytes:
        async with (
            session(fake, **(raw if where == "session" else {})) as client,
            request(client, STREAM, **(raw if where == "request" else {})) as response,
        ):
            body: bytes = await response.read()
            return body

    fake.queue("openai", replace(sample(STREAM), encoding="gzip"))
    assert asyncio.run(call()).startswith(b"\x1f\x8b")
    check(STREAM, meter.attributes())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # aiohttp's, of what is dropped
@pytest.mark.parametrize("leave", ["close", "release", "drop", "cancel"])
def test_a_stream_that_is_left_ends_its_call(meter: Meter, fake: FakeProvider, leave: str) -> None:
    async def call() -> None:
        async with session(fake) as client:
            response = await request(client, STREAM)
            await response.content.readany()
            if leave == "cancel":
                reading = asyncio.ensure_future(response.read())
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            elif leave != "drop":
                getattr(response, leave)()

    fake.queue("openai", replace(sample(STREAM), hang_after=900))
    asyncio.run(call())
    gc.collect()
    attributes = meter.attributes()
    assert attributes["microdollar.usage.source"] == "missing"
    assert "error.type" not in attributes
    assert not _aiohttp._watched


def test_a_stream_that_breaks_says_so(meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        async with session(fake) as client, request(client, STREAM) as response:
            await response.read()

    fake.queue("openai", replace(sample(STREAM), cut_after=900))
    with pytest.raises(aiohttp.ClientPayloadError):
        asyncio.run(call())
    attributes = meter.attributes()
    assert attributes["error.type"] == "aiohttp.client_exceptions.ClientPayloadError"
    assert attributes["microdollar.usage.source"] == "missing"


def test_a_refused_connection_was_no_request(
    meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call() -> None:
        async with session(fake) as client:
            await client.post(CHAT, json={"model": "m"})

    monkeypatch.setattr(fake, "port", lambda _: 1)
    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(call())
    attributes = meter.attributes()
    assert attributes["error.type"] == "aiohttp.client_exceptions.ClientConnectorError"
    assert attributes["microdollar.usage.source"] == "none"


def test_a_redirect_is_no_call_of_its_own(meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        async with session(fake) as client, client.post(CHAT, json={"model": "m"}) as response:
            assert response.status == 200
            assert len(response.history) == 1
            await response.read()

    again = Reply(status=307, headers={"location": CHAT})
    fake.queue("openai", again, sample("openai.chat.json"))
    asyncio.run(call())
    assert meter.attributes()["microdollar.usage.source"] == "provider"


def test_the_customer_comes_from_block_and_headers_which_stay_here(
    meter: Meter, fake: FakeProvider
) -> None:
    async def call() -> None:
        async with aiohttp.ClientSession(headers={"x-user-id": "u1"}) as client:
            headers = [("X-Microdollar-Customer", "acme"), ("baggage", "a=b"), ("baggage", "c=d")]
            async with client.post(url, json={"model": "m"}, headers=headers) as response:
                sent = response.request_info.headers
                assert sent["x-microdollar-customer"] == "acme"
                assert sorted(sent.getall("baggage")) == ["a=b", "c=d"]
                await response.read()
            with customer("globex"):
                await (await client.post(url, json={"model": "m"})).read()

    url = fake.url("openai") + "/v1/chat/completions"
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    asyncio.run(call())
    first, second = (span.attributes or {} for span in meter.spans())
    assert first["microdollar.customer.id"] == "acme"
    assert first["microdollar.user.id"] == "u1"
    assert second["microdollar.customer.id"] == "globex"
    for request in fake.received:
        assert request.header("x-microdollar-customer") is None
        assert request.header("baggage") is None


def form() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"RIFF"), filename="model")
    form.add_field("model", "m")
    return form


BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "json": lambda: {"json": {"model": "m", "messages": [object], "user": "u1"}},
    "bytes": lambda: {"data": b'{"model": "m"}'},
    "text": lambda: {"data": '{"model": "m"}'},
    "form": lambda: {"data": form()},
}


@pytest.mark.parametrize("body", BODIES)
def test_the_model_is_read_from_json_and_forms(meter: Meter, fake: FakeProvider, body: str) -> None:
    async def call() -> None:
        options: dict[str, Any] = {"json_serialize": lambda _: "{}"}
        async with session(fake, **options) as client:
            url = "https://api.openai.com/v1/audio/transcriptions"
            async with client.post(url, **BODIES[body]()) as response:
                await response.read()

    fake.queue("openai", sample("openai.transcription.tokens.json"))
    asyncio.run(call())
    assert meter.attributes()["gen_ai.request.model"] == "m"


def test_a_body_that_is_read_while_it_is_sent_is_left_alone(
    meter: Meter, fake: FakeProvider
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"model":'
        yield b'"m"}'

    async def call() -> None:
        async with session(fake) as client, client.post(CHAT, data=body()) as response:
            await response.read()

    fake.queue("openai", sample("openai.chat.json"))
    asyncio.run(call())
    assert fake.received[0].json == {"model": "m"}
    assert meter.span().name == "chat"


def test_a_websocket_is_left_alone(meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        async with session(fake) as client:
            await client.ws_connect("https://api.openai.com/v1/realtime?model=m")

    fake.queue("openai", Reply(status=200))
    with pytest.raises(aiohttp.WSServerHandshakeError):
        asyncio.run(call())
    assert meter.spans() == ()


def test_httpx_over_aiohttp_is_metered_once(meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        async with HttpxAiohttpClient(headers={"X-Microdollar-Customer": "acme"}) as client:
            await client.post(url, json={"model": "m"})
        assert meter.attributes()["microdollar.customer.id"] == "acme"
        transport = AiohttpTransport(client=aiohttp.ClientSession())
        async with (
            httpx.AsyncClient(transport=transport) as other,
            other.stream("POST", url, json={"model": "m"}) as response,
        ):
            assert b"".join([c async for c in response.aiter_raw()]) == sample(STREAM).body
        check(STREAM, {**meter.attributes(), "gen_ai.request.model": "gpt-5.6-sol"})

    url = fake.url("openai") + "/v1/chat/completions"
    fake.queue("openai", sample("openai.chat.json"), sample(STREAM))
    asyncio.run(call())
    assert fake.received[0].header("x-microdollar-customer") is None


def test_aiohttp_beside_httpx_in_one_task_is_metered_too(meter: Meter, fake: FakeProvider) -> None:
    """An event hook is no transport: what it calls is a call of its own."""

    async def ask_first(_: Any) -> None:
        async with session(fake) as client, client.post(CHAT, json={"model": "first"}) as response:
            await response.read()

    async def call() -> None:
        hooks: Any = {"request": [ask_first]}
        async with httpx.AsyncClient(event_hooks=hooks) as client:
            url = fake.url("openai") + "/v1/chat/completions"
            await client.post(url, json={"model": "second"})

    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    asyncio.run(call())
    asked = [(span.attributes or {})["gen_ai.request.model"] for span in meter.spans()]
    assert sorted(map(str, asked)) == ["first", "second"]


def test_the_reader_is_of_its_own_type(meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        async with session(fake) as client, request(client, STREAM) as response:
            assert isinstance(response.content, StreamReader)
            assert repr(type(response.content)) == repr(StreamReader)

    fake.queue("openai", replace(sample(STREAM), chunk=9))
    asyncio.run(call())
    assert meter.span()
