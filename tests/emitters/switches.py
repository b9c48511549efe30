# SPDX-License-Identifier: Apache-2.0
"""What can report a call of the OpenAI or the Anthropic SDK, and how each is switched on.

Runs in the apps' environment.
"""

import os
import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

__all__ = ["CONTENT", "SWITCHES"]

Switch = Callable[[bool], None]
"""Takes whether it may suppress what is beneath it."""


def _instrument(path: str, _: bool) -> None:
    """As `opentelemetry-instrument` does, with the class that the package's entry point names."""
    pkgutil.resolve_name(path)().instrument()


def _logfire(method: str, suppressing: bool) -> None:
    """As its manual says; it suppresses other instrumentation unless told otherwise."""
    arguments: dict[str, Any] = {} if suppressing else {"suppress_other_instrumentation": False}
    pkgutil.resolve_name(f"logfire:{method}")(**arguments)


def _anthropic_sdk(_: bool) -> None:
    """The SDK does it by itself: nothing but this variable keeps it from that."""
    del os.environ["ANTHROPIC_OPEN_TELEMETRY"]


SWITCHES: Final[Mapping[str, Switch]] = MappingProxyType(
    {
        name: partial(_instrument, path)
        for name, path in {
            "microdollar": "microdollar.instrumentor:MicrodollarInstrumentor",
            "genai-openai": "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
            "genai-anthropic": (
                "opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor"
            ),
            "openinference-openai": "openinference.instrumentation.openai:OpenAIInstrumentor",
            "openinference-anthropic": (
                "openinference.instrumentation.anthropic:AnthropicInstrumentor"
            ),
            "openllmetry-openai": "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
            "openllmetry-anthropic": (
                "opentelemetry.instrumentation.anthropic:AnthropicInstrumentor"
            ),
        }.items()
    }
    | {
        "anthropic-sdk": _anthropic_sdk,
        "logfire-openai": partial(_logfire, "instrument_openai"),
        "logfire-anthropic": partial(_logfire, "instrument_anthropic"),
    }
)

CONTENT: Final = MappingProxyType(
    {
        False: {
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT",
            "TRACELOOP_TRACE_CONTENT": "false",
            "OPENINFERENCE_HIDE_INPUTS": "true",
            "OPENINFERENCE_HIDE_OUTPUTS": "true",
            "LANGSMITH_HIDE_INPUTS": "true",
            "ENABLE_SENSITIVE_DATA": "false",
        },
        True: {
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
            "TRACELOOP_TRACE_CONTENT": "true",
            "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
            "ENABLE_SENSITIVE_DATA": "true",
        },
    }
)
"""The variables that keep content out of spans, as far as a package has one, and let it in.

Hiding LangSmith's outputs would hide the usage with them.
"""
