# SPDX-License-Identifier: Apache-2.0
"""Reducing a span to evidence."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.book import book
from microdollar_exporter.evidence import RESOURCE_CUSTOMER_ID
from microdollar_exporter.price import Price
from microdollar_exporter.reduce import ALLOWED, ALLOWED_PREFIXES, reduce
from microdollar_exporter.store.batches import ledger_batch, spans_batch
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga
from tests.fakes.otlp import STARTED_AT, Value, call, key_values, request, span

CANARY = "canary-7d1f"


def test_a_call_becomes_evidence_with_every_allowed_attribute() -> None:
    """Ids are hexadecimal, times microseconds, counts integers, all else text."""
    sent = call(
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        microdollar__tag__feature="assistant",
        microdollar__usage__units__web_search=2,
        gen_ai__request__stream=True,
        gen_ai__response__finish_reasons=["stop", "length"],
        gen_ai__response__time_to_first_chunk=0.25,
    )
    resource: dict[str, Value] = {"deployment.environment.name": "prod"}
    (evidence,) = reduce(request(sent, resource=resource)).evidence

    assert evidence.trace_id == "000102030405060708090a0b0c0d0e0f"
    assert evidence.span_id == "0001020304050607"
    assert evidence.parent_span_id is None
    assert (evidence.started_at, evidence.ended_at) == (STARTED_AT, STARTED_AT + 1_000_000)
    assert (evidence.service, evidence.environment) == ("shop", "prod")
    assert (evidence.scope, evidence.scope_version) == ("microdollar", "0.1.0")
    assert evidence.rule == "microdollar/1"
    assert evidence.usage == {
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "microdollar.usage.units.web_search": 2,
    }
    assert evidence.attributes["microdollar.tag.feature"] == "assistant"
    assert evidence.attributes["gen_ai.request.stream"] == "true"
    assert evidence.attributes["gen_ai.response.finish_reasons"] == "stop,length"
    assert evidence.attributes["gen_ai.response.time_to_first_chunk"] == "0.25"
    assert evidence.attributes["http.response.status_code"] == "200"


def test_every_attribute_of_the_registry_is_allowed() -> None:
    """What our instrumentation may send, the exporter keeps."""
    ours = {value for name, value in vars(md).items() if name.isupper() and "_SOURCE_" not in name}
    assert ours == {key for key in ALLOWED if key.startswith("microdollar.")} | set(
        ALLOWED_PREFIXES
    )


def test_nothing_outside_the_allow_list_survives() -> None:
    """Names, events, links, status descriptions and unknown attributes can hold a prompt."""
    sent = call(gen_ai__input__messages=CANARY, canary__key=CANARY)
    sent.name = CANARY
    sent.trace_state = CANARY
    sent.status.message = CANARY
    sent.events.add(name=CANARY, attributes=key_values({"exception.message": CANARY}))
    sent.links.add(trace_id=b"0" * 16, attributes=key_values({"a": CANARY}))
    made = request(sent, resource={"process.command_args": CANARY, "host.name": CANARY})
    made.resource_spans[0].scope_spans[0].scope.attributes.extend(key_values({"a": CANARY}))

    assert CANARY not in repr(reduce(made).evidence)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"trace_id": b""}, "trace_id is not 16 bytes, or all zero"),
        ({"trace_id": bytes(16)}, "trace_id is not 16 bytes, or all zero"),
        ({"span_id": b"1234567"}, "span_id is not 8 bytes, or all zero"),
        ({"span_id": bytes(8)}, "span_id is not 8 bytes, or all zero"),
        ({"started_at": 0}, "start_time_unix_nano is zero or beyond the year 2262"),
    ],
)
def test_a_span_that_can_never_be_stored_is_refused_and_its_neighbours_are_not(
    change: dict[str, bytes | int], reason: str
) -> None:
    """The refusal says why and holds nothing of the span."""
    reduced = reduce(request(call(), call(**change), call()))  # type: ignore[arg-type]
    assert len(reduced.evidence) == 2
    assert reduced.refused == {reason: 1}


def test_spans_that_are_not_genai_are_counted_and_left() -> None:
    """An HTTP span is not ours to keep."""
    reduced = reduce(request(span({"http.request.method": "GET"}), call()))
    assert (len(reduced.evidence), reduced.ignored) == (1, 1)


def test_genai_spans_of_other_emitters_are_kept_under_their_own_rule() -> None:
    """They may describe a call that our own span describes too."""
    (evidence,) = reduce(request(call(), scope="com.anthropic.sdk.python")).evidence
    assert evidence.rule == "gen_ai/1"


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        (md.CUSTOMER_ID, "x" * 256, True),
        (md.CUSTOMER_ID, "x" * 257, False),
        (md.CUSTOMER_ID, "", False),
        (md.CUSTOMER_ID, "ac\nme", False),
        (md.CUSTOMER_ID, "ac\u2028me", False),
        (md.CUSTOMER_ID, "Åsa & Søn ☕", True),
        (ga.USAGE_OUTPUT_TOKENS, 2**53, True),
        (ga.USAGE_OUTPUT_TOKENS, 2**53 + 1, False),
        (ga.USAGE_OUTPUT_TOKENS, 0, True),
        (ga.USAGE_OUTPUT_TOKENS, -1, False),
        (ga.USAGE_OUTPUT_TOKENS, 7.0, True),
        (ga.USAGE_OUTPUT_TOKENS, 7.5, False),
        (ga.USAGE_OUTPUT_TOKENS, float("nan"), False),
        (ga.USAGE_OUTPUT_TOKENS, True, False),
        (ga.USAGE_OUTPUT_TOKENS, "7", False),
        ("microdollar.tag." + "n" * 64, "v", True),
        ("microdollar.tag." + "n" * 65, "v", False),
        ("microdollar.tag.", "v", False),
    ],
)
def test_a_value_is_kept_whole_or_dropped_and_counted(key: str, value: Value, kept: bool) -> None:
    """A cut customer id could be another customer's, so nothing is ever cut."""
    reduced = reduce(request(span({ga.OPERATION_NAME: "chat", key: value})))
    (evidence,) = reduced.evidence
    assert (key in evidence.attributes or key in evidence.usage) is kept
    assert reduced.values_dropped.total() == (0 if kept else 1)


