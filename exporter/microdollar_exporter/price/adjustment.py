# SPDX-License-Identifier: Apache-2.0
"""A multiplier that an operator puts on list prices: a negotiated discount, a surcharge."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final, NamedTuple

__all__ = ["DECIMALS", "Adjustment", "decimal_text", "product"]

DECIMALS: Final = 18
"""The decimals a product of multipliers can have; what has more is refused."""

_ONE: Final = Fraction(1)


class Adjustment(NamedTuple):
    """One multiplier, by its name in the overrides file.

    `multiply` is its exact decimal text. With `tokens_only` it leaves fees per unit as they are.
    """

    name: str
    multiply: str
    tokens_only: bool = False


def product(adjustments: Iterable[Adjustment], *, of_units: bool) -> Fraction:
    """What all of these multiply the cost of tokens by, or that of units.

    Raises:
        ValueError: it has more than 18 decimals.
    """
    result = _ONE
    for adjustment in adjustments:
        if not (of_units and adjustment.tokens_only):
            result *= Fraction(adjustment.multiply)
    if result is not _ONE and (result * 10**DECIMALS).denominator != 1:
        names = ", ".join(adjustment.name for adjustment in adjustments)
        raise ValueError(f"{names} multiply to a number of more than {DECIMALS} decimals")
    return result


def decimal_text(number: Fraction) -> str:
    """A number of at most 18 decimals, exactly, without zeros at its end."""
    whole, fraction = divmod(int(number * 10**DECIMALS), 10**DECIMALS)
    return f"{whole}.{fraction:0{DECIMALS}d}".rstrip("0").rstrip(".")
