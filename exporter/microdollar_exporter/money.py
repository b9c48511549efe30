# SPDX-License-Identifier: Apache-2.0
"""Exact money: picodollars as integers inside, microdollars and dollars as Decimal outside.

Only the exponent of a Decimal is ever changed here, so no ambient decimal context can round.
"""

from decimal import Decimal

__all__ = ["MAX_PICODOLLARS", "microdollars", "usd"]

MAX_PICODOLLARS = 10**18 - 1
"""The largest cost an entry can hold: DECIMAL(18,6) microdollars, just under 1,000,000 USD."""


def microdollars(picodollars: int) -> Decimal:
    """Picodollars (10⁻¹² USD) as microdollars with six decimals."""
    return _with_exponent(Decimal(picodollars), -6)


def usd(microdollars: Decimal) -> Decimal:
    """Microdollars as US dollars, with six decimals more."""
    return _with_exponent(microdollars, -6)


def _with_exponent(number: Decimal, shift: int) -> Decimal:
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):  # the exponent of a NaN or an infinity is a letter
        raise ValueError(f"{number} is not a finite amount")  # noqa: TRY004
    return Decimal((sign, digits, exponent + shift))
