# SPDX-License-Identifier: Apache-2.0
"""Every emitter that is known: recognised, told apart from what is around its calls, and read."""

import re
from itertools import chain

import pytest

from microdollar_exporter.allow import ALLOWED, NAMES
from microdollar_exporter.dialects import DIALECTS, MARKS, UnknownRule, by_rule, recognise
from microdollar_exporter.dialects.facts import (
    PROVIDERS,
    REQUEST_MODELS,
    REQUEST_TIERS,
    RESPONSE_MODELS,
    RESPONSE_TIERS,
)
from microdollar_exporter.dialects.operations import NOT_CALL_NAMES
from microdollar_exporter.dialects.usage_names import KNOWN, OURS, names_of
from microdollar_exporter.normalise import normalise
from tests.exporter.emitted import CLIENT, INTERNAL, emitted
from tests.exporter.emitters import EMITTERS, Emitter
from tests.fakes.otlp import Value

OTEL = "opentelemetry.instrumentation."
USAGE: dict[str, Value] = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 40}


@pytest.mark.parametrize("emitter", EMITTERS, ids=str)
def test_each_emitter_is_recognised_and_read(emitter: Emitter) -> None:
    """Twelve fresh tokens, a thousand from the cache and forty of output, whoever tells it."""
    evidence = emitted(
        emitter.scope,
        emitter.attributes,
        version=emitter.version,
        name=emitter.name,
        kind=INTERNAL if emitter.internal else CLIENT,
    )
    (row,) = normalise(evidence)
    assert (evidence.profile.rule, evidence.profile.role) == (emitter.rule, emitter.role)
    assert evidence.response_id == emitter.response_id
    assert row.usage == emitter.usage
    assert (row.provider, row.operation) == (emitter.provider, emitter.operation)
    assert (row.request_model, row.response_model) == (
        emitter.request_model,
        emitter.response_model,
    )
    assert (row.source, row.notes) == (emitter.source, emitter.notes)


def test_every_rule_has_an_example() -> None:
    """No row of the tables stands there unread."""
    assert {emitter.rule for emitter in EMITTERS} == {dialect.rule for dialect in DIALECTS}


def test_rules_are_numbered_and_told_apart_by_name() -> None:
    """Evidence names its rule, and must find the same one again."""
    rules = [dialect.rule for dialect in DIALECTS]
    assert len(set(rules)) == len(rules)
    assert all(re.fullmatch(r"[a-z0-9_.-]+/\d+", rule) for rule in rules)
    assert [by_rule(rule) for rule in rules] == list(DIALECTS)


def test_a_rule_of_a_later_version_is_refused_with_the_way_out() -> None:
    """To read its evidence by another rule would be a guess."""
    with pytest.raises(UnknownRule, match=r"'langfuse/99'.* or a later one"):
        by_rule("langfuse/99")


def test_every_rule_says_where_it_was_read() -> None:
    """A fact without a source cannot be checked again."""
    assert all(dialect.source for dialect in DIALECTS)


@pytest.mark.parametrize(
    ("scope", "version", "rule"),
    [
        (OTEL + "anthropic", "0.39.9", "openllmetry-anthropic-0.39/1"),
        (OTEL + "anthropic", "0.40", "openllmetry-anthropic/1"),
        (OTEL + "anthropic", "0.40.0", "openllmetry-anthropic/1"),
        (OTEL + "anthropic", "1.0.0", "openllmetry-anthropic/1"),
        ("logfire.anthropic", "4.30.9", "logfire-4.30/1"),
        ("logfire.anthropic", "4.31.0", "logfire-5.2/1"),
        ("logfire.anthropic", "5.2.9", "logfire-5.2/1"),
        ("logfire.anthropic", "5.3.0", "logfire/1"),
        ("logfire.anthropic", "10.0.0", "logfire/1"),
        (OTEL + "vertexai", "0.62.4", "openllmetry/1"),
        (OTEL + "vertexai", "2.2b0", "otel-vertexai/1"),
        ("@arizeai/openinference-instrumentation-anthropic", "0.2.7", "openinference-js-anthropic"),
        ("@arizeai/openinference-instrumentation-anthropic", "0.2.8", "openinference/1"),
        ("@arizeai/openinference-instrumentation-openai", "0.1.0", "openinference/1"),
    ],
)
def test_versions_on_both_sides_of_a_change(scope: str, version: str, rule: str) -> None:
    """A scope's version decides where the meaning of its counts changed."""
    assert recognise(scope, version, (), {}).rule.startswith(rule)


