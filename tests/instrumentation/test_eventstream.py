# SPDX-License-Identifier: Apache-2.0
"""AWS event streams: frames of every kind, cut anywhere, and such as are none."""

import base64
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar._eventstream import EventStreamParser, MalformedFrameError
from microdollar._skim import SMALL
from tests.fakes.provider import sample
from tests.fakes.replies import SAMPLES


def header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value


def frame(payload: bytes, *headers: bytes, checksums: bool = True) -> bytes:
    joined = b"".join(headers)
    start = struct.pack(">II", 16 + len(joined) + len(payload), len(joined))
    start += struct.pack(">I", zlib.crc32(start) if checksums else 0)
    body = start + joined + payload
    return body + struct.pack(">I", zlib.crc32(body) if checksums else 0)


def event(name: bytes, payload: bytes, *more: bytes, checksums: bool = True) -> bytes:
    kind = header(b":message-type", b"event")
    return frame(payload, *more, kind, header(b":event-type", name), checksums=checksums)


def chunk(text: bytes, *, padding: bytes = b"abc") -> bytes:
    """An event of invoke; the padding may come before the bytes."""
    encoded = base64.b64encode(text)
    return event(b"chunk", b'{"p":"%b","bytes":"%b"}' % (padding, encoded))


def parsed(data: bytes, *, size: int = 10**9) -> list[Any]:
    parser = EventStreamParser(frozenset({b"kept"}))
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    return [json.loads(found) for part in chunks for found in parser.feed(part)]


@pytest.mark.parametrize("name", ["bedrock.converse-stream", "bedrock-anthropic.invoke-stream"])
def test_the_frames_of_the_samples(name: str) -> None:
    frames = json.loads((SAMPLES / f"{name}.frames.json").read_bytes())["frames"]
    expected = [
        json.loads(base64.b64decode(each["payload"]["bytes"]))
        if "bytes" in each["payload"]
        else {each["headers"][":event-type"]: each["payload"]}
        for each in frames
    ]
    body = sample(f"{name}.frames.json").body
    for size in (1, 3, 7, 1400, len(body)):
        assert parsed(body, size=size) == expected


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(), max_size=3)), st.integers(1, 99))
def test_any_events_wherever_they_are_cut(values: list[dict[str, str]], size: int) -> None:
    stream = b"".join(chunk(json.dumps(value).encode()) for value in values)
    assert parsed(stream, size=size) == values


def test_checksums_are_not_verified() -> None:
    stream = event(b"metadata", b'{"a":1}', checksums=False)
    assert parsed(stream) == [{"metadata": {"a": 1}}]


def test_headers_of_every_type_are_passed_over() -> None:
    others = b"".join(
        b"\x01x" + bytes([kind]) + bytes(size)
        for kind, size in {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}.items()
    )
    binary = b"\x01y\x06" + struct.pack(">H", 3) + b"abc"
    assert parsed(event(b"e", b"{}", others, binary)) == [{"e": {}}]


def test_exceptions_and_errors_have_a_name() -> None:
    exception = frame(
        b'{"message":"content"}',
        header(b":message-type", b"exception"),
        header(b":exception-type", b"throttlingException"),
    )
    error = frame(
        b"", header(b":message-type", b"error"), header(b":error-code", b"InternalFailure")
    )
    for size in (1, 1000):
        first, second = parsed(exception + error, size=size)
        assert first["error"] == {"type": "throttlingException"}
        assert second["error"] == {"type": "InternalFailure"}


def test_a_name_that_is_none_breaks_nothing() -> None:
    assert parsed(event(b'"%x', b"{}")) == [{"unknown": {}}]
    assert parsed(frame(b"{}")) == [{"unknown": {}}]


def test_of_a_large_event_the_frame_is_left() -> None:
    text = json.dumps({"kept": {"a": 1}, "b": [1], "c": "x" * SMALL}).encode()
    for stream, left in (
        (chunk(text), {"kept": {"a": 1}, "b": None, "c": ""}),
        (event(b"e", text), {"e": {"kept": {"a": 1}, "b": None, "c": ""}}),
    ):
        for size in (1, 100, 10**9):
            assert parsed(stream, size=size) == [left]


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 12,
        struct.pack(">III", 15, 0, 0),
        struct.pack(">III", 20, 5, 0),
        struct.pack(">III", 100_000, 5000, 0),
        struct.pack(">III", 2**31, 0, 0),
        struct.pack(">III", 18, 2, 0) + b"\x00\xff",
    ],
)
def test_what_is_no_event_stream_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        parsed(data)


@given(st.binary(max_size=100), st.integers(1, 20))
def test_no_bytes_break_it(data: bytes, size: int) -> None:
    try:
        parsed(data, size=size)
    except ValueError:
        return
