# SPDX-License-Identifier: Apache-2.0
"""The difference of two books: new models, later changes, the past; and what is too much."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.adjustment import Adjustment
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.difference import Difference, Move, difference
from microdollar_exporter.price.rules import Rule

from .rows import at

HOUR = 3_600_000_000
NOW = at("2026-11-21T00:00")
DECEMBER = at("2026-12-01T00:00")


def book(rows: Sequence[PriceRow], rule: Rule | None = None, **of_provider: Any) -> Book:
    """A book with these rows, whose models are recognised by their ids."""
    models = {row.model: Model(id=row.model, rule=Rule("equals", row.model)) for row in rows}
    if rule:
        models["m"] = Model(id="m", rule=rule)
    provider = Provider(id="p", models=tuple(models.values()), **of_provider)
    return Book(source="test", source_version="1", providers=[provider], rows=rows)


def row(*, model: str = "m", units: dict[str, int] | None = None, **fields: Any) -> PriceRow:
    """A price row; rates by their names in 10⁻¹⁸ USD, all else as a `PriceRow` has it."""
    of_row = fields.keys() & set(PriceRow.__dataclass_fields__)
    rates = {name: fields[name] for name in fields.keys() - of_row}
    return PriceRow(
        provider="p",
        model=model,
        rates=rates,
        unit_rates=units or {},
        **{name: fields[name] for name in of_row},
    )


def move(rate: str, old: int | None, new: int | None, **fields: Any) -> Move:
    """A move of model `m`."""
    ordinary = Move("p", "m", "std", rate, None, None, 0, None, None, old, new)
    return ordinary._replace(**fields)


def between(old: Sequence[PriceRow], new: Sequence[PriceRow]) -> Difference:
    return difference(book(old), book(new), NOW)


def test_a_book_does_not_differ_from_itself(book: Book) -> None:
    found = difference(book, book, NOW)
    assert found.is_empty
    assert found.refusal() is None
    assert (found.known_rates, found.moved_rates) == (6607, 0)


def test_a_new_model_is_new_and_moves_nothing() -> None:
    found = between([row(output=2)], [row(output=2), row(model="n", output=9)])
    assert found.new_models == (("p", "n"),)
    assert (found.later, found.past, found.moved_rates, found.refusal()) == ((), (), 0, None)
    assert found.otherwise == ()


def test_a_model_that_is_gone_is_named_and_its_rates_have_moved() -> None:
    found = between([row(output=2), row(model="n", output=9, input_uncached=1)], [row(output=2)])
    assert (found.gone_models, found.otherwise) == ((("p", "n"),), ())
    assert (found.known_rates, found.moved_rates) == (3, 2)


def test_a_change_from_a_day_to_come_is_a_later_one() -> None:
    old = [row(output=2)]
    new = [row(output=2, effective_to=DECEMBER), row(output=3, effective_from=DECEMBER)]
    found = between(old, new)
    assert found.later == (move("output", 2, 3, since=DECEMBER),)
    assert (found.past, found.moved_rates) == ((), 1)


@pytest.mark.parametrize(("since", "is_later"), [(NOW - 1, False), (NOW, True), (NOW + 1, True)])
def test_the_past_ends_where_the_old_book_was_known(since: int, is_later: bool) -> None:
    new = [row(output=2, effective_to=since), row(output=3, effective_from=since)]
    found = between([row(output=2)], new)
    assert (bool(found.later), bool(found.past)) == (is_later, not is_later)


def test_another_price_at_all_times_is_one_rewritten_past() -> None:
    """Though the old book had it in two stretches."""
    old = [
        row(output=2, effective_to=DECEMBER),
        row(output=2, effective_from=DECEMBER, cache_read=1),
    ]
    found = between(old, [row(output=3)])
    assert found.past == (move("output", 2, 3),)
    assert found.later == (move("cache_read", 1, None, since=DECEMBER),)


def test_a_rate_that_was_not_known_has_not_moved() -> None:
    found = between([row(output=2)], [row(output=2, cache_write_1h=4)])
    assert found.past == (move("cache_write_1h", None, 4),)
    assert (found.moved_rates, found.refusal()) == (0, None)


def test_a_change_that_holds_above_a_threshold_too_is_said_once() -> None:
    tiers = [row(output=2), row(output=4, over_input_tokens=200_000)]
    all_of_it = [row(output=3), row(output=3, over_input_tokens=200_000)]
    assert between([row(output=2)], [row(output=3), row(output=3, over_input_tokens=100)]).past == (
        move("output", 2, 3),
    )
    assert between(tiers, all_of_it).past == (
        move("output", 2, 3),
        move("output", 4, 3, over_input_tokens=200_000),
    )


def test_a_change_at_a_time_of_day_says_which() -> None:
    plain = row(output=2)
    peak = row(output=4, time_of_day=(HOUR, 3 * HOUR))
    later = row(output=4, time_of_day=(2 * HOUR, 3 * HOUR))
    assert between([plain, peak], [plain, later]).past == (
        move("output", 4, 2, time_of_day=(HOUR, 2 * HOUR)),
    )
    assert between([plain], [plain, peak]).past == (
        move("output", 2, 4, time_of_day=(HOUR, 3 * HOUR)),
    )


def test_a_change_at_any_time_of_day_is_said_once() -> None:
    old = [row(output=2), row(output=2, time_of_day=(0, HOUR))]
    new = [row(output=3), row(output=3, time_of_day=(0, HOUR))]
    assert between(old, new).past == (move("output", 2, 3),)


def test_what_an_operator_adjusts_is_otherwise_and_moves_no_rate() -> None:
    """The list price is what it was."""
    plain = row(output=2)
    half = Adjustment("edp", "0.5")
    adjusted = row(
        output=2,
        layer="adjust",
        base_row=plain.price_row,
        adjustments=(half,),
        context="inference_geo=us",
    )
    found = between([plain], [plain, adjusted])
    assert (found.past, found.later, found.moved_rates) == ((), (), 0)
    assert found.otherwise == (("p", "m"),)


def test_a_change_on_a_weekday_says_which() -> None:
    plain = row(output=2)
    peak = row(output=4, time_of_day=(0, HOUR), weekdays=(0, 1))
    monday = row(output=4, time_of_day=(0, HOUR), weekdays=(0,))
    assert between([plain, peak], [plain, monday]).past == (
        move("output", 4, 2, time_of_day=(0, HOUR), weekday=1),
    )


def test_a_context_and_a_unit_are_told_apart_from_the_ordinary_rate() -> None:
    batch = "processing=batch"
    old = [row(output=2, units={"web_search": 5}), row(context=batch, output=1)]
    new = [row(output=2, units={"web_search": 6}), row(context=batch, output=2)]
    assert between(old, new).past == (
        move("web_search", 5, 6),
        move("output", 1, 2, context=batch),
    )


def test_a_model_that_other_names_lead_to_is_named() -> None:
    rows = [row(output=2)]
    found = difference(book(rows), book(rows, Rule("contains", "m")), NOW)
    assert found.otherwise == (("p", "m"),)
    assert not found.is_empty
    assert difference(book(rows), book(rows, fallbacks=("q",)), NOW).otherwise == (("p", ""),)


NAMED = Rule("or", rules=(Rule("equals", "m"), Rule("equals", "alias")))


def named(rules: dict[str, Rule], rows: Sequence[PriceRow]) -> Book:
    """A book whose models are recognised by these rules."""
    models = tuple(Model(id=model, rule=rule) for model, rule in rules.items())
    provider = Provider(id="p", models=models)
    return Book(source="test", source_version="1", providers=[provider], rows=rows)


def test_a_name_that_leads_to_a_dearer_model_has_moved_though_no_rate_has() -> None:
    others = [row(model=f"m{n}", output=100) for n in range(30)]
    rows = [row(output=1), row(model="dear", output=6, units={"web_search": 2}), *others]
    rules = {f"m{n}": Rule("equals", f"m{n}") for n in range(30)}
    mine, theirs = Rule("equals", "m"), Rule("equals", "dear")
    old = named({"m": NAMED, "dear": theirs, **rules}, rows)
    new = named({"m": mine, "dear": Rule("starts_with", "alias"), **rules}, rows)
    found = difference(old, new, NOW)
    assert found.past == (
        move("output", 1, 6, model="alias"),
        move("web_search", None, 2, model="alias"),
    )
    assert (found.known_rates, found.moved_rates) == (34, 1)
    assert found.refusal() == (
        "1 rates moved by more than a factor of 5, most output of p alias, 6-fold"
    )


def test_a_name_that_leads_nowhere_any_more_has_lost_its_rates() -> None:
    rows = [row(output=1)]
    old, new = named({"m": NAMED}, rows), named({"m": Rule("equals", "m")}, rows)
    found = difference(old, new, NOW)
    assert found.past == (move("output", 1, None, model="alias"),)
    assert (found.known_rates, found.moved_rates) == (2, 1)


def test_a_name_that_was_in_doubt_may_lead_to_a_model_of_its_own() -> None:
    """As when a variant of a model, priced by resemblance so far, is listed at last."""
    loose, own = Rule("starts_with", "m"), Rule("equals", "m-lite")
    old = named({"m": loose}, [row(output=9)])
    new = named({"m-lite": own, "m": loose}, [row(output=9), row(model="m-lite", output=1)])
    found = difference(old, new, NOW)
    assert (found.later, found.past, found.moved_rates) == ((), (), 0)
    assert found.new_models == (("p", "m-lite"),)


def test_a_model_by_another_id_is_gone_once_and_its_names_are_compared() -> None:
    old = named({"m": NAMED}, [row(output=1, input_uncached=1)])
    new = named({"n": Rule("equals", "alias")}, [row(model="n", output=1, input_uncached=2)])
    found = difference(old, new, NOW)
    assert (found.new_models, found.gone_models) == ((("p", "n"),), (("p", "m"),))
    assert found.past == (move("input_uncached", 1, 2, model="alias"),)
    assert (found.known_rates, found.moved_rates) == (4, 3)


@pytest.mark.parametrize(("rate", "refused"), [(10, False), (11, True)])
def test_a_context_that_comes_or_goes_is_measured_by_the_standard_rate(
    rate: int, refused: bool
) -> None:
    """Without a price of its own such a call costs the standard one."""
    others = [row(model=f"m{n}", output=100) for n in range(40)]
    plain, flex = row(output=2), row(output=rate, context="service_tier=flex")
    come = between([plain, *others], [plain, flex, *others])
    gone = between([plain, flex, *others], [plain, *others])
    assert come.past == (move("output", 2, rate, context="service_tier=flex"),)
    assert gone.past == (move("output", rate, 2, context="service_tier=flex"),)
    assert (come.moved_rates, gone.moved_rates) == (0, 1)
    assert [bool(each.refusal()) for each in (come, gone)] == [refused, refused]


def test_a_context_that_costs_what_it_cost_without_is_otherwise_and_nothing_moves() -> None:
    plain = row(output=2)
    flex = row(output=2, context="service_tier=flex")
    for old, new in [([plain], [plain, flex]), ([plain, flex], [plain])]:
        found = between(old, new)
        assert (found.past, found.later, found.moved_rates) == ((), (), 0)
        assert found.otherwise == (("p", "m"),)


@pytest.mark.parametrize(("moved", "refused"), [(1, False), (2, True)])
def test_more_than_a_twentieth_of_the_known_rates_is_too_much(moved: int, refused: bool) -> None:
    """One of twenty is a twentieth, and no more."""
    old = [row(model=f"m{n}", output=100) for n in range(20)]
    new = [row(model=f"m{n}", output=101 if n < moved else 100) for n in range(20)]
    found = between(old, new)
    assert found.moved_rates == moved
    assert bool(found.refusal()) is refused
    if refused:
        assert found.refusal() == "2 of 20 known rates moved, which is more than 5 %"
    assert found.refusal(share=Fraction(1, 10)) is None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (100, 500, None),
        (500, 100, None),
        (100, 501, "5.01-fold"),
        (501, 100, "5.01-fold"),
        (100, 0, "from or to zero"),
        (0, 100, "from or to zero"),
    ],
)
def test_more_than_five_times_up_or_down_is_too_much(old: int, new: int, why: str | None) -> None:
    """Five times is not more than five times; from nothing is more than any."""
    others = [row(model=f"m{n}", output=100) for n in range(30)]
    refusal = between([row(output=old), *others], [row(output=new), *others]).refusal()
    assert (refusal is None) is (why is None)
    if why:
        expected = f"1 rates moved by more than a factor of 5, most output of p m, {why}"
        assert refusal == expected
    changed = [row(output=old), *others], [row(output=new), *others]
    if new and old:
        assert between(*changed).refusal(factor=Fraction(6)) is None


def test_a_leap_to_come_is_too_much_as_well() -> None:
    others = [row(model=f"m{n}", output=100) for n in range(30)]
    new = [row(output=1, effective_to=DECEMBER), row(output=1000, effective_from=DECEMBER), *others]
    assert "1000-fold" in str(between([row(output=1), *others], new).refusal())


def test_a_difference_survives_the_way_through_json() -> None:
    old = [row(output=2), row(model="gone", output=1)]
    new = [
        row(output=3, units={"web_search": 10**16}),
        row(output=4, time_of_day=(0, HOUR)),
        row(model="new", output=1),
    ]
    found = difference(book(old), book(new, Rule("contains", "m")), NOW)
    assert Difference.from_json(found.as_json()) == found


_MOMENTS = [NOW - HOUR, NOW, NOW + HOUR]
_WINDOWS: list[list[tuple[int, int] | None]] = [[None], [None, (0, HOUR)], [None, (HOUR, 3 * HOUR)]]


@st.composite
def _ladders(draw: st.DrawFn) -> list[PriceRow]:
    """The rows of one key: over stretches of time, with thresholds, and a time of day or none."""
    edges = sorted(draw(st.sets(st.sampled_from(_MOMENTS), max_size=2)))
    rates = st.integers(1, 3)
    rows: list[PriceRow] = []
    for since, until in zip([None, *edges], [*edges, None], strict=True):
        if draw(st.booleans()) and (edges or rows):
            continue
        for span in draw(st.sampled_from(_WINDOWS)):
            for over in draw(st.sampled_from([[0], [0, 10], [0, 20]])):
                period: dict[str, Any] = {"effective_from": since, "effective_to": until}
                rows.append(
                    row(output=draw(rates), over_input_tokens=over, time_of_day=span, **period)
                )
    return rows


def _rate(rows: Sequence[PriceRow], moment: int, tokens: int) -> int | None:
    """What a token of output costs, by the words of `PriceRow` alone."""
    of_day = moment % (24 * HOUR)
    holding = [
        r
        for r in rows
        if (r.effective_from is None or r.effective_from <= moment)
        and (r.effective_to is None or moment < r.effective_to)
        and r.over_input_tokens < max(tokens, 1)
    ]
    timed = [r for r in holding if r.time_of_day and r.time_of_day[0] <= of_day < r.time_of_day[1]]
    found = timed or [r for r in holding if r.time_of_day is None]
    return max(found, key=lambda r: r.over_input_tokens).rates["output"] if found else None


@given(_ladders(), _ladders())
def test_a_rate_differs_exactly_where_a_move_says_so(
    old: list[PriceRow], new: list[PriceRow]
) -> None:
    """At every moment and for every size of request."""
    if not (old and new):
        return
    found = between(old, new)
    moves = (*found.later, *found.past)
    windows = {r.time_of_day for r in (*old, *new) if r.time_of_day}
    for moment in range(NOW - 2 * HOUR, NOW + 4 * HOUR, HOUR // 2):
        here = [m for m in moves if _holds(m, moment)]
        ordinary = not any(_is_in(window, moment) for window in windows)
        for tokens in (0, 5, 10, 11, 20, 21):
            pair = _rate(old, moment, tokens), _rate(new, moment, tokens)
            said = {(m.old, m.new) for m in here if m.over_input_tokens < max(tokens, 1)}
            assert pair in said or pair[0] == pair[1]
        for m in here:
            if ordinary or m.time_of_day:
                tokens = m.over_input_tokens + 1
                assert (_rate(old, moment, tokens), _rate(new, moment, tokens)) == (m.old, m.new)


def _holds(m: Move, moment: int) -> bool:
    return (
        (m.since is None or m.since <= moment)
        and (m.until is None or moment < m.until)
        and (m.time_of_day is None or _is_in(m.time_of_day, moment))
    )


def _is_in(window: tuple[int, int], moment: int) -> bool:
    return window[0] <= moment % (24 * HOUR) < window[1]