@pytest.mark.parametrize("version", [None, "", "main", "v0.39"])
def test_a_scope_without_a_version_counts_as_the_newest(version: str | None) -> None:
    """Who leaves the version out is not thereby old."""
    assert recognise(OTEL + "anthropic", version, (), {}).rule == "openllmetry-anthropic/1"
    assert recognise("logfire.anthropic", version, (), {}).rule == "logfire/1"


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["openinference.span.kind"], "openinference/1"),
        (["langfuse.observation.type"], "langfuse/1"),
        (["ai.operationId", "ai.usage.inputTokenDetails.noCacheTokens"], "ai-sdk-6/1"),
        (["ai.usage.promptTokens"], "ai-sdk-4/1"),
        (["ai.usage.promptTokens", "ai.usage.cachedInputTokens"], "ai-sdk-5/1"),
        (["ai.operationId"], "ai-sdk-5/1"),
        (["litellm.cache_hit"], "litellm-default/1"),
        (["litellm.cache_hit", "gen_ai.provider.name"], "litellm/1"),
        (["litellm.call_id", "llm.request.type"], "litellm-default/1"),
        (["traceloop.span.kind"], "openllmetry/1"),
        (["llm.request.type"], "openllmetry/1"),
        (["langsmith.span.kind"], "langsmith/1"),
        (["codex.usage.total_tokens"], "codex/1"),
        (["gen_ai.operation.name"], "gen_ai/1"),
        # The Traceloop SDK puts these on everybody's spans.
        (["traceloop.association.properties.customer_id"], "gen_ai/1"),
        ([], "gen_ai/1"),
    ],
)
@pytest.mark.parametrize("scope", [None, "shop.llm"])
def test_names_decide_where_the_scope_says_nothing(
    scope: str | None, names: list[str], rule: str
) -> None:
    """By attributes that only one emitter writes; without any, as OpenTelemetry defines them."""
    assert recognise(scope, None, names, {}).rule == rule


def test_a_known_scope_goes_before_names() -> None:
    """Other libraries add attributes to spans that are not theirs."""
    assert recognise("pydantic-ai", None, ["langfuse.observation.type"], {}).rule == "pydantic-ai/1"


def test_an_exact_scope_goes_before_the_beginning_of_one() -> None:
    """`logfire.claude_agent_sdk` is no client library."""
    assert recognise("logfire.claude_agent_sdk", "5.4.0", (), {}).rule == "logfire-claude-agent/1"
    assert recognise("logfire", "5.4.0", (), {}).rule == "logfire/1"


