# SPDX-License-Identifier: Apache-2.0
"""The fake provider satisfies the real SDKs and sends every byte, and every fault, as asked."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from tests.fakes.provider import FakeProvider, Provider, Received, Replies, Reply, error, sample
from tests.fakes.replies import SAMPLES

ROOT = Path(__file__).parents[2]
PROMPT: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def http(fake: FakeProvider) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=fake.url("openai"), timeout=5) as client:
        yield client


def openai_client(fake: FakeProvider) -> openai.OpenAI:
    return openai.OpenAI(base_url=fake.url("openai") + "/v1", api_key="none", max_retries=1)


def gemini_client(fake: FakeProvider) -> genai.Client:
    return genai.Client(api_key="none", http_options=types.HttpOptions(base_url=fake.url("gemini")))


def test_openai_reads_chat_responses_and_embeddings(fake: FakeProvider) -> None:
    fake.queue(
        "openai",
        sample("openai.chat.json"),
        sample("openai.responses.json"),
        sample("openai.embeddings.json"),
    )
    with openai_client(fake) as client:
        chat = client.chat.completions.create(model="gpt-5.6-sol", messages=PROMPT)
        response = client.responses.create(model="gpt-5.6-sol", input="hi")
        vectors = client.embeddings.create(model="text-embedding-3-small", input="hi")
    assert chat.usage is not None
    assert chat.usage.total_tokens == 5754
    assert chat._request_id == "req_sampleopenai01"
    assert response.usage is not None
    assert response.usage.total_tokens == 19550
    assert vectors.usage.total_tokens == 26
    assert [(r.method, r.path) for r in fake.received] == [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/embeddings"),
    ]
    assert fake.received[0].json == {"messages": PROMPT, "model": "gpt-5.6-sol"}
    assert fake.received[0].header("AUTHORIZATION") == "Bearer none"


def test_openai_streams_chat_and_responses(fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.stream.sse"), sample("openai.responses.stream.sse"))
    with openai_client(fake) as client:
        chunks = list(
            client.chat.completions.create(model="gpt-5.6-sol", messages=PROMPT, stream=True)
        )
        events = list(client.responses.create(model="gpt-6-luna", input="hi", stream=True))
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [2492]
    assert len(events) == 10
    assert events[-1].type == "response.completed"


def test_openai_retries_a_rate_limit(fake: FakeProvider) -> None:
    refusal = error("openai", 429, "made-up refusal")
    fake.queue(
        "openai",
        replace(refusal, headers={**refusal.headers, "retry-after-ms": "1"}),
        sample("openai.chat.json"),
    )
    with openai_client(fake) as client:
        client.chat.completions.create(model="gpt-5.6-sol", messages=PROMPT)
    assert [r.header("x-stainless-retry-count") for r in fake.received] == ["0", "1"]


def test_anthropic_reads_and_streams(fake: FakeProvider) -> None:
    fake.queue(
        "anthropic", sample("anthropic.messages.json"), sample("anthropic.messages.stream.sse")
    )
    with anthropic.Anthropic(base_url=fake.url("anthropic"), api_key="none") as client:
        message = client.messages.create(model="claude-sonnet-5-5", max_tokens=9, messages=PROMPT)
        with client.messages.stream(
            model="claude-opus-5-5", max_tokens=9, messages=PROMPT
        ) as stream:
            streamed = stream.get_final_message()
    assert message.usage.output_tokens == 845
    assert streamed.usage.output_tokens == 312
    assert [r.path for r in fake.received] == ["/v1/messages", "/v1/messages"]


def test_gemini_reads_and_streams(fake: FakeProvider) -> None:
    fake.queue("gemini", sample("gemini.generate.json"), sample("gemini.generate.stream.sse"))
    with gemini_client(fake) as client:
        answer = client.models.generate_content(model="gemini-3.6-flash", contents="hi")
        chunks = list(
            client.models.generate_content_stream(model="gemini-3.6-flash", contents="hi")
        )
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.total_token_count == 7318
    assert [chunk.response_id for chunk in chunks] == ["GmSample02"] * 3
    assert [r.path for r in fake.received] == [
        "/v1/models/gemini-3.6-flash:generateContent",
        "/v1/models/gemini-3.6-flash:streamGenerateContent?alt=sse",
    ]


def test_the_asynchronous_clients_read_and_stream(fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.json"), sample("openai.chat.stream.sse"))
    fake.queue(
        "anthropic", sample("anthropic.messages.json"), sample("anthropic.messages.stream.sse")
    )
    fake.queue("gemini", sample("gemini.generate.json"), sample("gemini.generate.stream.sse"))

    async def ask_openai() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=fake.url("openai") + "/v1", api_key="none"
        ) as client:
            chat = await client.chat.completions.create(model="gpt-5.6-sol", messages=PROMPT)
            stream = await client.chat.completions.create(
                model="gpt-5.6-sol", messages=PROMPT, stream=True
            )
            return [chat.id, *{chunk.id async for chunk in stream}]

    async def ask_anthropic() -> list[str]:
        async with anthropic.AsyncAnthropic(
            base_url=fake.url("anthropic"), api_key="none"
        ) as client:
            message = await client.messages.create(
                model="claude-sonnet-5-5", max_tokens=9, messages=PROMPT
            )
            async with client.messages.stream(
                model="claude-opus-5-5", max_tokens=9, messages=PROMPT
            ) as stream:
                return [message.id, (await stream.get_final_message()).id]

    async def ask_gemini() -> list[str | None]:
        with gemini_client(fake) as owner:
            async with owner.aio as client:
                answer = await client.models.generate_content(
                    model="gemini-3.6-flash", contents="hi"
                )
                stream = await client.models.generate_content_stream(
                    model="gemini-3.6-flash", contents="hi"
                )
                return [answer.response_id, *{chunk.response_id async for chunk in stream}]

    async def ask_all() -> list[Any]:
        return list(await asyncio.gather(ask_openai(), ask_anthropic(), ask_gemini()))

    assert asyncio.run(ask_all()) == [
        ["chatcmpl-SampleAa01", "chatcmpl-SampleAa03"],
        ["msg_sampleAn01", "msg_sampleAn02"],
        ["GmSample01", "GmSample02"],
    ]


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_a_stream_arrives_byte_for_byte_however_it_is_cut(
    fake: FakeProvider, http: httpx2.Client, chunk: int | None
) -> None:
    for path in sorted(SAMPLES.glob("*.sse")):
        fake.queue("openai", replace(sample(path.name), chunk=chunk))
        response = http.post("/")
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.content == path.read_bytes(), path.name


def test_chunks_have_the_size_that_was_asked_for(fake: FakeProvider) -> None:
    """Read from the socket, since HTTP clients join chunks."""
    fake.queue("openai", Reply(body=b"abcdefg", chunk=3))
    host, port = fake.url("openai").removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        raw = b"".join(iter(lambda: connection.recv(4096), b""))
    assert raw == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n3\r\ndef\r\n1\r\ng\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize("name", ["openai.chat.json", "openai.chat.stream.sse"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_decoded_by_the_client(
    fake: FakeProvider, http: httpx2.Client, name: str, encoding: Any
) -> None:
    fake.queue("openai", replace(sample(name), encoding=encoding, chunk=11))
    with http.stream("POST", "/") as response:
        raw = b"".join(response.iter_raw())
    fake.queue("openai", replace(sample(name), encoding=encoding))
    decoded = http.post("/")
    assert response.headers["content-encoding"] == encoding
    assert decoded.content == (SAMPLES / name).read_bytes() != raw


def test_json_has_a_content_length_and_a_status(fake: FakeProvider, http: httpx2.Client) -> None:
    fake.queue("openai", sample("openai.error.429.json"))
    response = http.post("/")
    assert response.status_code == 429
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("name", ["openai.chat.json", "openai.chat.stream.sse"])
@pytest.mark.parametrize("cut_after", [0, 1, 200])
def test_a_cut_reply_ends_in_a_protocol_error_after_the_bytes_sent(
    fake: FakeProvider, http: httpx2.Client, name: str, cut_after: int
) -> None:
    fake.queue("openai", replace(sample(name), cut_after=cut_after))
    got = b""
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        http.stream("POST", "/") as response,
    ):
        for piece in response.iter_raw():
            got += piece
    assert got == (SAMPLES / name).read_bytes()[:cut_after]


def test_a_hanging_reply_waits_until_the_provider_is_closed() -> None:
    body = sample("openai.chat.stream.sse").body
    with FakeProvider() as fake:
        fake.queue("openai", replace(sample("openai.chat.stream.sse"), hang_after=100))
        with httpx2.stream("POST", fake.url("openai"), timeout=5) as response:
            pieces = response.iter_raw()
            assert next(pieces) == body[:100]
            fake.close()
            with pytest.raises(httpx2.RemoteProtocolError):
                next(pieces)


def test_a_delayed_reply_times_out_an_impatient_client(
    fake: FakeProvider, http: httpx2.Client
) -> None:
    fake.queue("openai", Reply(delay=60))
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/", timeout=0.05)


def test_a_reply_cannot_both_hang_and_be_cut() -> None:
    with pytest.raises(ValueError, match="either hangs or is cut"):
        Reply(hang_after=1, cut_after=1)


def test_the_queue_comes_before_the_responder(fake: FakeProvider, http: httpx2.Client) -> None:
    def echo(request: Received) -> Reply:
        return Reply(body=request.body)

    fake.respond("openai", echo)
    fake.queue("openai", Reply(body=b"queued"))
    assert [http.post("/", content=b"echo").content for _ in range(2)] == [b"queued", b"echo"]


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", {"error": {"type": "invalid_request_error", "param": None, "code": None}}),
        ("anthropic", {"type": "error", "error": {"type": "not_found_error"}}),
        ("gemini", {"error": {"code": 404, "status": "NOT_FOUND"}}),
    ],
)
def test_without_a_reply_the_answer_is_404_in_the_providers_shape(
    fake: FakeProvider, provider: Provider, body: dict[str, Any]
) -> None:
    response = httpx2.post(fake.url(provider) + "/nowhere?x=1")
    expected = {**body, "error": {"message": "the fake provider has no reply for this request"}}
    expected["error"].update(body["error"])
    assert response.status_code == 404
    assert response.json() == expected
    assert [(r.provider, r.path) for r in fake.received] == [(provider, "/nowhere?x=1")]


def test_a_failing_responder_is_a_server_error_and_is_shown(
    fake: FakeProvider, http: httpx2.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(request: Received) -> Reply:
        raise LookupError("responder")

    fake.respond("openai", fail)
    assert http.post("/").status_code == 500
    fake.close()
    assert "LookupError: responder" in capfd.readouterr().err


def test_a_chunked_request_body_is_received_whole(fake: FakeProvider, http: httpx2.Client) -> None:
    fake.queue("openai", Reply(), Reply())
    http.post("/", content=iter([b"ab", b"c"]))
    http.post("/", content=b"next")
    assert [r.body for r in fake.received] == [b"abc", b"next"]


def test_the_hosts_setting_names_each_listener(fake: FakeProvider) -> None:
    names: list[Provider] = ["openai", "anthropic", "gemini"]
    addresses = [fake.url(name).removeprefix("http://") for name in names]
    assert fake.hosts == ",".join(f"{a}={n}" for a, n in zip(addresses, names, strict=True))


def test_the_command_serves_a_folder_until_it_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "b.sse").write_text("data: {}\n\n")
    index = [
        {
            "provider": "openai",
            "path": "/v1/responses",
            "model": "m",
            "stream": True,
            "replies": [
                {"file": "a.json", "status": 429, "headers": {"x": "y"}},
                {"file": "b.sse"},
            ],
        }
    ]
    (tmp_path / "index.json").write_text(json.dumps(index))
    command = [sys.executable, "-m", "tests.fakes.provider", "--replies", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            url = ready["openai"] + "/v1/responses?beta=true"
            answers = [httpx2.post(url, json={"model": "m", "stream": True}) for _ in range(3)]
            unknown = httpx2.post(url, json={"model": "m"})
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert set(ready) == {"hosts", "openai", "anthropic", "gemini"}
    assert [(a.status_code, a.headers.get("x"), a.text) for a in answers] == [
        (429, "y", '{"a": 1}'),
        (200, None, "data: {}\n\n"),
        (429, "y", '{"a": 1}'),
    ]
    assert unknown.status_code == 404


def test_the_index_of_a_folder_names_each_request_once(tmp_path: Path) -> None:
    entry: dict[str, Any] = {
        "provider": "openai",
        "path": "/",
        "model": None,
        "stream": False,
        "replies": [],
    }
    (tmp_path / "index.json").write_text(json.dumps([entry, entry]))
    with pytest.raises(ValueError, match="twice"):
        Replies(tmp_path)
