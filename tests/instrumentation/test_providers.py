# SPDX-License-Identifier: Apache-2.0
"""Which hosts and paths are calls, and the corners of usage that no sample shows."""

from typing import Any

import pytest

from microdollar._facts import Facts, Usage, usage_attributes
from microdollar.providers import PROVIDERS, provider_of

OPENAI, ANTHROPIC, GEMINI = (PROVIDERS[name] for name in ("openai", "anthropic", "gemini"))
AZURE, BEDROCK, VERTEX = (PROVIDERS[name] for name in ("azure", "bedrock", "vertex"))
MISTRAL, COHERE, OLLAMA = (PROVIDERS[name] for name in ("mistral", "cohere", "ollama"))
GOOGLE = "/v1/projects/p/locations/l/publishers/"
TITAN = "amazon.titan-embed-text-v2:0"
EMBEDS = ("embeddings", None, "text-embedding-005")
TUNED = ("generate_content", None, "7")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("API.OpenAI.com.", "openai"),
        ("eu.api.openai.com", "openai"),
        ("notapi.openai.com", None),
        ("api.openai.com.evil.example", None),
        ("openai.com", None),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("generativelanguage.mtls.googleapis.com", "gcp.gemini"),
        ("storage.googleapis.com", None),
        ("localhost", None),
        ("", None),
        ("mtls-eu.api.openai.com", "openai"),
        ("my-res.openai.azure.com", "azure.ai.openai"),
        ("my-res.services.ai.azure.com", "azure.ai.openai"),
        ("swedencentral.api.cognitive.microsoft.com", "azure.ai.openai"),
        ("aws-external-anthropic.us-east-1.api.aws", "anthropic"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime-fips.us-east-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws.bedrock"),
        ("bedrock-runtime.us-east-1.api.aws", "aws.bedrock"),
        ("vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("bedrock.us-east-1.amazonaws.com", None),
        ("s3.us-east-1.amazonaws.com", None),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai"),
        ("claude.googleapis.com", "gcp.vertex_ai"),
        ("api.eu.mistral.ai", "mistral_ai"),
        ("api.cohere.ai", "cohere"),
        ("api.groq.com", "groq"),
        ("api.deepseek.com", "deepseek"),
        ("us.api.x.ai", "x_ai"),
        ("openrouter.ai", "openrouter"),
        ("api-inference.together.ai", "together_ai"),
        ("api.together.xyz", "together_ai"),
        ("api.fireworks.ai", "fireworks_ai"),
        ("api.perplexity.ai", "perplexity"),
        ("api.cerebras.ai", "cerebras"),
        ("api.moonshot.cn", "moonshot_ai"),
        ("ollama.com", "ollama"),
    ],
)
def test_hosts(host: str, name: str | None) -> None:
    provider = provider_of(host, 443, {})
    assert (provider.name if provider else None) == name


def test_a_host_with_a_port_is_served_there_only() -> None:
    for host in ("localhost", "127.0.0.1", "::1"):
        assert provider_of(host, 11434, {}) is PROVIDERS["ollama"]
        assert provider_of(host, 11435, {}) is None
        assert provider_of(host, None, {}) is None


def test_declared_hosts() -> None:
    declared = {("a", 80): "openai", ("a", None): "anthropic", ("b", 81): "gemini"}
    assert provider_of("A", 80, declared) is OPENAI
    assert provider_of("a", 81, declared) is ANTHROPIC
    assert provider_of("b", 81, declared) is GEMINI
    assert provider_of("b", 80, declared) is None
    assert provider_of("api.openai.com", 443, declared) is OPENAI


