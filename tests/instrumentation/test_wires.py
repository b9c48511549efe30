# SPDX-License-Identifier: Apache-2.0
"""The corners of each wire that no sample shows."""

from typing import Any

import pytest

from microdollar._facts import Facts, Usage
from microdollar.providers import PROVIDERS, Endpoint


def endpoint(provider: str, path: str, method: str = "POST") -> Endpoint:
    found = PROVIDERS[provider].match(method, path)
    assert found is not None
    return found[0]


def chat(provider: str = "groq", **usage: Any) -> Usage:
    return endpoint(provider, "/v1/chat/completions").read({"usage": usage}).usage


def fold(target: Endpoint, *events: dict[str, Any]) -> Facts:
    facts = Facts()
    assert target.fold is not None
    for event in events:
        facts = target.fold(facts, event)
    return facts


@pytest.mark.parametrize(
    ("usage", "output", "reasoning"),
    [
        ({"completion_tokens": 9}, 9, None),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}, 9, 4),
        # The total tells that it is apart.
        (
            {
                "completion_tokens": 9,
                "total_tokens": 18,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            13,
            4,
        ),
        ({"completion_tokens": 9, "total_tokens": 14, "reasoning_tokens": 10}, 19, 10),
        ({"completion_tokens": 9, "citation_tokens": 0, "reasoning_tokens": 3}, 12, 3),
        ({"completion_tokens_details": {"reasoning_tokens": 4}}, None, 4),
    ],
)
def test_reasoning_is_in_the_output_or_apart(
    usage: dict[str, Any], output: int | None, reasoning: int | None
) -> None:
    found = chat(prompt_tokens=5, **usage)
    assert (found.output, found.reasoning) == (output, reasoning)


@pytest.mark.parametrize(
    "spelling",
    [
        {"prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_token_details": {"cached_tokens": 4}},
        {"cached_tokens": 4},
        {"num_cached_tokens": 4},
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6},
        {"cache_read_input_tokens": 4},
        {"cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": 4}},
    ],
)
def test_what_is_cached_has_many_names(spelling: dict[str, Any]) -> None:
    usage = chat(prompt_tokens=10, **spelling)
    assert (usage.input_uncached, usage.cache_read) == (6, 4)


def test_only_where_there_are_no_lifetimes_they_are_zero() -> None:
    usage = {"prompt_tokens": 10, "prompt_tokens_details": {"cache_write_tokens": 3}}
    for provider, lifetime in (("openai", 0), ("azure", 0), ("openrouter", None)):
        found = chat(provider, **usage)
        assert (found.cache_write_5m, found.cache_write_1h) == (lifetime, lifetime)
        assert (found.input_uncached, found.cache_write) == (7, 3)