def test_a_shared_scope_is_read_by_its_attributes_first() -> None:
    """Several packages call themselves `opentelemetry.util.genai.handler`."""
    shared = "opentelemetry.util.genai.handler"
    assert recognise(shared, "1.3b0", [], {}).rule == "otel-genai/1"
    assert recognise(shared, "1.3b0", ["openinference.span.kind"], {}).rule == "openinference/1"


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        # Sums of their children, or of the life of an agent.
        ("strands.telemetry.tracer", {"gen_ai.operation.name": "invoke_agent", **USAGE}),
        ("strands.telemetry.tracer", {"gen_ai.operation.name": "execute_event_loop_cycle"}),
        ("pydantic-ai", {"gen_ai.operation.name": "invoke_agent", **USAGE}),
        (
            "pydantic-ai",
            {"gen_ai.operation.name": "chat", "gen_ai.aggregated_usage.input_tokens": 12},
        ),
        ("pydantic-ai", {"gen_ai.operation.name": "decide", **USAGE}),
        ("gen_ai", {"gen_ai.operation.name": "invoke_agent", **USAGE}),
        ("gen_ai", {"gen_ai.operation.name": "agent_step", **USAGE}),
        ("ai", {"ai.operationId": "ai.generateText", "ai.usage.inputTokens": 12}),
        ("ai", {"ai.operationId": "ai.embed", "ai.usage.tokens": 12}),
        ("ai", {"ai.operationId": "ai.toolCall", "gen_ai.system": "openai"}),
        ("gcp.vertex.agent", {"gen_ai.operation.name": "invoke_agent", **USAGE}),
        ("org.springframework.boot", {"gen_ai.operation.name": "framework", **USAGE}),
        (OTEL + "genai.openai_agents", {"gen_ai.operation.name": "invoke_workflow", **USAGE}),
        # Chains, tools, retrievers.
        *(
            ("openinference.instrumentation.langchain", {"openinference.span.kind": kind, **USAGE})
            for kind in ("AGENT", "CHAIN", "TOOL", "RETRIEVER", "GUARDRAIL", "UNKNOWN", "DECISION")
        ),
        *(
            ("langfuse-sdk", {"langfuse.observation.type": kind, **USAGE})
            for kind in ("span", "agent", "chain", "tool", "retriever", "evaluator", "event")
        ),
        *(
            ("traceloop.tracer", {"traceloop.span.kind": kind, "gen_ai.operation.name": "chat"})
            for kind in ("workflow", "task", "agent", "tool")
        ),
        # LangSmith calls the run of a prompt template a chat, and a retriever embeddings.
        (
            "langsmith",
            {"langsmith.span.kind": "prompt", "gen_ai.operation.name": "chat", **USAGE},
        ),
        (
            "langsmith",
            {"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings"},
        ),
        # Free, or not yet over.
        ("envoyproxy/ai-gateway", {"openinference.span.kind": "TOKEN_COUNTER", **USAGE}),
        ("logfire.openai", {"logfire.span_type": "pending_span", "gen_ai.operation.name": "chat"}),
        (
            "logfire.claude_agent_sdk",
            {"gen_ai.operation.name": "chat", "gen_ai.usage.partial.output_tokens": 40},
        ),
        ("com.anthropic.sdk.python", {"gen_ai.provider.name": "anthropic"}),
        # Claude Code's own turns and tools.
        ("com.anthropic.claude_code.tracing", {"gen_ai.system": "anthropic", "input_tokens": 12}),
        # A conversation's message that no request of its own fetched.
        (
            "mistralai_sdk_tracer",
            {"gen_ai.operation.name": "chat", "gen_ai.response.id": "msg-1"},
        ),
        # Nothing that could be billed.
        ("shop.llm", {"gen_ai.request.model": "gpt-6-luna"}),
        ("shop.llm", USAGE),
        ("shop.llm", {"microdollar.customer.id": "acme"}),
    ],
)
def test_what_is_around_calls_is_not_a_call(scope: str, attributes: dict[str, Value]) -> None:
    """It repeats their usage, or has none."""
    assert emitted(scope, attributes, kind=INTERNAL).profile.role == "other"


