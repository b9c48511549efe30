# SPDX-License-Identifier: Apache-2.0
"""What one model did in one call: the record that travels from normalise to the ledger."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["BUCKETS", "PARTS", "Usage", "UsageRow"]

BUCKETS = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write",
    "input_tool",
    "output",
)
"""The disjoint buckets: they add up to every token of the call, none counted twice."""

PARTS = ("reasoning", "audio_in", "audio_out", "image_in", "image_out")
"""Parts of the buckets, never added to them: `reasoning`, `audio_out` and `image_out` are inside
`output`; `audio_in` and `image_in` are inside the input buckets."""


_NO_UNITS: Mapping[str, int] = MappingProxyType({})


class Usage(NamedTuple):
    """Token counts in disjoint buckets, and unit counts. `None` means not reported, never zero.

    `cache_write` holds writes whose lifetime is neither 5 minutes nor 1 hour, or unknown.
    `units` maps a unit's name (`web_search`, …) to its count.
    """

    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    cache_write: int | None = None
    input_tool: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    image_out: int | None = None
    units: Mapping[str, int] = _NO_UNITS


class UsageRow(NamedTuple):
    """The usage of one model inside one call, with every fact that decides its price.

    `started_at` is microseconds since 1970 UTC. `provider` is OpenTelemetry's word for it
    (`openai`, `anthropic`, `gcp.gemini`, …). `source` is one of the values of
    `microdollar.usage.source`. `calls` is 1 for the row of the response's own model and 0 for
    the rows of further models inside the same response, so that a sum of it counts calls.
    `position` numbers the rows of one call from 0. `notes` says what had to be put right in the
    reported counts.
    """

    position: int
    calls: int
    started_at: int
    provider: str | None
    operation: str | None
    request_model: str | None
    response_model: str | None
    service_tier: str | None
    speed: str | None
    inference_geo: str | None
    source: str
    usage: Usage
    notes: tuple[str, ...] = ()
