# SPDX-License-Identifier: Apache-2.0
"""Which of related spans is billed, and why the others are not."""

import itertools
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microdollar_exporter.evidence import Identity
from microdollar_exporter.witness import Claim, choose, components
from microdollar_exporter.witness.forest import Forest
from microdollar_exporter.witness.relations import keys, ordered, same_span
from microdollar_exporter.witness.times import DAY
from tests.exporter.claims import agent, any_claims, call, failed, other, strong, weak
from tests.exporter.worlds import World, worlds

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def billed(*claims: Claim) -> list[str]:
    """The spans that are billed, in the order given."""
    verdicts = choose(claims)
    return [claim.span_id for claim in claims if verdicts[claim.identity].billed]


def notes(*claims: Claim) -> dict[str, str | None]:
    """What is said of each span."""
    verdicts = choose(claims)
    return {claim.span_id: verdicts[claim.identity].note for claim in claims}


def same(*claims: Claim) -> list[Claim]:
    """The same call, by one strong id."""
    return [claim._replace(response_key=strong("a")) for claim in claims]


class TestTheBestWitness:
    """Of several claims about one call one is believed."""

    def test_one_with_usage_before_one_without(self) -> None:
        assert billed(*same(call("ours", output=None), call("low", "gateway"))) == ["low"]

    @pytest.mark.parametrize(
        ("better", "worse"),
        [
            ("provider", "provider_partial"),
            ("provider_partial", "estimated"),
            ("estimated", "missing"),
        ],
    )
    def test_a_provider_s_counts_before_what_is_not_whole(self, better: str, worse: str) -> None:
        one = call("worse")._replace(source=worse)
        assert billed(*same(one, call("better", "gateway", source=better))) == ["better"]

    def test_a_provider_s_counts_before_those_an_emitter_may_have_guessed(self) -> None:
        assert billed(*same(call("perhaps", guessed=True), call("sure", "gateway"))) == ["sure"]

    def test_one_that_tells_the_cache_apart_before_one_that_does_not(self) -> None:
        split = call("split", "gateway", cache_split=1)
        assert billed(*same(call("plain"), split)) == ["split"]
        assert billed(*same(split, call("all of it", "oi", cache_split=2))) == ["all of it"]

    def test_one_that_counts_nothing_twice_before_one_that_may(self) -> None:
        assert billed(*same(call("twice", overcount=16), call("once", "gateway"))) == ["once"]

    def test_the_nearer_to_the_provider_by_the_rank_of_its_dialect(self) -> None:
        ranks = ("gateway", "framework", "ollm", "oi", "otel", "sdk", "ours")
        for worse, better in itertools.pairwise(ranks):
            assert billed(*same(call(worse, worse), call(better, better))) == [better]

    def test_the_innermost_of_equals(self) -> None:
        outer = call("outer", "sdk")
        assert billed(*same(outer, call("inner", "sdk", inside="outer", start=-1))) == ["inner"]

    def test_the_earliest_then_the_smallest_ids_of_what_is_equal_in_all(self) -> None:
        early, late = call("2", trace="2", start=-1), call("1", trace="1")
        assert billed(*same(late, early)) == ["2"]
        assert billed(*same(late, call("2", trace="2"))) == ["1"]

    def test_one_that_knows_of_a_gateway_s_cache_before_all(self) -> None:
        """What others count was not bought."""
        cached = call("cached", "gateway", inside="ours", source="none", from_cache=True)
        assert billed(call("ours"), cached) == ["cached"]


