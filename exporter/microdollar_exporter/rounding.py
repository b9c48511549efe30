# SPDX-License-Identifier: Apache-2.0
"""Rounded money that still adds up: the largest-remainder rule, for one statement or one bill.

Lines rounded one by one seldom add up to their rounded total. Here the total is rounded once, and
each line is its exact amount rounded down or up, so that the lines add up to it: those that had
the most cut off are rounded up. Amounts are picodollars, as integers or fractions, of any sign.
"""

import math
from collections.abc import Hashable, Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from fractions import Fraction
from typing import TypeVar

from microdollar_exporter.errors import UsageError
from microdollar_exporter.money import microdollars

__all__ = ["Unit", "allocation", "half_even", "statement"]

Line = TypeVar("Line", bound=tuple[Hashable, ...])

_MOST_DIGITS = 30


class Unit(Enum):
    """What money is rounded to, in picodollars."""

    PICODOLLAR = 1
    """The unit in which the ledger keeps costs, so that these are not rounded any more."""
    MICRODOLLAR = 10**6
    CENT = 10**10

    def microdollars(self, count: int) -> Decimal:
        """So many of the unit as microdollars, with no more decimals than the unit has."""
        if self is Unit.PICODOLLAR:
            return microdollars(count)
        return Decimal(count * (self.value // Unit.MICRODOLLAR.value))

    def usd(self, count: int) -> Decimal:
        """So many of the unit as US dollars, with as many decimals as the unit has."""
        decimals = 12 - len(str(self.value)) + 1
        return Decimal((count < 0, Decimal(count).as_tuple().digits, -decimals))

    def count(self, name: str, dollars: Decimal | str) -> int:
        """How many of the unit are in an amount of US dollars.

        Raises:
            UsageError: the amount called `name` is none, or has a fraction of the unit.
        """
        try:
            number = Decimal(dollars)
        except InvalidOperation:
            number = Decimal("NaN")
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or abs(exponent) > _MOST_DIGITS:
            raise UsageError(f"{name} is {str(dollars)!r}: write US dollars like 1234.56")
        units = Fraction(number) * 10**12 / self.value
        if units.denominator != 1:
            raise UsageError(
                f"{name} is {number}, which is not a whole number of {self.name.lower()}s: "
                "write fewer decimals, or round to a smaller unit"
            )
        return units.numerator


def half_even(amount: Fraction | int, unit: Unit) -> int:
    """How many of the unit are in an amount, to the nearest; a half goes to the even one."""
    return round(Fraction(amount) / unit.value)


def statement(lines: Mapping[Line, Fraction | int], unit: Unit) -> dict[Line, int]:
    """The lines of one customer in units, adding up to their exact total rounded half-even.

    A line is known by a tuple of names, where None stands for a name that is absent. Of lines
    with equal remainders the first by these names is rounded up first, absent names being last;
    the order in which the lines are given is of no effect.
    """
    parts, one = _in_parts(lines)
    one *= unit.value
    return _distribute(parts, one, round(Fraction(sum(parts.values()), one)))


def allocation(lines: Mapping[Line, Fraction | int], bill: int) -> dict[Line, int]:
    """A bill of so many units, shared out in proportion to the lines; the shares add up to it.

    What one line is given depends on the others, so this is for looking back on a bill that
    somebody else has made, and not for a customer's statement.

    Raises:
        UsageError: the lines add up to nothing, so that there is no proportion.
    """
    parts, _ = _in_parts(lines)
    total = sum(parts.values())
    if total <= 0:
        raise UsageError("there is no cost in proportion to which the bill could be allocated")
    return _distribute({line: bill * part for line, part in parts.items()}, total, bill)


def _in_parts(lines: Mapping[Line, Fraction | int]) -> tuple[dict[Line, int], int]:
    """The lines as integers of one small part, and how many of it make a picodollar."""
    one = math.lcm(*{amount.denominator for amount in lines.values()})
    return {line: a.numerator * (one // a.denominator) for line, a in lines.items()}, one


def _distribute(parts: Mapping[Line, int], one: int, total: int) -> dict[Line, int]:
    """So many wholes for the lines, of which a whole has `one` parts."""
    rounded = {line: part // one for line, part in parts.items()}

    def by_remainder(line: Line) -> tuple[int, tuple[tuple[bool, str], ...]]:
        names = tuple((name is None, str(name)) for name in line)
        return -(parts[line] % one), names

    missing = total - sum(rounded.values())
    for line in sorted(parts, key=by_remainder)[:missing] if missing else ():
        rounded[line] += 1
    return rounded
