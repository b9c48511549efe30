# SPDX-License-Identifier: Apache-2.0
"""Apps for packages that do not install together with the others. `record.py` runs them.

Each runs in an environment of its own, as `python -m tests.emitters.isolated APP`.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

__all__: list[str] = []

_SECRET: Final = "canary-4711"
_PROMPT: Final[Any] = [{"role": "user", "content": _SECRET}]


def _openai(*, responses: bool = True) -> None:
    import openai

    client: Any = openai.OpenAI(max_retries=0)
    chat = client.chat.completions.create
    chat(model="gpt-5.6-sol", messages=_PROMPT)
    usage = {"include_usage": True}
    _drain(chat(model="gpt-6-luna", messages=_PROMPT, stream=True, stream_options=usage))
    _drain(chat(model="gpt-6-sol", messages=_PROMPT, stream=True))
    if responses:
        client.responses.create(model="gpt-5.6-terra", input=_SECRET)
    client.embeddings.create(model="text-embedding-3-small", input=_SECRET)


def _anthropic() -> None:
    import anthropic

    create: Any = anthropic.Anthropic(max_retries=0).messages.create
    create(model="claude-sonnet-5-5", max_tokens=9, messages=_PROMPT)
    _drain(create(model="claude-opus-5-5", max_tokens=9, messages=_PROMPT, stream=True))


def _gemini() -> None:
    from google import genai

    base_url = os.environ["GOOGLE_GEMINI_BASE_URL"]
    client = genai.Client(http_options=genai.types.HttpOptions(base_url=base_url))
    client.models.generate_content(model="gemini-3.6-flash", contents=_SECRET)
    _drain(client.models.generate_content_stream(model="gemini-3.6-flash", contents=_SECRET))


def _drain(stream: Any) -> None:
    for _ in stream:
        pass


def weather(city: str) -> str:
    """Say what the weather is."""
    return f"Rain in {city}"


def openai_v2() -> None:
    """OpenTelemetry's older OpenAI instrumentation. It knows no Responses API."""
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    _openai()


def google_genai() -> None:
    """OpenTelemetry's."""
    from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

    GoogleGenAiSdkInstrumentor().instrument()
    _gemini()


def google_openllmetry() -> None:
    """OpenLLMetry's."""
    from opentelemetry.instrumentation.google_generativeai import GoogleGenerativeAiInstrumentor

    GoogleGenerativeAiInstrumentor().instrument()
    _gemini()


def google_openinference() -> None:
    """OpenInference's."""
    from openinference.instrumentation.google_genai import GoogleGenAIInstrumentor

    GoogleGenAIInstrumentor().instrument()
    _gemini()


def openllmetry() -> None:
    """Both of OpenLLMetry's."""
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()
    _openai()
    _anthropic()


def openlit() -> None:
    """With what it switches on by itself."""
    import openlit

    openlit.init(disable_metrics=True, capture_message_content=True)
    _openai()
    _anthropic()


def logfire() -> None:
    """Set up by its own function."""
    import logfire

    logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    logfire.instrument_openai()
    logfire.instrument_anthropic()
    _openai()
    _anthropic()
    logfire.force_flush()


def strands() -> None:
    """The same agent twice, since it reports the sums of its life."""
    from strands import Agent, tool
    from strands.models.anthropic import AnthropicModel
    from strands.models.openai import OpenAIModel

    options = {"client_args": {"max_retries": 0}}
    chat = OpenAIModel(model_id="gpt-6-luna", **options)
    agent = Agent(model=chat, tools=[tool(weather)], name="weather", callback_handler=None)
    agent(_SECRET)
    agent(_SECRET)
    claude = AnthropicModel(model_id="claude-opus-5-5", max_tokens=9, **options)
    Agent(model=claude, callback_handler=None)(_SECRET)


def google_adk() -> None:
    """One turn of an agent."""
    from google.adk.agents import Agent
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    async def run() -> None:
        agent = Agent(name="weather", model="gemini-3.6-flash", instruction=_SECRET)
        runner = InMemoryRunner(agent=agent, app_name="shop")
        session = await runner.session_service.create_session(app_name="shop", user_id="u1")
        asked = types.Content(role="user", parts=[types.Part(text=_SECRET)])
        async for _ in runner.run_async(user_id="u1", session_id=session.id, new_message=asked):
            pass

    asyncio.run(run())


def litellm() -> None:
    """Its callback sends from a thread of its own, a while after the call."""
    import litellm

    litellm.callbacks = ["otel"]
    openai = os.environ["OPENAI_BASE_URL"]
    claude = os.environ["ANTHROPIC_BASE_URL"]
    end_user = {"user_api_key_end_user_id": "acme"}
    litellm.completion("openai/gpt-5.6-sol", _PROMPT, api_base=openai, metadata=end_user)
    usage = {"include_usage": True}
    _drain(
        litellm.completion(
            "openai/gpt-6-luna", _PROMPT, api_base=openai, stream=True, stream_options=usage
        )
    )
    litellm.completion("anthropic/claude-sonnet-5-5", _PROMPT, api_base=claude)
    litellm.embedding("openai/text-embedding-3-small", [_SECRET], api_base=openai)
    litellm.responses(model="openai/gpt-5.6-terra", input=_SECRET, api_base=openai)
    time.sleep(5)


def semantic_kernel() -> None:
    """Whole and streamed."""
    from semantic_kernel.connectors.ai.open_ai import (
        OpenAIChatCompletion,
        OpenAIChatPromptExecutionSettings,
    )
    from semantic_kernel.contents import ChatHistory

    async def run() -> None:
        history = ChatHistory()
        history.add_user_message(_SECRET)
        settings = OpenAIChatPromptExecutionSettings()
        chat = OpenAIChatCompletion(ai_model_id="gpt-5.6-sol")
        await chat.get_chat_message_contents(history, settings)
        streamed = OpenAIChatCompletion(ai_model_id="gpt-6-luna")
        async for _ in streamed.get_streaming_chat_message_contents(history, settings):
            pass

    asyncio.run(run())


def langchain_openllmetry() -> None:
    """OpenLLMetry's."""
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument()
    _langchain()


def langchain_openinference() -> None:
    """OpenInference's."""
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument()
    _langchain()


def _langchain() -> None:
    from langchain_anthropic import ChatAnthropic
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    prompt = ChatPromptTemplate.from_messages([("user", "{question}")])
    chain = prompt | ChatOpenAI(model="gpt-5.6-sol", max_retries=0, use_responses_api=False)
    chain.invoke({"question": _SECRET})
    streamed = prompt | ChatOpenAI(
        model="gpt-6-luna", max_retries=0, use_responses_api=False, stream_usage=True
    )
    _drain(streamed.stream({"question": _SECRET}))
    ChatAnthropic(model="claude-sonnet-5-5", max_retries=0).invoke(_SECRET)


def botocore() -> None:
    """Bedrock's two ways of asking."""
    import boto3
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    BotocoreInstrumentor().instrument()
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=os.environ["OPENAI_BASE_URL"].removesuffix("/v1"),
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    model = "anthropic.claude-sonnet-5-5-v1:0"
    client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": _SECRET}]}])
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": _PROMPT}
    client.invoke_model(modelId=model, body=json.dumps(body))


_SETS_ITSELF_UP: Final = (logfire,)


def main(name: str) -> None:
    """Run one app, which sends its spans as they end."""
    app: Callable[[], None] = globals()[name]
    if app not in _SETS_ITSELF_UP:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    app()


if __name__ == "__main__":
    main(sys.argv[1])
