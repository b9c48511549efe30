# SPDX-License-Identifier: Apache-2.0
"""Turning nested counts into disjoint buckets: our own spans, then everybody's."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.dialects import DIALECTS, UnknownRule
from microdollar_exporter.dialects.usage_names import KNOWN
from microdollar_exporter.normalise import normalise
from microdollar_exporter.reduce import reduce
from microdollar_exporter.usage import BUCKETS, Usage, UsageRow
from tests.exporter.emitted import emitted, row
from tests.fakes.otlp import Value, call, request


def rows(**changes: Value | None) -> list[UsageRow]:
    """The usage rows of a call of ours with these attributes."""
    body = request(call(**changes)).SerializeToString()  # type: ignore[arg-type]
    (evidence,) = reduce(body).evidence
    return normalise(evidence)


def usage(**counts: int | None) -> Usage:
    """The usage of a call with exactly these `gen_ai.usage` counts."""
    cleared: dict[str, Any] = {
        "gen_ai__usage__input_tokens": None,
        "gen_ai__usage__cache_read__input_tokens": None,
        "gen_ai__usage__output_tokens": None,
    }
    (found,) = rows(**cleared | counts)
    return found.usage


def test_cache_and_tool_input_are_taken_out_of_the_input() -> None:
    """6,268 tokens of input of which 4,096 were cached and 118 came from tools."""
    found = usage(
        gen_ai__usage__input_tokens=6268,
        gen_ai__usage__cache_read__input_tokens=4096,
        microdollar__usage__tool__input_tokens=118,
        gen_ai__usage__output_tokens=1050,
        gen_ai__usage__reasoning__output_tokens=830,
    )
    assert found == Usage(
        input_uncached=2054, cache_read=4096, input_tool=118, output=1050, reasoning=830
    )


def test_cache_writes_are_split_by_their_lifetime() -> None:
    """What is neither 5 minutes nor 1 hour stays `cache_write`."""
    found = usage(
        gen_ai__usage__input_tokens=5000,
        gen_ai__usage__cache_write__input_tokens=3300,
        microdollar__usage__cache_write_5m__input_tokens=1200,
        microdollar__usage__cache_write_1h__input_tokens=2000,
    )
    assert found == Usage(
        input_uncached=1700, cache_write_5m=1200, cache_write_1h=2000, cache_write=100
    )


def test_what_was_not_reported_stays_unknown() -> None:
    """Absent is not zero."""
    assert usage() == Usage()
    assert usage(gen_ai__usage__input_tokens=7) == Usage(input_uncached=7)
    assert usage(gen_ai__usage__cache_read__input_tokens=0) == Usage(cache_read=0)


def test_parts_that_exceed_the_whole_are_put_right_and_said() -> None:
    """A negative bucket would be a credit nobody gave."""
    (found,) = rows(
        gen_ai__usage__input_tokens=99,
        gen_ai__usage__cache_write__input_tokens=1,
        microdollar__usage__cache_write_5m__input_tokens=3,
    )
    assert (found.usage.input_uncached, found.usage.cache_write) == (0, 0)
    assert found.notes == (
        "cache and tool input exceed the input by 4 tokens",
        "5 m and 1 h cache writes exceed all writes by 2 tokens",
    )


def test_writes_of_known_lifetime_are_taken_out_even_where_all_writes_are_not_reported() -> None:
    """Else they would be counted, and charged, twice."""
    found = usage(
        gen_ai__usage__input_tokens=5000, microdollar__usage__cache_write_5m__input_tokens=1200
    )
    assert found == Usage(input_uncached=3800, cache_write_5m=1200)


def test_what_could_not_be_read_is_noted() -> None:
    """A count of the wrong type is not the same as none."""
    (found,) = rows(gen_ai__usage__cache_read__input_tokens="many", gen_ai__usage__output_tokens=-5)
    assert found.usage == Usage(input_uncached=1000)
    assert found.notes == (
        "not read: gen_ai.usage.cache_read.input_tokens,gen_ai.usage.output_tokens",
    )


def test_a_usage_source_that_is_none_of_ours_counts_as_missing() -> None:
    """And is noted."""
    (found,) = rows(microdollar__usage__source="banana")
    assert (found.source, found.notes) == ("missing", ("the usage source is not said",))


def test_a_further_model_gets_a_row_of_its_own_that_counts_no_call() -> None:
    """One response can hold the work of several models."""
    own, further = rows(
        microdollar__usage__additional='[{"model":"gpt-image-2","input_uncached":112,"output":9}]'
    )
    assert (own.calls, own.position, own.response_model) == (1, 0, "gpt-6-luna")
    assert (further.calls, further.position, further.response_model) == (0, 1, "gpt-image-2")
    assert further.request_model is None
    assert further.usage == Usage(input_uncached=112, output=9)


def test_units_carry_their_names() -> None:
    """Web searches are not tokens."""
    (found,) = rows(microdollar__usage__units__web_search=2)
    assert found.usage.units == {"web_search": 2}


def test_a_call_that_says_nothing_of_its_usage_source_counts_as_missing() -> None:
    """Silence is not a report."""
    (found,) = rows(microdollar__usage__source=None)
    assert found.source == "missing"


COUNT = st.none() | st.integers(0, 2**53)


@given(
    uncached=st.integers(0, 2**40),
    read=COUNT,
    write_5m=COUNT,
    write_1h=COUNT,
    other=COUNT,
    tool=COUNT,
)
def test_the_buckets_add_up_to_the_input_again(
    uncached: int,
    read: int | None,
    write_5m: int | None,
    write_1h: int | None,
    other: int | None,
    tool: int | None,
) -> None:
    """Nothing is counted twice and nothing is lost, whatever is reported."""
    written = None
    if (write_5m, write_1h, other) != (None, None, None):
        written = (write_5m or 0) + (write_1h or 0) + (other or 0)
    total = uncached + (read or 0) + (written or 0) + (tool or 0)
    if max(total, written or 0) > 2**53:
        return
    found = usage(
        gen_ai__usage__input_tokens=total,
        gen_ai__usage__cache_read__input_tokens=read,
        gen_ai__usage__cache_write__input_tokens=written,
        microdollar__usage__cache_write_5m__input_tokens=write_5m,
        microdollar__usage__cache_write_1h__input_tokens=write_1h,
        microdollar__usage__tool__input_tokens=tool,
    )
    assert found.input_uncached == uncached
    assert (found.cache_read, found.input_tool) == (read, tool)
    assert (found.cache_write_5m, found.cache_write_1h) == (write_5m, write_1h)
    assert found.cache_write == (None if written is None else (other or 0))


OTEL = "opentelemetry.instrumentation."


def chat(**counts: Value | None) -> dict[str, Value]:
    """A chat of someone else's with these `gen_ai.usage` counts, with `__` for their dots."""
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-6-luna",
        **{f"gen_ai.usage.{name.replace('__', '.')}": count for name, count in counts.items()},
    }
    return {name: value for name, value in attributes.items() if value is not None}


