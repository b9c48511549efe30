# SPDX-License-Identifier: Apache-2.0
"""The model providers: which requests are calls, and how to read their responses.

A provider is a row of `table`; an `Endpoint` is one operation with pure functions from JSON to
`Facts`, which are in `wires`. A provider that speaks a known wire is added by a row alone.
"""

from collections.abc import Mapping
from functools import lru_cache

from microdollar.providers._endpoint import Endpoint, Provider
from microdollar.providers.table import PROVIDERS

__all__ = ["PROVIDERS", "Endpoint", "Provider", "provider_of"]


def provider_of(
    host: str, port: int | None, declared: Mapping[tuple[str, int | None], str]
) -> Provider | None:
    """The provider behind a host; None for a host that is none of our business."""
    host = host.lower().rstrip(".")
    if declared:
        name = declared.get((host, port)) or declared.get((host, None))
        if name is not None:
            return PROVIDERS.get(name)
    return _at(host, port)


@lru_cache(maxsize=512)
def _at(host: str, port: int | None) -> Provider | None:
    return next((row for row in PROVIDERS.values() if row.serves(host, port)), None)