class TestTheNotes:
    """A short phrase that stays the same says why a span is not billed."""

    def test_a_span_that_stands_for_nothing(self) -> None:
        assert notes(other("tool")) == {"tool": "not a call"}

    def test_an_agent_that_says_nothing_of_usage(self) -> None:
        silent = agent("agent", output=None)
        assert notes(silent, call("call", inside="agent")) == {
            "agent": "agent without usage",
            "call": None,
        }

    def test_an_agent_above_calls(self) -> None:
        assert notes(agent("agent"), call("call", inside="agent"))["agent"] == (
            "agent with calls beneath"
        )
        inner = agent("inner", inside="outer")
        assert notes(agent("outer"), inner)["outer"] == "agent with calls beneath"

    def test_the_same_response(self) -> None:
        found = notes(*same(call("ours"), call("sdk", "sdk", trace="2")))
        assert found == {"ours": None, "sdk": "superseded by a span with the same response id"}

    def test_the_same_span(self) -> None:
        verdicts = choose([call("s"), call("s", start=5)]).values()
        assert [verdict.note for verdict in verdicts] == [
            None,
            "superseded by another report of the span",
        ]

    def test_a_layer_of_the_same_call(self) -> None:
        found = notes(call("oi", "oi"), call("ollm", "ollm", inside="oi"))
        assert found == {"oi": None, "ollm": "superseded by a span around or inside it"}

    def test_a_span_beside(self) -> None:
        found = notes(call("oi", "oi"), call("ollm", "ollm"))
        assert found == {"oi": None, "ollm": "superseded by a span beside it"}

    def test_sums_and_what_they_hold(self) -> None:
        first = call("first", "otel", inside="sum")
        second = call("second", "otel", inside="sum", start=2)
        whole = call("sum", "framework", output=200, lasts=9)
        assert notes(whole, first, second) == {
            "sum": "repeats its children",
            "first": None,
            "second": None,
        }
        assert notes(whole, first) == {
            "sum": "coverage gap",
            "first": "inside a span that is billed for all",
        }
        assert notes(whole._replace(has_usage=False), first, second)["sum"] == (
            "superseded by the spans inside it"
        )


class TestWhatABilledSpanStandsFor:
    """Whose word counts for what it does not say itself."""

    def test_the_others_about_its_call_the_most_believed_first(self) -> None:
        claims = same(call("1", "gateway"), call("2"), call("3", "oi"), call("4", "sdk"))
        verdict = choose(claims)[claims[1].identity]
        assert [span for _, span, _ in verdict.stands_for] == ["4", "3", "1"]

    def test_then_what_is_inside_it_and_not_billed(self) -> None:
        whole, *rest = claims = [
            call("sum", "framework", output=1000, lasts=9),
            call("1", "otel", inside="sum"),
            call("2", "ours", inside="1"),
            call("3", "sdk", inside="sum", start=3),
        ]
        verdict = choose(claims)[whole.identity]
        assert [span for _, span, _ in verdict.stands_for] == ["2", "3", "1"]
        assert {verdict.billed for i, verdict in choose(claims).items() if i[1] != "sum"} == {False}
        assert len(rest) == 3

    def test_no_outer_span_that_tells_of_several_calls(self) -> None:
        """What it says of itself may be true of one of them alone."""
        claims = [
            call("sum", "framework", output=200, lasts=9),
            call("1", "otel", inside="sum"),
            call("2", "otel", inside="sum", start=3),
        ]
        assert [verdict.stands_for for verdict in choose(claims).values()] == [(), (), ()]