def test_a_cache_larger_than_the_input_proves_that_the_input_leaves_it_out() -> None:
    """Whatever the tables say of the emitter; what contradicts them is noted."""
    counts = chat(input_tokens=12, cache_read__input_tokens=13, output_tokens=40)
    found = row(OTEL + "genai.openai", counts)
    assert found.usage == Usage(input_uncached=12, cache_read=13, output=40)
    assert found.notes == ("input of 12 tokens read as without the cache: the cache has 1 more",)

    counts = chat(input_tokens=12, cache_read__input_tokens=12, output_tokens=40)
    found = row(OTEL + "genai.openai", counts)
    assert found.usage == Usage(input_uncached=0, cache_read=12, output=40)
    assert found.notes == ()


def test_reads_and_writes_together_are_the_cache() -> None:
    """Seven read and six written are more than twelve."""
    counts = chat(input_tokens=12, cache_read__input_tokens=7, cache_write__input_tokens=6)
    assert row(OTEL + "genai.openai", counts).usage == Usage(
        input_uncached=12, cache_read=7, cache_write=6
    )
    counts = chat(input_tokens=13, cache_read__input_tokens=7, cache_write__input_tokens=6)
    assert row(OTEL + "genai.openai", counts).usage.input_uncached == 0


def test_a_providers_total_that_adds_the_cache_proves_that_the_input_leaves_it_out() -> None:
    """2,000 and 1,000 and 40 are 3,040; 3,041 prove nothing."""
    counts = {"input_tokens": 2000, "cache_read__input_tokens": 1000, "output_tokens": 40}
    scope = OTEL + "openai.v1"
    found = row(scope, chat(**counts, total_tokens=3040))
    assert found.usage.input_uncached == 2000
    assert found.notes == (
        "input of 2000 tokens read as without the cache: the total of 3040 adds it",
    )
    found = row(scope, chat(**counts, total_tokens=3041))
    assert (found.usage.input_uncached, found.notes) == (1000, ())


