# SPDX-License-Identifier: Apache-2.0
"""Spans side by side are the same spans as one by one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.batch import Batch
from microdollar_exporter.evidence import Evidence, Profile

INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
TEXTS = st.text(min_size=1, max_size=5)


def profile(detail_names: Sequence[str], usage_names: Sequence[str], *, direct: bool) -> Profile:
    return Profile(
        service="app",
        environment=None,
        scope=None,
        scope_version=None,
        kind="client",
        status=None,
        rule="microdollar/1",
        role="call",
        direct=direct,
        attributes={},
        detail_names=tuple(detail_names),
        usage_names=tuple(usage_names),
    )


PROFILES = [
    profile(details, usage, direct=bool(usage))
    for details in ([], ["a"], ["a", "b"])
    for usage in ([], ["x"], ["x", "y", "z"])
]


@st.composite
def spans(draw: st.DrawFn) -> Evidence:
    of = draw(st.sampled_from(PROFILES))
    return Evidence(
        profile=of,
        trace_id=draw(st.binary(min_size=16, max_size=16)).hex(),
        span_id=draw(st.sampled_from([b"12345678", b"abcdefgh", b"ABCDEFGH"])).hex(),
        parent_span_id=draw(st.sampled_from([None, b"87654321".hex()])),
        started_at=draw(st.sampled_from([1, 2, 2**62])),
        ended_at=draw(INT64),
        response_id=draw(st.none() | TEXTS),
        boot_id=draw(st.none() | TEXTS),
        call_sequence=draw(st.none() | INT64),
        details={name: draw(TEXTS) for name in of.detail_names},
        usage={name: draw(INT64) for name in of.usage_names},
    )


EVIDENCE = st.lists(spans(), max_size=12)


@given(EVIDENCE)
def test_spans_come_out_of_a_batch_as_they_went_in(evidence: list[Evidence]) -> None:
    batch = Batch.of(evidence)
    assert list(batch) == evidence
    assert [batch[-n] for n in range(1, len(batch) + 1)] == evidence[::-1]
    assert Batch.of(batch) is batch


@given(st.lists(EVIDENCE, min_size=1, max_size=4))
def test_batches_are_joined_in_turn(parts: list[list[Evidence]]) -> None:
    batches = [Batch.of(part) for part in parts]
    joined = Batch.joined(batches)
    assert list(joined) == [item for part in parts for item in part]
    assert [list(batch) for batch in batches] == parts


@given(EVIDENCE, st.data())
def test_a_part_of_a_batch_has_those_spans_alone(
    evidence: list[Evidence], data: st.DataObject
) -> None:
    batch = Batch.of(evidence)
    kept = sorted(data.draw(st.sets(st.sampled_from(range(len(batch))))) if evidence else ())
    assert list(batch.only(kept)) == [evidence[position] for position in kept]
    assert list(batch.without(kept)) == [
        item for position, item in enumerate(evidence) if position not in kept
    ]
    middle = slice(1, len(batch) // 2)
    assert list(batch[middle]) == evidence[middle]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)), max_size=12))
def test_a_span_that_is_there_again_counts_once(known_by: list[tuple[int, int, int]]) -> None:
    """Known by its trace, its id and its start, and by nothing less."""
    [one] = PROFILES[:1]
    evidence = [
        Evidence(one, f"{trace:032x}", f"{span:016x}", None, start, 2, None, None, None, {}, {})
        for trace, span, start in known_by
    ]
    batch = Batch.of(evidence)
    first = [known_by.index(identity) for identity in dict.fromkeys(known_by)]
    assert batch.first_positions() == first


@given(EVIDENCE)
def test_columns_say_what_the_spans_say(evidence: list[Evidence]) -> None:
    batch = Batch.of(evidence)
    assert batch.trace_id_texts.to_pylist() == [item.trace_id for item in evidence]
    assert batch.span_id_texts.to_pylist() == [item.span_id for item in evidence]
    assert batch.parent_span_id_texts.to_pylist() == [item.parent_span_id for item in evidence]
    assert batch.starts.tolist() == [item.started_at for item in evidence]
    assert batch.ends.tolist() == [item.ended_at for item in evidence]
    assert batch.direct.tolist() == [item.profile.direct for item in evidence]
    distinct = list(batch.distinct_profiles)
    assert [distinct[place] for place in batch.profile_of] == [item.profile for item in evidence]


def test_a_place_beyond_the_end_is_an_error() -> None:
    with pytest.raises(IndexError):
        Batch()[0]
