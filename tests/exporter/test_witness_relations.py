# SPDX-License-Identifier: Apache-2.0
"""Which spans have to be decided together."""

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microdollar_exporter.evidence import Identity
from microdollar_exporter.witness import Claim, Key, components
from microdollar_exporter.witness.alone import same_alone
from microdollar_exporter.witness.forest import Forest
from microdollar_exporter.witness.relations import (
    ordered,
    same_moment,
    same_response,
    same_span,
)
from microdollar_exporter.witness.times import DAY
from tests.exporter.claims import agent, any_claims, call, failed, other, strong, weak

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MICROSECOND = 0.000001
LONG = DAY // 1_000_000


def together(*claims: Claim) -> list[list[str]]:
    """The spans of each component that has any, sorted."""
    return sorted(sorted(claim.span_id for claim in part) for part in components(claims))


@pytest.mark.parametrize(("apart", "count"), [(LONG, 1), (LONG + MICROSECOND, 2)])
def test_a_strong_id_connects_traces_within_a_day(apart: float, count: int) -> None:
    """From one scope or two."""
    one = call("one", key=strong("a"), trace="1")
    two = call("two", key=strong("a"), trace="2", start=apart)
    assert len(together(one, two)) == count
    assert same_response(one, two) == (count == 1)


def test_days_add_up() -> None:
    """What is connected to the same is connected."""
    calls = [call(f"{day}", key=strong("a"), trace=f"{day}", start=day * LONG) for day in range(4)]
    assert len(components(calls)) == 1
    assert len(components(calls[:1] + calls[2:])) == 2


def test_the_id_of_a_request_connects_as_well() -> None:
    """With another span's, and through it with those that share its response."""
    request = Key("req_a", strong=True)
    assert together(
        call("1", trace="1", request_key=request),
        call("2", trace="2", request_key=request, key=strong("a")),
        call("3", trace="3", key=strong("a")),
        call("4", trace="4", key=strong("b")),
    ) == [["1", "2", "3"], ["4"]]


def test_a_weak_id_connects_only_at_the_same_time_in_a_trace() -> None:
    """And only two scopes, and one family of providers."""
    one = call("one", "oi", key=weak("7"), model=None)
    other_scope = call("two", "ollm", key=weak("7"), start=1, model=None)
    assert together(one, other_scope) == [["one", "two"]]
    for changed in (
        call("two", "ollm", key=weak("7"), start=1 + MICROSECOND, model=None),
        other_scope._replace(trace_id="other"),
        other_scope._replace(scope="oi"),
        other_scope._replace(family="cohere"),
        other_scope._replace(response_key=weak("8")),
    ):
        assert together(one, changed) == [["one"], ["two"]]
        assert not same_response(one, changed)


def test_a_call_inside_another_is_connected_through_whatever_is_between() -> None:
    """As long as it was recorded. Times do not matter: clocks differ."""
    spans = [call("outer"), other("chain", "outer"), other("tool", "chain")]
    inner = call("inner", inside="tool", start=-500)
    assert together(*spans, inner) == [["chain", "inner", "outer", "tool"]]
    assert together(*spans, inner._replace(parent_span_id="lost")) == [
        ["chain", "outer", "tool"],
        ["inner"],
    ]


def test_a_root_that_stands_for_nothing_connects_nothing() -> None:
    """An agent loop may have a thousand calls beneath it."""
    loop = other("loop", "app")
    calls = [call(f"{n}", inside="loop", start=n * 10) for n in range(1000)]
    assert len(components([loop, *calls])) == 1000


def test_an_agent_elsewhere_connects_what_is_beneath_it() -> None:
    """If it says what it used."""
    calls = [call("1", inside="agent"), call("2", inside="agent", start=10)]
    assert together(agent("agent"), *calls) == [["1", "2", "agent"]]
    silent = agent("agent", inside="app", output=None)
    assert together(silent, *calls) == [["1"], ["2"]]


