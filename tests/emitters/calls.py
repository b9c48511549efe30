# SPDX-License-Identifier: Apache-2.0
"""The model calls of the sample app. Each has a model of its own, by which its entries are known.

Runs in the apps' environment.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import anthropic
import openai
from opentelemetry import trace

__all__ = ["CALLS", "SECRET", "apart", "at_once"]

SECRET: Final = "canary-4711"
"""What every prompt says, and no file may."""

_PROMPT: Final = [{"role": "user", "content": SECRET}]

Client = Any
"""Of either SDK, synchronous or asynchronous: the methods have the same names."""


@dataclass(frozen=True)
class Call:
    """How to ask for one kind of answer, and what comes back."""

    sdk: Literal["openai", "anthropic"]
    gives: Literal["whole", "stream", "manager of a stream"]
    ask: Callable[[Client], Any]


def _chat(client: Client, model: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=_PROMPT, **more)


def _message(method: Callable[..., Any], model: str, **more: Any) -> Any:
    return method(model=model, max_tokens=9, messages=_PROMPT, **more)


CALLS: Final = {
    "chat": Call("openai", "whole", lambda client: _chat(client, "gpt-5.6-sol")),
    "chat-stream": Call(
        "openai",
        "stream",
        lambda client: _chat(
            client, "gpt-6-luna", stream=True, stream_options={"include_usage": True}
        ),
    ),
    "chat-stream-without-usage": Call(
        "openai", "stream", lambda client: _chat(client, "gpt-6-sol", stream=True)
    ),
    "responses": Call(
        "openai",
        "whole",
        lambda client: client.responses.create(model="gpt-5.6-terra", input=SECRET),
    ),
    "responses-stream": Call(
        "openai",
        "stream",
        lambda client: client.responses.create(model="gpt-5.6-luna", input=SECRET, stream=True),
    ),
    "embeddings": Call(
        "openai",
        "whole",
        lambda client: client.embeddings.create(model="text-embedding-3-small", input=SECRET),
    ),
    "messages": Call(
        "anthropic", "whole", lambda client: _message(client.messages.create, "claude-sonnet-5-5")
    ),
    "messages-stream": Call(
        "anthropic",
        "stream",
        lambda client: _message(client.messages.create, "claude-opus-5-5", stream=True),
    ),
    "messages-stream-helper": Call(
        "anthropic",
        "manager of a stream",
        lambda client: _message(client.messages.stream, "claude-opus-5"),
    ),
}


def apart(names: list[str]) -> None:
    """One call after the other and no span of the app around them: a script."""
    with openai.OpenAI(max_retries=0) as one, anthropic.Anthropic(max_retries=0) as other:
        clients = {"openai": one, "anthropic": other}
        for name in names:
            call = CALLS[name]
            answer = call.ask(clients[call.sdk])
            if call.gives == "stream":
                _drain(answer)
            elif call.gives == "manager of a stream":
                with answer as stream:
                    _drain(stream)


async def at_once(names: list[str], times: int) -> None:
    """Each call so many times at the same time, under one span of the app: a web request."""
    async with (
        openai.AsyncOpenAI(max_retries=0) as one,
        anthropic.AsyncAnthropic(max_retries=0) as other,
    ):
        clients = {"openai": one, "anthropic": other}
        with trace.get_tracer("shop").start_as_current_span("GET /answers"):
            for name in names:
                call = CALLS[name]
                await asyncio.gather(*(_once(call, clients[call.sdk]) for _ in range(times)))


async def _once(call: Call, client: Client) -> None:
    answer = call.ask(client)
    if call.gives == "manager of a stream":
        async with answer as stream:
            await _drain_async(stream)
        return
    answer = await answer
    if call.gives == "stream":
        await _drain_async(answer)


def _drain(stream: Any) -> None:
    for _ in stream:
        pass


async def _drain_async(stream: Any) -> None:
    async for _ in stream:
        pass
