# SPDX-License-Identifier: Apache-2.0
"""What the families of emitters call each count.

Each table is one family, and a span is read by one of them alone: an `input` that includes the
cache must never meet a `cache` from an emitter that leaves it out. Of several names for one count
the first on the span is taken. Where `allow` reads several counts from one attribute, their names
stand behind the attribute's own, with a dot.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from microdollar_exporter.dialects.conventions import Cache
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = [
    "AI_SDK",
    "CLAUDE_CODE",
    "GEN_AI",
    "KNOWN",
    "LANGFUSE",
    "NOT_COUNTED",
    "OPENINFERENCE",
    "OURS",
    "Family",
    "has_sums",
    "has_usage",
    "names_of",
]

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """The names of one family of emitters.

    `cache_write` is every cache write, `cache_write_5m` and `cache_write_1h` those of it that are
    known to live so long. `more_input` and `more_output` are parts that the family reports beside
    `input` and `output` instead of inside them. `total` only checks the others. `extra_input` and
    `extra_output` were billed beside all of these. `units` maps names to units, `units_prefix` is
    where any other unit's name begins. `cache` is set where the names themselves tell whether
    `input` includes the cache. A family with `told_by` is meant only where one of those is.
    """

    input: Names
    output: Names
    cache_read: Names = ()
    cache_write: Names = ()
    cache_write_5m: Names = ()
    cache_write_1h: Names = ()
    tool_input: Names = ()
    reasoning: Names = ()
    audio_in: Names = ()
    audio_out: Names = ()
    image_in: Names = ()
    image_out: Names = ()
    total: Names = ()
    more_input: Names = ()
    more_output: Names = ()
    extra_input: Names = ()
    extra_output: Names = ()
    units: Mapping[str, str] = field(default_factory=dict)
    units_prefix: str | None = None
    cache: Cache | None = None
    told_by: Names = ()


def names_of(family: Family) -> frozenset[str]:
    """Every name in a family's table."""
    values = [getattr(family, one.name) for one in fields(family)]
    named = [value for value in values if isinstance(value, tuple | Mapping)]
    return frozenset(name for names in named for name in names)


OURS: Final = Family(
    input=(ga.USAGE_INPUT_TOKENS,),
    output=(ga.USAGE_OUTPUT_TOKENS,),
    cache_read=(ga.USAGE_CACHE_READ_INPUT_TOKENS,),
    cache_write=(ga.USAGE_CACHE_WRITE_INPUT_TOKENS,),
    cache_write_5m=(md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS,),
    cache_write_1h=(md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS,),
    tool_input=(md.USAGE_TOOL_INPUT_TOKENS,),
    reasoning=(ga.USAGE_REASONING_OUTPUT_TOKENS,),
    audio_in=(ga.USAGE_AUDIO_INPUT_TOKENS,),
    audio_out=(ga.USAGE_AUDIO_OUTPUT_TOKENS,),
    image_in=(ga.USAGE_IMAGE_INPUT_TOKENS,),
    image_out=(ga.USAGE_IMAGE_OUTPUT_TOKENS,),
    units_prefix=md.USAGE_UNITS_PREFIX,
)
"""Our own instrumentation; defined in `semconv/registry`."""

_DETAILS = "gen_ai.usage.details."
_LANGSMITH_IN, _LANGSMITH_OUT = (
    "gen_ai.usage.input_token_details.",
    "gen_ai.usage.output_token_details.",
)