def test_usage_in_a_choice_counts_once() -> None:
    """Moonshot says it in the choice and then again at the top."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    target = endpoint("moonshot", "/v1/chat/completions")
    first = {"id": "i", "choices": [{"finish_reason": "stop", "usage": usage}]}
    assert fold(target, first) == fold(target, first, {"choices": [], "usage": usage})
    assert fold(target, first).usage == Usage(input_uncached=5, output=2)


def test_running_counts_of_several_choices_are_replaced_by_their_sum() -> None:
    def chunk(index: int, answer: int) -> dict[str, Any]:
        usage = {"prompt_tokens": 5, "completion_tokens": answer}
        return {"choices": [{"index": index, "finish_reason": None}], "usage": usage}

    final = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    target = endpoint("vllm", "/v1/chat/completions")
    running = fold(target, chunk(0, 1), chunk(1, 1), chunk(0, 4))
    assert (running.usage.output, running.complete) == (4, False)
    facts = fold(target, chunk(0, 4), chunk(1, 3), final)
    assert (facts.usage.output, facts.complete) == (7, True)


BREAKDOWN = {
    "models": [
        {"model": "a", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        {"model": "b", "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {"model": "a", "usage": {"prompt_tokens": 5, "completion_tokens": 6}},
    ]
}


def test_a_compound_system_is_its_models() -> None:
    target = endpoint("groq", "/openai/v1/chat/completions")
    sums = {"model": "groq/compound", "usage": {"prompt_tokens": 9, "completion_tokens": 12}}
    whole = target.read({**sums, "usage_breakdown": BREAKDOWN})
    stream = fold(
        target,
        {"model": "groq/compound", "choices": [{"finish_reason": None}]},
        {**sums, "choices": [{"finish_reason": "stop"}], "x_groq": {"usage_breakdown": BREAKDOWN}},
        {**sums, "choices": []},
    )
    for facts in (whole, stream):
        assert facts.model == "a"
        assert facts.usage == Usage(input_uncached=6, output=8)
        assert facts.additional == (("b", Usage(input_uncached=3, output=4)),)
        assert facts.complete


def test_google_hides_thoughts_of_its_chat_in_the_total() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10}
    found = chat("gemini", **usage)
    assert (found.output, found.reasoning) == (5, 3)
    assert chat("gemini", **{**usage, "total_tokens": 7}).reasoning is None
    assert chat("vertex", **usage).output == 5


def test_perplexitys_agents_use_anthropics_names_with_openais_meaning() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 3,
        "input_tokens_details": {"cache_read_input_tokens": 4, "cache_creation_input_tokens": 2},
        "tool_calls_details": {"web_search": {"invocation": 2}},
    }
    found = endpoint("perplexity", "/v1/responses").read({"usage": usage}).usage
    assert found == Usage(
        input_uncached=4, cache_read=4, cache_write=2, output=3, units={"web_search": 2}
    )


def test_drawings_of_another_model_are_a_row_of_their_own() -> None:
    target = endpoint("openai", "/v1/images/generations")
    facts = target.read(
        {
            "usage": {"input_tokens": 5, "output_tokens": 7},
            "svg_usage": {"model": "s-1", "input_tokens": 1, "output_tokens": 2},
        }
    )
    assert facts.usage == Usage(input_uncached=5, output=7, image_out=7)
    assert facts.additional == (("s-1", Usage(input_uncached=1, output=2)),)


def test_transcription_by_time_is_in_whole_seconds() -> None:
    target = endpoint("openai", "/v1/audio/transcriptions")
    facts = target.read({"text": "t", "usage": {"type": "duration", "seconds": 8.2}})
    assert facts.usage == Usage(units={"audio_seconds": 9})
    assert not target.read({"usage": {"seconds": float("nan")}}).usage
    mistral = endpoint("mistral", "/v1/audio/transcriptions")
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "prompt_audio_seconds": 7}
    assert mistral.read({"model": "v", "usage": usage}).usage == Usage(
        input_uncached=4, output=2, units={"audio_seconds": 7}
    )


def test_twins_of_converse_are_the_same_tokens() -> None:
    target = endpoint("bedrock", "/model/m/converse")
    usage = {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokenCount": 3}
    expected = Usage(input_uncached=1, cache_read=3, output=2)
    assert target.read({"usage": usage}).usage == expected
    assert target.read({"usage": {**usage, "cacheReadInputTokens": 3}}).usage == expected


def test_an_exception_in_an_event_stream_is_the_error() -> None:
    target = endpoint("bedrock", "/model/m/converse-stream")
    facts = fold(target, {"error": {"type": "throttlingException"}, "detail": {}})
    assert facts.error_type == "throttlingException"


ONE_TWO = Usage(input_uncached=1, output=2)
METRICS = {"inputTokenCount": 5, "outputTokenCount": 6, "cacheReadInputTokenCount": 7}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"inputTokens": 1, "outputTokens": 2}}, Usage(input_uncached=1, output=2)),
        (
            {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            Usage(input_uncached=1, output=2),
        ),
        ({"prompt_token_count": 1, "generation_token_count": 2}, Usage(input_uncached=1, output=2)),
        (
            {"inputTextTokenCount": 1, "results": [{"tokenCount": 2}, {"tokenCount": 3}]},
            Usage(input_uncached=1, output=5),
        ),
        ({"outputs": [{"text": "t"}]}, Usage()),
    ],
)
def test_each_family_at_bedrock_has_its_own_counts(body: dict[str, Any], usage: Usage) -> None:
    assert endpoint("bedrock", "/model/m/invoke").read(body).usage == usage


def test_bedrocks_own_counts_stand_in_for_a_familys() -> None:
    target = endpoint("bedrock", "/model/m/invoke-with-response-stream")
    facts = fold(target, {"outputText": "t"}, {"amazon-bedrock-invocationMetrics": METRICS})
    assert facts.usage == Usage(input_uncached=5, cache_read=7, output=6)
    assert facts.complete


def test_coheres_first_version_ends_with_the_whole_answer() -> None:
    answer = {"meta": {"billed_units": {"input_tokens": 3.0, "output_tokens": 4.0}}}
    facts = fold(
        endpoint("cohere", "/v1/chat"),
        {"event_type": "stream-start"},
        {"event_type": "stream-end", "response": {"response_id": "r", **answer}},
    )
    assert facts.usage == Usage(input_uncached=3, output=4)
    assert facts.complete


def test_an_ollama_stream_may_end_in_an_error() -> None:
    target = endpoint("ollama", "/api/chat")
    facts = fold(target, {"model": "m", "done": False}, {"error": "what it was"})
    assert (facts.error_type, facts.complete, bool(facts.usage)) == ("error", False, False)


def test_a_turn_of_a_conversation_has_tokens_of_connectors() -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "connector_tokens": 7,
        "connectors": {"web_search": 2},
    }
    event = {"type": "conversation.response.done", "usage": usage}
    facts = fold(endpoint("mistral", "/v1/conversations"), event)
    expected = Usage(input_uncached=5, output=6, input_tool=7, units={"web_search": 2})
    assert facts.usage == expected
    assert facts.complete


def test_traffic_of_vertex_is_a_tier() -> None:
    read = endpoint("vertex", "/models/g:generateContent").read
    for traffic, tier in (
        ("ON_DEMAND", "on_demand"),
        ("ON_DEMAND_FLEX", "flex"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
    ):
        assert read({"usageMetadata": {"trafficType": traffic}}).service_tier == tier


def test_a_reranking_is_counted_in_tokens_or_searches() -> None:
    read = endpoint("together", "/v1/rerank").read
    assert read({"usage": {"total_tokens": 5}}).usage == Usage(input_uncached=5, output=0)
    searches = {"meta": {"billed_units": {"search_units": 1}}}
    assert read(searches).usage == Usage(units={"search_units": 1})


def test_results_of_a_batch_are_of_any_kind() -> None:
    read = endpoint("openai", "/v1/files/f/content", "GET").read

    def line(body: dict[str, Any], status: int = 200) -> Facts:
        return read({"response": {"status_code": status, "body": body}})

    response = {"object": "response", "usage": {"input_tokens": 1, "output_tokens": 2}}
    assert line(response).usage == Usage(input_uncached=1, output=2)
    vectors = {"object": "list", "usage": {"prompt_tokens": 3}}
    assert line(vectors).usage == Usage(input_uncached=3, output=0)
    assert line(vectors).service_tier == "batch"
    assert not line(vectors, 400).usage
    assert not read({"error": {"code": "expired"}}).usage
