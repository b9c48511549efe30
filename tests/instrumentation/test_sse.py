# SPDX-License-Identifier: Apache-2.0
"""The parsers of bodies: cut anywhere, compressed, oversized, hostile."""

import gzip
import json
import zlib
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar import _decode, _skim, _sse
from microdollar._body import Body
from microdollar._decode import UnknownEncodingError, decoder
from microdollar._skim import MAX_FRAME, SMALL, TextTooLargeError
from microdollar._sse import SSEParser
from microdollar.providers import PROVIDERS, Endpoint
from tests.fakes.provider import sample


def events(*chunks: bytes) -> list[bytes]:
    parser = SSEParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\n", [b"a"]),
        (b"data:  a\r\r", [b" a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b": comment\n\n:\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 2\n\n", []),
        (b"event: x\ndata: a\nid: 1\n\n", [b"a"]),
        (b"database: a\n\n", []),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        ("data: a\u2028b\u2029\x85c\x0bd\n\n".encode(), ["a\u2028b\u2029\x85c\x0bd".encode()]),
        (b"data: a\n\ndata: cut off\n", [b"a"]),
        (b"data: a\n\ndata: cut off", [b"a"]),
        (b"", []),
    ],
)
def test_events_however_the_bytes_are_cut(stream: bytes, expected: list[bytes]) -> None:
    assert events(stream) == expected
    assert events(*[stream[i : i + 1] for i in range(len(stream))]) == expected
    for cut in range(len(stream)):
        assert events(stream[:cut], b"", stream[cut:]) == expected


LINES = st.text(alphabet="ab\u2028\x85é {}:", max_size=8)


@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_any_cut_gives_the_same_events(data: list[list[str]], end: str, cuts: list[int]) -> None:
    stream = "".join(
        "".join(f"data: {line}{end}" for line in event) + ": note" + end + end for event in data
    ).encode()
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(borders)]
    assert events(*chunks) == ["\n".join(event).encode() for event in data]


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
def test_of_a_large_event_the_frame_is_left(size: int) -> None:
    text = b'{"a":"%b"}' % (b"x" * (size - 8))
    expected = [text if size == SMALL else b'{"a":""}', b"next"]
    stream = b"data: " + text + b"\n\ndata: next\n\n"
    assert events(stream) == expected
    assert events(*[stream[i : i + 7] for i in range(0, len(stream), 7)]) == expected


def test_a_frame_has_a_limit() -> None:
    # One string of 256 characters with its quotes and a comma is 259 bytes.
    strings = b"[" + b",".join([b'"%b"' % (b"x" * 256)] * 100) + b"]"
    with pytest.raises(TextTooLargeError):
        events(b"data: " + strings + b"\n\n")
    with pytest.raises(TextTooLargeError):
        events(*[b"data: {}\n"] * (MAX_FRAME // 2 + 1))


def test_what_is_no_data_has_no_limit_over_many_lines() -> None:
    lines = [b": keep-", b"alive\n", b"event: x\n", b"id: ", b"1\r"] * 500
    assert events(b"data: a\n", *lines, b"\n\n") == [b"a"]


def test_many_events_have_no_limit() -> None:
    assert len(events(*[b"data: " + b"x" * 90 + b"\n\n"] * 50)) == 50


def compressed(data: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.compress(data)
    if encoding == "deflate":
        return zlib.compress(data)
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return raw.compress(data) + raw.flush()


@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from(["gzip", "deflate", "raw"]))
def test_content_encodings(data: bytes, size: int, encoding: str) -> None:
    body = compressed(data, encoding)
    decode = decoder("deflate" if encoding == "raw" else encoding)
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    if encoding != "raw" or not _looks_like_zlib(chunks[0]):
        assert b"".join(map(decode, chunks)) == data


def _looks_like_zlib(chunk: bytes) -> bool:
    """The first bytes of a bare stream can pass for a header; then nobody can tell."""
    try:
        zlib.decompressobj().decompress(chunk)
    except zlib.error:
        return False
    return True


def test_encodings_come_off_in_reverse() -> None:
    body = gzip.compress(zlib.compress(b"text"))
    assert decoder("deflate, GZIP")(body) == b"text"
    assert decoder("identity")(b"text") == b"text"


@pytest.mark.parametrize("encoding", ["rot13", "gzip, rot13", "aws-chunked"])
def test_an_unknown_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(UnknownEncodingError):
        decoder(encoding)


def reverse(data: bytes) -> bytes:
    return data[::-1]


@pytest.mark.parametrize(
    ("module", "decompressor"),
    [
        ("compression.zstd", SimpleNamespace(decompress=reverse)),
        ("backports.zstd", SimpleNamespace(decompress=reverse)),
        (
            "zstandard",
            SimpleNamespace(decompressobj=lambda: SimpleNamespace(decompress=reverse)),
        ),
    ],
)
def test_zstd_by_whichever_module_there_is(
    monkeypatch: pytest.MonkeyPatch, module: str, decompressor: Any
) -> None:
    installed = SimpleNamespace(ZstdDecompressor=lambda: decompressor)

    def load(name: str) -> Any:
        if name == module:
            return installed
        raise ImportError

    monkeypatch.setattr(_decode, "import_module", load)
    assert decoder("zstd")(b"abc") == b"cba"
    monkeypatch.setattr(_decode, "import_module", lambda _: load("none"))
    with pytest.raises(UnknownEncodingError):
        decoder("zstd")


CHAT = PROVIDERS["openai"].endpoints[0]
MESSAGES = PROVIDERS["anthropic"].endpoints[0]
GENERATE, STREAM_GENERATE = PROVIDERS["gemini"].endpoints[:2]
STREAM = "text/event-stream; charset=utf-8"


def read(endpoint: Endpoint, content_type: str, *chunks: bytes, encoding: str = "") -> Body:
    body = Body(endpoint, content_type, encoding)
    for chunk in chunks:
        body.feed(chunk)
    body.end(in_order=True)
    return body


def test_a_stream_that_ends_at_every_byte_never_claims_too_much() -> None:
    """Until its final counts have come, usage is not complete and output not known."""
    stream = sample("anthropic.messages.stream.sse").body
    final = stream.index(b"event: message_stop") - 1
    for end in range(len(stream)):
        facts = read(MESSAGES, STREAM, stream[:end]).facts
        assert facts.complete == (end > final)
        assert facts.usage.output == (312 if end > final else None)


@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain"])
def test_json_is_read_whatever_it_is_called(content_type: str) -> None:
    body = sample("openai.chat.json").body
    assert read(CHAT, content_type, b" \n", body[:9], body[9:]).facts.complete


HOSTILE = [
    b"",
    b"{",
    b"[",
    b"[]",
    b"[1]",
    b"{}",
    b"null",
    b'"text"',
    b"<html>",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"usage":[]}',
    b'{"usage":{"prompt_tokens":"5","completion_tokens":-1,"total_tokens":true}}',
    b'{"usage":{"prompt_tokens":1e400}}',
    b'{"usage":{"prompt_tokens":9007199254740993}}',
    b'{"choices":{"a":1},"id":5,"model":["x"],"error":[]}',
    b'{"choices":[null,1,{"finish_reason":{}}],"usage":{"prompt_tokens_details":[]}}',
]


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES, GENERATE, STREAM_GENERATE])
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_bodies_give_no_usage(endpoint: Endpoint, text: bytes) -> None:
    assert not read(endpoint, "application/json", text).facts.usage
    assert not read(endpoint, STREAM, b"data: " + text + b"\n\n").facts.usage