def test_one_span_reported_with_two_starts_is_connected() -> None:
    """Redelivered by an emitter that changed its mind."""
    assert together(call("s"), call("s", start=5)) == [["s", "s"]]
    assert together(call("s"), call("s", start=5, trace="other")) == [["s"], ["s"]]


def test_what_is_inside_a_span_reported_twice_is_inside_the_report_of_a_call() -> None:
    """Where one of the two stands for nothing."""
    assert together(other("s"), call("s", start=5), call("inner", inside="s", start=5)) == [
        ["inner", "s"]
    ]


def test_a_span_in_a_circle_is_connected_to_the_rest_of_it() -> None:
    """A forged parent id ends no search."""
    circle = [call("1", inside="3"), other("2", "1"), call("3", inside="2")]
    assert together(*circle) == [["1", "2", "3"]]
    assert together(call("1", inside="1")) == [["1"]]


@pytest.mark.parametrize(
    ("start", "lasts", "count"),
    [
        (0, 9, 1),
        (1, 8, 1),
        (1 + MICROSECOND, 8 - MICROSECOND, 1),
        (1 + MICROSECOND, 5, 2),
        (5, 5, 1),
        (5, 5 + MICROSECOND, 2),
        (8, 0, 1),
        (10 + MICROSECOND, 0, 2),
    ],
)
def test_two_scopes_at_one_moment_are_connected(start: float, lasts: float, count: int) -> None:
    """One lasts nine seconds: begun within a second of it, or ended within a second of it."""
    one = call("one", "oi", lasts=9)
    assert len(together(one, call("two", "ollm", start=start, lasts=lasts))) == count


def test_what_begins_after_another_is_over_is_another_call() -> None:
    """Within a second or not. But it may end within a second of it."""
    one = call("one", "oi", lasts=0.5)
    assert len(together(one, call("two", "ollm", start=0.5, lasts=9))) == 1
    assert len(together(one, call("two", "ollm", start=0.5 + MICROSECOND, lasts=9))) == 2


def test_only_the_same_model_in_the_same_trace_and_another_scope_is_connected() -> None:
    """And agents by nothing but what is beneath and above them."""
    one = call("one", "oi", inside="app")
    two = call("two", "ollm", inside="app")
    assert len(together(one, two)) == 1
    for changed in (
        two._replace(scope="oi"),
        two._replace(trace_id="other"),
        two._replace(model="claude"),
        two._replace(model=None),
        two._replace(role="agent"),
    ):
        assert len(together(one, changed)) == 2
    assert len(together(one._replace(model=None), two._replace(model=None))) == 2


def test_a_thousand_parallel_calls_of_one_scope_are_not_connected() -> None:
    """They are a thousand calls."""
    assert len(components([call(f"{n}", inside="app") for n in range(1000)])) == 1000