class TestNesting:
    """What the scenarios leave open."""

    @pytest.mark.parametrize(("inner", "expected"), [(9, ["inner"]), (8, ["outer"])])
    def test_less_than_nine_tenths_is_a_gap(self, inner: int, expected: list[str]) -> None:
        outer = call("outer", "framework", output=10)
        assert billed(outer, call("inner", inside="outer", output=inner)) == expected

    def test_what_may_be_counted_twice_is_no_gap(self) -> None:
        """OpenLLMetry says 9 of a stream of 5, whichever of the two is around the other."""
        twice = call("twice", "ollm", output=9, overcount=16)
        once = call("once", "oi", output=5)
        assert billed(twice, once._replace(parent_span_id="twice")) == ["once"]
        assert billed(once, twice._replace(parent_span_id="once")) == ["once"]

    def test_an_outer_span_that_saw_less_is_not_believed(self) -> None:
        """Whatever its rank."""
        inner = call("inner", "gateway", inside="outer", output=200)
        assert billed(call("outer", "sdk"), inner) == ["inner"]

    def test_an_embedding_is_compared_by_its_input(self) -> None:
        outer = call("outer", "framework", output=0, input=2000)
        one = call("one", "otel", inside="outer", output=0, input=1000)
        assert billed(outer, one) == ["outer"]
        assert billed(outer, one, call("two", "otel", inside="outer", output=0, start=2)) == [
            "one",
            "two",
        ]

    def test_the_deepest_of_three_layers_has_the_calls(self) -> None:
        """The two above it are sums of all."""
        middle = call("middle", "sdk", inside="outer", output=200)
        calls = [call(f"{n}", inside="middle", start=n * 2) for n in range(2)]
        assert billed(call("outer", "framework", output=200), middle, *calls) == ["0", "1"]

    def test_a_middle_layer_with_a_gap_counts_for_what_is_inside_it(self) -> None:
        """And the layer around it repeats it."""
        middle = call("middle", "sdk", inside="outer", output=200)
        outer = call("outer", "framework", output=200)
        claims = [outer, middle, call("0", inside="middle")]
        assert billed(*claims) == ["middle"]
        assert notes(*claims)["middle"] == "coverage gap"

    def test_of_layers_without_usage_the_deepest_stands(self) -> None:
        """A call of which nobody knows the usage is still one call."""
        layers = [call("1", "oi", output=None), call("2", "ollm", inside="1", output=None)]
        assert billed(*layers, call("3", inside="2", output=None)) == ["3"]
        several = [call(f"{n}", inside="2", output=None, start=n) for n in (3, 4)]
        assert billed(*layers, *several) == ["3", "4"]

    def test_a_silent_view_of_a_counted_call_is_no_call(self) -> None:
        """As long as it was there at the same time, and its scope says nothing else of it."""
        outer = call("outer", "framework", lasts=9)
        counted = call("counted", inside="outer", start=2)
        silent = call("silent", "oi", inside="outer", output=None, start=2)
        assert billed(outer, counted, silent) == ["counted"]
        earlier = call("silent", "oi", inside="outer", output=None, start=0.5)
        assert billed(outer, counted, earlier) == ["counted", "silent"]
        assert billed(outer, counted, silent._replace(scope="ours")) == ["counted", "silent"]
        refused = failed("refused", "oi", inside="outer", start=2)
        assert billed(outer, counted, refused) == ["counted", "refused"]

    def test_a_span_is_not_beside_what_it_is_inside_of(self) -> None:
        """Though it lasts longer, as one that nobody waits for."""
        outer = call("outer", "framework")
        counted = call("counted", inside="outer", lasts=0.3)
        silent = call("silent", "oi", inside="outer", output=None, start=0.5)
        assert billed(outer, counted, silent) == ["counted", "silent"]

    def test_a_weak_id_on_two_layers_makes_them_one_call(self) -> None:
        """Without it, the inner one would lack something."""
        outer = call("outer", "otel", key=weak("7"))
        inner = call("inner", inside="outer", output=80)
        assert billed(outer, inner) == ["outer"]
        assert billed(outer, inner._replace(response_key=weak("7"))) == ["inner"]

    def test_calls_that_two_scopes_report_fill_a_sum_together(self) -> None:
        """Each saw one of them."""
        first = call("first", inside="sum")
        second = call("second", "oi", inside="sum", start=3)
        whole = call("sum", "framework", output=200, lasts=9)
        assert billed(whole, first, second) == ["first", "second"]

    def test_a_span_between_two_of_one_response_is_of_that_response(self) -> None:
        sandwich = [
            call("outer", "ollm", key=strong("a")),
            call("filling", "oi", inside="outer"),
            call("inner", "otel", inside="filling", key=strong("a")),
        ]
        assert billed(*sandwich) == ["inner"]

    def test_attempts_stay_apart_though_a_better_witness_is_elsewhere(self) -> None:
        """The gateway tells the cache apart; what was refused before is a call all the same."""
        spans = [
            call("sdk", "sdk", key=strong("a")),
            failed("refused", inside="sdk", lasts=0.1),
            call("answered", inside="sdk", key=strong("a"), start=0.5),
            call("gateway", "gateway", key=strong("a"), trace="other", cache_split=2),
        ]
        assert billed(*spans) == ["refused", "gateway"]

    def test_nothing_inside_a_billed_span_is_billed(self) -> None:
        """Not even an attempt beside the one that the outer span tells more of."""
        spans = [
            call("sdk", "sdk", key=strong("a"), cache_split=2),
            failed("refused", inside="sdk", lasts=0.1),
            call("answered", inside="sdk", key=strong("a"), start=0.5),
        ]
        assert billed(*spans) == ["sdk"]

    def test_an_agent_inside_a_call_is_part_of_it(self) -> None:
        outer = call("outer", "oi", output=100)
        assert billed(outer, agent("agent", inside="outer")) == ["outer"]
        silent = call("outer", "oi", output=None)
        assert billed(silent, agent("agent", inside="outer")) == ["agent"]
        inner = call("inner", inside="outer")
        assert billed(outer, agent("agent", inside="outer"), inner) == ["inner"]

    def test_an_agent_beneath_an_agent_goes_before_it(self) -> None:
        assert billed(agent("outer"), agent("inner", inside="outer")) == ["inner"]
        between = call("between", inside="outer", output=None)
        assert billed(agent("outer"), between, agent("inner", inside="between")) == ["inner"]