GEN_AI: Final = Family(
    input=(ga.USAGE_INPUT_TOKENS, ga.USAGE_PROMPT_TOKENS, "llm.usage.prompt_tokens"),
    output=(ga.USAGE_OUTPUT_TOKENS, ga.USAGE_COMPLETION_TOKENS, "llm.usage.completion_tokens"),
    cache_read=(
        ga.USAGE_CACHE_READ_INPUT_TOKENS,
        "gen_ai.usage.cache_read_input_tokens",
        _DETAILS + "cache_read_tokens",
        "gen_ai.usage.prompt_tokens_details.cached_tokens",
        _LANGSMITH_IN + "cache_read",
        _LANGSMITH_IN + "flex_cache_read",
        _LANGSMITH_IN + "priority_cache_read",
    ),
    cache_write=(
        ga.USAGE_CACHE_WRITE_INPUT_TOKENS,
        ga.USAGE_CACHE_CREATION_INPUT_TOKENS,
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        _DETAILS + "cache_write_tokens",
        "gen_ai.usage.prompt_tokens_details.cache_creation_tokens",
        _LANGSMITH_IN + "cache_creation",
        _LANGSMITH_IN + "flex_cache_creation",
        _LANGSMITH_IN + "priority_cache_creation",
    ),
    cache_write_5m=(
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens",
        _LANGSMITH_IN + "ephemeral_5m_input_tokens",
    ),
    cache_write_1h=(
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
        _LANGSMITH_IN + "ephemeral_1h_input_tokens",
    ),
    reasoning=(
        ga.USAGE_REASONING_OUTPUT_TOKENS,
        "gen_ai.usage.reasoning_tokens",
        "llm.usage.reasoning_tokens",
        _DETAILS + "reasoning_tokens",
        "gen_ai.usage.completion_tokens_details.reasoning_tokens",
        "gen_ai.usage.experimental.reasoning_tokens",
        "codex.usage.reasoning_output_tokens",
        _LANGSMITH_OUT + "reasoning",
        _LANGSMITH_OUT + "flex_reasoning",
        _LANGSMITH_OUT + "priority_reasoning",
    ),
    audio_in=(
        ga.USAGE_AUDIO_INPUT_TOKENS,
        "gen_ai.usage.input_audio_tokens",
        _DETAILS + "input_audio_tokens",
        _LANGSMITH_IN + "audio",
    ),
    audio_out=(
        ga.USAGE_AUDIO_OUTPUT_TOKENS,
        "gen_ai.usage.output_audio_tokens",
        "gen_ai.usage.completion_tokens_details.audio_tokens",
        _DETAILS + "output_audio_tokens",
        _LANGSMITH_OUT + "audio",
    ),
    image_in=(ga.USAGE_IMAGE_INPUT_TOKENS,),
    image_out=(ga.USAGE_IMAGE_OUTPUT_TOKENS, "gen_ai.usage.output_image_tokens"),
    total=("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "codex.usage.total_tokens"),
    extra_input=("anthropic.usage.compaction.input_tokens",),
    extra_output=("anthropic.usage.compaction.output_tokens",),
    units={"mistral_ai.ocr.usage.pages_processed": "pages"},
)
"""OpenTelemetry's conventions, today's names first, and what emitters add to them."""

_PROMPT, _COMPLETION = (
    "llm.token_count.prompt_details.",
    "llm.token_count.completion_details.",
)

OPENINFERENCE: Final = Family(
    input=("llm.token_count.prompt",),
    output=("llm.token_count.completion",),
    cache_read=(_PROMPT + "cache_read", _PROMPT + "cache_input"),
    cache_write=(_PROMPT + "cache_write",),
    reasoning=(_COMPLETION + "reasoning",),
    audio_in=(_PROMPT + "audio",),
    audio_out=(_COMPLETION + "audio",),
    total=("llm.token_count.total",),
)
"""`openinference-semantic-conventions` 0.1.42."""

AI_SDK: Final = Family(
    input=("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
    output=("ai.usage.outputTokens", "ai.usage.completionTokens"),
    cache_read=("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
    cache_write=("ai.usage.inputTokenDetails.cacheWriteTokens",),
    reasoning=("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
    total=("ai.usage.totalTokens",),
)
"""npm `ai` 4 to 6 and the legacy integration of 7; `ai.usage.tokens` is that of embeddings."""

CLAUDE_CODE: Final = Family(
    input=("input_tokens",),
    output=("output_tokens",),
    cache_read=("cache_read_tokens",),
    cache_write=("cache_creation_tokens",),
    cache_write_5m=("cache_creation_5m_tokens",),
    cache_write_1h=("cache_creation_1h_tokens",),
)
"""Claude Code 2.1.329."""

_DETAIL = "langfuse.observation.usage_details."


def _langfuse(*names: str) -> Names:
    return tuple(_DETAIL + name for name in names)


_LANGFUSE_OWN = Family(
    input=_langfuse("input"),
    output=_langfuse("output"),
    cache_read=_langfuse(
        "input_cache_read",
        "input_cached_tokens",
        "input_cache_read_tokens",
        "input_flex_cache_read",
        "cache_read_input_tokens",
        "cached_content_token_count",
    ),
    cache_write=_langfuse(
        "input_cache_creation", "input_cache_write_tokens", "cache_creation_input_tokens"
    ),
    cache_write_5m=_langfuse(
        "input_ephemeral_5m_input_tokens", "cache_creation_ephemeral_5m_input_tokens"
    ),
    cache_write_1h=_langfuse(
        "input_ephemeral_1h_input_tokens", "cache_creation_ephemeral_1h_input_tokens"
    ),
    reasoning=_langfuse("output_reasoning", "output_reasoning_tokens", "output_flex_reasoning"),
    audio_in=_langfuse("input_audio", "input_audio_tokens"),
    audio_out=_langfuse("output_audio", "output_audio_tokens"),
    total=_langfuse("total"),
    more_input=_langfuse("input_audio", "input_audio_tokens", "input_text_tokens", "input_flex"),
    more_output=_langfuse(
        "output_reasoning",
        "output_reasoning_tokens",
        "output_audio",
        "output_audio_tokens",
        "output_text_tokens",
        "output_flex",
        "output_flex_reasoning",
    ),
    cache=Cache.EXCLUDED,
)

_LANGFUSE_ANTHROPIC = Family(
    input=_langfuse("input_tokens"),
    output=_langfuse("output_tokens"),
    cache_read=_langfuse("cache_read_input_tokens"),
    cache_write=_langfuse("cache_creation_input_tokens"),
    cache_write_5m=_langfuse("cache_creation.ephemeral_5m_input_tokens"),
    cache_write_1h=_langfuse("cache_creation.ephemeral_1h_input_tokens"),
    units={_DETAIL + "server_tool_use.web_search_requests": "web_search"},
    cache=Cache.EXCLUDED,
    told_by=_langfuse("cache_read_input_tokens", "cache_creation_input_tokens"),
)

_LANGFUSE_OPENAI = Family(
    input=_langfuse("prompt_tokens", "input_tokens"),
    output=_langfuse("completion_tokens", "output_tokens"),
    cache_read=_langfuse(
        "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"
    ),
    cache_write=_langfuse(
        "prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens"
    ),
    reasoning=_langfuse(
        "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"
    ),
    audio_in=_langfuse("prompt_tokens_details.audio_tokens"),
    audio_out=_langfuse("completion_tokens_details.audio_tokens"),
    total=_langfuse("total_tokens"),
    cache=Cache.INCLUDED,
)

LANGFUSE: Final = (_LANGFUSE_OWN, _LANGFUSE_ANTHROPIC, _LANGFUSE_OPENAI)
"""The Langfuse SDK 5.0.4 keeps free names in one attribute: its own, in which every count is a
part of its own; Anthropic's usage object; OpenAI's, of Chat Completions and of Responses."""

_TIERS = ("flex", "priority")
"""By which LangChain's counts are told apart where an answer was not of the standard tier."""

NOT_COUNTED: Final = frozenset(
    {
        # Parts of input or output that cost no more than the rest.
        *(f"gen_ai.usage.text.{way}_tokens" for way in ("input", "output")),
        *(f"gen_ai.usage.{kind}.cache_read.input_tokens" for kind in ("text", "image", "audio")),
        "gen_ai.usage.video.input_tokens",
        "ai.usage.inputTokenDetails.noCacheTokens",
        "ai.usage.outputTokenDetails.textTokens",
        _DETAILS + "cache_audio_read_tokens",
        _DETAILS + "accepted_prediction_tokens",
        _DETAILS + "rejected_prediction_tokens",
        _DETAILS + "cache_read_input_tokens",
        _DETAILS + "cache_creation_input_tokens",
        _DETAILS + "thoughts_tokens",
        _DETAILS + "text_prompt_tokens",
        _DETAILS + "text_candidates_tokens",
        "gen_ai.usage.experimental.system_instruction_tokens",
        *_langfuse(
            "completion_tokens_details.accepted_prediction_tokens",
            "completion_tokens_details.rejected_prediction_tokens",
            "output_tokens_details.accepted_prediction_tokens",
            "output_tokens_details.rejected_prediction_tokens",
            "completion_tokens_details.text_tokens",
            "prompt_tokens_details.text_tokens",
            *(
                f"{way}_tokens_details.cache_write_tokens_details.ttl_{lifetime}_tokens"
                for way in ("prompt", "input")
                for lifetime in ("30m", "12h")
            ),
        ),
        *(f"{way}{tier}" for way in (_LANGSMITH_IN, _LANGSMITH_OUT) for tier in _TIERS),
        # Sums over several calls, and counts of a call under way.
        *(f"gen_ai.aggregated_usage.{way}_tokens" for way in ("input", "output")),
        *(f"gen_ai.usage.partial.{way}_tokens" for way in ("input", "output")),
        *(f"codex.turn.token_usage.{way}_tokens" for way in ("input", "output")),
    }
)
"""Counts that are understood, kept as evidence and part of no bucket."""

KNOWN: Final = NOT_COUNTED.union(
    *map(names_of, (OURS, GEN_AI, OPENINFERENCE, AI_SDK, CLAUDE_CODE, *LANGFUSE))
)
"""Every name of a count in these tables."""

_OF_A_CALL = (
    "gen_ai.usage.",
    "llm.token_count.",
    "llm.usage.",
    "ai.usage.",
    "langfuse.observation.usage_details",
    "mistral_ai.ocr.usage.",
)
_OF_SEVERAL = ("gen_ai.aggregated_usage.", "gen_ai.usage.partial.")


def has_usage(names: Collection[str]) -> bool:
    """Whether any of these attribute names is that of a count of the call itself."""
    return any(name.startswith(_OF_A_CALL) and name not in NOT_COUNTED for name in names)


def has_sums(names: Collection[str]) -> bool:
    """Whether any is that of a sum over several calls, or of a count of a call under way."""
    return any(name.startswith(_OF_SEVERAL) for name in names)
