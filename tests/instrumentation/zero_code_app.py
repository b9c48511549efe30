# SPDX-License-Identifier: Apache-2.0
"""An app that knows nothing of metering; run under `opentelemetry-instrument`.

Arguments: the base URLs of OpenAI, Anthropic and Gemini, and a secret that it puts wherever
content goes.
"""

import asyncio
import sys
from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import types

OPENAI, ANTHROPIC, GEMINI, SECRET = sys.argv[1:]
TOOL: Any = {"type": "function", "function": {"name": "f", "description": SECRET}}
PROMPT: Any = [{"role": "user", "content": SECRET}]
HEADERS = {"X-Secret": SECRET, "User-Agent": SECRET}


def main() -> None:
    with openai.OpenAI(base_url=OPENAI, api_key=SECRET, default_headers=HEADERS) as client:
        chat = client.chat.completions
        answer = chat.create(model="gpt-5.6-sol", messages=PROMPT, tools=[TOOL], user="u-7")
        print(answer.choices[0].message.content)
        for chunk in chat.create(
            model="gpt-5.6-sol",
            messages=PROMPT,
            stream=True,
            stream_options={"include_usage": True},
        ):
            print([choice.delta.content for choice in chunk.choices])
        try:
            client.responses.create(model="gpt-6-luna", input=SECRET)
        except openai.BadRequestError as error:
            print(error.status_code)
    asyncio.run(messages())
    options = types.HttpOptions(base_url=GEMINI, headers=HEADERS)
    with genai.Client(api_key=SECRET, http_options=options) as gemini:
        for part in gemini.models.generate_content_stream(
            model="gemini-3.6-flash", contents=SECRET
        ):
            print(part.text)
    with httpx2.Client(params={"key": SECRET}) as client:
        url = OPENAI + "/chat/completions"
        response = client.post(url, json={"model": "gpt-5.6-sol", "prompt": SECRET})
        print(response.status_code)


async def messages() -> None:
    async with (
        anthropic.AsyncAnthropic(
            base_url=ANTHROPIC, api_key=SECRET, default_headers=HEADERS
        ) as client,
        client.messages.stream(
            model="claude-opus-5-5", max_tokens=9, messages=PROMPT, system=SECRET
        ) as stream,
    ):
        async for text in stream.text_stream:
            print(text)


main()