class TestPairing:
    """What the scenarios leave open."""

    def test_as_many_calls_remain_as_one_scope_reports(self) -> None:
        """One of them missed one."""
        seen = [call(f"oi {n}", "oi", start=n / 100) for n in range(3)]
        missed = [call(f"ollm {n}", "ollm", start=n / 100) for n in range(2)]
        assert billed(*seen, *missed) == ["oi 0", "oi 1", "oi 2"]

    def test_three_scopes_beside_each_other(self) -> None:
        scopes = ("oi", "ollm", "gateway")
        claims = [call(f"{scope} {n}", scope, start=n / 10) for n in range(4) for scope in scopes]
        assert billed(*claims) == [f"oi {n}" for n in range(4)]

    def test_calls_are_paired_with_those_of_the_same_input_first(self) -> None:
        """A list of customers that is gone through in parallel, one word of answer for each."""
        one, two = (call(f"oi {n}", "oi", output=1, input=n) for n in (10, 11))
        also_two, also_one = (call(f"ollm {n}", "ollm", output=1, input=n) for n in (11, 10))
        verdicts = choose([one, two, also_two, also_one])
        assert verdicts[one.identity].stands_for == (also_one.identity,)
        assert verdicts[two.identity].stands_for == (also_two.identity,)

    def test_calls_with_all_counts_alike_are_paired_before_others(self) -> None:
        """However many of the same input are under way."""
        one = call("one", "oi", output=10, lasts=0.5)
        before = call("before", "ollm", output=15)
        equal = call("equal", "ollm", output=10)
        assert billed(one, before, equal) == ["one", "before"]

    @pytest.mark.parametrize(("output", "count"), [(116, 1), (117, 2), (99, 2)])
    def test_an_output_may_hold_what_was_counted_twice(self, output: int, count: int) -> None:
        """Up to sixteen tokens, if the input is the same."""
        one = call("one", "oi")
        two = call("two", "ollm", output=output, overcount=16)
        assert len(billed(one, two)) == count
        assert len(billed(one, two._replace(input=999))) == 2

    def test_a_third_scope_is_paired_with_what_lasts_longest(self) -> None:
        """It has begun when the other one is over."""
        spans = [call("1", "oi"), call("2", "ollm", lasts=0.5), call("3", "gateway", start=0.7)]
        assert billed(*spans) == ["1"]
        assert billed(*(span._replace(has_usage=False, output=None) for span in spans)) == ["1"]

    def test_calls_that_only_end_together_are_two(self) -> None:
        one = call("one", "oi", lasts=5)
        assert billed(one, call("two", "ollm", start=2, lasts=3)) == ["one", "two"]

    def test_a_failed_call_is_not_one_of_which_nobody_knows(self) -> None:
        unknown = call("unknown", "oi", output=None)
        assert billed(failed("failed", "otel"), unknown) == ["failed", "unknown"]
        assert billed(failed("failed", "otel"), failed("also", "oi")) == ["failed"]

    def test_calls_in_traces_of_an_app_are_not_paired_across_them(self) -> None:
        """Two web requests that got the same answer from a cache at the same time."""
        spans = [
            call("1", "sdk", trace="1", inside="app", key=strong("a"), service="shop"),
            call("2", "otel", trace="2", inside="app", key=strong("a"), service="shop"),
            call("3", "oi", trace="1", inside="app", output=300, service="shop"),
            call("4", "ollm", trace="2", inside="app", output=300, service="shop"),
        ]
        assert billed(*spans) == ["1", "3", "4"]

    @pytest.mark.parametrize(("scopes", "count"), [(32, 1), (33, 33)])
    def test_more_scopes_than_anyone_runs_are_not_paired(self, scopes: int, count: int) -> None:
        """Somebody plays with us, or names scopes in a way of their own."""
        assert len(billed(*(call(f"{n}", f"scope {n}") for n in range(scopes)))) == count

    @pytest.mark.parametrize(("output", "count"), [(16, 1), (15, 2)])
    def test_a_short_answer_says_little_where_inputs_differ(self, output: int, count: int) -> None:
        one = call("one", "oi", output=output, input=10)
        assert len(billed(one, call("two", "ollm", output=output, input=11))) == count

    def test_two_strong_ids_of_one_form_are_two_responses(self) -> None:
        one = call("one", "sdk", key=strong("a"))
        two = call("two", "ollm", key=strong("b"))
        assert billed(one, two) == ["one", "two"]
        another_form = strong("b")._replace(text="msg_b")
        assert billed(one, two._replace(response_key=another_form)) == ["one"]

    def test_a_weak_id_pairs_what_began_at_different_times(self) -> None:
        """If they agree on the output."""
        one = call("one", "sdk", key=weak("7"), lasts=9)
        two = call("two", "ollm", key=weak("7"), start=5)
        assert billed(one, two) == ["one"]
        assert billed(one, two._replace(output=99)) == ["one", "two"]

    def test_spans_without_length_are_paired_by_where_calls_ended(self) -> None:
        """Not with the call that has just begun."""
        long = call("long", lasts=5)
        short = call("short", start=4.9, lasts=3)
        over = call("over", "framework", start=5.1, lasts=0)
        verdicts = choose([long, short, over])
        assert verdicts[long.identity].stands_for == (over.identity,)

    def test_a_silent_span_is_paired_where_the_counted_one_is_elsewhere(self) -> None:
        """The gateway counts for OpenLLMetry's silent span, OpenInference for itself."""
        spans = [
            call("ollm", "ollm", output=None, key=strong("a")),
            call("oi", "oi"),
            call("gateway", "gateway", trace="gateway", key=strong("a")),
        ]
        assert billed(*spans) == ["oi"]
        assert billed(spans[0], spans[1]._replace(output=300), spans[2]) == ["oi", "gateway"]


