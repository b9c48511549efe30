# SPDX-License-Identifier: Apache-2.0
"""The one allow-list, how values are read, and the Collector that applies the same list before."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from microdollar_exporter.allow import (
    ALLOWED,
    ALLOWED_PREFIXES,
    NAMES,
    RESOURCE_ALLOWED,
    Keep,
    known_name,
)
from microdollar_exporter.dialects import MARKS
from microdollar_exporter.values import (
    MAX_COUNT,
    count,
    json_counts,
    python_counts,
    text,
    texts,
    usage_rows,
)
from microdollar_semconv import gen_ai as ga

ROOT = Path(__file__).parents[2]
CONTENT = (ROOT / "tests/collector/content_attributes.txt").read_text("utf-8").split()
CONFIG = yaml.safe_load((ROOT / "otel-collector-config.yaml").read_text("utf-8"))


def any_value(value: object) -> AnyValue:
    """A value in protobuf, by its Python type."""
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(one) for one in value]))
        case _:
            return AnyValue()


@pytest.mark.parametrize("name", CONTENT)
def test_no_attribute_that_holds_content_is_allowed(name: str) -> None:
    """Prompts, answers, headers, errors and names of people, in the words of every dialect."""
    assert name not in ALLOWED
    assert name not in RESOURCE_ALLOWED
    assert not name.startswith(tuple(ALLOWED_PREFIXES))


WHOSE = (
    *("tenant.id", "customer.id", "customer_id", "app.tenant.id"),
    *("enduser.pseudo.id", "enduser.id", "user.id", "user.hash", "gen_ai.user", "llm.user"),
    *(f"traceloop.association.properties.{whose}_id" for whose in ("customer", "user", "session")),
    *("litellm.end_user.id", "litellm.team.id"),
    *(f"metadata.user_api_key_{whose}_id" for whose in ("end_user", "user", "team", "org")),
    *(f"litellm.metadata.user_api_key_{whose}_id" for whose in ("end_user", "team")),
    *("langfuse.user.id", "langfuse.session.id", "langsmith.metadata.user_id"),
    *("ai.telemetry.metadata.userId", "ai.settings.context.userId"),
    *("session.id", "conversation.id", "gen_ai.conversation.id"),
)


@pytest.mark.parametrize("name", WHOSE)
def test_whom_a_call_was_for_is_kept_with_the_call(name: str) -> None:
    """It differs from call to call, and must not multiply what is shared."""
    assert ALLOWED[name].keep is Keep.DETAIL


def test_of_several_response_ids_opentelemetrys_is_taken_first() -> None:
    """The AI SDK repeats it under its own name."""
    ids = [name for name, field in ALLOWED.items() if field.keep is Keep.RESPONSE_ID]
    assert ids == ["gen_ai.response.id", "ai.response.id"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_that_a_dialect_needs_is_kept(name: str) -> None:
    """And only exactly it."""
    assert known_name(name) == name
    assert known_name(name + " ") is None


@pytest.mark.parametrize("name", ["", "chat gpt-6-luna", "Tell me a secret", "ai.generateText"])
def test_no_other_name_is_kept(name: str) -> None:
    """Emitters put prompts into names."""
    assert known_name(name) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0, 0),
        (MAX_COUNT, MAX_COUNT),
        (MAX_COUNT + 1, None),
        (-1, None),
        (12.0, 12),
        (0.0, 0),
        (12.5, None),
        (-12.0, None),
        (float(MAX_COUNT), MAX_COUNT),
        (float(MAX_COUNT) * 2, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (False, None),
        ("12", 12),
        ("0", 0),
        (str(MAX_COUNT), MAX_COUNT),
        (str(MAX_COUNT + 1), None),
        ("9" * 400, None),
        ("-12", None),
        ("+12", None),
        ("12.0", None),
        (" 12", None),
        ("1e3", None),
        ("\uff11\uff12", None),
        ("", None),
        (b"12", None),
        ([12], None),
        (None, None),
    ],
)
def test_a_count_is_a_whole_number_that_is_not_negative(value: object, read: int | None) -> None:
    """As an integer, a double without a fraction, or digits; nothing else is taken for one."""
    assert count(any_value(value)) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('{"input": 12, "output": 40.0}', {"input": 12, "output": 40}),
        ('{"a": {"b": 1}, "c": null, "d": "x", "e": [1], "f": true}', {"a.b": 1}),
        ('{"total_cost": 0.25, "cost_details": {"a": {"b": 1}}, "input": 1}', {"input": 1}),
        ("{}", None),
        ('{"a": "12"}', None),
        ('{"input": 12, "output": 1.5}', None),
        ('{"input": -1}', None),
        ('{"input": NaN}', None),
        (f'{{"input": {MAX_COUNT}}}', {"input": MAX_COUNT}),
        (f'{{"input": {MAX_COUNT + 1}}}', None),
        ('{"a": {"b": {"c": 1}}}', {"a.b.c": 1}),
        ('{"a": {"b": {"c": {"d": 1}}}}', None),
        ('{"tell me a secret": 1}', None),
        ('{"canary-1": 1}', None),
        ('{"": 1}', None),
        ('{"' + "a" * 65 + '": 1}', None),
        ("[1]", None),
        ("12", None),
        ("{", None),
        ("", None),
        ("[" * 100_000, None),
        ("{" + ", ".join(f'"n{n}": {n}' for n in range(64)) + "}", {f"n{n}": n for n in range(64)}),
        ("{" + ", ".join(f'"n{n}": {n}' for n in range(65)) + "}", None),
        ('{"input": 1, "x": "' + "y" * 16_384 + '"}', None),
    ],
)
def test_counts_in_json_are_read_whole_or_not_at_all(
    written: str, read: dict[str, int] | None
) -> None:
    """Costs and words beside them are passed over; sizes, depths and names are limited."""
    assert json_counts(any_value(written)) == read


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("{'cache_read': 1000, 'audio': 0}", {"cache_read": 1000, "audio": 0}),
        ("{'cache_read': None, 'audio': 3}", {"audio": 3}),
        ("{}", {}),
        ("{'a': -1}", None),
        ("{'a': 1.5}", None),
        ("{'a': True}", None),
        ("{'a': {'b': 1}}", None),
        ("{'a': __import__('os')}", None),
        ("{'a b': 1}", None),
        ('{"a": 1}', None),
        ("{'a': 1 'b': 2}", None),
        ("{'a': 1, }", None),
        ("{'a': 99999999999999999}", None),
        (f"{{'a': {MAX_COUNT + 1}}}", None),
        ("{'a': 1}\n", None),
        ("", None),
    ],
)
def test_counts_that_python_printed_are_read_without_running_anything(
    printed: str, read: dict[str, int] | None
) -> None:
    """LangSmith writes `str(dict)`."""
    assert python_counts(any_value(printed)) == read


@pytest.mark.parametrize("reader", [json_counts, python_counts, usage_rows])
@pytest.mark.parametrize("value", [12, 12.0, True, b"{}", ["{}"], None])
def test_a_text_is_wanted_where_a_text_is_read(reader: Any, value: object) -> None:
    """Anything else holds no counts."""
    assert reader(any_value(value)) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (["stop", "length"], "stop,length"),
        ('["stop", "length"]', "stop,length"),
        ("stop,length", "stop,length"),
        (["stop", "a\nb"], "stop"),
        ('["stop", {"a": 1}]', "stop"),
        ("[not json", None),
        ('{"a": 1}', '{"a": 1}'),
        ([], None),
        (["x" * 200, "y" * 200], None),
    ],
)
def test_a_list_of_words_is_read_however_it_comes(value: object, read: str | None) -> None:
    """Microsoft's Agent Framework sends finish reasons as JSON, Semantic Kernel joined."""
    assert texts(any_value(value)) == read


