# SPDX-License-Identifier: Apache-2.0
"""A report's money, rounded as one statement for each customer and then summed by row."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from microdollar_exporter.markup import Bill, Key, Line, Part, Piece
from microdollar_exporter.rounding import Unit, half_even, statement

__all__ = ["Money", "Row", "Sums", "sums_of"]


@dataclass(slots=True)
class Sums:
    """Money of one row or of all, in a unit; None where nothing is known.

    `parts` add up to the amount. `margin` is the amount without the cost, of the calls for which
    both are known: where they are of all calls, the one less the other as they stand here.
    """

    cost: int | None = None
    parts: dict[Part, int] = field(default_factory=dict)
    margin: int | None = None

    @property
    def amount(self) -> int | None:
        """What is paid."""
        return sum(self.parts.values()) if self.parts else None

    def add(self, other: "Sums") -> None:
        """Add what another has; what it does not know changes nothing."""
        self.cost = _sum(self.cost, other.cost)
        self.margin = _sum(self.margin, other.margin)
        for part, amount in other.parts.items():
            self.parts[part] = self.parts.get(part, 0) + amount


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


@dataclass(slots=True)
class Row(Sums):
    """One row, with the calls that have no amount and the rules that made the rest."""

    unbilled: int = 0
    rules: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Money:
    """All rows and their total; beside the total its exact value, half-even to the picodollar."""

    rows: dict[Key, Row]
    total: Row
    exact_cost: int | None
    exact_amount: int | None


_Cell = tuple[str | None, ...]
_At = TypeVar("_At", bound=tuple[str | None, Key, Part | None])


def sums_of(pieces: Sequence[Piece], bill: Bill, unit: Unit) -> Money:
    """The money of a report's rows, in units.

    Each customer's amounts are one statement, its costs another, so that nothing about a customer
    depends on any other; a row of several customers is the sum of what theirs say.
    """
    costs = _costs(pieces)
    parts = _cells((at, line.parts) for at, line in bill.lines.items())
    # Where an amount or a cost is unknown, what is known of both is a statement of its own.
    mixed = {at: line for at, line in bill.lines.items() if _is_mixed(line, costs.get((*at, None)))}
    costed_parts = _cells((at, line.costed_parts) for at, line in mixed.items())
    costed = {(*at, None): line.cost for at, line in mixed.items() if line.costed_parts}
    whole = {at for at, line in bill.lines.items() if line.costed_parts} - mixed.keys()

    rows: defaultdict[Key, Row] = defaultdict(Row)
    for (customer, key, _), count in _rounded(costs, unit).items():
        rows[key].add(Sums(cost=count, margin=-count if (customer, key) in whole else None))
    for (customer, key, part), count in _rounded(parts, unit).items():
        margin = count if (customer, key) in whole else None
        rows[key].add(Sums(parts={part: count}, margin=margin))
    for (_, key, _), count in _rounded(costed_parts, unit).items():
        rows[key].add(Sums(margin=count))
    for (_, key, _), count in _rounded(costed, unit).items():
        rows[key].add(Sums(margin=-count))
    for (_, key), line in bill.lines.items():
        rows[key].unbilled += line.unbilled
        rows[key].rules |= line.rules
    return Money(dict(rows), _total(rows.values()), _exact(costs), _exact(parts))


def _is_mixed(line: Line, cost: Fraction | int | None) -> bool:
    """Whether the amount and the cost are not of the same calls."""
    return line.parts != line.costed_parts or line.cost != (cost or 0)


def _costs(
    pieces: Iterable[Piece],
) -> dict[tuple[str | None, Key, None], Fraction | int]:
    costs: defaultdict[tuple[str | None, Key, None], Fraction | int] = defaultdict(int)
    for piece in pieces:
        if piece.cost is not None:
            costs[piece.customer, Key(piece.names, Part.CHARGE), None] += piece.cost
    return costs


def _cells(
    lines: Iterable[tuple[tuple[str | None, Key], Mapping[Part, Fraction]]],
) -> dict[tuple[str | None, Key, Part], Fraction]:
    return {(*at, part): amount for at, parts in lines for part, amount in parts.items()}


def _rounded(cells: Mapping[_At, Fraction | int], unit: Unit) -> dict[_At, int]:
    """Every customer's cells as a statement of their own; equal remainders go by name."""
    of_customer: defaultdict[str | None, dict[_Cell, _At]] = defaultdict(dict)
    for at in cells:
        customer, key, part = at
        name = (*key.names, key.line.name, None if part is None else part.name)
        of_customer[customer][name] = at
    return {
        named[name]: count
        for named in of_customer.values()
        for name, count in statement({n: cells[at] for n, at in named.items()}, unit).items()
    }


def _total(rows: Iterable[Row]) -> Row:
    total = Row()
    for row in rows:
        total.add(row)
        total.unbilled += row.unbilled
    return total


def _exact(cells: Mapping[_At, Fraction | int]) -> int | None:
    if not cells:
        return None
    return half_even(sum(cells.values(), Fraction()), Unit.PICODOLLAR)
