# SPDX-License-Identifier: Apache-2.0
"""Numbers written out exactly, in plain digits; none of them passes through a float."""

from fractions import Fraction
from typing import Final

__all__ = ["DECIMALS", "decimal", "decimal_text"]

DECIMALS: Final = 18
"""The decimals that a rate in USD can have, and a product of multipliers."""


def decimal(number: int, places: int) -> str:
    """An integer of 10 to the minus `places`, written out without trailing zeros."""
    whole, rest = divmod(abs(number), 10**places)
    text = f"{'-' if number < 0 else ''}{whole}"
    return f"{text}.{rest:0{places}d}".rstrip("0").rstrip(".")


def decimal_text(number: Fraction) -> str:
    """A number of at most 18 decimals, written out without trailing zeros."""
    return decimal(int(number * 10**DECIMALS), DECIMALS)
