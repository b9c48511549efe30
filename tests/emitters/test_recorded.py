# SPDX-License-Identifier: Apache-2.0
"""What packages really sent that do not install together with the others, from wire to ledger."""

from collections import Counter

import pytest

from microdollar_exporter.reduce import reduce
from microdollar_exporter.usage import Usage
from tests.emitters.books import Booked, Call, standing
from tests.emitters.record import RECORDINGS, recorded
from tests.emitters.running import decoded
from tests.fakes.exporter import Exporter

CHAT = Usage(input_uncached=276, cache_read=3840, cache_write=896, output=742)
CHAT_STREAM = Usage(input_uncached=256, cache_read=2048, output=188)
CHAT_STREAM_NO_WRITES = CHAT_STREAM._replace(cache_write=0)
RESPONSES = Usage(input_uncached=832, cache_read=15360, cache_write=2048, output=1310)
EMBEDDINGS = Usage(input_uncached=26)
MESSAGES = Usage(input_uncached=96, cache_read=11000, cache_write=3200, output=845)
MESSAGES_STREAM = Usage(input_uncached=41, cache_read=8000, cache_write=1500, output=312)
GEMINI = Usage(input_uncached=2054, cache_read=4096, output=1050)
GEMINI_STREAM = Usage(input_uncached=388, cache_read=512, output=222)

# Of those that say nothing of the cache.
CHAT_WHOLE = Usage(input_uncached=5012, output=742)
CHAT_STREAM_WHOLE = Usage(input_uncached=2304, output=188)
RESPONSES_WHOLE = Usage(input_uncached=18240, output=1310)
MESSAGES_WHOLE = Usage(input_uncached=14296, output=845)

_MISSING = Call.of("gpt-6-sol", Usage(), "missing")
_EMBEDDINGS = Call.of("text-embedding-3-small", EMBEDDINGS)
_GPT_5_6_SOL, _GPT_6_LUNA, _GPT_5_6_TERRA = "gpt-5.6-sol", "gpt-6-luna", "gpt-5.6-terra"
_SONNET, _OPUS, _FLASH = "claude-sonnet-5-5", "claude-opus-5-5", "gemini-3.6-flash"
_BEDROCK = "anthropic.claude-sonnet-5-5-v1:0"

