# SPDX-License-Identifier: Apache-2.0
"""What each emitter says of the sample app's calls, as far as it says it.

Read off the samples' own usage objects: what an emitter leaves out is None here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from microdollar_exporter.usage import Usage

__all__ = ["ANTHROPIC", "CALLS", "EMITTERS", "MISSING", "MODELS", "OPENAI", "RULES"]

OPENAI: Final[tuple[str, ...]] = (
    *("microdollar", "genai-openai", "openinference-openai"),
    *("openllmetry-openai", "logfire-openai"),
)
"""The emitters of OpenAI calls, the most credible first."""

ANTHROPIC: Final[tuple[str, ...]] = (
    *("microdollar", "anthropic-sdk", "genai-anthropic", "openinference-anthropic"),
    *("openllmetry-anthropic", "logfire-anthropic"),
)
"""The emitters of Anthropic calls, the most credible first."""

MODELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chat": "gpt-5.6-sol",
        "chat-stream": "gpt-6-luna",
        "chat-stream-without-usage": "gpt-6-sol",
        "responses": "gpt-5.6-terra",
        "responses-stream": "gpt-5.6-luna",
        "embeddings": "text-embedding-3-small",
        "messages": "claude-sonnet-5-5",
        "messages-stream": "claude-opus-5-5",
        "messages-stream-helper": "claude-opus-5",
    }
)
"""Each kind of call has a model of its own."""

CALLS: Final = MappingProxyType(
    {
        emitters: tuple(kind for kind, model in MODELS.items() if model.startswith(prefix))
        for emitters, prefix in ((OPENAI, ("gpt", "text")), (ANTHROPIC, ("claude",)))
    }
)
"""The kinds of calls that emitters can see."""

MISSING: Final = Usage()

_CHAT = Usage(input_uncached=276, cache_read=3840, cache_write=896, output=742, reasoning=512)
_CHAT_STREAM = Usage(input_uncached=256, cache_read=2048, output=188, reasoning=128)
_RESPONSES = Usage(
    input_uncached=832, cache_read=15360, cache_write=2048, output=1310, reasoning=960
)
_RESPONSES_STREAM = Usage(input_uncached=484, cache_read=2816, output=415, reasoning=320)
_EMBEDDINGS = Usage(input_uncached=26)
_MESSAGES = Usage(input_uncached=96, cache_read=11000, cache_write=3200, output=845, reasoning=500)
_MESSAGES_STREAM = Usage(
    input_uncached=41, cache_read=8000, cache_write=1500, output=312, reasoning=190
)
_NO_WRITES: dict[str, Any] = {"cache_write_5m": 0, "cache_write_1h": 0}
_NO_AUDIO: dict[str, Any] = {"audio_in": 0, "audio_out": 0}


def _openai(
    chat: Usage, chat_stream: Usage, responses: Usage, responses_stream: Usage, embeddings: Usage
) -> dict[str, Usage]:
    return {
        "chat": chat,
        "chat-stream": chat_stream,
        "chat-stream-without-usage": MISSING,
        "responses": responses,
        "responses-stream": responses_stream,
        "embeddings": embeddings,
    }


def _anthropic(messages: Usage, stream: Usage) -> dict[str, Usage]:
    return {"messages": messages, "messages-stream": stream, "messages-stream-helper": stream}


_MESSAGES_BY_LIFETIME = _MESSAGES._replace(cache_write_5m=1200, cache_write_1h=2000, cache_write=0)
_STREAM_BY_LIFETIME = _MESSAGES_STREAM._replace(
    cache_write_5m=500, cache_write_1h=1000, cache_write=0
)

EMITTERS: Final[Mapping[str, Mapping[str, Usage]]] = MappingProxyType(
    {
        "microdollar": _openai(
            _CHAT._replace(**_NO_WRITES, **_NO_AUDIO),
            _CHAT_STREAM._replace(cache_write=0, **_NO_WRITES, **_NO_AUDIO),
            _RESPONSES._replace(**_NO_WRITES, units={"web_search": 2}),
            _RESPONSES_STREAM._replace(cache_write=0, **_NO_WRITES),
            _EMBEDDINGS._replace(output=0),
        )
        | _anthropic(
            _MESSAGES_BY_LIFETIME._replace(units={"web_search": 2, "web_fetch": 1}),
            _STREAM_BY_LIFETIME,
        ),
        "anthropic-sdk": _anthropic(_MESSAGES_BY_LIFETIME, _STREAM_BY_LIFETIME),
        "genai-openai": _openai(_CHAT, _CHAT_STREAM, _RESPONSES, _RESPONSES_STREAM, _EMBEDDINGS),
        "genai-anthropic": _anthropic(_MESSAGES, _MESSAGES_STREAM),
        "openinference-openai": _openai(
            _CHAT._replace(**_NO_AUDIO),
            _CHAT_STREAM._replace(cache_write=0, **_NO_AUDIO),
            _RESPONSES,
            _RESPONSES_STREAM._replace(cache_write=0),
            _EMBEDDINGS,
        ),
        "openinference-anthropic": _anthropic(_MESSAGES, _MESSAGES_STREAM),
        # It never sees what OpenAI writes to a cache, nor the reasoning of a streamed chat.
        "openllmetry-openai": _openai(
            _CHAT._replace(input_uncached=276 + 896, cache_write=None),
            _CHAT_STREAM._replace(reasoning=None),
            _RESPONSES._replace(input_uncached=832 + 2048, cache_write=None),
            _RESPONSES_STREAM,
            _EMBEDDINGS._replace(cache_read=0),
        ),
        # It adds the first event's output to the last one's.
        "openllmetry-anthropic": _anthropic(
            _MESSAGES._replace(reasoning=None),
            _MESSAGES_STREAM._replace(output=312 + 3, reasoning=None),
        ),
        # Version 5.2 says nothing of the cache.
        "logfire-openai": _openai(
            Usage(input_uncached=5012, output=742),
            Usage(input_uncached=2304, output=188),
            Usage(input_uncached=18240, output=1310),
            Usage(input_uncached=3300, output=415),
            _EMBEDDINGS,
        ),
        "logfire-anthropic": _anthropic(
            Usage(input_uncached=14296, output=845), Usage(input_uncached=9541, output=312)
        ),
    }
)
"""The usage each emitter reports of each kind of call when it is the only one."""

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "microdollar": "microdollar/1",
        "anthropic-sdk": "anthropic-sdk/1",
        "genai-openai": "otel-genai/1",
        "genai-anthropic": "otel-genai/1",
        "openinference-openai": "openinference/1",
        "openinference-anthropic": "openinference/1",
        "openllmetry-openai": "openllmetry/1",
        "openllmetry-anthropic": "openllmetry-anthropic/1",
        "logfire-openai": "logfire-5.2/1",
        "logfire-anthropic": "logfire-5.2/1",
    }
)
"""The dialect rule that reads each emitter."""
