# SPDX-License-Identifier: Apache-2.0
"""Rounded money adds up: the largest-remainder rule, against its definition in fractions."""

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.errors import UsageError
from microdollar_exporter.rounding import Unit, allocation, half_even, statement

CENT = Unit.CENT.value
AMOUNTS = st.one_of(
    st.integers(-5 * CENT, 5 * CENT),
    st.integers(-6, 6).map(lambda halves: halves * CENT // 2),
    st.fractions(-5 * CENT, 5 * CENT, max_denominator=10**6),
    st.integers(-(10**40), 10**40),
)
LINES = st.dictionaries(
    st.tuples(st.none() | st.sampled_from("abcdefgh"), st.none() | st.sampled_from("xyz")),
    AMOUNTS,
    max_size=12,
)
UNITS = st.sampled_from(list(Unit))


@pytest.mark.parametrize(
    ("half_cents", "cents"), [(-5, -2), (-3, -2), (-1, 0), (0, 0), (1, 0), (3, 2), (5, 2), (7, 4)]
)
def test_a_total_on_the_half_goes_to_the_even_neighbour(half_cents: int, cents: int) -> None:
    """A picodollar beside the half decides; credits mirror charges."""
    half = half_cents * CENT // 2
    assert half_even(half, Unit.CENT) == cents
    if half_cents:
        assert half_even(half + 1, Unit.CENT) == (half_cents + 1) // 2
        assert half_even(half - 1, Unit.CENT) == (half_cents - 1) // 2
        assert half_even(half + Fraction(1, 10**30), Unit.CENT) == (half_cents + 1) // 2


def test_three_thirds_of_a_dollar() -> None:
    """The cent that is missing goes to the first by name; an absent name is the last."""
    third = Fraction(10**12, 3)
    lines = {(None,): third, ("b",): third, ("a",): third}
    assert statement(lines, Unit.CENT) == {("a",): 34, ("b",): 33, (None,): 33}


def test_the_line_that_lost_most_is_rounded_up_first() -> None:
    """Not the largest line, and not the first: 0.4 and 0.4 and 1.2 cents are two cents."""
    lines = {("a",): CENT * 12 // 10, ("b",): CENT * 4 // 10, ("c",): CENT * 41 // 100}
    assert statement(lines, Unit.CENT) == {("a",): 1, ("b",): 0, ("c",): 1}


def test_credits_are_rounded_as_charges_are() -> None:
    """1.5 cents, less 0.7 and less 0.3: half a cent, which is none."""
    lines = {("a",): CENT * 15 // 10, ("b",): -CENT * 7 // 10, ("c",): -CENT * 3 // 10}
    assert statement(lines, Unit.CENT) == {("a",): 1, ("b",): -1, ("c",): 0}


def test_nothing_rounds_to_nothing() -> None:
    """A statement without lines has none."""
    assert statement({}, Unit.CENT) == {}


@given(LINES, UNITS)
def test_lines_add_up_to_the_total_rounded_once(
    lines: dict[tuple[str | None, str | None], Fraction | int], unit: Unit
) -> None:
    """And each is its exact amount rounded down or up; a whole number of units stays as it is."""
    rounded = statement(lines, unit)
    exact = sum(map(Fraction, lines.values()), Fraction())
    assert rounded.keys() == lines.keys()
    assert sum(rounded.values()) == round(exact / unit.value)
    for line, amount in lines.items():
        difference = rounded[line] - Fraction(amount) / unit.value
        assert -1 < difference < 1
    for line, amount in lines.items():
        for other, least in lines.items():
            if rounded[line] * unit.value < amount and rounded[other] * unit.value > least:
                # A line that was cut had no more to lose than one that was rounded up.
                assert Fraction(amount) % unit.value <= Fraction(least) % unit.value


@given(LINES, UNITS, st.randoms(use_true_random=False))
def test_the_order_of_lines_is_of_no_effect(
    lines: dict[tuple[str | None, str | None], Fraction | int], unit: Unit, shuffler: random.Random
) -> None:
    """Nor does a second run give anything else."""
    shuffled = list(lines.items())
    shuffler.shuffle(shuffled)
    assert statement(dict(shuffled), unit) == statement(lines, unit)


@given(LINES)
def test_amounts_in_whole_units_are_not_changed(
    lines: dict[tuple[str | None, str | None], Fraction | int],
) -> None:
    """The ledger's costs are whole picodollars, so that exact reports stay exact."""
    whole = {line: int(amount) for line, amount in lines.items()}
    assert statement(whole, Unit.PICODOLLAR) == whole


BILLS = st.integers(-(10**9), 10**9)


@given(LINES, BILLS)
def test_an_allocated_bill_is_shared_out_whole(
    lines: dict[tuple[str | None, str | None], Fraction | int], bill: int
) -> None:
    """Each share is less than a unit away from its proportion, for credit notes too."""
    costs = {line: abs(Fraction(amount)) for line, amount in lines.items()}
    total = sum(costs.values(), Fraction())
    if not total:
        with pytest.raises(UsageError, match="no cost in proportion to which"):
            allocation(costs, bill)
        return
    shares = allocation(costs, bill)
    assert sum(shares.values()) == bill
    assert all(-1 < shares[line] - bill * cost / total < 1 for line, cost in costs.items())


@pytest.mark.parametrize(
    ("unit", "count", "microdollars", "usd"),
    [
        (Unit.PICODOLLAR, -1, "-0.000001", "-0.000000000001"),
        (Unit.PICODOLLAR, 10**12, "1000000.000000", "1.000000000000"),
        (Unit.MICRODOLLAR, 30, "30", "0.000030"),
        (Unit.CENT, 1230, "12300000", "12.30"),
        (Unit.CENT, -5, "-50000", "-0.05"),
        (Unit.CENT, 0, "0", "0.00"),
        (Unit.CENT, 10**40, f"{10**44}", f"{10**38}.00"),
    ],
)
def test_a_rounded_amount_has_the_decimals_of_its_unit(
    unit: Unit, count: int, microdollars: str, usd: str
) -> None:
    """In microdollars and in dollars; a zero has no sign."""
    assert f"{unit.microdollars(count):f}" == microdollars
    assert f"{unit.usd(count):f}" == usd
    assert unit.count("x", unit.usd(count)) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ten", "the bill is 'ten': write US dollars like 1234.56"),
        ("NaN", "the bill is 'NaN': write US dollars"),
        ("1e31", "the bill is '1e31': write US dollars"),
        ("0e-31", "the bill is '0e-31': write US dollars"),
        ("1e-999999999", "the bill is '1e-999999999': write US dollars"),
        ("0.005", "the bill is 0.005, which is not a whole number of cents: write fewer"),
    ],
)
def test_an_amount_that_is_none_is_refused(text: str, message: str) -> None:
    """Nothing is rounded on the way in."""
    with pytest.raises(UsageError, match=message):
        Unit.CENT.count("the bill", text)
    assert Unit.CENT.count("the bill", Decimal("-0.01")) == -1
    assert Unit.CENT.count("the bill", "1e30") == 10**32
    assert Unit.CENT.count("the bill", "0e-30") == 0


def test_a_picodollar_is_cost_enough_for_a_share() -> None:
    assert allocation({("a",): 1, ("b",): 0}, 7) == {("a",): 7, ("b",): 0}