EXPECTED: dict[str, list[Call]] = {
    "openai-v2": [
        Call.of(_GPT_5_6_SOL, CHAT_WHOLE),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
        _MISSING,
        _EMBEDDINGS,
    ],
    "openai-v2-experimental": [
        Call.of(_GPT_5_6_SOL, CHAT_WHOLE),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
        _MISSING,
        _EMBEDDINGS,
    ],
    # It leaves out the prompts of tools.
    "google-genai": [Call.of(_FLASH, GEMINI), Call.of(_FLASH, GEMINI_STREAM)],
    # Thoughts and prompts of tools are only in its total, in one.
    "openllmetry-google": [
        Call.of(_FLASH, GEMINI._replace(output=1050 + 118)),
        Call.of(_FLASH, GEMINI_STREAM),
    ],
    "openinference-google": [
        Call.of(_FLASH, GEMINI._replace(input_uncached=2054 + 118)),
        Call.of(_FLASH, GEMINI_STREAM),
    ],
    # It reports no usage of Anthropic's streams.
    "openllmetry-0.44": [
        Call.of(_GPT_5_6_SOL, CHAT._replace(input_uncached=276 + 896, cache_write=None)),
        Call.of(_GPT_6_LUNA, CHAT_STREAM),
        _MISSING,
        Call.of(_GPT_5_6_TERRA, RESPONSES._replace(input_uncached=832 + 2048, cache_write=None)),
        Call.of("text-embedding-3-small", EMBEDDINGS._replace(cache_read=0)),
        Call.of(_SONNET, MESSAGES),
        Call.of(_OPUS, Usage(), "missing"),
    ],
    # It guesses where a stream reports no usage.
    "openlit": [
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_NO_WRITES),
        Call.of("gpt-6-sol", Usage(input_uncached=9, output=24), "estimated"),
        Call.of(_GPT_5_6_TERRA, RESPONSES),
        _EMBEDDINGS,
        Call.of(_SONNET, MESSAGES),
        Call.of(_OPUS, MESSAGES_STREAM),
    ],
    "logfire-5.4": [
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_6_LUNA, CHAT_STREAM),
        _MISSING,
        Call.of(_GPT_5_6_TERRA, RESPONSES),
        _EMBEDDINGS,
        Call.of(_SONNET, MESSAGES),
        Call.of(_OPUS, MESSAGES_STREAM),
    ],
    # Its second agent span repeats the first call too.
    "strands": [
        Call.of(_GPT_6_LUNA, CHAT_STREAM_NO_WRITES),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_NO_WRITES),
        Call.of(_OPUS, MESSAGES_STREAM),
    ],
    "google-adk": [Call.of(_FLASH, GEMINI._replace(input_uncached=2054 + 118))],
    "litellm": [
        Call.of(_GPT_5_6_SOL, CHAT_WHOLE),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
        Call.of(_SONNET, MESSAGES_WHOLE),
        Call.of("text-embedding-3-small", EMBEDDINGS._replace(output=0)),
        Call.of(_GPT_5_6_TERRA, RESPONSES_WHOLE),
    ],
    # It says what was cached of Anthropic's calls alone.
    "litellm-experimental": [
        Call.of(_GPT_5_6_SOL, CHAT_WHOLE),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
        Call.of(_SONNET, MESSAGES),
        Call.of("text-embedding-3-small", EMBEDDINGS._replace(output=0)),
        Call.of(_GPT_5_6_TERRA, RESPONSES_WHOLE),
    ],
    "semantic-kernel": [
        Call.of(_GPT_5_6_SOL, CHAT_WHOLE),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
    ],
    # LangChain loses what was cached where OpenAI names a service tier, and OpenLLMetry says
    # zero of what Anthropic wrote for a lifetime.
    "openllmetry-langchain": [
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
        Call.of(_SONNET, MESSAGES._replace(input_uncached=96 + 3200, cache_write=0)),
    ],
    "openinference-langchain": [
        Call.of(_GPT_5_6_SOL, CHAT._replace(input_uncached=276 + 896, cache_write=None)),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_WHOLE),
        Call.of(_SONNET, MESSAGES),
    ],
    # Of a model that is invoked as it is, nothing is said of the cache.
    "botocore": [
        Call.of(_BEDROCK, Usage(52, 8192, cache_write=1304, output=410)),
        Call.of(_BEDROCK, Usage(input_uncached=96, output=845)),
    ],
    # Its first agent calls the model twice.
    "ai-sdk": [
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_NO_WRITES),
        Call.of(_GPT_5_6_TERRA, RESPONSES),
        Call.of(_SONNET, MESSAGES),
        Call.of(_OPUS, MESSAGES_STREAM),
        _EMBEDDINGS,
    ],
    "ai-sdk-legacy": [
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_5_6_SOL, CHAT),
        Call.of(_GPT_6_LUNA, CHAT_STREAM_NO_WRITES),
        Call.of(_GPT_5_6_TERRA, RESPONSES),
        Call.of(_SONNET, MESSAGES),
        Call.of(_OPUS, MESSAGES_STREAM),
        _EMBEDDINGS,
    ],
}

RULES = {
    "openai-v2": {"otel-openai-v2/1"},
    "openai-v2-experimental": {"otel-genai/1", "otel-openai-v2/1"},
    "google-genai": {"otel-genai/1"},
    "openllmetry-google": {"openllmetry-google/1"},
    "openinference-google": {"openinference/1"},
    "openllmetry-0.44": {"openllmetry/1", "openllmetry-anthropic/1"},
    "openlit": {"openlit/1"},
    "logfire-5.4": {"logfire/1"},
    "strands": {"strands/1"},
    "google-adk": {"google-adk/1"},
    "litellm": {"litellm-default/1"},
    "litellm-experimental": {"litellm/1"},
    "semantic-kernel": {"semantic-kernel/1"},
    "openllmetry-langchain": {"openllmetry-langchain/1"},
    "openinference-langchain": {"openinference/1"},
    "botocore": {"otel-botocore/1"},
    "ai-sdk": {"ai-sdk/1"},
    "ai-sdk-legacy": {"ai-sdk-5/1", "ai-sdk-6/1"},
}


@pytest.fixture(scope="module")
def booked(tmp_path_factory: pytest.TempPathFactory) -> Booked:
    """What the ledger says of each recording."""
    db = tmp_path_factory.mktemp("recorded") / "meter.duckdb"
    with Exporter(db) as exporter:
        for name in RECORDINGS:
            exporter.export(decoded(recorded(name)))
        return standing(db)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_booked_call_by_call(booked: Booked, name: str) -> None:
    """No call is lost, none is booked twice, and no agent, chain or step is one."""
    assert booked[name] == Counter(EXPECTED[name])


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_recognised(name: str) -> None:
    """Every call is read by the rules of its emitter, in the version that sent it."""
    found = [one for body in recorded(name) for one in reduce(body).evidence]
    assert {one.profile.rule for one in found if one.profile.role == "call"} == RULES[name]