def test_a_total_of_input_and_output_proves_nothing() -> None:
    """OpenLLMetry's Bedrock package adds up 12 and 40 and leaves out 1,000 of the cache."""
    counts = chat(
        input_tokens=1200, cache_read__input_tokens=1000, output_tokens=40, total_tokens=1240
    )
    assert row(OTEL + "bedrock", counts).usage.input_uncached == 1200
    assert row(OTEL + "openai.v1", counts).usage.input_uncached == 200


def test_a_total_that_holds_more_than_the_others_proves_nothing() -> None:
    """A Gemini answer's 1,000 thoughts are not the 1,000 tokens of its cache."""
    counts = chat(
        input_tokens=2000, cache_read__input_tokens=1000, output_tokens=40, total_tokens=3040
    )
    found = row(OTEL + "google_generativeai", counts)
    assert found.usage == Usage(input_uncached=1000, cache_read=1000, output=1040, reasoning=1000)


def test_where_nothing_tells_the_smaller_reading_is_billed_and_both_are_noted() -> None:
    """LangChain's packages for Bedrock do both."""
    counts: dict[str, Value] = {
        **chat(input_tokens=1012, cache_read__input_tokens=1000, output_tokens=40),
        "gen_ai.provider.name": "aws.bedrock",
    }
    found = row(OTEL + "langchain", counts)
    assert found.usage == Usage(input_uncached=12, cache_read=1000, output=40)
    assert found.notes == (
        "ambiguous: input of 1012 tokens may include 1000 of the cache or not; "
        "12 taken as uncached, else 1012",
    )
    # A proof leaves no doubt to note.
    counts["gen_ai.usage.input_tokens"] = 999
    found = row(OTEL + "langchain", counts)
    assert (found.usage.input_uncached, found.notes) == (999, ())


