# SPDX-License-Identifier: Apache-2.0
"""Put the text of the first argument wherever content can be, with every SDK, also in errors."""

import contextlib
import sys

import anthropic
import openai
from google import genai
from openai.types.shared_params import FunctionDefinition

import microdollar

CANARY = sys.argv[1]


def main() -> None:
    """Whole and streamed calls, one refused call per provider."""
    headers = {"x-canary": CANARY, "cookie": CANARY}
    tool = FunctionDefinition(name="look", description=CANARY, parameters={"type": "object"})
    with microdollar.customer("acme"):
        client = openai.OpenAI(api_key=f"sk-{CANARY}", default_headers=headers, max_retries=0)
        for stream in (False, True, False):
            with contextlib.suppress(openai.APIStatusError):
                answer = client.chat.completions.create(
                    model="gpt-6-luna",
                    messages=[
                        {"role": "user", "content": CANARY},
                        {
                            "role": "assistant",
                            "tool_calls": [
                                {
                                    "id": "call_1",
                                    "type": "function",
                                    "function": {"name": "look", "arguments": CANARY},
                                }
                            ],
                        },
                        {"role": "tool", "tool_call_id": "call_1", "content": CANARY},
                    ],
                    tools=[{"type": "function", "function": tool}],
                    metadata={"note": CANARY},
                    stream=stream,
                )
                list(answer)
        claude = anthropic.Anthropic(api_key=f"sk-{CANARY}", default_headers=headers, max_retries=0)
        for stream in (False, True, False):
            with contextlib.suppress(anthropic.APIStatusError):
                message = claude.messages.create(
                    model="claude-haiku-5-5",
                    max_tokens=50,
                    system=CANARY,
                    messages=[{"role": "user", "content": CANARY}],
                    stream=stream,
                )
                list(message)
        gemini = genai.Client(api_key=CANARY)
        for _ in range(2):
            with contextlib.suppress(genai.errors.APIError):
                gemini.models.generate_content(model="gemini-3.5-flash", contents=CANARY)


if __name__ == "__main__":
    main()