@UNHURRIED
@given(worlds())
def test_in_any_world_each_call_is_billed_once(world: World) -> None:
    """However it is instrumented, nested or beside each other, parallel or not."""
    verdicts = choose(world.claims)
    found = [claim for claim in world.claims if verdicts[claim.identity].billed]
    answered = Counter(claim.output for claim in found if not claim.failed)
    assert answered == Counter(call.output for call in world.happened)
    if world.ours and "ours" not in world.silent and world.gateway != "apart":
        refusals = sum(call.refusals for call in world.happened)
        assert sum(claim.failed for claim in found) == refusals


@UNHURRIED
@given(any_claims())
def test_every_component_with_a_call_has_one_that_is_billed(claims: list[Claim]) -> None:
    """No call vanishes."""
    verdicts = choose(claims)
    for part in components(claims):
        if any(claim.role == "call" for claim in part):
            assert any(verdicts[claim.identity].billed for claim in part)


@UNHURRIED
@given(any_claims())
def test_nothing_is_billed_twice(claims: list[Claim]) -> None:
    """No billed span is inside another, or shares its id or its response."""
    every = ordered(claims)
    forest = Forest(every)
    verdicts = choose(claims)
    found = [i for i, claim in enumerate(every) if verdicts[claim.identity].billed]
    for i, j in itertools.permutations(found, 2):
        one, two = every[i], every[j]
        assert not forest.contains(i, j)
        assert not same_span(one, two)
        if abs(one.started_at - two.started_at) <= DAY:
            assert not any(key.strong for key in keys(one) & keys(two))


