# SPDX-License-Identifier: Apache-2.0
"""One name for each provider and each model, whoever says it and however."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.dialects import family, plain_model
from microdollar_exporter.dialects.providers import named, of_address, of_model
from microdollar_exporter.hosts import is_provider
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.price.names import Names

OTEL = (
    *("anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere", "deepseek"),
    *("gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "groq", "ibm.watsonx.ai", "mistral_ai"),
    *("moonshot_ai", "openai", "perplexity", "x_ai"),
)
"""`gen_ai.provider.name` in the registry."""


@pytest.mark.parametrize("name", OTEL)
def test_opentelemetrys_own_names_stay(name: str) -> None:
    """They are what all others are turned into."""
    assert named(name) == name
    assert named(name.upper()) == name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        # The old registry.
        ("az.ai.inference", "azure.ai.inference"),
        ("az.ai.openai", "azure.ai.openai"),
        ("gemini", "gcp.gemini"),
        ("vertex_ai", "gcp.vertex_ai"),
        ("xai", "x_ai"),
        # OpenLLMetry of old.
        ("OpenAI", "openai"),
        ("Anthropic", "anthropic"),
        ("MistralAI", "mistral_ai"),
        # OpenInference, LiteLLM, Envoy, Spring AI.
        ("azure", "azure.ai.openai"),
        ("aws", "aws.bedrock"),
        ("google", "gcp.gen_ai"),
        ("vertexai", "gcp.vertex_ai"),
        ("vertex_ai_beta", "gcp.vertex_ai"),
        ("azure_ai", "azure.ai.inference"),
        ("bedrock_converse", "aws.bedrock"),
        ("google_genai", "gcp.gen_ai"),
        ("azure.openai", "azure.ai.openai"),
        ("aws.anthropic", "aws.bedrock"),
        ("gcp.anthropic", "gcp.vertex_ai"),
        # The AI SDK appends the API.
        ("openai.chat", "openai"),
        ("openai.responses", "openai"),
        ("anthropic.messages", "anthropic"),
        ("google.generative-ai.chat", "gcp.gemini"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("amazon-bedrock.chat", "aws.bedrock"),
        ("azure-openai.responses", "azure.ai.openai"),
        # Frameworks are no providers.
        ("langchain", None),
        ("strands-agents", None),
        ("gcp.vertex.agent", None),
        ("microsoft.agent_framework", None),
        ("spring_ai", None),
        ("Unknown", None),
        ("", None),
        (None, None),
        # Nobody knows these.
        ("Shop-LLM", "Shop-LLM"),
        ("hugging_face", "hugging_face"),
        ("openai-like", "openai-like"),
    ],
)
def test_providers_by_the_words_of_every_emitter(said: str | None, name: str | None) -> None:
    """No part of a word is guessed at; only what the AI SDK appends is left out."""
    assert named(said) == name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("https://api.openai.com/v1/", "openai"),
        ("api.mistral.ai:443", "mistral_ai"),
        ("API.Anthropic.COM", "anthropic"),
        ("shop.openai.azure.com", "azure.ai.openai"),
        ("shop.cognitiveservices.azure.com", "azure.ai.openai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "aws.bedrock"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("openrouter.ai", "openrouter"),
        ("api.openai.com.evil.example", None),
        ("notapi.openai.com", None),
        ("llm.internal", None),
        ("127.0.0.1", None),
        ("", None),
        (None, None),
    ],
)
def test_a_providers_own_host_names_it(address: str | None, name: str | None) -> None:
    """A gateway's or an unknown host names nobody."""
    assert of_address(address) == name