KEYS = (
    *("id", "model", "usage", "type", "message", "delta", "response", "error", "choices"),
    *("iterations", "usageMetadata", "candidates", "tool_usage", "input_tokens", "interaction"),
    *("prompt_tokens", "prompt_tokens_details", "completion_tokens", "total_tokens", "x_groq"),
    *("usage_breakdown", "models", "metadata", "cacheDetails", "billed_units", "meta", "result"),
    *("body", "step", "tools", "grounding_tool_count", "trafficType", "seconds", "svg_usage"),
    *("predictions", "embeddings", "statistics", "token_count", "eval_count", "done", "results"),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.sampled_from([e for p in PROVIDERS.values() for e in p.endpoints]), JSON)
def test_no_json_breaks_a_reader(endpoint: Endpoint, value: Any) -> None:
    text = json.dumps(value).encode()
    read(endpoint, "application/json", text)
    read(endpoint, STREAM, b"data: " + text + b"\n\n")


def test_a_body_that_is_too_large_is_given_up(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    for module in (_skim, _sse):
        monkeypatch.setattr(module, "SMALL", 100)
    monkeypatch.setattr(_skim, "MAX_FRAME", 100)
    monkeypatch.setattr(_sse.SSEParser, "passes", lambda *_: False)
    monkeypatch.setattr(_skim, "MAX_BODY_FRAME", 100)
    body = sample("openai.chat.json").body
    assert not read(CHAT, "application/json", body).facts.usage
    assert not read(CHAT, STREAM, sample("openai.chat.stream.sse").body).facts.usage
    assert warnings_logged == ["microdollar: a response was too large to look for its usage"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.usefixtures("warnings_logged")
def test_a_body_that_is_not_what_it_says_is_given_up(encoding: str) -> None:
    if encoding == "br":
        pytest.importorskip("brotli")
    assert not read(CHAT, "application/json", b"not so at all", encoding=encoding).facts.usage


@pytest.mark.parametrize("encoding", ["br", "zstd"])
@pytest.mark.parametrize("size", [1, 7, 1400])
def test_newer_encodings(encoding: str, size: int) -> None:
    """With what is installed, which is what the client decodes with, too."""
    name = {"br": "brotli", "zstd": "backports.zstd"}[encoding]
    body = pytest.importorskip(name).compress(sample("openai.chat.stream.sse").body)
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(CHAT, STREAM, *chunks, encoding=encoding).facts.complete


@pytest.mark.parametrize("size", [1, 7, 1400])
def test_a_body_may_be_several_frames(size: int) -> None:
    zstd = pytest.importorskip("backports.zstd")
    stream = sample("openai.chat.stream.sse").body
    body = zstd.compress(stream[:500]) + zstd.compress(stream[500:])
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(CHAT, STREAM, *chunks, encoding="zstd").facts.complete
