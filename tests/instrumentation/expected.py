# SPDX-License-Identifier: Apache-2.0
"""From a row of `expected.json` to the attributes a span must have, by a way of its own."""

import json
from typing import Any

from tests.fakes.replies import SAMPLES, Provider

OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "responses.compact": "chat",
    "text_completion": "text_completion",
    "embeddings": "embeddings",
    "generate_content": "generate_content",
}
PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "google": "gcp.gemini"}
FAKES: dict[str, Provider] = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}
LATER = {
    "openai.images.json",
    "openai.images.stream.sse",
    "openai.transcription.tokens.json",
    "openai.transcription.stream.sse",
    "openai.speech.stream.sse",
    "openai.realtime.response-done.json",
    "gemini.interactions.json",
    "gemini.interactions.stream.sse",
}
"""Samples of operations that are not metered."""

ENTRIES: dict[str, dict[str, Any]] = {
    entry["file"]: entry
    for entry in json.loads((SAMPLES / "expected.json").read_bytes())
    if entry["file"].startswith(("openai.", "anthropic.", "gemini.")) and entry["file"] not in LATER
}
CALLS = sorted(name for name, entry in ENTRIES.items() if entry["operation"] in OPERATIONS)
NOT_CALLS = sorted(set(ENTRIES) - set(CALLS))


def row_of(entry: dict[str, Any], model: str | None) -> dict[str, Any]:
    """The row of the model that answered."""
    rows: list[dict[str, Any]] = [row for row in entry["rows"] if row["model"] == model]
    first: dict[str, Any] = (rows or entry["rows"] or [{}])[0]
    return first


def usage_attributes(row: dict[str, Any]) -> dict[str, Any]:
    """OpenTelemetry's spelling of a row of disjoint buckets."""
    wire: dict[str, Any] = {}
    writes = [row.get(f"cache_write_{kind}") for kind in ("5m", "1h", "other")]
    if any(write is not None for write in writes):
        wire["gen_ai.usage.cache_write.input_tokens"] = sum(write or 0 for write in writes)
    if row.get("input_uncached") is not None:
        parts = [row["input_uncached"], row["cache_read"], row["input_tool"], *writes]
        wire["gen_ai.usage.input_tokens"] = sum(part or 0 for part in parts)
    for ours, attribute in {
        "output_total": "gen_ai.usage.output_tokens",
        "cache_read": "gen_ai.usage.cache_read.input_tokens",
        "reasoning": "gen_ai.usage.reasoning.output_tokens",
        "audio_in": "gen_ai.usage.audio.input_tokens",
        "audio_out": "gen_ai.usage.audio.output_tokens",
        "image_in": "gen_ai.usage.image.input_tokens",
        "image_out": "gen_ai.usage.image.output_tokens",
        "input_tool": "microdollar.usage.tool.input_tokens",
        "cache_write_5m": "microdollar.usage.cache_write_5m.input_tokens",
        "cache_write_1h": "microdollar.usage.cache_write_1h.input_tokens",
    }.items():
        if row.get(ours) is not None:
            wire[attribute] = row[ours]
    for unit, count in row.get("requests", {}).items():
        wire[f"microdollar.usage.units.{unit}"] = count
    return wire


def additional(entry: dict[str, Any], main: dict[str, Any]) -> list[dict[str, Any]]:
    """The value of `microdollar.usage.additional`, parsed."""
    names = {"output_total": "output", "cache_write_other": "cache_write"}
    return [
        {
            names.get(name, name): value
            for name, value in row.items()
            if value is not None and name not in ("requests", "flags")
        }
        for row in entry["rows"]
        if row is not main
    ]


def source(entry: dict[str, Any], row: dict[str, Any]) -> str:
    """The value of `microdollar.usage.source`."""
    if not entry["billable"]:
        return "none"
    if "usage_missing" in row["flags"]:
        return "missing"
    return "provider_partial" if "output_estimated" in row["flags"] else "provider"