@pytest.mark.parametrize(
    "host",
    [
        *("api.openai.com", "shop.openai.azure.com", "shop.services.ai.azure.com"),
        *("api.anthropic.com", "generativelanguage.googleapis.com", "aiplatform.googleapis.com"),
        *("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock-mantle.eu-west-1.api.aws"),
        *("api.mistral.ai", "api.cohere.com", "api.groq.com", "api.deepseek.com", "api.x.ai"),
        *("api.together.xyz", "api.fireworks.ai", "api.perplexity.ai", "api.cerebras.ai"),
        "api.moonshot.cn",
    ],
)
def test_every_host_that_is_a_providers_own_has_a_name(host: str) -> None:
    """The two lists of hosts do not contradict each other."""
    assert is_provider(host)
    assert of_address(host) is not None


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-6-luna", "openai"),
        ("o4-mini", "openai"),
        ("text-embedding-3-small", "openai"),
        ("claude-sonnet-5-5", "anthropic"),
        ("gemini-3.5-flash", "gcp.gen_ai"),
        ("models/gemini-3.5-flash", "gcp.gen_ai"),
        ("mistral-large-latest", "mistral_ai"),
        ("us.anthropic.claude-sonnet-5-5-v1:0", "aws.bedrock"),
        ("anthropic.claude-sonnet-5-5-v1:0", "aws.bedrock"),
        ("amazon.nova-pro-v1:0", "aws.bedrock"),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-pro-v1:0", "aws.bedrock"),
        ("openrouter/anthropic/claude-sonnet-5-5", "openrouter"),
        ("openai/gpt-6-luna", "openai"),
        ("bedrock/anthropic.claude-sonnet-5-5-v1:0", "aws.bedrock"),
        # Open models are anyone's.
        ("llama-5-70b", None),
        ("qwen4-max", None),
        ("gpt4all", None),
        ("o-model", None),
        ("", None),
        (None, None),
    ],
)
def test_a_models_name_may_give_its_provider_away(model: str | None, name: str | None) -> None:
    """Where the span names a framework instead."""
    assert of_model(model) == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("openai", "azure.ai.openai", True),
        ("az.ai.openai", "azure.ai.inference", True),
        ("gemini", "gcp.gemini", True),
        ("gcp.gemini", "vertex_ai", True),
        ("openai", "anthropic", False),
        ("aws.bedrock", "anthropic", False),
        ("shop-llm", "shop-llm", True),
        ("shop-llm", "other-llm", False),
    ],
)
def test_providers_that_share_response_ids_are_a_family(one: str, other: str, same: bool) -> None:
    """Witnesses of one call disagree on who answered."""
    assert (family(one) == family(other)) is same


def test_no_provider_has_no_family() -> None:
    """Two spans that name none need not be of the same."""
    assert family(None) is None
    assert family("langchain") is None


@pytest.mark.parametrize(
    ("response_id", "name"),
    [
        ("msg_01", "anthropic"),
        ("chatcmpl-1", "openai"),
        ("resp_1", "openai"),
        ("cmpl-1", "openai"),
        ("7f3a", "aws.bedrock"),
        (None, "aws.bedrock"),
    ],
)
def test_the_form_of_an_id_tells_whose_it_is(response_id: str | None, name: str) -> None:
    """Anthropic numbers its messages, whether Bedrock or Vertex hosts the model."""
    assert family("aws.bedrock", response_id) == name


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("gpt-6-luna", "gpt-6-luna"),
        ("GPT-6-Luna", "gpt-6-luna"),
        ("gpt-6-luna-2026-05-01", "gpt-6-luna"),
        ("openai/gpt-6-luna", "gpt-6-luna"),
        ("claude-sonnet-5-5-20260701", "claude-sonnet-5-5"),
        ("claude-sonnet-5-5@20260701", "claude-sonnet-5-5"),
        ("claude-sonnet-5-5-latest", "claude-sonnet-5-5"),
        ("anthropic.claude-sonnet-5-5-v1:0", "claude-sonnet-5-5"),
        ("us.anthropic.claude-sonnet-5-5-20260701-v1:0", "claude-sonnet-5-5"),
        ("bedrock/eu.amazon.nova-pro-v1:0", "nova-pro"),
        ("publishers/google/models/gemini-3.5-flash", "gemini-3.5-flash"),
        # Part of the name, however it looks.
        ("deepseek-v4", "deepseek-v4"),
        ("gpt-5-2026", "gpt-5-2026"),
        ("model-2026-13-01", "model-2026-13-01"),
        ("qwen4:8b", "qwen4:8b"),
        ("", None),
        (None, None),
    ],
)
def test_a_model_without_what_its_hosts_add(name: str | None, plain: str | None) -> None:
    """To see that two spans speak of the same one."""
    assert plain_model(name) == plain


@given(st.text(max_size=40) | st.none())
def test_no_name_is_too_strange(name: str | None) -> None:
    """Names come from senders: nothing raises, and nothing is left empty."""
    named(name), of_address(name), of_model(name), family(name, name)
    plain = plain_model(name)
    assert plain is None or (plain and plain == plain.lower())


def test_the_price_book_knows_every_provider_that_a_host_or_a_model_names() -> None:
    """A corrected name must not be one that has no price."""
    names = Names(import_genai_prices())
    for host in ("api.openai.com", "shop.openai.azure.com", "api.anthropic.com", "api.groq.com"):
        assert names.provider(of_address(host)) is not None
    for name in OTEL:
        if name != "ibm.watsonx.ai":
            assert names.provider(name) is not None
