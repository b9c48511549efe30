# SPDX-License-Identifier: Apache-2.0
"""A multiplier that an operator puts on list prices: a negotiated discount, a surcharge."""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from microdollar_exporter.price.decimals import DECIMALS

__all__ = ["Adjustment", "product"]


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
    result = Fraction(1)
    for adjustment in adjustments:
        if not (of_units and adjustment.tokens_only):
            result *= Fraction(adjustment.multiply)
    if (result * 10**DECIMALS).denominator != 1:
        names = ", ".join(adjustment.name for adjustment in adjustments)
        raise ValueError(f"{names} multiply to a number of more than {DECIMALS} decimals")
    return result
