# SPDX-License-Identifier: Apache-2.0
"""A long JSON text leaves a frame from which the same usage is read, in bounded memory."""

import gc
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar import _skim, _sse
from microdollar._body import Body
from microdollar._lines import LineParser, ListParser
from microdollar._skim import MAX_FRAME, SMALL, Document, TextTooLargeError
from tests.fakes.provider import sample
from tests.instrumentation.expected import CALLS
from tests.instrumentation.test_cuts import endpoint_of, facts

NAMES = frozenset({b"kept", b"list"})


def frame(value: Any, *, size: int = 10**9, indent: int | None = None) -> Any:
    """What is left of a text, fed in pieces of `size`."""
    text = json.dumps(value, indent=indent).encode()
    document = Document(NAMES)
    for start in range(0, len(text), size):
        document.feed(text[start : start + size])
    return json.loads(document.take())


PAD = {"pad": "x" * SMALL}


@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"a": 1, "b": None, "c": True, "d": -1.5e3}, {"a": 1, "b": None, "c": True, "d": -1.5e3}),
        ({"a": "y" * 256, "b": "y" * 257}, {"a": "y" * 256, "b": ""}),
        ({"a": 'q"\\\n\u2028é'}, {"a": 'q"\\\n\u2028é'}),
        ({"a": {"b": 1}, "kept": {"b": {"c": 1}}}, {"a": None, "kept": {"b": None}}),
        ({"list": [{"a": 1}, [2], "s"]}, {"list": [{"a": 1}, [2], "s"]}),
        ({"a": [1, [2], {"kept": 3}]}, {"a": None}),
        (
            {"x_Usage": {"deep": {"deeper": [{"a": 1}]}}},
            {"x_Usage": {"deep": {"deeper": [{"a": 1}]}}},
        ),
        ({"a": {"b": '}]"\\'}, "c": 1}, {"a": None, "c": 1}),
    ],
)
def test_of_a_long_text_the_frame_is_left(
    value: dict[str, Any], left: dict[str, Any], size: int, indent: int | None
) -> None:
    assert frame(PAD | value, size=size, indent=indent) == {"pad": ""} | left
    assert frame(value, size=size, indent=indent) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "kept", "list", "usage"]), inner, max_size=4)
    ),
    max_leaves=20,
)


def expected(value: Any, *, whole: bool = False) -> Any:
    """The frame by the definition, from the parsed value."""
    if isinstance(value, list):
        return [expected(item, whole=whole) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: None
        if isinstance(item, list | dict) and not (whole or name in {"kept", "list", "usage"})
        else expected(item, whole=whole or name == "usage")
        for name, item in value.items()
    }


@given(JSON, st.integers(1, 50), st.booleans())
def test_any_text_leaves_its_frame(value: Any, size: int, escapes: bool) -> None:
    text = json.dumps({"value": 0, "list": value} | PAD, ensure_ascii=escapes).encode()
    document = Document(NAMES)
    for start in range(0, len(text), size):
        document.feed(text[start : start + size])
    assert json.loads(document.take())["list"] == expected(value)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_break_a_document(chunks: list[bytes]) -> None:
    document = Document(NAMES)
    document.feed(b" " * SMALL)
    for chunk in chunks:
        document.feed(chunk)
    assert len(document.take()) <= MAX_FRAME


def test_depth_has_a_limit() -> None:
    assert frame(PAD | {"a": json.loads("[" * 500 + "]" * 500)})["a"] is None
    deep = b'{"usage":' * 10_000
    document = Document(NAMES)
    document.feed(deep)
    assert document.take().count(b"{") == _skim._MAX_DEPTH


