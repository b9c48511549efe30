# SPDX-License-Identifier: Apache-2.0
"""How the cost of an entry adds up from its price row: every count, its rate and what they make.

This is worked out apart from what priced the call, and by fractions, so that it proves the figure
in the ledger rather than repeating it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from microdollar_exporter.price import PriceRow
from microdollar_exporter.price.tariff import _FREE_UNITS, _MINIMUM_SECONDS, Tariff
from microdollar_exporter.price.units import unit_name
from microdollar_exporter.price.words import rate as rate_text
from microdollar_exporter.usage import BUCKETS

__all__ = ["Charge", "Line", "charge"]

_ATTO_IN_PICO: Final = 10**6
_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Line:
    """`count` of `name` at `rate` make `amount` picodollars; `why` is what to know of it."""

    name: str
    count: int
    rate: str
    amount: Fraction
    why: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """The lines of an entry, and what they come to in picodollars.

    `listed` is their exact sum, `adjusted` the same times the operator's multipliers; `rounded` is
    that to the picodollar, half to even.
    """

    lines: tuple[Line, ...]
    listed: Fraction
    adjusted: Fraction
    rounded: int


def charge(entry: Mapping[str, Any], row: PriceRow) -> Charge:
    """What an entry with these counts costs by a price row."""
    tariff = Tariff.of(row)
    tokens = tuple(_token_lines(entry, tariff))
    units = tuple(_unit_lines(entry, tariff))
    of_tokens = sum((line.amount for line in tokens), Fraction(0))
    of_units = sum((line.amount for line in units), Fraction(0))
    adjusted = of_tokens * row.multiplier + of_units * row.unit_multiplier
    return Charge((*tokens, *units), of_tokens + of_units, adjusted, round(adjusted))


def _token_lines(entry: Mapping[str, Any], tariff: Tariff) -> Iterator[Line]:
    for bucket, own in zip(BUCKETS, tariff.rates, strict=True):
        count = entry[bucket]
        if not count:
            continue
        rate, why = own, ""
        if rate is None:
            rate, why = tariff.assumed.get(bucket, (None, "has no price"))
        yield _line(bucket, count, rate, why)
    base = tariff.own.get("output")
    if base is not None and entry["output"]:
        for part in ("reasoning", "audio_out", "image_out"):
            if entry[part] and part in tariff.own:
                why = "beyond the output rate"
                yield _line(part, entry[part], tariff.own[part] - base, why)
    yield from _input_parts(entry, tariff.own)


def _input_parts(entry: Mapping[str, Any], own: Mapping[str, int]) -> Iterator[Line]:
    """Audio and image input: taken as uncached as far as it fits, as nobody reports which was."""
    base = own.get("input_uncached")
    if base is None or entry["input_uncached"] is None:
        return
    room = entry["input_uncached"] + (entry["input_tool"] or 0)
    read = own.get("cache_read", base)
    for part, cached_name in (("audio_in", "audio_cache_read"), ("image_in", "image_cache_read")):
        count = entry[part] or 0
        outside = min(count, room)
        room -= outside
        for name, some, beyond in (
            (part, outside, own.get(part, base) - base),
            (cached_name, count - outside, own.get(cached_name, read) - read),
        ):
            if some and beyond:
                yield _line(name, some, beyond, "beyond the text rate")


def _unit_lines(entry: Mapping[str, Any], tariff: Tariff) -> Iterator[Line]:
    counts: dict[str, int] = {}
    for name, count in entry["units"].items():
        unit = unit_name(name)
        counts[unit] = counts.get(unit, 0) + count
    if "requests" in tariff.unit_rates:
        counts.setdefault("requests", entry["calls"])
    for unit, count in counts.items():
        if not count:
            continue
        if unit == "audio_seconds" and "audio_hours" in tariff.unit_rates:
            yield _hourly(unit, count, tariff)
        elif (tariff.provider, unit) in _FREE_UNITS:
            yield _line(unit, count, None, "free of charge")
        else:
            rate = tariff.unit_rates.get(unit)
            yield _line(unit, count, rate, "" if rate is not None else "has no price")


def _hourly(unit: str, count: int, tariff: Tariff) -> Line:
    hourly = tariff.unit_rates["audio_hours"]
    billed = max(count, _MINIMUM_SECONDS.get((tariff.provider, tariff.model), 0))
    why = f"an hour has {_SECONDS} seconds"
    if billed != count:
        why += f", and a call at least {billed}"
    amount = Fraction(hourly * billed, _SECONDS * _ATTO_IN_PICO)
    return Line(unit, billed, rate_text("audio_hours", hourly), amount, why)


def _line(name: str, count: int, rate: int | None, why: str) -> Line:
    said = "" if rate is None else rate_text(name, rate)
    return Line(name, count, said, Fraction(count * (rate or 0), _ATTO_IN_PICO), why)
