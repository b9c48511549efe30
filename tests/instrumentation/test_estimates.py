# SPDX-License-Identifier: Apache-2.0
"""Streams whose output nobody reports: bounds beside the counts, never among them."""

import json
from types import ModuleType
from typing import Any

import pytest

from microdollar._asked import Asked, read_asked
from microdollar._facts import Facts, Usage, estimate_attributes
from tests.fakes.provider import sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import CALLS
from tests.instrumentation.test_cuts import endpoint_of, facts

PREFIX = "microdollar.usage.estimate."


def bounds(http: ModuleType, meter: Meter, name: str, url: str, **body: Any) -> dict[str, Any]:
    reply = sample(name)

    def answer(_: Any) -> Any:
        return http.Response(200, headers=dict(reply.headers), content=iter([reply.body]))

    with http.Client(transport=http.MockTransport(answer)) as client:
        assert client.post(url, json={"model": "m", "stream": True, **body}).content == reply.body
    attributes = meter.attributes()
    assert "gen_ai.usage.output_tokens" not in attributes
    expected = "missing" if "openai" in name else "provider_partial"
    assert attributes["microdollar.usage.source"] == expected
    return {key[len(PREFIX) :]: attributes[key] for key in attributes if key.startswith(PREFIX)}


OPENAI = ("openai.chat.stream.no-usage.sse", "https://api.openai.com/v1/chat/completions")
ANTHROPIC = ("anthropic.messages.stream.cut.sse", "https://api.anthropic.com/v1/messages")


@pytest.mark.parametrize(("name", "url", "least"), [(*OPENAI, 12), (*ANTHROPIC, 11)])
@pytest.mark.parametrize(("limit", "most"), [(100, 100), (5, None), (None, None)])
def test_the_text_that_passed_is_the_least(
    http: ModuleType,
    meter: Meter,
    name: str,
    url: str,
    least: int,
    limit: int | None,
    most: int | None,
) -> None:
    asked = {} if limit is None else {"max_tokens": limit}
    expected = {"method": "characters", "min_output_tokens": least}
    if limit is not None:
        expected["max_output_tokens"] = most or least
    assert bounds(http, meter, name, url, **asked) == expected


@pytest.mark.parametrize("name", CALLS)
def test_what_is_reported_is_not_estimated(name: str) -> None:
    for said in facts(name, sample(name).body):
        if said.usage.output is not None:
            assert estimate_attributes(said, 100) == {}


def test_nothing_is_estimated_from_nothing() -> None:
    assert estimate_attributes(Facts(), 100) == {}
    assert estimate_attributes(Facts(usage=Usage(output=0), text_characters=9), None) == {}
    assert estimate_attributes(Facts(text_characters=4), None)[PREFIX + "min_output_tokens"] == 1
    assert estimate_attributes(Facts(text_characters=5), None)[PREFIX + "min_output_tokens"] == 2


EVENTS = {
    "openai.chat.stream.sse": {"choices": [{"delta": {"content": "%s", "obfuscation": "ab"}}]},
    "openai.responses.stream.sse": {"type": "response.output_text.delta", "delta": "%s"},
    "anthropic.messages.stream.sse": {"type": "content_block_delta", "delta": {"text": "%s"}},
    "gemini.generate.stream.sse": {"candidates": [{"content": {"parts": [{"text": "%s"}]}}]},
    "gemini.interactions.stream.sse": {"event_type": "step.delta", "delta": {"text": "%s"}},
}


@pytest.mark.parametrize("escapes", [True, False])
@pytest.mark.parametrize("text", ["abc", 'a"b\\c\n', "é\u2028漢🙂", ""])
@pytest.mark.parametrize("name", EVENTS)
def test_characters_are_those_of_the_text(name: str, text: str, escapes: bool) -> None:
    event = json.dumps(EVENTS[name], ensure_ascii=escapes)
    event = event.replace('"%s"', json.dumps(text, ensure_ascii=escapes))
    (said,) = facts(name, b"data: " + event.encode() + b"\n\n")
    assert said.text_characters == len(text)


def test_a_text_that_comes_again_at_the_end_counts_once() -> None:
    done = {"type": "response.output_text.done", "text": "abc"}
    delta = {"type": "response.output_text.delta", "delta": "abc"}
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (delta, done))
    (said,) = facts("openai.responses.stream.sse", stream)
    assert said.text_characters == 3
    assert endpoint_of("openai.responses.stream.sse").text is not None


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"model": "m", "stream": True}, Asked("m", True)),
        ({"model": "m", "max_tokens": 5}, Asked("m", max_output=5)),
        ({"max_completion_tokens": 6, "max_tokens": 5}, Asked(max_output=6)),
        ({"max_output_tokens": 7}, Asked(max_output=7)),
        ({"max_tokens": 5, "n": 2}, Asked()),
        ({"max_tokens": 5, "n": 1}, Asked(max_output=5)),
        ({"max_tokens": True}, Asked()),
        ({"max_tokens": 0}, Asked()),
        ({"max_tokens": "5"}, Asked()),
        ({"model": 5, "stream": "true"}, Asked()),
    ],
)
def test_what_a_json_body_asks_for(http: ModuleType, body: dict[str, Any], asked: Asked) -> None:
    assert read_asked(http.Request("POST", "http://a", json=body)) == asked


def test_what_a_form_asks_for(http: ModuleType) -> None:
    """The answer to an edit of an image or to a transcription does not say the model."""

    def request(**fields: Any) -> Any:
        return http.Request("POST", "http://a", data=fields, files={"file": b"content"})

    assert read_asked(request(model="m")) == Asked("m")
    assert read_asked(request(model="m", stream="true")) == Asked("m", True)
    assert read_asked(request(other="m")) == Asked()
    assert read_asked(http.Request("POST", "http://a", content=iter([b"{}"]))) == Asked()
