# SPDX-License-Identifier: Apache-2.0
"""Frameworks and SDKs that report their own calls, each with an app that uses it.

Runs in the apps' environment. An app imports its package itself: some patch an SDK on import.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from tests.emitters.calls import SECRET

__all__ = ["FRAMEWORKS"]

_PROMPT: Final[Any] = [{"role": "user", "content": SECRET}]


def weather(city: str) -> str:
    """Say what the weather is."""
    return f"Rain in {city}"


def _pydantic_ai(content: bool) -> None:
    """An agent that uses a tool, one on the Responses API, one streamed, and an embedding."""
    from pydantic_ai import Agent, Embedder
    from pydantic_ai.models.instrumented import InstrumentationSettings

    settings = InstrumentationSettings(include_content=content)
    Agent.instrument_all(settings)
    Embedder.instrument_all(settings)

    agent = Agent("openai-chat:gpt-5.6-sol", name="weather")
    agent.tool_plain(weather)
    agent.run_sync(SECRET)
    Agent("openai-responses:gpt-5.6-terra").run_sync(SECRET)

    async def stream() -> None:
        async with Agent("anthropic:claude-opus-5-5").run_stream(SECRET) as answer:
            await answer.get_output()

    asyncio.run(stream())
    Embedder("openai:text-embedding-3-small").embed_query_sync(SECRET)


def _langfuse(_: bool) -> None:
    """Its drop-in OpenAI client, in an observed function."""
    from langfuse import get_client, observe
    from langfuse.openai import openai

    def answer() -> None:
        client: Any = openai.OpenAI(max_retries=0)
        client.chat.completions.create(model="gpt-5.6-sol", messages=_PROMPT)
        for _ in client.chat.completions.create(
            model="gpt-6-luna",
            messages=_PROMPT,
            stream=True,
            stream_options={"include_usage": True},
        ):
            pass
        client.responses.create(model="gpt-5.6-terra", input=SECRET)
        client.embeddings.create(model="text-embedding-3-small", input=SECRET)

    observe(answer)()
    get_client().flush()


def _langsmith(_: bool) -> None:
    """Wrapped clients in a traced function."""
    import anthropic
    import openai
    from langsmith import Client, traceable
    from langsmith.wrappers import wrap_anthropic, wrap_openai

    langsmith = Client()

    def answer() -> None:
        options: Any = {"tracing_extra": {"client": langsmith}}
        client: Any = wrap_openai(openai.OpenAI(max_retries=0), **options)
        client.chat.completions.create(model="gpt-5.6-sol", messages=_PROMPT)
        for _ in client.chat.completions.create(
            model="gpt-6-luna",
            messages=_PROMPT,
            stream=True,
            stream_options={"include_usage": True},
        ):
            pass
        client.responses.create(model="gpt-5.6-terra", input=SECRET)
        claude: Any = wrap_anthropic(anthropic.Anthropic(max_retries=0), **options)
        claude.messages.create(model="claude-sonnet-5-5", max_tokens=9, messages=_PROMPT)

    traceable(client=langsmith)(answer)()
    langsmith.flush()


def _mistral(_: bool) -> None:
    """The SDK reports its calls by itself where it is asked to."""
    os.environ["MISTRAL_SDK_TELEMETRY"] = "global"
    from mistralai.client import Mistral

    url = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
    with Mistral(api_key="none", server_url=url) as client:
        client.chat.complete(model="mistral-medium-3-5", messages=_PROMPT)
        for _ in client.chat.stream(model="magistral-medium-2509", messages=_PROMPT):
            pass
        client.agents.complete(agent_id="ag_1", messages=_PROMPT)


def _agent_framework(_: bool) -> None:
    """An agent that uses a tool, one on the Responses API, and one streamed."""
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient

    async def run() -> None:
        chat = OpenAIChatCompletionClient(model="gpt-5.6-sol")
        await Agent(chat, name="weather", tools=[weather]).run(SECRET)
        await Agent(OpenAIChatClient(model="gpt-5.6-terra"), name="clerk").run(SECRET)
        streamed = Agent(OpenAIChatCompletionClient(model="gpt-6-luna"), name="clerk")
        async for _ in streamed.run(SECRET, stream=True):
            pass

    asyncio.run(run())


FRAMEWORKS: Final[Mapping[str, Callable[[bool], None]]] = MappingProxyType(
    {
        "pydantic-ai": _pydantic_ai,
        "langfuse": _langfuse,
        "langsmith": _langsmith,
        "mistral": _mistral,
        "agent-framework": _agent_framework,
    }
)
"""Each takes whether content may be on its spans."""
