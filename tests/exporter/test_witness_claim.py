# SPDX-License-Identifier: Apache-2.0
"""What a span says that matters to whether it stands for a call."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from microdollar_exporter.normalise import normalise
from microdollar_exporter.witness import Claim, Key, claim
from tests.exporter.emitted import CLIENT, INTERNAL, emitted
from tests.exporter.emitters import EMITTERS, Emitter
from tests.fakes.otlp import Value

CALL: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "openai/gpt-6-luna",
    "gen_ai.response.model": "gpt-6-luna-2026-05-01",
    "gen_ai.response.id": "chatcmpl-CXk2pQ9vN3hL7mR4tY8w",
    "gen_ai.usage.input_tokens": 1012,
    "gen_ai.usage.cache_read.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 40,
}


def claimed(
    changes: Mapping[str, Value | None] = MappingProxyType({}),
    *,
    scope: str = "opentelemetry.instrumentation.genai.openai",
    failed: bool = False,
) -> Claim:
    """The claim of a call with these attributes changed; None takes one away."""
    attributes = {**CALL, **changes}
    said = {name: value for name, value in attributes.items() if value is not None}
    item = emitted(scope, said, failed=failed)
    return claim(item, normalise(item))


def test_a_call_claims_what_it_reports() -> None:
    """Its counts added up, its model without date and provider."""
    found = claimed()
    assert (found.role, found.billable, found.has_usage, found.source) == (
        *("call", True, True),
        "provider",
    )
    assert (found.input, found.output, found.size, found.cache_split) == (1012, 40, 40, 1)
    assert (found.model, found.family, found.service) == ("gpt-6-luna", "openai", "shop")
    assert found.response_key == Key("chatcmpl-CXk2pQ9vN3hL7mR4tY8w", strong=True)


@pytest.mark.parametrize("emitter", EMITTERS, ids=str)
def test_every_emitter_s_call_can_be_compared_with_every_other_s(emitter: Emitter) -> None:
    """All report 40 tokens of output, and models by names that come out the same."""
    item = emitted(
        *(emitter.scope, emitter.attributes),
        version=emitter.version,
        name=emitter.name,
        kind=INTERNAL if emitter.internal else CLIENT,
    )
    found = claim(item, normalise(item))
    assert (found.role, found.billable) == (emitter.role, emitter.role != "other")
    assert found.model in {"gpt-6-luna", "claude-sonnet-5-5", "gemini-3.5-flash", None}
    if found.billable:
        assert (found.output, found.size) == (emitter.usage.output, 40)


def test_a_model_that_only_the_request_names_is_taken() -> None:
    """Some emitters know no other."""
    assert claimed({"gen_ai.response.model": None}).model == "gpt-6-luna"


def test_an_embedding_is_as_large_as_its_input() -> None:
    """It has no output to compare by."""
    found = claimed({"gen_ai.usage.output_tokens": None})
    assert (found.output, found.size) == (None, 1012)


def test_a_cache_that_was_not_used_is_not_told_apart() -> None:
    """Some emitters write zeros and some do not, and both mean the same."""
    none = {"gen_ai.usage.cache_read.input_tokens": None}
    zero = {"gen_ai.usage.cache_read.input_tokens": 0}
    both = {"gen_ai.usage.cache_write.input_tokens": 7}
    assert claimed(none).cache_split == claimed(zero).cache_split == 0
    assert claimed(both).cache_split == 2


def test_a_call_without_counts_has_no_usage() -> None:
    """Silence is not nothing: it did not fail."""
    silent = {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    found = claimed(silent | {"gen_ai.usage.cache_read.input_tokens": None})
    assert (found.has_usage, found.failed, found.source) == (False, False, "missing")
    assert (found.input, found.output, found.size) == (None, None, 0)
    assert found.billable


def test_a_call_that_failed_consumed_nothing() -> None:
    """And says so."""
    gone = dict.fromkeys(name for name in CALL if "usage" in name or "response" in name)
    found = claimed({**gone, "error.type": "RateLimitError"}, failed=True)
    assert (found.has_usage, found.failed, found.source) == (False, True, "none")


def test_a_count_of_pages_is_usage() -> None:
    """Not everything is billed by the token."""
    gone: dict[str, Value | None] = dict.fromkeys(name for name in CALL if "usage" in name)
    pages: dict[str, Value | None] = {
        "mistral_ai.ocr.usage.pages_processed": 3,
        "server.address": "api.mistral.ai",
    }
    found = claimed({**gone, **pages}, scope="mistralai_sdk_tracer")
    assert (found.has_usage, found.size) == (True, 0)


def test_an_answer_from_a_gateway_s_cache_knows_that_nothing_was_bought() -> None:
    """Its counts are those of the answer; its id is that of another call."""
    found = claimed({"litellm.cache_hit": "true"}, scope="litellm")
    assert (found.from_cache, found.has_usage, found.failed, found.source) == (
        *(True, True, False),
        "none",
    )
    assert (found.output, found.response_key, found.request_key) == (40, None, None)


def test_an_agent_is_known_by_no_id() -> None:
    """It may carry that of the last response inside it. Without usage it stands for nothing."""
    agent = {"gen_ai.operation.name": "invoke_agent"}
    found = claimed(agent)
    assert (found.role, found.billable, found.response_key) == ("agent", True, None)


def test_a_span_that_stands_for_nothing_claims_nothing() -> None:
    """And needs no rows."""
    item = emitted("shop", {**CALL, "gen_ai.operation.name": "execute_tool"})
    found = claim(item, [])
    assert (found.role, found.billable) == ("other", False)
    assert found.identity == item.identity


def test_openllmetry_may_count_the_first_tokens_of_an_anthropic_stream_twice() -> None:
    """Its spans do not say whether they are streams."""
    assert claimed(scope="opentelemetry.instrumentation.anthropic").overcount == 16
    assert claimed(scope="opentelemetry.instrumentation.openai.v1").overcount == 0


def test_openlit_may_have_guessed_what_it_says_of_a_stream() -> None:
    """It fills in what was not reported."""
    scope = "openlit.instrumentation.openai"
    assert claimed({"gen_ai.request.stream": True}, scope=scope).guessed
    assert not claimed({"gen_ai.request.stream": False}, scope=scope).guessed