@pytest.mark.parametrize(
    ("provider", "path", "expected"),
    [
        (OPENAI, "/v1/chat/completions", ("chat", "chat_completions", None)),
        (OPENAI, "/chat/completions", ("chat", "chat_completions", None)),
        (OPENAI, "/prefix/v1/chat/completions/", ("chat", "chat_completions", None)),
        (OPENAI, "/v1/completions", ("text_completion", None, None)),
        (OPENAI, "/v1/responses", ("chat", "responses", None)),
        (OPENAI, "/v1/responses/compact", ("chat", "responses", None)),
        (OPENAI, "/v1/embeddings", ("embeddings", None, None)),
        (OPENAI, "/v1/chat/completions/chatcmpl-1", None),
        (OPENAI, "/v1/responses/resp_1", None),
        (OPENAI, "/v1/responses/resp_1/cancel", None),
        (OPENAI, "/v1/responses/input_tokens", None),
        (OPENAI, "/v1/moderations", None),
        (OPENAI, "/v1/files", None),
        (OPENAI, "/v1/batches", None),
        (ANTHROPIC, "/v1/messages", ("chat", None, None)),
        (ANTHROPIC, "/v1/messages/count_tokens", None),
        (ANTHROPIC, "/v1/messages/batches", None),
        (GEMINI, "/v1beta/models/g-1:generateContent", ("generate_content", None, "g-1")),
        (GEMINI, "/v1/models/g-1:streamGenerateContent", ("generate_content", None, "g-1")),
        (GEMINI, "/v1beta/tunedModels/t-1:generateContent", ("generate_content", None, "t-1")),
        (GEMINI, "/v1beta/models/g-1:batchEmbedContents", ("embeddings", None, "g-1")),
        (GEMINI, "/v1beta/models/g-1:embedContent", ("embeddings", None, "g-1")),
        (GEMINI, "/v1beta/models/g-1:countTokens", None),
        (GEMINI, "/v1beta/models/g-1:batchGenerateContent", None),
        (GEMINI, "/v1beta/models/g-1", None),
        (GEMINI, "/v1/interactions", ("generate_content", None, None)),
        (GEMINI, "/v1/interactions/i-1", None),
        (GEMINI, "/v1/interactions/i-1/cancel", None),
        (GEMINI, "/v1beta/openai/chat/completions", ("chat", "chat_completions", None)),
        (GEMINI, "/v1beta/models/imagen-4:predict", ("image_generation", None, "imagen-4")),
        (OPENAI, "/v1/threads/thread_1/messages", None),
        (AZURE, "/openai/threads/thread_1/messages", None),
        (ANTHROPIC, "/messages", ("chat", None, None)),
        (PROVIDERS["litellm"], "/anthropic/v1/messages", ("chat", None, None)),
        (OPENAI, "/v1/images/edits", ("image_generation", None, None)),
        (OPENAI, "/v1/audio/translations", ("transcription", None, None)),
        (OPENAI, "/v1/audio/speech", ("speech", None, None)),
        (AZURE, "/openai/deployments/d/chat/completions", ("chat", "chat_completions", "d")),
        (AZURE, "/openai/v1/chat/completions", ("chat", "chat_completions", None)),
        (AZURE, "/openai/responses", ("chat", "responses", None)),
        (AZURE, "/openai/deployments/d/embeddings", ("embeddings", None, "d")),
        (AZURE, "/anthropic/v1/messages", ("chat", None, None)),
        (BEDROCK, "/model/eu.a.m-v1:0/converse", ("chat", None, "eu.a.m-v1:0")),
        (BEDROCK, "/model/arn:a:b/c/converse-stream", ("chat", None, "arn:a:b/c")),
        (BEDROCK, "/model/amazon.titan-embed-text-v2:0/invoke", ("embeddings", None, TITAN)),
        (BEDROCK, "/model/m/invoke", ("chat", None, "m")),
        (BEDROCK, "/model/m/invoke-with-response-stream", ("chat", None, "m")),
        (BEDROCK, "/model/m/invoke-with-bidirectional-stream", None),
        (BEDROCK, "/model/m/count-tokens", None),
        (BEDROCK, "/guardrail/g/version/1/apply", None),
        (BEDROCK, "/async-invoke", None),
        (BEDROCK, "/openai/v1/chat/completions", ("chat", "chat_completions", None)),
        (VERTEX, GOOGLE + "google/models/g-1:generateContent", ("generate_content", None, "g-1")),
        (VERTEX, "/v1/publishers/google/models/g:generateContent", ("generate_content", None, "g")),
        (VERTEX, GOOGLE + "anthropic/models/c@1:rawPredict", ("chat", None, "c@1")),
        (VERTEX, GOOGLE + "anthropic/models/c:streamRawPredict", ("chat", None, "c")),
        (VERTEX, GOOGLE + "anthropic/models/count-tokens:rawPredict", None),
        (VERTEX, GOOGLE + "mistralai/models/m:rawPredict", ("chat", "chat_completions", "m")),
        (VERTEX, GOOGLE + "google/models/text-embedding-005:predict", EMBEDS),
        (VERTEX, "/v1/projects/p/locations/l/endpoints/7:generateContent", TUNED),
        (VERTEX, GOOGLE + "google/models/g:countTokens", None),
        (MISTRAL, "/v1/agents/completions", ("chat", "chat_completions", None)),
        (MISTRAL, "/v1/fim/completions", ("text_completion", None, None)),
        (MISTRAL, "/v1/conversations", ("chat", None, None)),
        (MISTRAL, "/v1/conversations/c-1", ("chat", None, None)),
        (MISTRAL, "/v1/conversations/c-1/restart", ("chat", None, None)),
        (MISTRAL, "/v1/ocr", ("ocr", None, None)),
        (COHERE, "/v2/chat", ("chat", None, None)),
        (COHERE, "/v1/generate", ("chat", None, None)),
        (COHERE, "/v2/embed", ("embeddings", None, None)),
        (COHERE, "/v1/classify", ("classify", None, None)),
        (COHERE, "/v1/tokenize", None),
        (OLLAMA, "/api/generate", ("text_completion", None, None)),
        (OLLAMA, "/api/embeddings", ("embeddings", None, None)),
        (OLLAMA, "/api/pull", None),
        (OLLAMA, "/v1/chat/completions", ("chat", "chat_completions", None)),
    ],
)
def test_paths(provider: Any, path: str, expected: tuple[Any, ...] | None) -> None:
    assert provider.match("GET", path) is None
    assert provider.match("DELETE", path) is None
    found = provider.match("post", path)
    shown = found and (found[0].operation, found[0].api_type, found[1])
    assert shown == expected


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        (OPENAI, "/v1/files/file-1/content"),
        (AZURE, "/openai/files/file-1/content"),
        (ANTHROPIC, "/v1/messages/batches/b/results"),
        (PROVIDERS["groq"], "/openai/v1/files/file_1/content"),
    ],
)
def test_of_what_is_got_only_results_of_batches_are_calls(provider: Any, path: str) -> None:
    assert provider.match("POST", path) is None
    assert provider.match("GET", path)[0].results
    for other in (
        *(
            "/v1/chat/completions/c",
            "/v1/responses/r",
            "/v1/batches/b",
            "/v1/files/f",
            "/v1/models",
        ),
        *(
            "/v1/conversations/c",
            "/v1/interactions/i",
            "/api/v1/generation",
            "/v1/messages/batches/b",
        ),
    ):
        assert provider.match("GET", other) is None