@pytest.mark.parametrize(
    ("scope", "version", "provider", "uncached", "noted"),
    [
        (OTEL + "langchain", "0.62.4", "openai", 12, False),
        (OTEL + "langchain", "0.62.4", "anthropic", 12, False),
        (OTEL + "langchain", "0.62.4", "aws.bedrock", 12, True),
        ("openlit.instrumentation.openai", "", "openai", 12, False),
        ("openlit.instrumentation.anthropic", "", "anthropic", 20, False),
        ("openlit.instrumentation.bedrock", "", "aws.bedrock", 20, False),
        ("ai", "", "openai.chat", 12, False),
        ("ai", "", "anthropic.messages", 12, True),
        ("ai", "", "amazon-bedrock", 12, True),
        ("ai", "", "google.vertex.chat", 12, True),
        ("gen_ai", "", "anthropic", 12, False),
        ("agentgateway", "", "openai", 12, False),
        ("agentgateway", "", "anthropic", 20, False),
        ("agent_framework", "1.23.0", "openai", 12, False),
        ("agent_framework", "1.23.0", "anthropic", 20, False),
        ("org.springframework.boot", "", "openai", 12, False),
        ("org.springframework.boot", "", "anthropic", 20, False),
        ("org.springframework.boot", "", "bedrock_converse", 12, True),
        ("logfire.anthropic", "4.30.0", "anthropic", 20, False),
        ("logfire.openai", "4.30.0", "openai", 12, False),
        ("logfire.anthropic", "5.2.0", "anthropic", 12, False),
        ("pydantic-ai", "2.68.0", "aws.bedrock", 12, False),
        (OTEL + "bedrock", "0.62.4", "aws.bedrock", 20, False),
        (OTEL + "botocore.bedrock-runtime", "0.66b2", "aws.bedrock", 20, False),
        ("com.anthropic.sdk.python", "2.11.0", "anthropic", 12, False),
        ("litellm", "", "anthropic", 12, False),
        ("shop.llm", "", "anthropic", 12, True),
    ],
)
@pytest.mark.parametrize("key", ["gen_ai.provider.name", "gen_ai.system"])
def test_what_input_means_where_no_count_proves_it(
    scope: str, version: str, provider: str, uncached: int, noted: bool, key: str
) -> None:
    """Twenty tokens and eight of a cache: inside or beside, as the emitter has it."""
    attributes = chat(input_tokens=20, cache_read__input_tokens=8, output_tokens=40)
    del attributes["gen_ai.provider.name"]
    found = row(scope, {**attributes, key: provider}, version=version)
    assert found.usage == Usage(input_uncached=uncached, cache_read=8, output=40)
    assert bool(found.notes) is noted


@pytest.mark.parametrize("cached", [None, 0])
def test_without_a_cache_there_is_no_doubt_about_it(cached: int | None) -> None:
    """Both readings are the same."""
    found = row("shop.llm", chat(input_tokens=12, cache_read__input_tokens=cached, output_tokens=4))
    assert (found.usage.input_uncached, found.notes) == (12, ())


def test_reasoning_is_part_of_the_output() -> None:
    """It is not added."""
    found = row(OTEL + "genai.openai", chat(output_tokens=40, reasoning__output_tokens=30))
    assert found.usage == Usage(output=40, reasoning=30)


@pytest.mark.parametrize(
    ("total", "output", "reasoning", "note"),
    [
        (52, 40, None, None),
        (60, 48, 8, "output raised by 8 tokens of the total that are neither input nor output"),
        (51, 40, None, "input and output exceed the total by 1 tokens"),
        (None, 40, None, "the output may lack the tokens of thoughts: no total is reported"),
    ],
)
def test_thoughts_that_the_output_leaves_out_are_found_in_the_total(
    total: int | None, output: int, reasoning: int | None, note: str | None
) -> None:
    """OpenLLMetry reports a Gemini answer's candidates alone."""
    counts = chat(input_tokens=12, output_tokens=40, total_tokens=total)
    found = row(OTEL + "google_generativeai", counts)
    assert found.usage == Usage(input_uncached=12, output=output, reasoning=reasoning)
    assert [said.split(":")[0] for said in found.notes] == ([note.split(":")[0]] if note else [])


@pytest.mark.parametrize(
    ("scope", "version", "stream", "note"),
    [
        (OTEL + "anthropic", "0.62.4", True, "counts a few tokens of a stream's output twice"),
        (OTEL + "anthropic", "0.62.4", False, None),
        ("openlit.instrumentation.openai", "", True, "guesses the tokens of streams that report"),
        (OTEL + "openai.v1", "0.62.4", True, None),
    ],
)
def test_counts_that_an_emitter_is_known_to_get_wrong_are_noted(
    scope: str, version: str, stream: bool, note: str | None
) -> None:
    """They are billed as they are: nobody can tell by how much they are wrong."""
    attributes = chat(input_tokens=12, output_tokens=40)
    name = "gen_ai.is_streaming" if scope.startswith(OTEL) else "gen_ai.request.stream"
    found = row(scope, {**attributes, name: stream}, version=version)
    assert found.usage == Usage(input_uncached=12, output=40)
    assert [note in said for said in found.notes] == ([True] if note else [])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("method", "model", "source"),
    [
        ("InvokeModel", "cohere.command-r-v1:0", "estimated"),
        ("InvokeModelWithResponseStream", "us.mistral.mistral-large-2407-v1:0", "estimated"),
        ("InvokeModel", "anthropic.claude-sonnet-5-5-v1:0", "provider"),
        ("Converse", "cohere.command-r-v1:0", "provider"),
    ],
)
def test_characters_divided_by_six_are_an_estimate(method: str, model: str, source: str) -> None:
    """As botocore's instrumentation counts the bodies of Cohere and Mistral."""
    attributes: dict[str, Value] = {
        **chat(input_tokens=12, output_tokens=40),
        "gen_ai.request.model": model,
        "rpc.method": method,
    }
    assert row(OTEL + "botocore.bedrock-runtime", attributes).source == source


