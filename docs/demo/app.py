# SPDX-License-Identifier: Apache-2.0
"""An ordinary app that resells AI: four customers, three providers, no arithmetic.

All it does for its meter is to say whom a call is for; `opentelemetry-instrument python app.py`
does the rest. The SDKs take their addresses and keys from the environment: `OPENAI_BASE_URL`,
`ANTHROPIC_BASE_URL`, `GOOGLE_GEMINI_BASE_URL`, `OPENAI_API_KEY`, `ANTHROPIC_API_KEY`,
`GEMINI_API_KEY`.
"""

import asyncio

from anthropic import Anthropic, AsyncAnthropic, BadRequestError
from google import genai
from openai import AsyncOpenAI, OpenAI

from microdollar import customer

openai = OpenAI()
anthropic = Anthropic()
gemini = genai.Client()


def main() -> None:
    """One busy minute of the app."""
    # A context manager around ordinary code: every call inside belongs to the customer.
    with customer("acme", user="u1", feature="assistant"):
        ask("gpt-5.6-sol")
    with customer("acme", user="u2", feature="assistant"):
        review("claude-sonnet-5-5")
    with customer("acme", feature="summary"):
        summarise()

    search()
    with customer("globex", user="u3", feature="translate"):
        gemini.models.generate_content(model="gemini-3.5-flash", contents="Translate this page.")
        done("globex: translated a page")

    # A header on one request says it as well. It does not reach the provider.
    ask("gpt-6-luna", headers={"X-Microdollar-Customer": "initech"})
    with customer("initech", feature="classify"):
        ask("gpt-6.1-terra")  # the first attempt meets a rate limit, the SDK tries again

    with customer("umbrella", feature="notes"):
        take_notes()
    with customer("umbrella", feature="archive"):
        try:
            review("claude-opus-5-5")
        except BadRequestError:
            done("umbrella: the prompt was too long, the provider refused it")
    with customer("umbrella", feature="lab"):
        ask("nebula-1")  # a model that no price list knows

    asyncio.run(work_at_the_same_time())

    review("claude-haiku-5-5")  # nobody said whom this is for


def ask(model: str, headers: dict[str, str] | None = None) -> None:
    """OpenAI chat completions."""
    openai.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is on my list today?"}],
        extra_headers=headers,
    )
    done(f"asked {model}")


def review(model: str) -> None:
    """Anthropic messages."""
    anthropic.messages.create(
        model=model,
        max_tokens=500,
        messages=[{"role": "user", "content": "Review this contract."}],
    )
    done(f"had a contract reviewed by {model}")


def summarise() -> None:
    """OpenAI responses, streamed."""
    stream = openai.responses.create(model="gpt-6-luna", input="Sum up this report.", stream=True)
    events = sum(1 for _ in stream)
    done(f"acme: summary streamed in {events} events")


# A decorator does the same for a whole function, synchronous or not.
@customer("globex", user="u3", feature="search")
def search() -> None:
    """OpenAI embeddings, then a chat completion streamed with its usage."""
    openai.embeddings.create(model="text-embedding-3-small", input="boats in the harbour")
    stream = openai.chat.completions.create(
        model="gpt-6-luna",
        messages=[{"role": "user", "content": "Which of these pages fits best?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = sum(1 for _ in stream)
    done(f"globex: search answered in {chunks} chunks")


def take_notes() -> None:
    """A chat completion streamed without asking for usage: its tokens stay unknown."""
    stream = openai.chat.completions.create(
        model="gpt-5.6-sol",
        messages=[{"role": "user", "content": "Take notes."}],
        stream=True,
    )
    chunks = sum(1 for _ in stream)
    done(f"umbrella: notes streamed in {chunks} chunks")


async def work_at_the_same_time() -> None:
    """Three customers at once, each in a task of its own."""
    await asyncio.gather(sort_inbox(), make_plan(), write_report())


@customer("globex", user="u4", feature="inbox")
async def sort_inbox() -> None:
    """Anthropic messages, asynchronous and streamed."""
    async with (
        AsyncAnthropic() as client,
        client.messages.stream(
            model="claude-haiku-5-5",
            max_tokens=500,
            messages=[{"role": "user", "content": "Sort my inbox."}],
        ) as stream,
    ):
        await stream.get_final_message()
    done("globex: inbox sorted")


@customer("initech", user="u5", feature="plan")
async def make_plan() -> None:
    """OpenAI responses, asynchronous."""
    async with AsyncOpenAI() as client:
        await client.responses.create(model="gpt-5.6-sol", input="Plan the next quarter.")
    done("initech: plan made")


@customer("umbrella", feature="report")
async def write_report() -> None:
    """Gemini, asynchronous and streamed."""
    async with genai.Client().aio as client:
        stream = await client.models.generate_content_stream(
            model="gemini-3.5-flash-lite", contents="Write the weekly report."
        )
        chunks = [chunk async for chunk in stream]
    done(f"umbrella: report streamed in {len(chunks)} chunks")


def done(what: str) -> None:
    """Show progress."""
    print(f"  {what}", flush=True)


if __name__ == "__main__":
    main()