def chat(usage: dict[str, Any]) -> Usage:
    return OPENAI.endpoints[0].read({"usage": usage}).usage


def test_more_cached_than_prompted_is_not_negative() -> None:
    details = {"cached_tokens": 8, "cache_write_tokens": 3}
    usage = chat({"prompt_tokens": 10, "prompt_tokens_details": details})
    assert usage.input_uncached == 0
    assert usage.cache_read == 8


def test_running_counts_of_a_chat_stream_are_partial_until_the_last() -> None:
    fold = OPENAI.endpoints[0].fold
    assert fold is not None
    running = {"choices": [{"finish_reason": None}], "usage": {"prompt_tokens": 5}}
    facts = fold(Facts(), running)
    assert (facts.usage.input_uncached, facts.complete) == (5, False)
    facts = fold(facts, {"choices": [], "usage": {"prompt_tokens": 6}})
    assert (facts.usage.input_uncached, facts.complete) == (6, True)


def test_finish_reasons_of_a_stream_are_distinct_and_few() -> None:
    for endpoint, choices, reason in (
        (OPENAI.endpoints[0], "choices", "finish_reason"),
        (GEMINI.endpoints[1], "candidates", "finishReason"),
    ):
        assert endpoint.fold is not None
        facts = Facts()
        for number in range(100):
            facts = endpoint.fold(facts, {choices: [{reason: f"r{number % 20}"}]})
        assert facts.finish_reasons == tuple(f"r{number}" for number in range(16))


def chunk(tokens: int, *, reason: str | None = None) -> dict[str, Any]:
    candidate = {} if reason is None else {"finishReason": reason}
    counts = {"promptTokenCount": 5, "candidatesTokenCount": tokens}
    return {"candidates": [candidate], "usageMetadata": counts}


@pytest.mark.parametrize(
    ("chunks", "complete"),
    [
        ([chunk(1, reason="STOP")], False),
        ([chunk(1, reason="STOP"), chunk(2, reason="STOP")], False),
        ([chunk(1), chunk(2)], False),
        ([chunk(1), chunk(2, reason="STOP")], True),
        ([chunk(1), chunk(2, reason="STOP"), chunk(2)], True),
        ([{"promptFeedback": {"blockReason": "SAFETY"}, **chunk(0)}], True),
    ],
)
def test_a_reason_to_finish_ends_a_stream_that_began_without_one(
    chunks: list[dict[str, Any]], complete: bool
) -> None:
    """Some models give a reason with every chunk; then only the end of the stream tells."""
    fold = GEMINI.endpoints[1].fold
    assert fold is not None
    facts = Facts()
    for one in chunks:
        facts = fold(facts, one)
    assert facts.complete is complete


