# SPDX-License-Identifier: Apache-2.0
"""Members of large JSON are found without parsing it, and are never another object's."""

import json
from typing import Any

import pytest

from microdollar import _json
from microdollar._json import SMALL, members
from tests.instrumentation.conftest import Meter

LONG = "x" * SMALL


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the texts that were parsed whole."""
    sizes: list[int] = []

    def loads(text: bytes) -> Any:
        sizes.append(len(text))
        return json.loads(text)

    monkeypatch.setattr(_json, "json", type("json", (), {"loads": staticmethod(loads)}))
    return sizes


FOUND: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"pad": LONG, "model": "m", "stream": True}, {"model": "m", "stream": True}),
    ({"model": "m", "pad": LONG}, {"model": "m"}),
    ({"pad": LONG}, {}),
    (
        {"model": {"a": [1, "}"]}, "stream": None, "pad": LONG},
        {"model": {"a": [1, "}"]}, "stream": None},
    ),
    ({"pad": LONG + '"model": "x"', "model": "m"}, {"model": "m"}),
]


@pytest.mark.parametrize(("value", "expected"), FOUND, ids=range(len(FOUND)))
@pytest.mark.parametrize("indent", [None, 2])
def test_large_texts_are_not_parsed(
    parsed: list[int], value: dict[str, Any], expected: dict[str, Any], indent: int | None
) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert members(text, "model", "stream") == expected
    assert parsed == []


DOUBTFUL: list[dict[str, Any]] = [
    {"tools": [{"model": "nested"}], "model": "m", "pad": LONG},
    {"model": "m", "pad": [LONG, "model"]},
    {"role": "model", "pad": LONG},
    {'a"model': 1, "pad": LONG},
    {"model": "m" * SMALL, "pad": LONG},
]


@pytest.mark.parametrize("value", DOUBTFUL, ids=range(len(DOUBTFUL)))
def test_in_doubt_the_whole_text_is_parsed(parsed: list[int], value: dict[str, Any]) -> None:
    text = json.dumps(value).encode()
    assert members(text, "model", "stream") == value
    assert parsed == [len(text)]


def test_small_texts_are_parsed(parsed: list[int]) -> None:
    for size in (SMALL, SMALL + 1):
        text = b'{"model":"m"}'.ljust(size)
        assert members(text, "model") == {"model": "m"}
    assert parsed == [SMALL]


@pytest.mark.parametrize("text", [b"[]", b"null", b"[" + b"1," * SMALL + b"1]"])
def test_what_is_no_object_has_no_members(text: bytes) -> None:
    assert members(text, "model") == {}


def test_no_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        members(b"{", "model")


def test_long_embeddings_are_metered_without_being_parsed(
    http: Any, meter: Meter, parsed: list[int]
) -> None:
    vector = [0.123456789] * 10_000
    answers = {
        "api.openai.com": {
            "data": [{"embedding": vector}],
            "model": "e",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        },
        "generativelanguage.googleapis.com": {
            "embeddings": [{"values": vector}],
            "usageMetadata": {"promptTokenCount": 8},
        },
    }

    def reply(request: Any) -> Any:
        return http.Response(200, json=answers[request.url.host])

    paths = ["/v1/embeddings", "/v1beta/models/e:batchEmbedContents"]
    with http.Client(transport=http.MockTransport(reply)) as client:
        for host, path in zip(answers, paths, strict=True):
            client.post(f"https://{host}{path}", json={"input": [LONG], "model": "e"})
            attributes = meter.attributes()
            assert attributes["gen_ai.request.model"] == "e"
            assert attributes["gen_ai.usage.input_tokens"] == 8
            assert attributes["microdollar.usage.source"] == "provider"
    assert parsed == []
