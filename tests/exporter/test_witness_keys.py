# SPDX-License-Identifier: Apache-2.0
"""Which ids say that two spans are about one response."""

from base64 import b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microdollar_exporter.witness import Key, request_key, response_key
from tests.exporter.emitted import emitted

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
OPENAI = "resp_68a1f0c2d3e4819ab5c6d7e8f9012345"


def key(response_id: str | None) -> Key | None:
    """The response key of a span with this id."""
    attributes = {"gen_ai.operation.name": "chat"}
    if response_id is not None:
        attributes["gen_ai.response.id"] = response_id
    return response_key(emitted("shop", attributes))


def wrapped(response_id: str) -> str:
    """An id as LiteLLM passes it on."""
    inner = f"litellm:custom_llm_provider:openai;model_id:m1;response_id:{response_id}"
    return f"resp_{b64encode(inner.encode()).decode()}"


@pytest.mark.parametrize(
    "response_id",
    [
        "chatcmpl-CXk2pQ9vN3hL7mR4tY8wZ1bD5fG6j",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "msg_bdrk_012NnXkPvQyT7wR3mZ8aB5cD",
        OPENAI,
        "gen-1795000000-AbCdEf1hIjKlMnOpQrSt",
        "1245f841-e094-4199-b954-2b0e7cd441b4",
        "f47ac10b58cc4372a5670e02b2c3d479",
        "pZ8JaPyOFs6YkdUP9vLxqAE",
        "8313807536837492492",
        "chatcmpl-CXkpQvNhLmRtYwZbDfGjSsAaUuEeO",
    ],
)
def test_random_ids_are_strong(response_id: str) -> None:
    """OpenAI's, Anthropic's, OpenRouter's, Cohere's, Mistral's, Gemini's and Zhipu's."""
    assert key(response_id) == Key(response_id, strong=True)


@pytest.mark.parametrize(
    "response_id",
    [
        "chatcmpl-0",
        "chatcmpl-998",
        "chatcmpl-abc123",
        "msg_sample01",
        "gen-1795000000-SampleOr02",
        "chatcmpl-1795219200",
        "00000000-0000-0000-0000-000000000001",
        "test-response-of-the-mock-server",
        "chatcmpl-helloworldresponse",
        "chatcmpl-TheAnswerOfTheMockServerForTests",
        "CONSTANT-OF-THE-MOCK-SERVER",
    ],
)
def test_short_constant_and_counted_ids_are_weak(response_id: str) -> None:
    """Ollama's, those of mock servers, and those made of the time."""
    assert key(response_id) == Key(response_id, strong=False)


def test_sixteen_characters_of_eight_kinds_are_strong() -> None:
    """And fifteen are not, nor sixteen of seven kinds; digits alone have to be eighteen."""
    assert key("msg_abcdefg1abcdefg1") == Key("msg_abcdefg1abcdefg1", strong=True)
    assert key("msg_abcdefg1abcdefg") == Key("msg_abcdefg1abcdefg", strong=False)
    assert key("msg_abcdef1aabcdef1a") == Key("msg_abcdef1aabcdef1a", strong=False)
    assert key("123456789012345678") == Key("123456789012345678", strong=True)
    assert key("12345678901234567") == Key("12345678901234567", strong=False)


def test_letters_alone_are_strong_if_a_third_to_two_thirds_are_capitals() -> None:
    """Of OpenAI's ids one in 170 has no digit; words in camel case have fewer capitals."""
    for response_id, strong in (
        ("chatcmpl-ABCDEFabcdefghijkl", True),
        ("chatcmpl-ABCDEfabcdefghijkl", False),
        ("chatcmpl-abcdefABCDEFGHIJKL", True),
        ("chatcmpl-abcdeFABCDEFGHIJKL", False),
    ):
        assert key(response_id) == Key(response_id, strong)


@pytest.mark.parametrize("response_id", [None, "aitxt-4f9KbXnQ81LsWzTq", "aiobj-4f9KbXnQ81LsWzTq"])
def test_ids_that_an_emitter_made_up_are_none(response_id: str | None) -> None:
    """The AI SDK invents one where the provider gave none."""
    assert key(response_id) is None


def test_the_provider_s_id_is_inside_the_one_litellm_makes() -> None:
    """Of the Responses API, so that a later request finds its way."""
    assert key(wrapped(OPENAI)) == key(OPENAI) == Key(OPENAI, strong=True)


def test_what_only_looks_wrapped_is_taken_as_it_is() -> None:
    """Base64 of something else, and something that is not base64."""
    other = f"resp_{b64encode(b'litellm:video_id:v1').decode()}"
    for response_id in (other, "resp_bGl0ZWxsbTp*", wrapped("")):
        found = key(response_id)
        assert found is not None
        assert found.text == response_id


def test_the_id_of_the_request_is_compared_with_that_of_another_emitter() -> None:
    """Claude Code reports it as that of the response, Anthropic's SDK beside it."""
    request_id = "req_011CSHoEeqs5C35K2UUqR7Fy"
    claude_code = emitted("c", {"gen_ai.system": "anthropic", "gen_ai.response.id": request_id})
    sdk = emitted(
        "com.anthropic.sdk.python",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.response.id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "anthropic.request.id": request_id,
        },
    )
    assert response_key(claude_code) is None
    assert request_key(claude_code) == request_key(sdk) == Key(request_id, strong=True)
    assert response_key(sdk) == Key("msg_01XFDUDYJgAACzvnptvVoYEL", strong=True)


def test_an_app_s_own_request_id_is_none() -> None:
    """All calls of one web request would carry it."""
    item = emitted(
        "c", {"gen_ai.system": "anthropic", "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
    )
    assert request_key(item) is None


def test_the_form_of_an_id_is_the_words_before_it() -> None:
    """Ids of two forms may both be those of one response: a gateway gives its own."""
    forms = {key.form for key in (Key(OPENAI, strong=True), Key("msg_bdrk_01", strong=True))}
    assert forms == {"resp_", "msg_bdrk_"}
    assert Key("f47ac10b58cc4372a5670e02b2c3d479", strong=True).form == ""


@UNHURRIED
@given(st.text(min_size=1, max_size=200))
def test_any_id_can_be_read(response_id: str) -> None:
    """Whatever a sender writes."""
    key(response_id)
    key(f"resp_bGl0ZWxsbTp{response_id}")
