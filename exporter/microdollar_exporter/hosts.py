# SPDX-License-Identifier: Apache-2.0
"""Which hosts are a provider's own: behind them no other meter can stand."""

import re

__all__ = ["is_provider"]

_PROVIDERS = re.compile(
    r"(.+\.)?("
    r"api\.openai\.com|(openai|services\.ai|cognitiveservices)\.azure\.com|"
    r"api\.anthropic\.com|"
    r"(generativelanguage|aiplatform)(\.mtls)?\.googleapis\.com|[a-z0-9-]+-aiplatform\.googleapis\.com|"
    r"bedrock-(runtime|mantle)(-fips)?\.[a-z0-9-]+\.(amazonaws\.(com|com\.cn|eu)|api\.aws)|"
    r"api\.(eu\.|us\.)?mistral\.ai|api\.cohere\.(com|ai)|api\.groq\.com|api\.deepseek\.com|"
    r"api\.x\.ai|api(-inference)?\.together\.(ai|xyz)|api\.fireworks\.ai|api\.perplexity\.ai|"
    r"api\.cerebras\.ai|api\.moonshot\.(ai|cn)"
    r")|mtls(-us|-eu)?\.api\.openai\.com"
)


def is_provider(host: str | None) -> bool:
    """Whether a host is a model provider's own; a gateway's or a self-hosted one is not.

    Source: the providers' API references.
    """
    return host is not None and _PROVIDERS.fullmatch(host.lower()) is not None