@pytest.mark.parametrize("name", CALLS)
def test_every_sample_says_the_same_by_its_frame(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = facts(name, sample(name).body)
    for module in (_skim, _sse):
        monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(_sse.SSEParser, "passes", lambda *_: False)
    by_frame = facts(name, sample(name).body)
    for said in (*whole, *by_frame):
        assert said.usage or said.complete is False
    assert [said.usage for said in by_frame] == [said.usage for said in whole]
    assert [said.additional for said in by_frame] == [said.additional for said in whole]
    assert [said.response_id for said in by_frame] == [said.response_id for said in whole]
    assert [said.model for said in by_frame] == [said.model for said in whole]
    assert [said.service_tier for said in by_frame] == [said.service_tier for said in whole]
    assert [said.finish_reasons for said in by_frame] == [said.finish_reasons for said in whole]


def members(*chunks: bytes) -> list[bytes]:
    parser = ListParser(NAMES)
    return [member for chunk in chunks for member in parser.feed(chunk)]


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=4))
def test_the_members_of_a_list_wherever_it_is_cut(value: list[Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False).encode()
    for chunks in ([text], [text[i : i + 1] for i in range(len(text))]):
        assert [json.loads(member) for member in members(*chunks)] == value


def test_a_list_that_is_cut_off_has_the_members_before() -> None:
    assert members(b'[1, "{", [{}], {"a": "]"},\r\n{"b": ') == [b'{"a": "]"}']


def test_lines_however_they_end() -> None:
    text = b'{"a":1}\r\n\n \n{"b":"\xe2\x80\xa8"}\n{"c":'
    for size in (1, 5, 100):
        parser = LineParser()
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        found = [line for chunk in chunks for line in parser.feed(chunk)]
        assert found == [b'{"a":1}', b'{"b":"\xe2\x80\xa8"}']
        assert parser.end() == b'{"c":'


KIB = 2**10
STREAMS = {
    "openai.chat.stream.sse": b'data: {"id":"i","choices":[{"delta":{"content":"%b"}}]}\n\n',
    "openai.responses.stream.sse": b'data: {"type":"response.created","response":{"id":"i",'
    b'"instructions":"%b","output":[{"text":"%b"}]}}\n\n',
    "gemini.generate.stream.sse": b'data: {"candidates":[{"content":{"parts":'
    b'[{"text":"%b"}]}}]}\n\n',
    "ollama.chat.stream.ndjson": b'{"model":"m","message":{"content":"%b"},"done":false}\n',
    "anthropic.messages.stream.sse": b'data: {"type":"message_start","message":{"id":"i",'
    b'"content":[{"text":"%b"}],"usage":{"input_tokens":1}}}\n\n',
}


@pytest.mark.parametrize("text", [30, 4000, 300_000])
@pytest.mark.parametrize("name", STREAMS)
def test_an_open_stream_takes_at_most_16_kib(name: str, text: int) -> None:
    """Whatever its length and the length of its events."""
    event = STREAMS[name]
    event %= (b"x" * text,) * event.count(b"%b")
    chunks = [event[start : start + 1024] for start in range(0, len(event), 1024)]
    body = Body(endpoint_of(name), sample(name).headers["content-type"], "")
    for chunk in chunks:
        body.feed(chunk)  # so that what is made once is there
    tracemalloc.start()
    try:
        body = Body(endpoint_of(name), sample(name).headers["content-type"], "")
        for _ in range(max(2, 200_000 // len(event))):
            for chunk in chunks:
                body.feed(chunk)
        body.feed(event[: len(event) // 2])
        gc.collect()  # what the interpreter holds ready for reuse is not the stream's
        assert tracemalloc.get_traced_memory()[0] <= 16 * KIB
    finally:
        tracemalloc.stop()


def test_a_body_of_megabytes_is_read() -> None:
    """An answer, its usage behind its text, as it comes."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    text = 'a \\" \n é' * 200_000
    answer = {"id": "i", "choices": [{"message": {"content": text}}], "usage": usage}
    body = Body(endpoint_of("openai.chat.json"), "application/json", "")
    encoded = json.dumps(answer).encode()
    for start in range(0, len(encoded), 16 * KIB):
        body.feed(encoded[start : start + 16 * KIB])
    body.end(in_order=True)
    assert (body.facts.response_id, body.facts.usage.output) == ("i", 2)


def test_a_frame_that_is_too_large_is_given_up() -> None:
    document = Document(NAMES)
    with pytest.raises(TextTooLargeError):
        document.feed(b'{"list":[' + b'{"a":1},' * MAX_FRAME)