def test_the_seventeenth_tag_is_dropped_and_counted() -> None:
    """Sixteen tags are kept."""
    tags: dict[str, Value] = {f"microdollar.tag.t{number}": "v" for number in range(17)}
    reduced = reduce(request(span({ga.OPERATION_NAME: "chat", **tags})))
    assert sum(key.startswith("microdollar.tag.") for key in reduced.evidence[0].attributes) == 16
    assert reduced.values_dropped == {"microdollar.tag.": 1}


def test_a_customer_of_the_whole_process_is_kept_apart_from_the_calls_own() -> None:
    """It is the weaker claim."""
    (evidence,) = reduce(request(call("acme"), resource={md.CUSTOMER_ID: "globex"})).evidence
    assert evidence.attributes[md.CUSTOMER_ID] == "acme"
    assert evidence.attributes[RESOURCE_CUSTOMER_ID] == "globex"


def test_further_models_are_rebuilt_from_the_members_that_are_defined() -> None:
    """JSON in an attribute is a place to hide content."""
    rows = [{"model": "gpt-image-2", "output": 9, "prompt": CANARY, CANARY: 1}]
    (evidence,) = reduce(request(call(microdollar__usage__additional=json.dumps(rows)))).evidence
    assert evidence.attributes[md.USAGE_ADDITIONAL] == '[{"model":"gpt-image-2","output":9}]'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "[1]", "[", "[" * 10_000, "x" * 20_000),
        '[{"output":5}]',
        '[{"model":"m"}]',
        '[{"model":"m","output":-5}]',
        '[{"model":"m","output":true}]',
        '[{"model":"m","output":1},{"model":"m","output":9007199254740993}]',
        '[{"model":"\\ud800","output":5}]',
        json.dumps([{"model": "m", "output": 1}] * 17),
    ],
)
def test_further_models_in_another_form_are_dropped_whole_and_counted(text: str) -> None:
    """The span itself is kept; half of the rows would be half of the money."""
    reduced = reduce(request(call(microdollar__usage__additional=text)))
    assert md.USAGE_ADDITIONAL not in reduced.evidence[0].attributes
    assert reduced.values_dropped == {md.USAGE_ADDITIONAL: 1}


TEXT = st.text(max_size=300)
VALUE = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.lists(TEXT)


@given(
    st.dictionaries(
        st.sampled_from([*ALLOWED, *(prefix + "x" for prefix in ALLOWED_PREFIXES)]) | TEXT, VALUE
    ),
    st.recursive(TEXT | st.integers() | st.none(), st.lists),
)
def test_whatever_a_span_says_can_be_booked_and_stored(
    attributes: dict[str, Value], further: object
) -> None:
    """A batch that cannot be written would be sent again for ever, with its neighbours."""
    extra: dict[str, Value] = {
        ga.OPERATION_NAME: "chat",
        md.USAGE_ADDITIONAL: json.dumps([{"model": further, "output": further}]),
    }
    evidence = reduce(request(span({**extra, **attributes}))).evidence
    entries = book(evidence, lambda _: Price(1, "priced", "r", None))
    assert spans_batch(evidence).num_rows == len(evidence)
    if entries:
        assert ledger_batch(entries).num_rows == len(entries)


@given(st.binary(max_size=400), st.binary(max_size=40))
def test_any_protobuf_is_reduced_without_an_exception(body: bytes, tail: bytes) -> None:
    """A request that decodes is never a fault of ours."""
    valid = request(call()).SerializeToString()
    for candidate in (body, valid + tail, valid[: len(body)] + tail):
        try:
            made = ExportTraceServiceRequest.FromString(candidate)
        except Exception as error:
            assert re.search("DecodeError", type(error).__name__)
            continue
        reduce(made)