@pytest.mark.parametrize("value", ["a\nb", "a\x00", "a\u2028b", "", "x" * 257, b"a", [], None])
def test_text_is_short_and_on_one_line(value: object) -> None:
    """A line break would be the start of somebody's prose."""
    assert text(any_value(value)) is None
    assert text(any_value("x" * 256)) == "x" * 256


@given(st.text() | st.binary() | st.floats() | st.integers(-(2**63), 2**63 - 1) | st.booleans())
def test_no_reader_raises_whatever_it_is_given(value: object) -> None:
    """One bad value must not cost the span."""
    for field in {*ALLOWED.values(), *ALLOWED_PREFIXES.values(), *RESOURCE_ALLOWED.values()}:
        field.read(any_value(value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=20,
    )
)
def test_json_of_any_shape_gives_counts_or_nothing(value: object) -> None:
    """Never a negative, never a fraction, never a name that could be prose."""
    read = json_counts(any_value(json.dumps(value)))
    for name, number in (read or {}).items():
        assert re.fullmatch(r"[A-Za-z0-9_.]+", name)
        assert type(number) is int
        assert 0 <= number <= MAX_COUNT


def test_an_empty_value_and_a_map_are_nothing() -> None:
    """OTLP has both."""
    for value in (AnyValue(), AnyValue(kvlist_value=KeyValueList())):
        assert (text(value), count(value), texts(value)) == (None, None, None)


def collector_pattern(context: str) -> re.Pattern[str]:
    """What the Collector lets pass of the attributes of a span or of a resource.

    OTTL takes the pattern from a string with its own escapes, in which `$$` is a dollar sign.
    """
    statements = next(
        one["statements"]
        for one in CONFIG["processors"]["transform/microdollar"]["trace_statements"]
        if one["context"] == context
    )
    (pattern,) = (
        found[1]
        for statement in statements
        if (found := re.fullmatch(r'keep_matching_keys\(\w+\.attributes, "(.+)"\)', statement))
    )
    assert "\\" not in pattern
    return re.compile(pattern.replace("$$", "$"))


@pytest.mark.parametrize("name", sorted([*ALLOWED, *(f"{p}x" for p in ALLOWED_PREFIXES)]))
def test_the_collector_lets_every_allowed_attribute_pass(name: str) -> None:
    """What it drops, the exporter never sees."""
    assert collector_pattern("span").match(name)


@pytest.mark.parametrize(
    "name",
    [
        *RESOURCE_ALLOWED,
        *(ga.SERVICE_NAME, ga.DEPLOYMENT_ENVIRONMENT_NAME, ga.DEPLOYMENT_ENVIRONMENT),
    ],
)
def test_the_collector_lets_every_allowed_attribute_of_a_resource_pass(name: str) -> None:
    """As on spans."""
    assert collector_pattern("resource").match(name)


@pytest.mark.parametrize("name", CONTENT)
def test_the_collector_lets_no_content_pass(name: str) -> None:
    """Nor does it wait for the exporter to drop it."""
    assert not collector_pattern("span").match(name)


def test_the_collectors_marks_are_the_exporters() -> None:
    """A span that one drops and the other would take is money lost."""
    (condition,) = CONFIG["processors"]["filter/microdollar"]["traces"]["span"]
    marks = re.findall(r'attributes\["([^"]+)"\] == nil', condition)
    assert sorted(marks) == sorted(MARKS)