@UNHURRIED
@given(any_claims())
def test_what_is_not_billed_says_why_and_what_is_says_for_whom(claims: list[Claim]) -> None:
    """No span stands for one that is billed, and no two stand for the same."""
    verdicts = choose(claims)
    assert verdicts.keys() == {claim.identity for claim in claims}
    stood_for: Counter[Identity] = Counter()
    for verdict in verdicts.values():
        assert verdict.billed or (verdict.note and not verdict.stands_for)
        stood_for.update(verdict.stands_for)
    assert not any(verdicts[identity].billed for identity in stood_for)
    assert set(stood_for.values()) <= {1}


@UNHURRIED
@given(any_claims(), st.randoms())
def test_the_order_does_not_matter(claims: list[Claim], random: object) -> None:
    """Nor how often a span is given."""
    shuffled = claims * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(shuffled) == choose(claims)


@UNHURRIED
@given(any_claims())
def test_a_component_decides_alone(claims: list[Claim]) -> None:
    """Whatever else is decided with it."""
    together = choose(claims)
    for part in components(claims):
        for identity, verdict in choose(part).items():
            assert together[identity] == verdict


MANY = 100_000


class TestMany:
    """A trace may have a million spans."""

    def test_calls_one_after_the_other(self) -> None:
        assert count(call(f"{n}", start=n * 2) for n in range(MANY)) == MANY

    def test_parallel_calls_that_look_the_same(self) -> None:
        assert count(call(f"{n}") for n in range(MANY)) == MANY

    def test_parallel_calls_in_a_call(self) -> None:
        outer = call("outer", "framework", output=10 * MANY)
        assert (
            count([outer, *(call(f"{n}", inside="outer") for n in range(MANY // 10))]) == MANY // 10
        )

    def test_parallel_calls_in_two_scopes(self) -> None:
        scopes = ("oi", "ollm")
        claims = (call(f"{scope} {n}", scope) for scope in scopes for n in range(MANY // 10))
        assert count(claims) == MANY // 10

    def test_traces_of_their_own_in_two_scopes(self) -> None:
        claims = (
            call(f"{scope} {n}", scope, trace=f"{scope} {n}", service="shop")
            for scope in ("oi", "ollm")
            for n in range(MANY // 10)
        )
        assert count(claims) == MANY // 10

    def test_spans_inside_each_other(self) -> None:
        scopes = ("oi", "ollm", "otel")
        claims = (
            call(f"{n}", scopes[n % 3], inside=f"{n - 1}" if n else None) for n in range(MANY // 10)
        )
        assert count(claims) == 1

    def test_an_id_that_a_cache_repeats(self) -> None:
        assert count(call(f"{n}", key=strong("a"), start=n) for n in range(MANY // 10)) == 1


def count(claims: Iterable[Claim]) -> int:
    """How many are billed."""
    return sum(verdict.billed for verdict in choose(list(claims)).values())