def test_compaction_is_a_row_of_its_own() -> None:
    """Anthropic bills it beside the message, at the rates of the same model, in no call more."""
    attributes: dict[str, Value] = {
        **chat(input_tokens=12, output_tokens=40),
        "anthropic.usage.compaction.input_tokens": 200_000,
        "anthropic.usage.compaction.output_tokens": 3_000,
        "gen_ai.response.model": "claude-opus-5-5",
    }
    own, compaction = normalise(emitted("com.anthropic.sdk.python", attributes))
    assert own.usage == Usage(input_uncached=12, output=40)
    assert compaction.usage == Usage(input_uncached=200_000, output=3_000)
    assert (compaction.position, compaction.calls) == (1, 0)
    assert compaction.response_model == "claude-opus-5-5"


def test_pages_are_units() -> None:
    """Mistral bills OCR by the page."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "mistral_ai",
        "server.address": "api.mistral.ai",
        "mistral_ai.ocr.usage.pages_processed": 7,
    }
    found = row("mistralai_sdk_tracer", attributes)
    assert (found.usage, found.source) == (Usage(units={"pages": 7}), "provider")


def test_what_a_gateway_answered_from_its_own_cache_was_not_bought() -> None:
    """LiteLLM repeats the tokens and the id of the first answer."""
    attributes = chat(input_tokens=1012, output_tokens=40)
    found = row("litellm", {**attributes, "litellm.cache_hit": True})
    assert (found.usage, found.source) == (Usage(), "none")
    assert found.notes == ("answered from the gateway's cache: 1052 tokens not bought",)
    assert row("litellm", {**attributes, "litellm.cache_hit": False}).source == "provider"


@pytest.mark.parametrize(
    ("attributes", "failed", "source", "note"),
    [
        ({}, False, "missing", None),
        ({"gen_ai.response.status": "in_progress"}, False, "missing", "was to come later"),
        ({"gen_ai.response.status": "queued"}, False, "missing", "was to come later"),
        ({"gen_ai.usage.total_tokens": 52}, False, "missing", "only a total of 52 tokens"),
        ({}, True, "none", None),
        ({"error.type": "RateLimitError"}, False, "none", None),
        ({"error.type": "429"}, True, "none", None),
        ({"error.type": "openai.APITimeoutError"}, True, "missing", "may have been billed"),
        ({"error.type": "CancelledError"}, True, "missing", "may have been billed"),
        ({"error.type": "504"}, True, "missing", "may have been billed"),
        ({"error.type": "503"}, True, "none", None),
        ({"error.type": "GeneratorExit"}, True, "missing", "may have been billed"),
        (
            {"error.type": "ReadError", "gen_ai.response.model": "gpt-6-luna-2026-05-01"},
            True,
            "missing",
            "failed after the answer had begun",
        ),
        (
            {"gen_ai.response.model": "gpt-6-luna", "gen_ai.response.id": "chatcmpl-1"},
            True,
            "missing",
            "failed after the answer had begun",
        ),
        # Logfire repeats the request's model, LiteLLM invents an id: no answer gave them.
        ({"gen_ai.response.model": "gpt-6-luna"}, True, "none", None),
        ({"gen_ai.response.id": "7f3a"}, True, "none", None),
        ({"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}, True, "none", None),
        ({"gen_ai.usage.input_tokens": "?"}, True, "missing", "not read"),
    ],
)
def test_missing_is_not_none(
    attributes: dict[str, Value], failed: bool, source: str, note: str | None
) -> None:
    """A refused call consumed nothing. Of a call that was cut off nobody knows."""
    found = row(OTEL + "genai.openai", {**chat(), **attributes}, failed=failed)
    assert (found.usage, found.source) == (Usage(), source)
    assert [note in said for said in found.notes] == ([True] if note else [])  # type: ignore[operator]


def test_a_call_that_failed_with_usage_is_complete_only_in_part() -> None:
    """A stream that broke has told something, and more may have been billed."""
    counts = chat(input_tokens=12, output_tokens=4)
    found = row(OTEL + "genai.openai", counts, failed=True)
    assert (found.usage, found.source) == (
        Usage(input_uncached=12, output=4),
        "provider_partial",
    )


@pytest.mark.parametrize(
    ("details", "usage"),
    [
        # Langfuse's own names: every count is a part of its own.
        (
            '{"input": 12, "input_cached_tokens": 1000, "input_cache_creation": 7, "output": 30,'
            ' "output_reasoning_tokens": 10, "total": 1059}',
            Usage(input_uncached=12, cache_read=1000, cache_write=7, output=40, reasoning=10),
        ),
        (
            '{"input": 12, "input_audio": 5, "output": 30, "output_audio": 4}',
            Usage(input_uncached=17, output=34, audio_in=5, audio_out=4),
        ),
        (
            '{"input": 12, "input_cache_creation": 0, "input_ephemeral_5m_input_tokens": 7,'
            ' "input_ephemeral_1h_input_tokens": 0, "output": 40}',
            Usage(input_uncached=12, cache_write=0, cache_write_5m=7, cache_write_1h=0, output=40),
        ),
        ('{"input": 12}', Usage(input_uncached=12)),
        # OpenAI's usage object of a chat, and of a response: input includes the cache.
        (
            '{"prompt_tokens": 1012, "completion_tokens": 40, "total_tokens": 1052,'
            ' "prompt_tokens_details": {"cached_tokens": 1000, "audio_tokens": null},'
            ' "completion_tokens_details": {"reasoning_tokens": 10}}',
            Usage(input_uncached=12, cache_read=1000, output=40, reasoning=10),
        ),
        (
            '{"input_tokens": 1012, "output_tokens": 40, "total_tokens": 1052,'
            ' "input_tokens_details": {"cached_tokens": 1000}}',
            Usage(input_uncached=12, cache_read=1000, output=40),
        ),
        (
            '{"input_tokens": 1019, "output_tokens": 40, "input_tokens_details":'
            ' {"cached_tokens": 1000, "cache_write_tokens": 7, "cache_write_tokens_details":'
            ' {"ttl_30m_tokens": 7, "ttl_12h_tokens": 0}}}',
            Usage(input_uncached=12, cache_read=1000, cache_write=7, output=40),
        ),
        # LangChain's counts of an answer at another tier.
        (
            '{"input": 0, "input_flex": 12, "input_flex_cache_read": 1000,'
            ' "output": 0, "output_flex": 30, "output_flex_reasoning": 10}',
            Usage(input_uncached=12, cache_read=1000, output=40, reasoning=10),
        ),
        # Anthropic's: input leaves it out.
        (
            '{"input_tokens": 12, "output_tokens": 40, "cache_read_input_tokens": 1000,'
            ' "cache_creation_input_tokens": 9, "cache_creation":'
            ' {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 2},'
            ' "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard"}',
            Usage(
                input_uncached=12,
                cache_read=1000,
                cache_write_5m=7,
                cache_write_1h=2,
                cache_write=0,
                output=40,
                units={"web_search": 2},
            ),
        ),
    ],
)
def test_the_names_in_langfuses_usage_tell_what_they_mean(details: str, usage: Usage) -> None:
    """One attribute, and three ways to fill it."""
    attributes: dict[str, Value] = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": details,
    }
    found = row("langfuse-sdk", attributes)
    assert (found.usage, found.notes) == (usage, ())


def test_a_count_that_nobody_understands_is_noted() -> None:
    """It may be money."""
    attributes: dict[str, Value] = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": '{"input": 12, "output": 4, "video_seconds": 9}',
    }
    found = row("langfuse-sdk", attributes)
    assert found.notes == ("not understood: langfuse.observation.usage_details.video_seconds",)


def test_families_of_names_are_never_mixed() -> None:
    """The input of one that includes the cache must not meet the cache of another."""
    attributes: dict[str, Value] = {
        **chat(input_tokens=12, output_tokens=40, cache_read__input_tokens=1000),
        "openinference.span.kind": "LLM",
        "llm.token_count.prompt": 1012,
        "llm.token_count.completion": 41,
    }
    found = row("openinference.instrumentation.anthropic", attributes)
    assert (found.usage, found.notes) == (Usage(input_uncached=1012, output=41), ())
    del attributes["llm.token_count.prompt"]
    del attributes["llm.token_count.completion"]
    found = row("openinference.instrumentation.anthropic", attributes)
    assert found.usage == Usage(input_uncached=12, cache_read=1000, output=40)


def test_of_two_names_for_one_count_the_first_is_taken_and_a_difference_noted() -> None:
    """Today's names before yesterday's."""
    same = chat(input_tokens=12, prompt_tokens=12, output_tokens=40, completion_tokens=40)
    assert row("strands.telemetry.tracer", same).notes == ()
    found = row("strands.telemetry.tracer", {**same, "gen_ai.usage.prompt_tokens": 13})
    assert found.usage == Usage(input_uncached=12, output=40)
    assert found.notes == (
        "gen_ai.usage.input_tokens of 12 taken, gen_ai.usage.prompt_tokens says 13",
    )


@pytest.mark.parametrize(
    ("said", "address", "model", "provider", "noted"),
    [
        ("openai", None, "gpt-6-luna", "openai", False),
        ("openai", "api.openai.com", "gpt-6-luna", "openai", False),
        ("openai", "shop.openai.azure.com", "gpt-6-luna", "azure.ai.openai", False),
        ("openai", "api.groq.com", "llama-5", "groq", False),
        ("openai", "llm.internal", "gpt-6-luna", "openai", False),
        ("azure.ai.inference", "shop.services.ai.azure.com", "m", "azure.ai.inference", False),
        ("anthropic", "bedrock-runtime.eu-west-1.amazonaws.com", "m", "aws.bedrock", False),
        ("gemini", "europe-west4-aiplatform.googleapis.com", "m", "gcp.vertex_ai", False),
        ("langchain", None, "claude-sonnet-5-5", "anthropic", True),
        ("langchain", "api.anthropic.com", "claude-sonnet-5-5", "anthropic", False),
        ("langchain", None, "my-model", None, False),
        ("shop-llm", None, "gpt-6-luna", "shop-llm", False),
    ],
)
def test_the_host_tells_who_answered_and_else_the_span(
    said: str, address: str | None, model: str, provider: str | None, noted: bool
) -> None:
    """An OpenAI client says `openai` whoever it talks to; a framework says its own name."""
    attributes = {**chat(input_tokens=1, output_tokens=1), "gen_ai.provider.name": said}
    attributes["gen_ai.request.model"] = model
    if address:
        attributes["server.address"] = address
    found = row(OTEL + "genai.openai", attributes)
    assert found.provider == provider
    assert found.notes == ((f"provider {provider} taken from the model's name",) if noted else ())


def test_our_own_spans_say_who_answered() -> None:
    """They saw the request: a host that speaks somebody's API may be a declared one."""
    (found,) = rows(gen_ai__provider__name="openai", server__address="api.groq.com")
    assert found.provider == "openai"


