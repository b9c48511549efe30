# SPDX-License-Identifier: Apache-2.0
"""Speech and transcription, as OpenAI and Mistral report them. OpenAI names no model."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import count, error_type, part
from microdollar.providers.wires import chat

__all__ = ["SPEECH", "TRANSCRIPTION"]


def _transcription(wire: Mapping[str, Any]) -> Usage:
    seconds = wire.get("seconds")
    if isinstance(seconds, int | float) and math.isfinite(seconds):
        whole = count(math.ceil(seconds))
        return Usage() if whole is None else Usage(units={"audio_seconds": whole})
    if "prompt_tokens" in wire:
        return chat.usage(wire)
    return Usage(
        input_uncached=count(wire.get("input_tokens")),
        output=count(wire.get("output_tokens")),
        audio_in=count(part(wire, "input_token_details").get("audio_tokens")),
    )


def _speech(wire: Mapping[str, Any]) -> Usage:
    spoken = count(wire.get("output_tokens"))
    return Usage(input_uncached=count(wire.get("input_tokens")), output=spoken, audio_out=spoken)


def _facts(body: Mapping[str, Any], used: Usage) -> Facts:
    return Facts(
        model=label(body.get("model")),
        error_type=error_type(body.get("error")),
        usage=used,
        complete=bool(used),
    )


def _fold(facts: Facts, now: Facts) -> Facts:
    return now if now.usage else replace(facts, error_type=now.error_type or facts.error_type)


def _read_transcription(body: Mapping[str, Any]) -> Facts:
    return _facts(body, _transcription(part(body, "usage")))


def _read_speech(body: Mapping[str, Any]) -> Facts:
    return _facts(body, _speech(part(body, "usage")))


_MATTERS = re.compile(rb'"usage"\s*:\s*\{|"error"\s*:')
_NAMES = frozenset({b"error"})

TRANSCRIPTION = Endpoint(
    operation="transcription",
    path=re.compile(r"/audio/(?:transcriptions|translations)/?$"),
    read=_read_transcription,
    fold=lambda facts, event: _fold(facts, _read_transcription(event)),
    matters=_MATTERS,
    names=_NAMES,
    exact="tokens, or whole seconds, rounded up, of what is billed by time",
    cut="nothing",
    silent="translations, and the formats text, srt and vtt",
)

SPEECH = Endpoint(
    operation="speech",
    path=re.compile(r"/audio/speech/?$"),
    read=_read_speech,
    fold=lambda facts, event: _fold(facts, _read_speech(event)),
    matters=_MATTERS,
    names=_NAMES,
    exact='tokens, with `stream_format: "sse"`',
    cut="nothing",
    silent="binary answers, the usual kind",
)
