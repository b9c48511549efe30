# SPDX-License-Identifier: Apache-2.0
"""The usage of a chat stream is asked for where that is wanted, and the app gets what it would."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from types import ModuleType
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microdollar
from microdollar import _include_usage
from microdollar._include_usage import UsageFilter
from tests.fakes.provider import FakeProvider, Received, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.test_samples import check

SSE = {"content-type": "text/event-stream"}
CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-5.6-sol", "stream": True, "messages": [{"role": "user", "content": "hi"}]}

CHUNKS: list[dict[str, Any]] = [
    {"id": "c1", "choices": [{"delta": {"content": 'a "usage":null, b'}}], "obfuscation": "x"},
    {"id": "c1", "choices": [{"delta": {"content": "line\u2028\u0085 end"}}]},
    {"choices": [], "prompt_filter_results": [{"index": 0}]},
    {"choices": [], "prompt_filter_results": [{"index": 0}], "usage": {"prompt_tokens": 9}},
    {"id": "c1", "choices": [{"delta": {}, "finish_reason": "stop"}]},
]
EXTRA = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}


def text(*chunks: dict[str, Any], end: str, nulls: bool = False) -> bytes:
    lines = []
    for number, chunk in enumerate(chunks):
        data = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
        if nulls and "usage" not in chunk:
            data = '{"usage":null,' + data[1:] if number % 2 else data[:-1] + ',"usage":null}'
        lines.append(f": a comment{end}data: {data}{end}{end}")
    return "".join(lines).encode()


def plain(end: str) -> bytes:
    return text(*CHUNKS, end=end) + f"data: [DONE]{end}{end}".encode()


def asked(end: str) -> bytes:
    chunks = text(*CHUNKS, EXTRA, end=end, nulls=True)
    return chunks + f"data: [DONE]{end}{end}".encode()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_comes_in_addition_is_taken_out_whatever_the_cut(end: str) -> None:
    whole = asked(end)
    for cut in range(len(whole) + 1):
        wanted = UsageFilter()
        got = wanted.feed(whole[:cut]) + wanted.feed(whole[cut:]) + wanted.end()
        assert got == plain(end), cut
    wanted = UsageFilter()
    single = [wanted.feed(whole[at : at + 1]) for at in range(len(whole))]
    assert b"".join(single) + wanted.end() == plain(end)


def test_an_event_is_passed_on_as_soon_as_it_is_there() -> None:
    wanted = UsageFilter()
    for event in plain("\n").split(b"\n\n")[:-1]:
        assert wanted.feed(event + b"\n") == b""
        assert wanted.feed(b"\n") == event + b"\n\n"


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b'data: {"usage":1}', b"\0"])))
def test_what_is_not_about_usage_passes_untouched(pieces: list[bytes]) -> None:
    wanted = UsageFilter()
    got = b"".join(map(wanted.feed, pieces)) + wanted.end()
    assert got == b"".join(pieces)


def test_an_event_without_its_end_is_not_lost() -> None:
    wanted = UsageFilter()
    assert wanted.feed(b'data: {"choices":[{}]') == b""
    assert wanted.end() == b'data: {"choices":[{}]'


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
def test_who_is_cancelled_within_an_event_hears_of_it_at_once(error: type[BaseException]) -> None:
    """To be given the rest first would swallow the cancellation."""

    async def source() -> AsyncIterator[bytes]:
        yield b"data: {}\n\n"
        yield b'data: {"half'
        raise error

    async def read(got: list[bytes]) -> None:
        async for chunk in _include_usage._Async(source(), UsageFilter()):
            got.append(chunk)

    got: list[bytes] = []
    with pytest.raises(error):
        read(got).send(None)
    assert got == [b"data: {}\n\n"]


def test_no_event_is_held_beyond_a_limit() -> None:
    wanted = UsageFilter()
    half = b"x" * 2**19
    assert wanted.feed(b"data: " + half) == b""
    assert wanted.feed(half) == b"data: " + half * 2
    assert wanted.feed(b"\n\n") == b"\n\n"


@pytest.fixture
def asking(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """The setting is on."""
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_INCLUDE_USAGE", "true")
    microdollar.instrument()
    return meter


def provider(request: Received) -> Reply:
    """Sends usage to those who ask."""
    asks = (request.json.get("stream_options") or {}).get("include_usage")
    return Reply(headers=SSE, body=asked("\n") if asks else plain("\n"))


@pytest.mark.parametrize("shape", [{}, {"chunk": 50}, {"encoding": "gzip"}], ids=str)
@pytest.mark.parametrize("way", ["iterate", "read"])
def test_the_app_sees_the_same_and_the_usage_is_known(
    http: ModuleType, asking: Meter, fake: FakeProvider, way: str, shape: dict[str, Any]
) -> None:
    fake.respond("openai", lambda request: replace(provider(request), **shape))
    with http.Client() as client:
        request = client.build_request("POST", fake.url("openai") + CHAT, json=BODY)
        before = request.content, sorted(request.headers.raw)
        response = client.send(request, stream=way == "iterate")
        body = b"".join(response.iter_bytes()) if way == "iterate" else response.content
        response.close()
    assert body == plain("\n")
    assert (request.content, sorted(request.headers.raw)) == before
    attributes = asking.attributes()
    assert attributes["gen_ai.usage.input_tokens"] == 9
    assert attributes["gen_ai.usage.output_tokens"] == 4
    assert attributes["microdollar.usage.source"] == "provider"
    assert fake.received[0].json == {"stream_options": {"include_usage": True}, **BODY}
    fake._responders.clear()


def test_asynchronously_too(http: ModuleType, asking: Meter, fake: FakeProvider) -> None:
    async def call() -> bytes:
        async with (
            http.AsyncClient() as client,
            client.stream("POST", fake.url("openai") + CHAT, json=BODY) as response,
        ):
            return b"".join([chunk async for chunk in response.aiter_raw()])

    fake.queue("openai", Reply(headers=SSE, body=asked("\n"), chunk=33))
    assert asyncio.run(call()) == plain("\n")
    assert asking.attributes()["gen_ai.usage.output_tokens"] == 4


def test_chunks_in_one_segment_are_told_apart(
    http: ModuleType, asking: Meter, fake: FakeProvider
) -> None:
    """The extra event comes with the one before it and the one behind it, in one read."""
    fake.queue("openai", Reply(headers=SSE, body=asked("\r\n"), chunk=2**16))
    with (
        http.Client() as client,
        client.stream("POST", fake.url("openai") + CHAT, json=BODY) as response,
    ):
        assert list(response.iter_raw()) == [plain("\r\n")]
    assert asking.attributes()["gen_ai.usage.output_tokens"] == 4


def test_the_sdk_yields_no_chunk_without_choices(asking: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.stream.sse"))
    with openai.OpenAI(base_url=fake.url("openai") + "/v1", api_key="none") as client:
        stream = client.chat.completions.create(**BODY)  # type: ignore[call-overload]
        chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)
    check("openai.chat.stream.sse", asking.attributes())


def test_a_stream_that_breaks_off_gives_what_had_come(
    http: ModuleType, asking: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", Reply(headers=SSE, body=plain("\n"), cut_after=40))
    got = []
    with (
        http.Client() as client,
        client.stream("POST", fake.url("openai") + CHAT, json=BODY) as response,
        pytest.raises(http.RemoteProtocolError),
    ):
        for chunk in response.iter_raw():
            got.append(chunk)
    assert b"".join(got) == plain("\n")[:40]
    assert asking.attributes()["error.type"].endswith("RemoteProtocolError")


@pytest.mark.parametrize(
    "change",
    [
        {"stream_options": {"include_usage": True}},
        {"stream_options": {"include_usage": False}},
        {"stream_options": None},
        {"stream": False},
    ],
    ids=str,
)
def test_what_the_app_says_itself_holds(
    http: ModuleType, asking: Meter, fake: FakeProvider, change: dict[str, Any]
) -> None:
    reply = Reply(headers=SSE, body=asked("\n"))
    fake.queue("openai", reply)
    with http.Client() as client:
        response = client.post(fake.url("openai") + CHAT, json=BODY | change)
    assert response.content == reply.body
    assert fake.received[0].json == BODY | change
    assert asking.attributes()["gen_ai.usage.output_tokens"] == 4


AZURE = "https://r.openai.azure.com/openai"


@pytest.mark.parametrize(
    ("url", "asks"),
    [
        ("https://api.openai.com/v1/chat/completions", True),
        ("https://api.openai.com/v1/completions", True),
        ("https://api.openai.com/v1/responses", False),
        ("https://api.fireworks.ai/inference/v1/chat/completions", False),
        ("https://api.groq.com/openai/v1/chat/completions", False),
        ("https://api.mistral.ai/v1/chat/completions", False),
        ("https://api.anthropic.com/v1/chat/completions", False),
        (AZURE + "/v1/chat/completions", True),
        (AZURE + "/deployments/d/chat/completions?api-version=2024-10-21", True),
        (AZURE + "/deployments/d/chat/completions?api-version=2024-06-01", False),
        (AZURE + "/deployments/d/chat/completions", False),
        ("https://somebody.example/v1/chat/completions", False),
    ],
)
def test_only_those_are_asked_who_are_known_to_take_it(asking: Meter, url: str, asks: bool) -> None:
    sent = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.read()))
        assert request.headers["content-length"] == str(len(request.content))
        return httpx2.Response(200, headers=SSE, content=plain("\n"))

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        client.post(url, json=BODY)
    assert ("stream_options" in sent[0]) is asks


@pytest.mark.usefixtures("meter")
def test_nobody_is_asked_without_the_setting(http: ModuleType, fake: FakeProvider) -> None:
    fake.queue("openai", Reply(headers=SSE, body=plain("\n")))
    with http.Client() as client:
        client.post(fake.url("openai") + CHAT, json=BODY)
    assert fake.received[0].json == BODY


def test_an_error_gives_the_request_back(http: ModuleType, asking: Meter) -> None:
    def refuse(_: Any) -> Any:
        raise http.ConnectError("made-up")

    with http.Client(transport=http.MockTransport(refuse)) as client:
        request = client.build_request("POST", "https://api.openai.com" + CHAT, json=BODY)
        before = request.content, request.headers.raw, b"".join(request.stream)
        with pytest.raises(http.ConnectError):
            client.send(request)
    assert (request.content, request.headers.raw, b"".join(request.stream)) == before


def test_the_cuts_of_the_events_are_those_of_the_provider() -> None:
    """One read gives at most one piece, and its events are never split anew."""
    wanted = UsageFilter()
    events = [event + b"\n\n" for event in asked("\n").split(b"\n\n")[:-1]]
    for first, second in pairwise(events):
        usual = [event for event in (first, second) if event != text(EXTRA, end="\n")]
        assert wanted.feed(first + second).count(b"data:") == len(usual)