def test_models_and_providers_may_come_from_any_family() -> None:
    """What one set of attributes leaves out another may say."""
    attributes: dict[str, Value] = {
        "openinference.span.kind": "EMBEDDING",
        "embedding.model_name": "text-embedding-3-small",
        "gen_ai.system": "openai",
        "llm.token_count.prompt": 12,
    }
    found = row("openinference.instrumentation.openai", attributes)
    assert (found.provider, found.operation) == ("openai", "embeddings")
    assert (found.request_model, found.response_model) == ("text-embedding-3-small", None)


@pytest.mark.parametrize(
    ("attributes", "tier", "noted"),
    [
        ({"openai.response.service_tier": "flex"}, "flex", False),
        ({"gen_ai.openai.response.service_tier": "flex"}, "flex", False),
        ({"anthropic.response.service_tier": "batch"}, "batch", False),
        (
            {
                "openai.request.service_tier": "priority",
                "openai.response.service_tier": "default",
            },
            "default",
            False,
        ),
        ({"openai.request.service_tier": "flex"}, "flex", True),
        ({"anthropic.request.service_tier": "standard_only"}, "standard_only", False),
        ({"openai.request.service_tier": "auto"}, "auto", False),
        ({}, None, False),
    ],
)
def test_the_tier_of_the_answer_counts_and_one_only_asked_for_is_noted(
    attributes: dict[str, Value], tier: str | None, noted: bool
) -> None:
    """Who asked for `flex` may have been served at another price."""
    counts = chat(input_tokens=12, output_tokens=40)
    found = row(OTEL + "genai.openai", {**counts, **attributes})
    said = f"service tier {tier} was asked for, the answer does not say"
    assert (found.service_tier, found.notes) == (tier, (said,) if noted else ())


