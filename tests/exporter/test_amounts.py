# SPDX-License-Identifier: Apache-2.0
"""From exact amounts to a report's rows: every customer a statement, against fractions."""

import random
from datetime import datetime
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter.ask.amounts import Money, sums_of
from microdollar_exporter.markup import Key, Piece, Span, bill, parse
from microdollar_exporter.rounding import Unit

SPAN = Span(None, None, datetime(2026, 12, 31))
RULES = parse(
    """\
schema = 1
[[markup]]
name = "third"
percent = 33.333333333333333333
[[markup]]
name = "m"
model = "m"
per_mtok = { input = 0.0000000007, output = 3 }
per_call = 0.000000000000000003
[[allowance]]
name = "included"
tokens = 700
[[minimum]]
name = "least"
customer = "a"
usd = 0.02
from = 2026-10-01
[[minimum]]
name = "for all"
usd = 0.005
"""
)
BY = ("customer", "model", "day")


@st.composite
def pieces_of_one(draw: st.DrawFn) -> Piece:
    """Calls of one of three customers to one of two models, on one of three days."""
    customer = draw(st.sampled_from(["a", "b", None]))
    model = draw(st.sampled_from(["m", "n"]))
    day = draw(st.sampled_from(["2026-10-31", "2026-11-01", "2026-11-02"]))
    return Piece(
        names=(customer, model, day),
        customer=customer,
        provider="openai",
        model=model,
        since=datetime.min,
        period=day[:7],
        measured=draw(st.booleans()),
        accepted=draw(st.booleans()),
        calls=draw(st.integers(0, 3)),
        tokens=(draw(st.integers(0, 999)), 0, 0, 0, 0, 0, draw(st.integers(0, 999))),
        units={},
        cost=draw(st.none() | st.integers(-(10**9), 3 * 10**10)),
    )


PIECES = st.lists(pieces_of_one(), max_size=12)
UNITS = st.sampled_from(list(Unit))


def money(pieces: list[Piece], unit: Unit, **span: Any) -> Money:
    """The money of a report by customer, model and day."""
    return sums_of(pieces, bill(RULES, pieces, BY, SPAN._replace(**span)), unit)


def of_customer(found: Money, customer: str | None) -> dict[Key, Any]:
    """The rows of one customer."""
    return {key: row for key, row in found.rows.items() if key.names[0] == customer}


@given(PIECES, UNITS)
def test_the_total_is_the_sum_of_what_each_customer_owes_rounded_once(
    pieces: list[Piece], unit: Unit
) -> None:
    """To the unit, half to the even one; the exact total is that of the exact amounts."""
    found = money(pieces, unit)
    owed: dict[str | None, Fraction] = {}
    for (customer, _), line in bill(RULES, pieces, BY, SPAN).lines.items():
        if line.parts:
            owed[customer] = owed.get(customer, Fraction()) + sum(line.parts.values())
    assert (found.total.amount or 0) == sum(round(due / unit.value) for due in owed.values())
    assert (found.exact_amount or 0) == round(sum(owed.values(), Fraction()))
    costs: dict[str | None, int] = {}
    for piece in pieces:
        if piece.cost is not None:
            costs[piece.customer] = costs.get(piece.customer, 0) + piece.cost
    assert (found.total.cost or 0) == sum(round(Fraction(c, unit.value)) for c in costs.values())
    assert found.exact_cost == (sum(costs.values()) if costs else None)
    for name in ("amount", "cost", "margin"):
        rows = [getattr(row, name) for row in found.rows.values()]
        assert (getattr(found.total, name) or 0) == sum(value or 0 for value in rows)


@given(PIECES, UNITS)
def test_a_statement_is_that_of_the_customer_alone(pieces: list[Piece], unit: Unit) -> None:
    """Whatever the others did, and whether or not they are in the report."""
    found = money(pieces, unit)
    for customer in ("a", "b", None):
        own = [piece for piece in pieces if piece.customer == customer]
        assert of_customer(found, customer) == of_customer(money(own, unit), customer)
        asked = money(own, unit, customer=customer or "unassigned")
        assert of_customer(found, customer) == asked.rows


@given(PIECES, UNITS, st.randoms(use_true_random=False))
def test_the_order_in_which_sums_come_is_of_no_effect(
    pieces: list[Piece], unit: Unit, shuffler: random.Random
) -> None:
    """Not on any row."""
    found = money(pieces, unit)
    shuffled = [*pieces]
    shuffler.shuffle(shuffled)
    assert money(shuffled, unit) == found


@given(PIECES, UNITS)
def test_a_rounded_margin_is_the_rounded_amount_without_the_rounded_cost(
    pieces: list[Piece], unit: Unit
) -> None:
    """In each row whose calls all have an amount and a cost, whatever other rows have."""
    made = money(pieces, unit)
    unknown = {piece.names for piece in pieces if piece.cost is None}
    for key, row in made.rows.items():
        if key.names not in unknown and row.amount is not None and not row.unbilled:
            assert row.margin == row.amount - (row.cost or 0)


def test_an_unknown_cost_in_another_row_moves_no_margin() -> None:
    """Two lines of 1.005 USD are 1.01 and 1.00; the cent that one got is in its margin too."""
    rules = parse('schema = 1\n[[markup]]\nname = "x"\nper_mtok = { input = 1, output = 1 }\n')

    def piece(model: str, cost: int | None) -> Piece:
        tokens = (1_005_000, 0, 0, 0, 0, 0, 0)
        return Piece(
            names=(model,), customer="acme", provider="openai", model=model, since=datetime.min,
            period="2026", measured=True, accepted=True, calls=1, tokens=tokens, units={},
            cost=cost,
        )  # fmt: skip

    pieces = [piece("a", 5 * 10**11), piece("b", None)]
    made = sums_of(pieces, bill(rules, pieces, ("model",), SPAN), Unit.CENT)
    found = {key.names: (row.amount, row.cost, row.margin) for key, row in made.rows.items()}
    assert found == {("a",): (101, 50, 51), ("b",): (100, None, None)}
    assert made.total.margin == 51


@given(PIECES)
def test_a_picodollar_is_the_finest_and_what_costs_are_kept_in(pieces: list[Piece]) -> None:
    """So an exact report has the ledger's costs."""
    found = money(pieces, Unit.PICODOLLAR)
    for key, row in found.rows.items():
        costs = [p.cost for p in pieces if p.names == key.names and p.cost is not None]
        assert row.cost == (sum(costs) if costs else None)
