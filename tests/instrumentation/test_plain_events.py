# SPDX-License-Identifier: Apache-2.0
"""Events in their plain form are searched many at once, and say what they say one by one."""

import json
from collections.abc import Callable
from enum import Enum, auto
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar import _body
from microdollar._body import Body
from microdollar._facts import Facts
from microdollar._skim import SMALL
from microdollar._sse import SSEParser, plain_data
from microdollar.providers import PROVIDERS, Endpoint

CHAT = PROVIDERS["openai"].endpoints[0]
MESSAGES = PROVIDERS["anthropic"].endpoints[0]
STREAM_GENERATE = PROVIDERS["gemini"].endpoints[1]
CONVERSATIONS = PROVIDERS["mistral"].endpoints[-2]


def read(endpoint: Endpoint, stream: bytes, cuts: list[int]) -> Facts:
    body = Body(endpoint, "text/event-stream", "")
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(borders):
        body.feed(stream[start:end])
    body.end(in_order=True)
    return body.facts


def one_by_one(endpoint: Endpoint, stream: bytes) -> Facts:
    """What the events say if none is taken to be plain."""
    with mock.patch.object(SSEParser, "passes", return_value=False):
        return read(endpoint, stream, [])


USED = {"prompt_tokens": 5, "completion_tokens": 2, "input_tokens": 5, "output_tokens": 2}
USAGE = st.one_of(st.none(), st.just(USED))
EVENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["message_start", "message_delta", "message_stop", "error", "ping", "x"]
        ),
        "id": st.sampled_from(["i", "j"]),
        "model": st.sampled_from(["m", "n"]),
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "delta": st.fixed_dictionaries({"content": st.text(max_size=9)}),
                    "finish_reason": st.sampled_from([None, "stop"]),
                }
            ),
            max_size=2,
        ),
        "delta": st.fixed_dictionaries({"text": st.text('ab"\\\n:é\u2028', max_size=9)}),
        "message": st.fixed_dictionaries({"id": st.just("k"), "usage": USAGE}),
        "usage": USAGE,
        "usageMetadata": st.just({"promptTokenCount": 5, "candidatesTokenCount": 2}),
        "error": st.just({"type": "overloaded"}),
        "pad": st.sampled_from(["", "y" * 300, "y" * (SMALL + 1)]),
    },
)


class Form(Enum):
    """How a server may write an event."""

    PLAIN = auto()
    SPREAD = auto()
    NAMED = auto()
    NOTED = auto()
    ENDED_OTHERWISE = auto()
    NO_EVENT = auto()


FORMS = st.sampled_from([Form.PLAIN] * 8 + list(Form))


def written(event: dict[str, Any], form: Form, *, escapes: bool) -> bytes:
    """An event as a server may write it."""
    data = json.dumps(event, ensure_ascii=escapes).encode()
    match form:
        case Form.PLAIN:
            return b"data: " + data + b"\n\n"
        case Form.SPREAD:
            lines = json.dumps(event, indent=1, ensure_ascii=escapes).encode().split(b"\n")
            return b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
        case Form.NAMED:
            return b"event: conversation.response.error\nid:1\ndata:" + data + b"\n\n"
        case Form.NOTED:
            return b": " + data + b"\ndata: " + data + b"\nevent: x\n\n"
        case Form.ENDED_OTHERWISE:
            return b"data: " + data + b"\r\n\r\n"
        case Form.NO_EVENT:
            return b": " + data + b"\n\n: note\n\nevent: x\n\n\n"


@given(
    st.sampled_from([CHAT, MESSAGES, STREAM_GENERATE, CONVERSATIONS]),
    st.lists(st.tuples(EVENTS, FORMS, st.booleans()), max_size=30),
    st.lists(st.integers(0, 9_000), max_size=8),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_events_say_the_same_together_and_one_by_one(
    endpoint: Endpoint, events: list[tuple[Any, Form, bool]], cuts: list[int], mark: bytes
) -> None:
    stream = mark + b"".join(written(event, form, escapes=esc) for event, form, esc in events)
    said = read(endpoint, stream, cuts)
    assert said == one_by_one(endpoint, stream)
    assert said == read(endpoint, stream, [])


def test_only_what_matters_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event, for the response's id, and those with a reason or with usage."""
    word: dict[str, Any] = {"id": "i", "choices": [{"delta": {"content": "w"}}], "usage": None}
    last: list[dict[str, Any]] = [
        {"id": "i", "choices": [{"finish_reason": "stop"}]},
        {"choices": [], "usage": USED},
    ]
    events = [*[word] * 100, *last]
    stream = b"".join(written(event, Form.PLAIN, escapes=True) for event in events)
    taken: list[Any] = []

    def loads(data: bytes, load: Callable[[bytes], Any] = json.loads) -> Any:
        taken.append(load(data))
        return taken[-1]

    monkeypatch.setattr(_body.json, "loads", loads)  # type: ignore[attr-defined]
    facts = read(CHAT, stream + b"data: [DONE]\n\n", [*range(0, len(stream), 1000)])
    assert taken == [word, *last]
    assert (facts.response_id, facts.complete) == ("i", True)


@pytest.mark.parametrize(
    ("run", "passes"),
    [
        (b"data: {}\n\n", True),
        (b"data:{}\n\nevent: x\nid: 1\nretry: 5\n: note\ndata: {}\n\n\n", True),
        (b": note\n\n", True),
        ("data: \u2028\n\n".encode(), True),
        (b"data: {}\n", False),
        (b"data: {}", False),
        (b"data: {}\r\n\r\n", False),
        (b"data: {}\rdata: {}\n\n", False),
        (b"data: {\ndata: }\n\n", False),
        (b"data: {}\nevent: x\n\n", False),
        (b': "a"\n\n', False),
        (b"data\n\n", False),
        (b"other: x\n\n", False),
        (b"\xef\xbb\xbfdata: {}\n\n", False),
    ],
)
def test_what_is_plain(run: bytes, passes: bool) -> None:
    assert SSEParser().passes(run) is passes


@pytest.mark.parametrize(
    "begun", [b"data", b"data:\n", b"data: {}", b"data: {}\n", b": note", b"x"]
)
def test_nothing_passes_in_the_middle_of_an_event(begun: bytes) -> None:
    parser = SSEParser()
    assert list(parser.feed(begun)) == []
    assert not parser.passes(b"data: {}\n\n")
    list(parser.feed(b"\n\n"))
    assert parser.passes(b"data: {}\n\n")


def test_a_place_is_in_an_event() -> None:
    run = b"event: x\ndata: a\n\n: note\n\ndata:b\n\n"
    found = [plain_data(run, place) for place in range(len(run) + 1)]
    data = [None if match is None else match[1] for match in found]
    first, second = run.index(b"\n\n"), run.rindex(b"\n\n")
    assert data[: first + 1] == [b"a"] * (first + 1)
    assert data[first + 2 : second + 1] == [b"b"] * (second - first - 1)
    assert data[-1] is None