@pytest.mark.parametrize(
    "operation",
    [
        *("create_agent", "execute_tool", "retrieval", "plan", "chain", "tokenize", "framework"),
        *("agent_step", "invoke_workflow", "decide", "execute_event_loop_cycle"),
        *("search_memory", "upsert_memory", "delete_memory_store", "fetch_response"),
    ],
)
@pytest.mark.parametrize("kind", [CLIENT, INTERNAL])
def test_some_operations_are_no_calls_whoever_names_them(operation: str, kind: int) -> None:
    """Not even with a model and usage, which are those of a call they speak of."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": "gpt-6-luna",
        **USAGE,
    }
    evidence = emitted("shop.llm", attributes, kind=kind)  # type: ignore[arg-type]
    assert evidence.profile.role == "other"


@pytest.mark.parametrize("name", ["raw_gen_ai_request", "anthropic.messages.count_tokens"])
def test_some_spans_are_no_calls_by_their_name(name: str) -> None:
    """A copy of the request, and a count that is free."""
    attributes: dict[str, Value] = {"gen_ai.operation.name": "chat", **USAGE}
    assert emitted("shop.llm", attributes, name=name).profile.role == "other"


@pytest.mark.parametrize(
    ("scope", "client", "internal"),
    [
        (OTEL + "genai.openai", "agent", "other"),
        ("agent_framework", "agent", "other"),
        ("shop.llm", "agent", "other"),
        ("mistralai_sdk_tracer", "agent", "agent"),
        ("logfire.claude_agent_sdk", "agent", "agent"),
        ("strands.telemetry.tracer", "other", "other"),
        ("pydantic-ai", "other", "other"),
        ("gen_ai", "other", "other"),
        ("gcp.vertex.agent", "other", "other"),
    ],
)
def test_an_agent_that_runs_elsewhere_may_be_the_only_witness(
    scope: str, client: str, internal: str
) -> None:
    """Of kind CLIENT or from a vendor's SDK, but never where the loop is known to run here."""
    attributes: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent", **USAGE}
    assert emitted(scope, attributes, kind=CLIENT).profile.role == client
    assert emitted(scope, attributes, kind=INTERNAL).profile.role == internal


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"gen_ai.aggregated_usage.input_tokens": 12},
        {"gen_ai.usage.partial.input_tokens": 12},
    ],
)
def test_an_agent_without_usage_of_its_own_is_no_witness(usage: dict[str, Value]) -> None:
    """A sum over calls that are known by themselves is not usage of its own."""
    attributes: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent", **usage}
    assert emitted("shop.llm", attributes).profile.role == "other"


def test_a_call_without_usage_is_still_a_call() -> None:
    """Its usage is missing, which is not zero."""
    evidence = emitted("pydantic-ai", {"gen_ai.operation.name": "chat"})
    assert evidence.profile.role == "call"


def test_the_stream_of_logfire_is_the_call_and_not_its_request() -> None:
    """The request ends with the headers; a log span beside it has what the stream told."""
    request: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-6-luna",
        "gen_ai.response.model": "gpt-6-luna",
        "logfire.span_type": "span",
    }
    stream: dict[str, Value] = {**request, **USAGE, "logfire.span_type": "log"}
    for version in ("4.30.0", "5.2.0", "5.4.0"):
        roles = {
            name: emitted("logfire.openai", attributes, version=version).profile.role
            for name, attributes in {
                "request": request,
                "stream": stream,
                "stream that reports no usage": {**request, "logfire.span_type": "log"},
                "answer": {**request, "gen_ai.response.id": "chatcmpl-1"},
                "failed": {**request, "logfire.level_num": 17},
                "image": {**request, "gen_ai.operation.name": "image_generation"},
            }.items()
        }
        assert [name for name, role in roles.items() if role == "other"] == ["request"]


