# SPDX-License-Identifier: Apache-2.0
"""What a response says about itself: identity, usage, outcome. Never what it says."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final

from microdollar_semconv import attributes, gen_ai

__all__ = [
    "MAX_COUNT",
    "NOTHING",
    "Facts",
    "Usage",
    "additional_usage",
    "distinct",
    "estimate_attributes",
    "total",
    "usage_attributes",
]

MAX_COUNT = 2**53
"""Beyond this the receiver believes no count, and JSON readers lose digits."""

_MAX_REASONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts in disjoint buckets, their parts, and units. None means not reported.

    `cache_write` holds writes whose lifetime is neither 5 minutes nor 1 hour, or unknown.
    `reasoning`, `audio_out` and `image_out` are parts of `output`; `audio_in` and `image_in` of
    the input buckets. `units` maps a unit's name (`web_search`, …) to its count.
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
    units: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is reported."""
        return bool(self.units) or _values(self) != _NONE_KNOWN

    def __add__(self, other: "Usage") -> "Usage":
        """The sum, bucket by bucket; unknown only where both are."""
        mine, theirs = self._counts(), other._counts()
        units = {
            name: count
            for name in {**self.units, **other.units}
            if (count := total(self.units.get(name), other.units.get(name))) is not None
        }
        return Usage(**{name: total(mine[name], theirs[name]) for name in mine}, units=units)

    def _counts(self) -> dict[str, int | None]:
        return dict(zip(_COUNTS, _values(self), strict=True))


_COUNTS = tuple(item.name for item in fields(Usage) if item.name != "units")
_NONE_KNOWN = (None,) * len(_COUNTS)
_values: Callable[[Usage], tuple[int | None, ...]] = attrgetter(*_COUNTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a response so far.

    `usage` belongs to `model`; `additional` holds the usage of other models that worked inside
    the same response. `complete` says that the usage will not change any more. `wire` is the
    provider's own usage object, as merged from the events of a stream. `text_characters` is the
    length of the text that passed in a stream whose output was not reported.
    """

    response_id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    error_type: str | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    usage: Usage = Usage()
    additional: tuple[tuple[str, Usage], ...] = ()
    complete: bool = False
    wire: Mapping[str, Any] = field(default_factory=dict)
    text_characters: int = 0


NOTHING: Final = Facts()
"""What is known of a response before anything is."""


def total(*counts: int | None) -> int | None:
    """The sum of the known counts; None if none is known, or if it is over `MAX_COUNT`."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and sum(known) <= MAX_COUNT else None


def distinct(*reasons: str | None) -> tuple[str, ...]:
    """Finish reasons, each once, and not more than there can be of them."""
    return tuple(dict.fromkeys(filter(None, reasons)))[:_MAX_REASONS]


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Usage in OpenTelemetry's spelling, where input includes cache and tools."""
    written = total(usage.cache_write_5m, usage.cache_write_1h, usage.cache_write)
    counts = {
        gen_ai.USAGE_INPUT_TOKENS: None
        if usage.input_uncached is None
        else total(usage.input_uncached, usage.cache_read, written, usage.input_tool),
        gen_ai.USAGE_OUTPUT_TOKENS: usage.output,
        gen_ai.USAGE_CACHE_READ_INPUT_TOKENS: usage.cache_read,
        gen_ai.USAGE_CACHE_WRITE_INPUT_TOKENS: written,
        attributes.USAGE_CACHE_WRITE_5M_INPUT_TOKENS: usage.cache_write_5m,
        attributes.USAGE_CACHE_WRITE_1H_INPUT_TOKENS: usage.cache_write_1h,
        attributes.USAGE_TOOL_INPUT_TOKENS: usage.input_tool,
        gen_ai.USAGE_REASONING_OUTPUT_TOKENS: usage.reasoning,
        gen_ai.USAGE_AUDIO_INPUT_TOKENS: usage.audio_in,
        gen_ai.USAGE_AUDIO_OUTPUT_TOKENS: usage.audio_out,
        gen_ai.USAGE_IMAGE_INPUT_TOKENS: usage.image_in,
        gen_ai.USAGE_IMAGE_OUTPUT_TOKENS: usage.image_out,
    }
    known = {name: count for name, count in counts.items() if count is not None}
    for unit, count in usage.units.items():
        known[attributes.USAGE_UNITS_PREFIX + unit] = count
    return known


_CHARACTERS_PER_TOKEN = 4


def estimate_attributes(facts: Facts, max_output: int | None) -> dict[str, int | str]:
    """What a stream's output must have been about, where the provider did not say.

    At least the text that passed, at four characters to the token; hidden reasoning comes on top.
    At most what the caller allowed.
    """
    if facts.usage.output is not None or not facts.text_characters:
        return {}
    least = -(-facts.text_characters // _CHARACTERS_PER_TOKEN)
    bounds: dict[str, int | str] = {
        attributes.USAGE_ESTIMATE_METHOD: attributes.USAGE_ESTIMATE_METHOD_CHARACTERS,
        attributes.USAGE_ESTIMATE_MIN_OUTPUT_TOKENS: least,
    }
    if max_output is not None:
        bounds[attributes.USAGE_ESTIMATE_MAX_OUTPUT_TOKENS] = max(least, max_output)
    return bounds


def additional_usage(rows: tuple[tuple[str, Usage], ...]) -> str | None:
    """The value of `microdollar.usage.additional`; None if there is none."""
    if not rows:
        return None
    return json.dumps(
        [
            {
                "model": model,
                **{name: count for name, count in usage._counts().items() if count is not None},
            }
            for model, usage in rows
        ],
        separators=(",", ":"),
    )