def test_counts_and_totals_have_a_limit() -> None:
    assert chat({"prompt_tokens": 2**53}).input_uncached == 2**53
    assert chat({"prompt_tokens": 2**53 + 1}).input_uncached is None
    assert usage_attributes(Usage(input_uncached=2**53, cache_read=1)) == {
        "gen_ai.usage.cache_read.input_tokens": 1
    }
    half = Usage(output=2**52, units={"web_search": 2**52})
    assert half + half == Usage(output=2**53, units={"web_search": 2**53})
    one = Usage(output=1, units={"web_search": 1})
    assert half + half + one == Usage()


def test_a_model_in_a_path_is_a_label() -> None:
    assert GEMINI.match("POST", "/v1/models/g\x00:generateContent") == (GEMINI.endpoints[0], None)
    found = GEMINI.match("POST", f"/v1/models/{'g' * 300}:generateContent")
    assert found == (GEMINI.endpoints[0], "g" * 256)


def test_drawn_images_of_an_unnamed_model_are_not_lost() -> None:
    tool_usage = {"image_gen": {"input_tokens": 1, "output_tokens": 2}}
    read = OPENAI.endpoints[2].read
    assert read({"tool_usage": tool_usage}).additional == (
        ("image_generation", Usage(input_uncached=1, output=2)),
    )
    nothing = {"image_gen": {"input_tokens": 0, "output_tokens": 0}}
    assert read({"tool_usage": nothing}).additional == ()


def message(**usage: Any) -> Facts:
    return ANTHROPIC.endpoints[0].read({"model": "m", "usage": usage})


def test_writes_beyond_the_split_have_no_lifetime() -> None:
    split = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0}
    usage = message(cache_creation_input_tokens=150, cache_creation=split).usage
    assert (usage.cache_write_5m, usage.cache_write_1h, usage.cache_write) == (100, 0, 50)


def test_an_advisor_of_another_model_is_a_row_of_its_own() -> None:
    facts = message(
        input_tokens=10,
        output_tokens=30,
        output_tokens_details={"thinking_tokens": 4},
        iterations=[
            {"type": "message", "input_tokens": 10, "output_tokens": 10},
            {"type": "advisor_message", "model": "o", "input_tokens": 7, "output_tokens": 3},
            {"type": "message", "input_tokens": 20, "output_tokens": 20},
        ],
    )
    assert facts.usage == Usage(input_uncached=30, output=30, reasoning=4)
    assert facts.additional == (("o", Usage(input_uncached=7, output=3)),)


def test_a_serving_model_under_another_name_is_the_last_iteration() -> None:
    facts = message(
        iterations=[
            {"type": "message", "model": "a", "input_tokens": 1},
            {"type": "fallback_message", "model": "b", "input_tokens": 2},
        ]
    )
    assert facts.usage.input_uncached == 2
    assert facts.additional == (("a", Usage(input_uncached=1)),)


def test_units_are_named_by_the_provider() -> None:
    units = {"web_search_requests": 2, "code_execution_requests": 1, "Bad-requests": 3, "x": 1}
    usage = message(input_tokens=1, server_tool_use=units).usage
    assert usage.units == {"web_search": 2, "code_execution": 1}
    assert usage_attributes(usage)["microdollar.usage.units.web_search"] == 2


def gemini(**usage: Any) -> Usage:
    return GEMINI.endpoints[0].read({"usageMetadata": usage}).usage


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 18}, 8),
        ({"candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 15}, 5),
        ({"candidatesTokenCount": 5, "totalTokenCount": 15}, 5),
        ({"thoughtsTokenCount": 3, "totalTokenCount": 13}, 3),
        ({"totalTokenCount": 10}, 0),
        ({"totalTokenCount": 12}, None),
        ({}, None),
    ],
)
def test_thoughts_are_inside_or_outside_the_candidates(
    counts: dict[str, int], output: int | None
) -> None:
    usage = gemini(promptTokenCount=10, **counts)
    assert usage.output == output
    assert usage.input_uncached == 10


def test_absent_is_not_zero() -> None:
    assert not Usage()
    assert Usage(output=0)
    assert usage_attributes(Usage()) == {}
    assert Usage(output=1) + Usage(input_uncached=0) == Usage(output=1, input_uncached=0)
