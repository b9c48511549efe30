# SPDX-License-Identifier: Apache-2.0
"""Turning nested counts into disjoint buckets."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.normalise import normalise
from microdollar_exporter.reduce import reduce
from microdollar_exporter.usage import Usage, UsageRow
from tests.fakes.otlp import Value, call, request


def rows(**changes: Value | None) -> list[UsageRow]:
    """The usage rows of a call with these attributes."""
    (evidence,) = reduce(request(call(**changes))).evidence  # type: ignore[arg-type]
    return normalise(evidence)


def usage(**counts: int | None) -> Usage:
    """The usage of a call with exactly these `gen_ai.usage` counts."""
    cleared: dict[str, Any] = {
        "gen_ai__usage__input_tokens": None,
        "gen_ai__usage__cache_read__input_tokens": None,
        "gen_ai__usage__output_tokens": None,
    }
    (row,) = rows(**cleared | counts)
    return row.usage


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
    (row,) = rows(
        gen_ai__usage__input_tokens=99,
        gen_ai__usage__cache_write__input_tokens=1,
        microdollar__usage__cache_write_5m__input_tokens=3,
    )
    assert (row.usage.input_uncached, row.usage.cache_write) == (0, 0)
    assert row.notes == (
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
    (row,) = rows(gen_ai__usage__cache_read__input_tokens="900", gen_ai__usage__output_tokens=-5)
    assert row.usage == Usage(input_uncached=1000)
    assert row.notes == (
        "not read: gen_ai.usage.cache_read.input_tokens,gen_ai.usage.output_tokens",
    )


def test_a_usage_source_that_is_none_of_ours_counts_as_missing() -> None:
    """And is noted."""
    (row,) = rows(microdollar__usage__source="banana")
    assert (row.source, row.notes) == ("missing", ("the usage source is not said",))


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
    (row,) = rows(microdollar__usage__units__web_search=2)
    assert row.usage.units == {"web_search": 2}


def test_a_call_that_says_nothing_of_its_usage_source_counts_as_missing() -> None:
    """Silence is not a report."""
    (row,) = rows(microdollar__usage__source=None)
    assert row.source == "missing"


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
