# SPDX-License-Identifier: Apache-2.0
"""One name for each provider: OpenTelemetry's, whoever says it and however."""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["family", "named", "of_address", "of_model"]

# OpenTelemetry's word: what emitters say. Sources: the old and new registries of OpenTelemetry,
# openinference-semantic-conventions 0.1.42, opentelemetry-semantic-conventions-ai 0.5.1,
# litellm 1.109.1, npm @ai-sdk/otel 1.0.173, spring-ai 2.0, envoyproxy/ai-gateway v1.1.0.
_SAID: Final = {
    "anthropic": "anthropic anthropic.messages",
    "aws.bedrock": (
        "aws.bedrock aws aws.anthropic amazon-bedrock amazon_bedrock bedrock bedrock_converse"
        " bedrock_mantle"
    ),
    "azure.ai.inference": "azure.ai.inference az.ai.inference azure_ai",
    "azure.ai.openai": "azure.ai.openai az.ai.openai azure azure-openai azure.openai azure_openai",
    "cerebras": "cerebras",
    "cohere": "cohere cohere_chat",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks_ai fireworks",
    "gcp.gemini": "gcp.gemini gemini google.generative-ai googleai google_ai_studio",
    "gcp.gen_ai": "gcp.gen_ai google google_genai gcp",
    "gcp.vertex_ai": (
        "gcp.vertex_ai gcp.anthropic google-vertex google.vertex vertex vertex_ai vertex_ai_beta"
        " vertexai"
    ),
    "groq": "groq",
    "ibm.watsonx.ai": "ibm.watsonx.ai watsonx",
    "mistral_ai": "mistral_ai mistral mistralai",
    "moonshot_ai": "moonshot_ai moonshot moonshotai",
    "openai": "openai openai.chat openai.responses openai.embedding text-completion-openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together_ai together togetherai",
    "x_ai": "x_ai xai",
}
_NAMES: Final[Mapping[str, str]] = {
    said: name for name, all_said in _SAID.items() for said in all_said.split()
}

_FRAMEWORKS: Final = frozenset(
    {
        "gcp.vertex.agent",
        "langchain",
        "microsoft.agent_framework",
        "openai_compatible",
        "semantic_kernel",
        "spring_ai",
        "strands-agents",
        "unknown",
    }
)
"""What stands where the provider should, and is none."""

_ADDRESSES: Final = tuple(
    (re.compile(rf"(?:.+\.)?(?:{pattern})", re.ASCII), name)
    for pattern, name in (
        (r"api\.openai\.com", "openai"),
        (r"api\.anthropic\.com", "anthropic"),
        (r"generativelanguage(?:\.mtls)?\.googleapis\.com", "gcp.gemini"),
        (r"(?:[a-z0-9-]+-)?aiplatform(?:\.mtls)?\.googleapis\.com", "gcp.vertex_ai"),
        (r"(?:openai|services\.ai|cognitiveservices)\.azure\.com", "azure.ai.openai"),
        (r"bedrock-[a-z-]+\.[a-z0-9-]+\.(?:amazonaws\.(?:com|com\.cn|eu)|api\.aws)", "aws.bedrock"),
        (r"api\.(?:eu\.|us\.)?mistral\.ai", "mistral_ai"),
        (r"api\.cohere\.(?:com|ai)", "cohere"),
        (r"api\.groq\.com", "groq"),
        (r"api\.deepseek\.com", "deepseek"),
        (r"api\.x\.ai", "x_ai"),
        (r"api\.together\.(?:ai|xyz)", "together_ai"),
        (r"api\.fireworks\.ai", "fireworks_ai"),
        (r"api\.perplexity\.ai", "perplexity"),
        (r"api\.cerebras\.ai", "cerebras"),
        (r"api\.moonshot\.(?:ai|cn)", "moonshot_ai"),
        (r"openrouter\.ai", "openrouter"),
    )
)
_HOST = re.compile(r"(?:[a-z+]+://)?([^/:?#@\s]+)", re.ASCII)

_MODELS: Final = tuple(
    (re.compile(pattern, re.ASCII), name)
    for pattern, name in (
        (r"arn:aws[a-z-]*:bedrock:", "aws.bedrock"),
        (
            r"(?:[a-z]{2,6}(?:-gov)?\.)?(?:anthropic|amazon|meta|mistral|cohere|ai21)\.",
            "aws.bedrock",
        ),
        (r"claude-", "anthropic"),
        (r"gpt-|chatgpt-|o\d(?:-|$)|text-embedding-(?:3|ada)|codex-|dall-e-|whisper-1$", "openai"),
        (r"(?:models/)?gemini-", "gcp.gen_ai"),
        (r"(?:open-)?(?:mi[sx]tral|ministral|magistral|codestral|devstral|pixtral)-", "mistral_ai"),
        (r"command-", "cohere"),
        (r"deepseek-", "deepseek"),
        (r"grok-", "x_ai"),
        (r"sonar(?:-|$)", "perplexity"),
        (r"kimi-|moonshot-", "moonshot_ai"),
    )
)

_FAMILIES: Final[Mapping[str, str]] = {
    "azure.ai.inference": "openai",
    "azure.ai.openai": "openai",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
}


def named(said: str | None) -> str | None:
    """OpenTelemetry's name of a provider; None where a framework stands in its place.

    The AI SDK appends the API it calls (`openai.chat`, `google.vertex.chat`), which is left out.
    A word that nobody knows is taken as it is.
    """
    if said is None:
        return None
    word = said.strip().lower()
    if word in _FRAMEWORKS or not word:
        return None
    head = word
    while head not in _NAMES and "." in head:
        head = head.rpartition(".")[0]
    return _NAMES.get(head, said.strip())


def of_address(address: str | None) -> str | None:
    """The provider whose own host this is; None for a gateway and for hosts nobody knows."""
    host = _HOST.match(address.lower()) if address else None
    if host is None:
        return None
    return next((name for pattern, name in _ADDRESSES if pattern.fullmatch(host[1])), None)


def of_model(model: str | None) -> str | None:
    """The provider that a model's name gives away; None when it does not.

    Bedrock writes the maker in front with a dot, LiteLLM and OpenRouter a provider with a slash.
    Anyone may serve an open model, so only names that one provider gives are here.
    """
    if not model:
        return None
    name = model.strip().lower()
    head, slash, _ = name.partition("/")
    if slash and head in _NAMES:
        return _NAMES[head]
    return next((provider for pattern, provider in _MODELS if pattern.match(name)), None)


def family(provider: str | None, response_id: str | None = None) -> str | None:
    """Providers that give out response ids in common, by any name; None when none is named.

    Witnesses of one call disagree on who answered: `openai` and `azure.ai.openai`, `gemini` and
    `gcp.vertex_ai`. An id in Anthropic's form is Anthropic's whoever hosts the model, and one in
    OpenAI's form may be called OpenAI's by anything that speaks its API.
    """
    if response_id:
        if response_id.startswith("msg_"):
            return "anthropic"
        if response_id.startswith(("chatcmpl-", "resp_", "cmpl-")):
            return "openai"
    name = named(provider)
    return None if name is None else _FAMILIES.get(name, name)
