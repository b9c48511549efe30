# SPDX-License-Identifier: Apache-2.0
"""The table of providers: who bills, at which hosts, and what can be called there.

A row that is only hosts and the common operations is a call of `_compatible`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from microdollar.providers._endpoint import Endpoint, Provider
from microdollar.providers.wires import (
    chat,
    cohere,
    converse,
    generate,
    invoke,
    mistral,
    ollama,
    publishers,
)
from microdollar.providers.wires.audio import SPEECH, TRANSCRIPTION
from microdollar.providers.wires.batches import batches
from microdollar.providers.wires.chat import CHAT, COMPLETIONS, EMBEDDINGS
from microdollar.providers.wires.images import IMAGES
from microdollar.providers.wires.interactions import INTERACTIONS
from microdollar.providers.wires.messages import MESSAGES, RESULTS
from microdollar.providers.wires.publishers import THINKING_CHAT
from microdollar.providers.wires.rerank import RERANK
from microdollar.providers.wires.responses import RESPONSES, responses
from microdollar_semconv import gen_ai

__all__ = ["PROVIDERS"]

_BATCHES = batches(CHAT, EMBEDDINGS, RESPONSES)
_COMPATIBLE = (
    *(CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, MESSAGES, IMAGES, TRANSCRIPTION, SPEECH, RERANK),
    _BATCHES,
)
"""Whatever of these a server offers, it offers in this form."""

# OpenAI and Azure know no cache writes of 5 minutes or 1 hour, so there are none.
_openai_usage = partial(chat.usage, has_lifetimes=False)
_O_CHAT, _O_COMPLETIONS, _O_EMBEDDINGS = chat.chat(_openai_usage, silent=chat.ON_REQUEST)
_O_RESPONSES = responses(has_lifetimes=False)
_OPENAI = (
    *(_O_CHAT, _O_COMPLETIONS, _O_RESPONSES, _O_EMBEDDINGS, IMAGES, TRANSCRIPTION, SPEECH),
    batches(_O_CHAT, _O_EMBEDDINGS, _O_RESPONSES),
)
# These send the usage of a stream whether asked or not.
_TELLING_CHAT, _TELLING_COMPLETIONS, _ = chat.chat(chat.usage, silent="")
_TELLING = (_TELLING_CHAT, _TELLING_COMPLETIONS, *_COMPATIBLE[2:])

_BACKGROUND = "Retrieving a background response is not a call, so its usage stays unknown."
_WEBSOCKETS = "Websockets (realtime) are not metered."
_NO_PRICE = "What runs here has no list price."


def _compatible(
    name: str,
    title: str,
    *hosts: str,
    endpoints: tuple[Endpoint, ...] = _COMPATIBLE,
    limits: tuple[str, ...] = (),
) -> Provider:
    return Provider(name=name, title=title, hosts=hosts, endpoints=endpoints, limits=limits)


def _of_deployment(endpoint: Endpoint) -> Endpoint:
    """The operation where the path may name a deployment, which stands for the model."""
    path = re.compile(rf"(?:/deployments/(?P<model>[^/]+))?{endpoint.path.pattern}")
    return replace(endpoint, path=path)


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider(
        name="openai",
        title="OpenAI",
        hosts=(
            "api.openai.com",
            *(f"mtls{region}.api.openai.com" for region in ("", "-us", "-eu")),
        ),
        tier_attribute=gen_ai.OPENAI_RESPONSE_SERVICE_TIER,
        endpoints=_OPENAI,
        limits=(
            _WEBSOCKETS,
            _BACKGROUND,
            "The usage in a batch object repeats that of its results, so polls are not counted.",
        ),
    ),
    "azure": Provider(
        name="azure.ai.openai",
        title="Azure OpenAI and Foundry",
        hosts=(
            "openai.azure.com",
            "cognitiveservices.azure.com",
            "services.ai.azure.com",
            "api.cognitive.microsoft.com",
        ),
        tier_attribute=gen_ai.OPENAI_RESPONSE_SERVICE_TIER,
        endpoints=(*(_of_deployment(each) for each in _OPENAI[:-1]), _OPENAI[-1], MESSAGES),
        limits=(
            "Whether a deployment is global, regional or provisioned is not on the wire.",
            "A gateway before Azure (API Management) has to be declared.",
            _WEBSOCKETS,
        ),
    ),
    "anthropic": Provider(
        name="anthropic",
        title="Anthropic",
        hosts=("api.anthropic.com", "aws-external-anthropic.*.api.aws"),
        endpoints=(MESSAGES, RESULTS, CHAT),
    ),
    "bedrock": Provider(
        name="aws.bedrock",
        title="Amazon Bedrock",
        hosts=(
            *(
                f"bedrock-runtime{fips}.*.{domain}"
                for fips in ("", "-fips")
                for domain in ("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "api.aws")
            ),
            "bedrock-runtime.*.vpce.amazonaws.com",
            "bedrock-mantle.*.api.aws",
        ),
        endpoints=(
            converse.CONVERSE,
            converse.CONVERSE_STREAM,
            invoke.INVOKE_EMBEDDINGS,
            invoke.INVOKE,
            invoke.INVOKE_STREAM,
            *(MESSAGES, RESPONSES, CHAT),
        ),
        limits=("An application inference profile hides the model it stands for.",),
    ),
    "gemini": Provider(
        name="gcp.gemini",
        title="Gemini API",
        hosts=("generativelanguage.googleapis.com", "generativelanguage.mtls.googleapis.com"),
        endpoints=(
            generate.GENERATE,
            generate.STREAM_GENERATE,
            generate.EMBED,
            generate.PREDICT,
            generate.PREDICT_IMAGES,
            INTERACTIONS,
            THINKING_CHAT,
            EMBEDDINGS,
        ),
        limits=(
            "Searches are billed by the query, and generateContent does not count them.",
            "The storage of explicit caches is not on the wire.",
            "Results of batches are not counted.",
            _WEBSOCKETS,
        ),
    ),
    "vertex": Provider(
        name="gcp.vertex_ai",
        title="Vertex AI",
        hosts=(
            "aiplatform.googleapis.com",
            "*-aiplatform.googleapis.com",
            "aiplatform.*.rep.googleapis.com",
            "claude.googleapis.com",
        ),
        endpoints=(
            generate.GENERATE,
            generate.STREAM_GENERATE,
            generate.EMBED,
            generate.PREDICT,
            generate.PREDICT_IMAGES,
            publishers.RAW_MESSAGES,
            publishers.RAW_CHAT,
            INTERACTIONS,
            THINKING_CHAT,
            MESSAGES,
        ),
        limits=(
            "Searches are billed by the query, and generateContent does not count them.",
            "Results of batches are not counted.",
            "gRPC is not metered.",
        ),
    ),
    "mistral": _compatible(
        "mistral_ai",
        "Mistral",
        "api.mistral.ai",
        "api.eu.mistral.ai",
        "api.us.mistral.ai",
        endpoints=(*_TELLING, mistral.CONVERSATIONS, mistral.OCR),
        limits=("Reasoning is not told apart from output.",),
    ),
    "cohere": _compatible(
        "cohere",
        "Cohere",
        "api.cohere.com",
        "api.cohere.ai",
        endpoints=(*cohere.ENDPOINTS, CHAT, EMBEDDINGS),
    ),
    "groq": _compatible("groq", "Groq", "api.groq.com", endpoints=_TELLING),
    "deepseek": _compatible("deepseek", "DeepSeek", "api.deepseek.com", endpoints=_TELLING),
    "xai": _compatible(
        "x_ai",
        "xAI",
        "api.x.ai",
        endpoints=_TELLING,
        limits=("xai-sdk uses gRPC, which is not metered.",),
    ),
    "openrouter": _compatible(
        "openrouter",
        "OpenRouter",
        "openrouter.ai",
        endpoints=_TELLING,
        limits=("Cache writes have no lifetime.",),
    ),
    "together": _compatible(
        "together_ai",
        "Together",
        "api.together.ai",
        "api-inference.together.ai",
        "api.together.xyz",
        endpoints=_TELLING,
    ),
    "fireworks": _compatible("fireworks_ai", "Fireworks", "api.fireworks.ai"),
    "perplexity": _compatible(
        "perplexity",
        "Perplexity",
        "api.perplexity.ai",
        endpoints=_TELLING,
        limits=("`/search` is billed by the request and reports none.",),
    ),
    "cerebras": _compatible("cerebras", "Cerebras", "api.cerebras.ai", endpoints=_TELLING),
    "moonshot": _compatible(
        "moonshot_ai", "Moonshot", "api.moonshot.ai", "api.moonshot.cn", endpoints=_TELLING
    ),
    "ollama": _compatible(
        "ollama",
        "Ollama",
        "ollama.com",
        *(f"{host}:11434" for host in ("localhost", "127.0.0.1", "::1")),
        endpoints=(*ollama.ENDPOINTS, *_COMPATIBLE),
        limits=(_NO_PRICE, "Its own wire has no response ids."),
    ),
    "vllm": _compatible("vllm", "vLLM", limits=(_NO_PRICE,)),
    "litellm": _compatible(
        "litellm",
        "LiteLLM proxy",
        limits=(
            "The proxy may strip the usage of a stream that the app did not ask for.",
            "The cost that it states in a header is not taken over.",
        ),
    ),
    "openai-compatible": _compatible(
        "openai_compatible", "Any other host with OpenAI's wire", limits=(_NO_PRICE,)
    ),
    "anthropic-compatible": _compatible(
        "anthropic_compatible",
        "Any other host with Anthropic's wire",
        endpoints=(MESSAGES, RESULTS),
        limits=(_NO_PRICE,),
    ),
}
"""By the name that `MICRODOLLAR_HOSTS` uses. One without hosts has to be declared there."""