def test_evidence_of_a_rule_that_is_not_there_is_not_guessed_at() -> None:
    """It was written by a later version."""
    evidence = emitted("shop.llm", chat(input_tokens=12))
    other = evidence._replace(profile=replace(evidence.profile, rule="gen_ai/2"))
    with pytest.raises(UnknownRule):
        normalise(other)


COUNTS = st.dictionaries(
    st.sampled_from(sorted(KNOWN)) | st.text("abc._", max_size=20), st.integers(0, 2**53)
)


@given(
    rule=st.sampled_from([dialect.rule for dialect in DIALECTS]),
    provider=st.sampled_from(["openai", "anthropic", "aws.bedrock", "gcp.gemini", "?"]),
    status=st.sampled_from([None, "ok", "error"]),
    counts=COUNTS,
)
def test_buckets_are_never_negative_and_never_exceed_what_was_reported(
    rule: str, provider: str, status: str | None, counts: dict[str, int]
) -> None:
    """Of any dialect, whatever counts a span has."""
    sent = emitted("shop.llm", chat())
    attributes = {**sent.profile.attributes, "gen_ai.provider.name": provider}
    profile = replace(sent.profile, rule=rule, status=status, attributes=attributes)
    evidence = sent._replace(profile=profile, usage=counts)
    found = normalise(evidence)
    buckets = [count for one in found for name in BUCKETS if (count := getattr(one.usage, name))]
    assert all(bucket >= 0 for bucket in buckets)
    assert sum(buckets) <= sum(counts.values())
    assert [one.position for one in found] == list(range(len(found)))
    assert [one.calls for one in found] == [1] + [0] * (len(found) - 1)


@given(fresh=st.integers(0, 10**6), read=st.integers(0, 10**6), written=st.integers(0, 10**6))
def test_both_conventions_come_to_the_same_buckets(fresh: int, read: int, written: int) -> None:
    """Input with the cache from one emitter, without it from another: the same call."""
    expected = Usage(input_uncached=fresh, cache_read=read, cache_write=written, output=40)
    cache = {"cache_read__input_tokens": read, "cache_creation__input_tokens": written}
    included = chat(input_tokens=fresh + read + written, output_tokens=40, **cache)
    excluded = chat(input_tokens=fresh, output_tokens=40, **cache)
    assert row("pydantic-ai", included).usage == expected
    assert row(OTEL + "bedrock", excluded).usage == expected
