# SPDX-License-Identifier: Apache-2.0
"""Reducing a span to evidence."""

import json
import pickle
import struct
from dataclasses import asdict

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.allow import ALLOWED, ALLOWED_PREFIXES
from microdollar_exporter.errors import MalformedRequest
from microdollar_exporter.price import Price
from microdollar_exporter.reduce import Reducer, reduce
from microdollar_exporter.wire import ExportRequest
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga
from tests.exporter.ledgers import booked, evidence_of, reduced
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
    (evidence,) = evidence_of(request(sent, resource=resource))

    assert evidence.trace_id == "000102030405060708090a0b0c0d0e0f"
    assert evidence.span_id == "0001020304050607"
    assert evidence.parent_span_id is None
    assert (evidence.started_at, evidence.ended_at) == (STARTED_AT, STARTED_AT + 1_000_000)
    assert (evidence.profile.service, evidence.profile.environment) == ("shop", "prod")
    assert (evidence.profile.scope, evidence.profile.scope_version) == ("microdollar", "0.1.0")
    assert evidence.profile.rule == "microdollar/1"
    assert evidence.usage == {
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "microdollar.usage.units.web_search": 2,
    }
    assert evidence.profile.attributes["microdollar.tag.feature"] == "assistant"
    assert evidence.profile.attributes["gen_ai.request.stream"] == "true"
    assert evidence.profile.attributes["gen_ai.response.finish_reasons"] == "stop,length"
    assert evidence.details["gen_ai.response.time_to_first_chunk"] == "0.25"
    assert evidence.profile.attributes["http.response.status_code"] == "200"


def test_every_attribute_of_the_registry_is_allowed() -> None:
    """What our instrumentation may send, the exporter keeps."""
    words = [value for name, value in vars(md).items() if name.isupper()]
    ours = {word for word in words if word.startswith("microdollar.")}
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

    assert CANARY not in repr(evidence_of(made))


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
    found = reduced(request(call(), call(**change), call()))  # type: ignore[arg-type]
    assert len(found.evidence) == 2
    assert found.refused == {reason: 1}


def test_spans_that_are_not_genai_are_counted_and_left() -> None:
    """An HTTP span is not ours to keep."""
    found = reduced(request(span({"http.request.method": "GET"}), call()))
    assert (len(found.evidence), found.ignored) == (1, 1)


def test_genai_spans_of_other_emitters_are_kept_under_their_own_rule() -> None:
    """They may describe a call that our own span describes too."""
    (evidence,) = evidence_of(request(call(), scope="com.anthropic.sdk.python"))
    assert (evidence.profile.rule, evidence.profile.direct) == ("anthropic-sdk/1", False)


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
        (ga.USAGE_OUTPUT_TOKENS, "7", True),
        (ga.USAGE_OUTPUT_TOKENS, "7.5", False),
        ("microdollar.tag." + "n" * 64, "v", True),
        ("microdollar.tag." + "n" * 65, "v", False),
        ("microdollar.tag.", "v", False),
    ],
)
def test_a_value_is_kept_whole_or_dropped_and_counted(key: str, value: Value, kept: bool) -> None:
    """A cut customer id could be another customer's, so nothing is ever cut."""
    found = reduced(request(span({ga.OPERATION_NAME: "chat", key: value})))
    (evidence,) = found.evidence
    assert (
        any(
            key in there
            for there in (evidence.profile.attributes, evidence.details, evidence.usage)
        )
        is kept
    )
    assert found.values_dropped.total() == (0 if kept else 1)


def test_the_seventeenth_tag_is_dropped_and_counted() -> None:
    """Sixteen tags are kept."""
    tags: dict[str, Value] = {f"microdollar.tag.t{number}": "v" for number in range(17)}
    found = reduced(request(span({ga.OPERATION_NAME: "chat", **tags})))
    assert (
        sum(key.startswith("microdollar.tag.") for key in found.evidence[0].profile.attributes)
        == 16
    )
    assert found.values_dropped == {"microdollar.tag.": 1}


def test_a_customer_of_the_whole_process_is_kept_apart_from_the_calls_own() -> None:
    """It is the weaker claim."""
    (evidence,) = evidence_of(request(call("acme"), resource={md.CUSTOMER_ID: "globex"}))
    assert evidence.details[md.CUSTOMER_ID] == "acme"
    assert evidence.profile.attributes["resource.microdollar.customer.id"] == "globex"


def test_further_models_are_rebuilt_from_the_members_that_are_defined() -> None:
    """JSON in an attribute is a place to hide content."""
    rows = [{"model": "gpt-image-2", "output": 9, "prompt": CANARY, CANARY: 1}]
    (evidence,) = evidence_of(request(call(microdollar__usage__additional=json.dumps(rows))))
    assert evidence.details[md.USAGE_ADDITIONAL] == '[{"model":"gpt-image-2","output":9}]'


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
    found = reduced(request(call(microdollar__usage__additional=text)))
    assert md.USAGE_ADDITIONAL not in found.evidence[0].details
    assert found.values_dropped == {md.USAGE_ADDITIONAL: 1}


TEXT = st.text(max_size=300)
VALUE = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.lists(TEXT)


@settings(deadline=None)
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
    evidence = evidence_of(request(span({**extra, **attributes})))
    entries = booked(evidence, lambda _: Price(1, 1, "priced", "r", None))
    assert sum(entry.calls for entry in entries) == sum(
        item.profile.role == "call" for item in evidence
    )