def test_a_mistral_chat_that_asked_its_host_is_a_call() -> None:
    """Unlike one that repeats a message of a conversation."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "server.address": "api.mistral.ai",
    }
    assert emitted("mistralai_sdk_tracer", attributes, kind=INTERNAL).profile.role == "call"


@pytest.mark.parametrize(
    ("attributes", "kind", "role"),
    [
        ({"gen_ai.request.model": "m", **USAGE}, INTERNAL, "call"),
        ({"gen_ai.request.model": "m", "gen_ai.operation.name": "ask", **USAGE}, CLIENT, "call"),
        ({"gen_ai.request.model": "m", "gen_ai.operation.name": "ask", **USAGE}, INTERNAL, "other"),
        ({"gen_ai.request.model": "m", "gen_ai.operation.name": "ask"}, CLIENT, "other"),
        ({"gen_ai.operation.name": "ask", **USAGE}, CLIENT, "other"),
    ],
)
def test_usage_of_an_unknown_emitter_is_not_lost(
    attributes: dict[str, Value], kind: int, role: str
) -> None:
    """With a model and usage it is a call, unless a word that nobody knows may mean a sum."""
    evidence = emitted("shop.llm", attributes, kind=kind)  # type: ignore[arg-type]
    assert evidence.profile.role == role
    if role == "call":
        (row,) = normalise(evidence)
        said = "nothing says that this was a model call; its usage was taken for one"
        assert row.notes == (said,)


@pytest.mark.parametrize("operation", ["completion", "acompletion", "aresponses", "_arealtime"])
def test_litellms_call_types_are_chats(operation: str) -> None:
    """Its `completion` is a chat; elsewhere the word means the completion of a text."""
    attributes: dict[str, Value] = {"gen_ai.operation.name": operation, **USAGE}
    (litellm,) = normalise(emitted("litellm", attributes))
    assert litellm.operation == "chat"
    (other,) = normalise(
        emitted("pydantic-ai", {**attributes, "gen_ai.operation.name": "completion"})
    )
    assert other.operation == "text_completion"


def test_no_rank_is_better_than_ours() -> None:
    """What was seen on the wire is believed first, then the vendors', wrappers last."""
    ranks = {dialect.rule: dialect.rank for dialect in DIALECTS}
    assert min(ranks, key=lambda rule: ranks[rule]) == "microdollar/1"
    assert [
        int(ranks[rule])
        for rule in (
            "microdollar/1",
            "anthropic-sdk/1",
            "otel-genai/1",
            "openinference/1",
            "openllmetry/1",
            "pydantic-ai/1",
            "litellm/1",
            "langfuse/1",
        )
    ] == list(range(8))


def test_the_tables_name_only_what_is_allowed() -> None:
    """A name that `allow` does not have would never be on evidence: a slip of the pen."""
    expanded = (
        "langfuse.observation.usage_details",
        "gen_ai.usage.input_token_details",
        "gen_ai.usage.output_token_details",
    )
    counts = {name for name in KNOWN if not name.startswith(expanded)}
    texts = chain(PROVIDERS, REQUEST_MODELS, REQUEST_TIERS, RESPONSE_MODELS, RESPONSE_TIERS)
    kinds = {name for dialect in DIALECTS for name in dialect.span_kinds}
    marks = {mark for dialect in DIALECTS for mark in dialect.spans.marks if mark[-1] != "."}
    said = {name for d in DIALECTS for name in (d.spans.having, d.spans.lacking) if name}
    assert {*counts, *texts, *kinds, *marks, *said, *MARKS, *expanded} <= ALLOWED.keys()


def test_every_count_that_is_allowed_is_understood() -> None:
    """Else it would be kept and never billed."""
    counts = {name for name, allowed in ALLOWED.items() if allowed.keep.name == "USAGE"}
    read_apart = {name for name in counts if any(known.startswith(name + ".") for known in KNOWN)}
    assert counts - read_apart <= KNOWN


def test_span_names_are_kept_for_the_dialects_alone() -> None:
    """No other name can reach the disk."""
    used = {name for dialect in DIALECTS for name in dialect.call_names}
    assert used | NOT_CALL_NAMES == NAMES


def test_our_own_family_reads_no_other_names() -> None:
    """An old name on one of our spans would be somebody else's addition."""
    assert all(name.startswith(("gen_ai.usage.", "microdollar.usage.")) for name in names_of(OURS))
