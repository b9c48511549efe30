# SPDX-License-Identifier: Apache-2.0
"""The model providers: which requests are calls, and how to read their responses.

A provider is data: its hosts, and one `Endpoint` per operation with pure functions from JSON to
`Facts`. To add one, write a module like the present ones and name it in `PROVIDERS`.
"""

from collections.abc import Mapping

from microdollar.providers import anthropic, gemini, openai
from microdollar.providers._endpoint import Endpoint, Provider

__all__ = ["PROVIDERS", "Endpoint", "Provider", "provider_of"]

PROVIDERS: Mapping[str, Provider] = {
    "openai": openai.PROVIDER,
    "anthropic": anthropic.PROVIDER,
    "gemini": gemini.PROVIDER,
}
"""By the name that `MICRODOLLAR_HOSTS` uses."""


def provider_of(
    host: str, port: int | None, declared: Mapping[tuple[str, int | None], str]
) -> Provider | None:
    """The provider behind a host; None for a host that is none of our business."""
    host = host.lower().rstrip(".")
    if declared:
        name = declared.get((host, port)) or declared.get((host, None))
        if name is not None:
            return PROVIDERS.get(name)
    for provider in PROVIDERS.values():
        if provider.serves(host):
            return provider
    return None
