# SPDX-License-Identifier: Apache-2.0
"""Turn evidence into usage rows with disjoint buckets: the one place that does.

On the wire OpenTelemetry's counts nest: input includes what was read from and written to a
cache and what tools put in, output includes reasoning. Here the parts are taken out again.
"""

import json
from collections.abc import Mapping
from typing import Any

from microdollar_exporter.evidence import UNREAD_USAGE, Evidence
from microdollar_exporter.usage import BUCKETS, PARTS, Usage, UsageRow
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["normalise"]

_SOURCES = frozenset(
    {
        md.USAGE_SOURCE_PROVIDER,
        md.USAGE_SOURCE_PROVIDER_PARTIAL,
        md.USAGE_SOURCE_ESTIMATED,
        md.USAGE_SOURCE_MISSING,
        md.USAGE_SOURCE_NONE,
    }
)


def normalise(evidence: Evidence) -> list[UsageRow]:
    """The usage rows of a call: its own model's first, then those of other models inside it."""
    attributes = evidence.attributes
    usage, notes = _own_usage(evidence.usage)
    source = attributes.get(md.USAGE_SOURCE)
    if source not in _SOURCES:
        notes += ("the usage source is not said",)
        source = md.USAGE_SOURCE_MISSING
    if unread := attributes.get(UNREAD_USAGE):
        notes += (f"not read: {unread}",)
    facts: dict[str, Any] = {
        "started_at": evidence.started_at,
        "provider": attributes.get(ga.PROVIDER_NAME),
        "operation": attributes.get(ga.OPERATION_NAME),
        "request_model": attributes.get(ga.REQUEST_MODEL),
        "service_tier": attributes.get(ga.OPENAI_RESPONSE_SERVICE_TIER)
        or attributes.get(md.RESPONSE_SERVICE_TIER),
        "speed": attributes.get(md.RESPONSE_SPEED),
        "inference_geo": attributes.get(md.RESPONSE_INFERENCE_GEO),
        "source": source,
    }
    rows = [
        UsageRow(
            position=0,
            calls=1,
            response_model=attributes.get(ga.RESPONSE_MODEL),
            usage=usage,
            notes=notes,
            **facts,
        )
    ]
    # A further model was not asked for by the caller: only the response names it.
    facts["request_model"] = None
    for position, row in enumerate(_additional(attributes), start=1):
        rows.append(
            UsageRow(
                position=position,
                calls=0,
                response_model=row.get("model"),
                usage=Usage(**{name: row[name] for name in (*BUCKETS, *PARTS) if name in row}),
                **facts,
            )
        )
    return rows


def _own_usage(counts: Mapping[str, int]) -> tuple[Usage, tuple[str, ...]]:
    """Disjoint buckets from the nested counts of one span, and what had to be put right."""
    notes = []
    cache_read = counts.get(ga.USAGE_CACHE_READ_INPUT_TOKENS)
    cache_write = counts.get(ga.USAGE_CACHE_WRITE_INPUT_TOKENS)
    write_5m = counts.get(md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS)
    write_1h = counts.get(md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS)
    tool = counts.get(md.USAGE_TOOL_INPUT_TOKENS)

    # Should the parts exceed the whole they are what is known best, and nothing counts twice.
    written = max(cache_write or 0, (write_5m or 0) + (write_1h or 0))
    uncached = counts.get(ga.USAGE_INPUT_TOKENS)
    if uncached is not None:
        uncached -= (cache_read or 0) + written + (tool or 0)
        if uncached < 0:
            notes.append(f"cache and tool input exceed the input by {-uncached} tokens")
            uncached = 0
    other_writes = cache_write
    if other_writes is not None:
        other_writes -= (write_5m or 0) + (write_1h or 0)
        if other_writes < 0:
            notes.append(f"5 m and 1 h cache writes exceed all writes by {-other_writes} tokens")
            other_writes = 0
    prefix = md.USAGE_UNITS_PREFIX
    usage = Usage(
        input_uncached=uncached,
        cache_read=cache_read,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        cache_write=other_writes,
        input_tool=tool,
        output=counts.get(ga.USAGE_OUTPUT_TOKENS),
        reasoning=counts.get(ga.USAGE_REASONING_OUTPUT_TOKENS),
        audio_in=counts.get(ga.USAGE_AUDIO_INPUT_TOKENS),
        audio_out=counts.get(ga.USAGE_AUDIO_OUTPUT_TOKENS),
        image_in=counts.get(ga.USAGE_IMAGE_INPUT_TOKENS),
        image_out=counts.get(ga.USAGE_IMAGE_OUTPUT_TOKENS),
        units={k.removeprefix(prefix): n for k, n in counts.items() if k.startswith(prefix)},
    )
    return usage, tuple(notes)


def _additional(attributes: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of other models; `reduce` has checked their form."""
    text = attributes.get(md.USAGE_ADDITIONAL)
    return json.loads(text) if text else []