class TestAlone:
    """Calls that begin a trace each, or are in a span that does and stands for nothing."""

    one = call("one", "ollm", trace="1", service="shop", overcount=16)
    two = call("two", "oi", trace="2", service="shop")

    def test_they_are_connected_when_all_is_alike(self) -> None:
        assert together(self.one, self.two) == [["one", "two"]]
        two = self.two._replace(parent_span_id="request")
        request = other("request", trace="2")
        assert together(self.one, two, request) == [["one", "request", "two"]]

    def test_they_are_not_where_another_span_is_around_them(self) -> None:
        """Recorded or not."""
        two = self.two._replace(parent_span_id="request")
        assert len(together(self.one, two)) == 2
        assert len(together(self.one, two, other("request", "app", trace="2"))) == 2
        assert len(together(self.one, two, call("request", "app", trace="2"))) == 2

    @pytest.mark.parametrize(
        "changes",
        [
            {"service": "till"},
            {"service": None},
            {"scope": "ollm"},
            {"model": "claude"},
            {"model": None},
            {"input": 999},
            {"output": 101},
            {"output": 83},
            {"failed": True, "has_usage": False},
        ],
        ids=repr,
    )
    def test_they_are_not_when_anything_differs(self, changes: dict[str, object]) -> None:
        two = self.two._replace(**changes)  # type: ignore[arg-type]
        assert len(together(self.one, two)) == 2
        assert not same_alone(self.one, two)

    def test_an_output_may_lack_what_the_other_counts_twice(self) -> None:
        """Up to sixteen tokens."""
        assert len(together(self.one, self.two._replace(output=84))) == 1

    def test_one_may_have_no_usage(self) -> None:
        """As one that does not read streams."""
        silent = call("two", "oi", trace="2", service="shop", output=None)
        assert len(together(self.one, silent)) == 1

    @pytest.mark.parametrize(
        ("start", "lasts", "count"),
        [
            (0.10, 1.0, 1),
            (0.11, 0.9, 2),
            (-0.10, 1.0, 1),
            (-0.11, 1.1, 2),
            (0.00, 1.1, 1),
            (0.00, 1.11, 2),
            (0.90, 0.0, 1),
            (1.10, 0.0, 1),
            (1.11, 0.0, 2),
            (0.89, 0.0, 2),
        ],
    )
    def test_they_begin_and_end_within_a_tenth_of_a_second(
        self, start: float, lasts: float, count: int
    ) -> None:
        """A span without length only has to be where the other ended."""
        two = call("two", "oi", trace="2", service="shop", start=start, lasts=lasts)
        assert len(together(self.one, two)) == count

    def test_they_overlap(self) -> None:
        """What begins after another is over is another call, however soon."""
        one = self.one._replace(ended_at=self.one.started_at + 40_000)
        two = call("two", "oi", trace="2", service="shop", start=0.05, lasts=0.04)
        assert len(together(one, two)) == 2
        assert len(together(one, two._replace(started_at=one.ended_at))) == 1

    def test_a_failed_one_may_be_another_failed_one(self) -> None:
        """Nothing was counted by either."""
        calls = [failed(s, s, trace=s, service="shop") for s in ("oi", "ollm")]
        assert len(components(calls)) == 1


@UNHURRIED
@given(any_claims())
def test_components_are_what_the_relations_connect(claims: list[Claim]) -> None:
    """No more and no less, though the relations are never compared pair by pair."""
    every = ordered(claims)
    found = sorted(
        sorted(claim.identity for claim in part if claim.billable) for part in components(claims)
    )
    assert found == sorted(map(sorted, connected(every)))


@UNHURRIED
@given(any_claims(), st.randoms())
def test_components_do_not_depend_on_the_order(claims: list[Claim], random: object) -> None:
    """Nor on how often a claim is given."""
    shuffled = claims * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert components(shuffled) == components(claims)


@UNHURRIED
@given(any_claims())
def test_a_component_is_one_component(claims: list[Claim]) -> None:
    """What connects it comes with it."""
    for part in components(claims):
        assert components(part) == [part]


def connected(every: Sequence[Claim]) -> list[set[Identity]]:
    """The sets of billable claims that the relations connect, found pair by pair."""
    forest = Forest(every)
    groups = [{i} for i, claim in enumerate(every) if claim.billable]
    for one, other_one in list(_related(every, forest)):
        (first,) = (group for group in groups if one in group)
        (second,) = (group for group in groups if other_one in group)
        if first is not second:
            groups.remove(second)
            first |= second
    return [{every[i].identity for i in group} for group in groups]


def _related(every: Sequence[Claim], forest: Forest) -> Iterator[tuple[int, int]]:
    billable = [i for i, claim in enumerate(every) if claim.billable]
    for i, j in itertools.combinations(billable, 2):
        one, two = every[i], every[j]
        if (
            same_span(one, two)
            or same_response(one, two)
            or same_moment(one, two)
            or j == forest.above[i]
            or i == forest.above[j]
            or (i in forest.alone and j in forest.alone and same_alone(one, two))
        ):
            yield i, j