@given(st.binary(max_size=400), st.binary(max_size=40))
def test_any_protobuf_is_reduced_without_an_exception(body: bytes, tail: bytes) -> None:
    """A request that decodes is never a fault of ours."""
    valid = request(call()).SerializeToString()
    for candidate in (body, valid + tail, valid[: len(body)] + tail):
        try:
            reduce(candidate)
        except MalformedRequest:
            with pytest.raises(DecodeError):
                ExportTraceServiceRequest.FromString(candidate)


def raw_request(*attributes: bytes) -> bytes:
    """A request of one of our spans, with these attributes as they stand on the wire."""
    made = request(span({md.USAGE_SOURCE: "provider"}))
    sent = ExportRequest.FromString(made.SerializeToString())
    sent.resource_spans[0].scope_spans[0].spans[0].attributes.extend(attributes)
    return bytes(sent.SerializeToString())


OUTPUT = b"\x0a\x1a" + ga.USAGE_OUTPUT_TOKENS.encode()


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (OUTPUT + b"\x12\x02\x18\x07", 7),
        (b"\x12\x02\x18\x07" + OUTPUT, 7),
        (OUTPUT + b"\x12\x03\x18\x87\x00", 7),
        (OUTPUT + b"\x12\x04\x18\x01\x18\x07", 7),
        (OUTPUT + b"\x12\x02\x18\x01\x12\x02\x18\x07", 7),
        (OUTPUT + b"\x12\x09\x21" + struct.pack("<d", 7.0), 7),
        (OUTPUT + b"\x12\x00", None),
        (OUTPUT + b"\x12\x02\x18", None),
        (OUTPUT, None),
        (b"\x0a\x7f" + ga.USAGE_OUTPUT_TOKENS.encode(), None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_an_attribute_is_read_as_protobuf_says_however_it_is_written(
    raw: bytes, count: int | None
) -> None:
    """Fields in any order, repeated ones, long varints; a malformed one costs only itself."""
    (evidence,) = reduce(raw_request(raw)).evidence
    assert evidence.usage.get(ga.USAGE_OUTPUT_TOKENS) == count
    assert evidence.profile.attributes[md.USAGE_SOURCE] == "provider"


def test_of_an_attribute_that_stands_twice_the_last_counts() -> None:
    """As it does in every OpenTelemetry SDK."""
    sent = span({ga.OPERATION_NAME: "chat", ga.USAGE_OUTPUT_TOKENS: 1, md.CUSTOMER_ID: "acme"})
    sent.attributes.extend(
        key_values(
            {ga.USAGE_OUTPUT_TOKENS: 2, md.CUSTOMER_ID: "globex", ga.OPERATION_NAME: "embed"}
        )
    )
    (evidence,) = evidence_of(request(sent))
    assert evidence.usage == {ga.USAGE_OUTPUT_TOKENS: 2}
    assert evidence.details == {md.CUSTOMER_ID: "globex"}
    assert evidence.profile.attributes[ga.OPERATION_NAME] == "embed"


def test_a_profile_names_exactly_what_its_spans_hold() -> None:
    """Counts and details are stored without their names."""
    found = evidence_of(
        request(
            call(),
            call(gen_ai__usage__output_tokens=-1),
            call(gen_ai__usage__output_tokens=None),
            span(
                {
                    "langfuse.observation.type": "generation",
                    "langfuse.observation.usage_details": '{"input": 3, "output": 4}',
                }
            ),
        )
    )
    for item in found:
        assert tuple(item.usage) == item.profile.usage_names
        assert tuple(item.details) == item.profile.detail_names


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.dictionaries(st.sampled_from([*ALLOWED, "microdollar.tag.a", "other"]), VALUE),
        max_size=8,
    )
)
def test_what_is_remembered_changes_nothing(spans: list[dict[str, Value]]) -> None:
    """A reducer that has seen everything reads as one that has seen nothing."""
    sent = request(*(span({ga.OPERATION_NAME: "chat", **said}) for said in spans))
    body = sent.SerializeToString()
    seasoned = Reducer()
    seasoned.reduce(body)

    def told(reducer: Reducer) -> list[object]:
        found = reducer.reduce(body)
        said = [(asdict(item.profile), *item[1:]) for item in found.evidence]
        return [said, found.values_dropped, found.refused, found.ignored]

    assert repr(told(seasoned)) == repr(told(Reducer()))


def test_content_is_not_remembered_either() -> None:
    """A value too long to be kept is content until proven otherwise."""
    reducer = Reducer()
    reducer.reduce(request(call(gen_ai__request__model=CANARY * 40)).SerializeToString())
    remembered = [value for value in vars(reducer).values() if isinstance(value, dict)]
    assert CANARY not in repr([list(there) for there in remembered])


def test_what_is_remembered_of_large_attributes_is_small_and_holds_nothing_else_of_them() -> None:
    """Memory is the exporter's, and what stands beside a value that is kept may be content."""
    reducer = Reducer()
    for number in range(3):
        beside = f"canary {number} " + "x" * 100_000
        said = request(
            span({ga.OPERATION_NAME: "chat", ga.RESPONSE_FINISH_REASONS: ["stop", beside]}),
            resource={"service.name": "app", "process.command_args": beside},
        )
        [one] = reducer.reduce(said.SerializeToString()).evidence
        assert one.profile.service == "app"
    assert len(pickle.dumps(remembered(reducer))) < 20_000
    assert b"canary" not in pickle.dumps(remembered(reducer))


def remembered(reducer: Reducer) -> list[object]:
    """The keys of everything that a reducer keeps between requests."""
    values = [text for _, text in reducer._long]
    raw = [*reducer._slots, *reducer._names, *reducer._shared, *reducer._recent]
    return [*values, *raw, *reducer._contexts]
