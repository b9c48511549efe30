# SPDX-License-Identifier: Apache-2.0
"""From a row of `expected.json` to the attributes a span must have, by a way of its own."""

import json
from typing import Any

from tests.fakes.replies import SAMPLES

OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "converse": "chat",
    "responses": "chat",
    "responses.compact": "chat",
    "text_completion": "text_completion",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "ocr": "ocr",
    "generate_content": "generate_content",
    "interactions": "generate_content",
    "images.edit": "image_generation",
    "images.generate": "image_generation",
    "audio.transcription": "transcription",
    "audio.speech": "speech",
    "batch.output": "chat",
    "batch.results": "chat",
}
PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "fireworks": "fireworks_ai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "openai-compatible": "vllm",
    "together": "together_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Names that differ from those of the samples."""

DECLARED = "10.0.0.5:8000=vllm,litellm.internal:4000=litellm"
"""The hosts of the samples that nobody can know."""

ENTRIES: dict[str, dict[str, Any]] = {
    entry["file"]: entry
    for entry in json.loads((SAMPLES / "expected.json").read_bytes())
    if entry["operation"] != "realtime"  # a message of a websocket
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
