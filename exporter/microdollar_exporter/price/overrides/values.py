# SPDX-License-Identifier: Apache-2.0
"""Read what rules are made of: times, facts of a request, exact rates, times of day."""

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Final

from microdollar_exporter.price.book import RATES, STANDARD, WEEKDAYS
from microdollar_exporter.price.context import FACTS
from microdollar_exporter.price.decimals import decimal_text
from microdollar_exporter.price.overrides.rules import Step, Window
from microdollar_exporter.price.units import UNITS, unit_name
from microdollar_exporter.toml_source import Scientific, Table

__all__ = ["RATE_KEYS", "context", "facts", "multiplier", "period", "steps", "windows"]

RATE_KEYS: Final = ("per_mtok", "per", "thresholds")

_EPOCH: Final = dt.datetime(1970, 1, 1)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_DAY: Final = 86_400_000_000
_MOST_DECIMALS: Final = 12
_MOST_USD: Final = 1_000_000
_MOST_TIMES: Final = 1_000
_PER_MTOK: Final = {"input": "input_uncached"} | {
    name: name for name in RATES if name != "input_uncached"
}
"""The names of rates in the file, and those of the book."""
_UNIT: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OFFSET: Final = re.compile(r"([+-])(\d{2}):(\d{2})")
_EXACT: Final = "write it in plain digits, like 0.25"


def period(table: Table) -> tuple[int | None, int | None]:
    """The `from` and `to` of a rule, in microseconds since 1970 UTC."""
    start, end = (_microseconds(table.instant(name)) for name in ("from", "to"))
    if start is not None and end is not None and start >= end:
        table.refuse("to", "write a time after from, which is the first moment that is out again")
    return start, end


def _microseconds(moment: dt.datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def facts(table: Table, name: str) -> tuple[str, ...]:
    """The facts of a request in a table of `key = "value"`, each as `key=value`, in their order."""
    said = table.table(name)
    if said is None:
        return ()
    said.only(FACTS)
    if not said.values:
        table.refuse_whole(f'has an empty {name}: write a fact like service_tier = "flex"')
    found = []
    for key in sorted(said.values):
        value = said.text(key).strip().lower()
        if "," in value or "=" in value:
            said.refuse(key, "write one word, as the provider has it")
        if (key, value) == ("service_tier", "batch"):
            said.refuse(key, 'write processing = "batch" instead, the book\'s words for it')
        found.append(f"{key}={value}")
    return tuple(found)


def context(table: Table) -> str:
    """The context of the book that a rate is for."""
    return ",".join(facts(table, "context")) or STANDARD


def steps(table: Table) -> tuple[Step, ...]:
    """The rates of a rule, from the lowest threshold to the highest."""
    rates, unit_rates = _rates(table, "per_mtok"), _unit_rates(table)
    if not rates and not unit_rates:
        table.refuse_whole(
            "has no rates: write per_mtok = { input = …, output = … }, or per = { … }"
        )
    if not any((*rates.values(), *unit_rates.values())):
        table.refuse_whole("has only rates of 0: what costs nothing belongs under [[free]]")
    found = {0: Step(0, rates, unit_rates)}
    for tier in table.tables("thresholds"):
        tier.only(("above", "at_least", "per_mtok"))
        over = _threshold(tier)
        if over in found:
            tier.refuse_whole(f"begins above {over} input tokens, as another one does: keep one")
        higher = _rates(tier, "per_mtok")
        if not higher:
            tier.refuse_whole("has no rates: write per_mtok = { input = …, output = … }")
        found[over] = Step(over, higher, unit_rates)
    # What a threshold does not name costs what it costs below.
    made: list[Step] = []
    for over in sorted(found):
        below = made[-1].rates if made else {}
        made.append(Step(over, {**below, **found[over].rates}, unit_rates))
    return tuple(made)


def _threshold(tier: Table) -> int:
    """The most input tokens that a request may have without reaching a tier."""
    above, at_least = tier.whole("above"), tier.whole("at_least")
    if (above is None) == (at_least is None):
        tier.refuse_whole("needs above = N or at_least = N input tokens, one of both")
    if above is not None:
        over, name = above, "above"
    else:
        over, name = (at_least or 0) - 1, "at_least"
    if not 0 < over < 2**62:
        tier.refuse(name, "write a number of tokens like 200000")
    return over


def _rates(table: Table, name: str) -> dict[str, int]:
    """Rates per token in 10⁻¹⁸ USD, of prices in USD per million tokens."""
    said = table.table(name)
    if said is None:
        return {}
    said.only(tuple(_PER_MTOK))
    return {_PER_MTOK[key]: _rate(said, key, 1_000_000) for key in said.values}


def _unit_rates(table: Table) -> dict[str, int]:
    """Rates per unit in 10⁻¹⁸ USD, of prices in USD for one."""
    said = table.table("per")
    if said is None:
        return {}
    found: dict[str, int] = {}
    for key in said.values:
        unit = unit_name(key)
        if key == "audio_seconds":
            said.refuse(key, "write audio_hours, the price of an hour")
        if not _UNIT.fullmatch(key):
            said.refuse(key, f"write the name of a unit, like {', '.join(UNITS)}")
        if unit in found:
            said.refuse(key, f"it is another name for {unit}, which is there already")
        found[unit] = _rate(said, key, 1)
    return found


def _rate(table: Table, name: str, per: int) -> int:
    usd = _plain(table, name)
    if not 0 <= usd <= _MOST_USD:
        table.refuse(name, f"write a price in USD from 0 to {_MOST_USD}")
    return int(usd * 10**18 / per)


def multiplier(table: Table) -> str:
    """What `multiply` says, as exact decimal text."""
    if "multiply" not in table:
        table.refuse("multiply", "write a number like 0.88 for 12 percent off")
    factor = _plain(table, "multiply")
    if factor <= 0:
        table.refuse(
            "multiply", "write a number above 0; what costs nothing belongs under [[free]]"
        )
    if factor > _MOST_TIMES:
        table.refuse("multiply", f"write a number up to {_MOST_TIMES}: 1.1 is 10 percent more")
    if factor == 1:
        table.refuse("multiply", "leave the rule out: a factor of 1 changes nothing")
    return decimal_text(factor)


def _plain(table: Table, name: str) -> Fraction:
    """A number exactly as it is written, of at most 12 decimals and without an exponent."""
    if isinstance(table.values[name], Scientific):
        table.refuse(name, f"{_EXACT}, and not with an exponent")
    number = table.number(name, _EXACT)
    exact = Fraction(Decimal(0) if number is None else number)
    if (exact * 10**_MOST_DECIMALS).denominator != 1:
        table.refuse(name, f"write at most {_MOST_DECIMALS} decimals")
    return exact


def windows(table: Table) -> tuple[Window, ...]:
    """The times of day a rate is for, in UTC; none for one that is for all of them."""
    said = table.table("window")
    if said is None:
        return ()
    said.only(("from", "to", "weekdays", "utc_offset"))
    start, end = _clock(said, "from"), _clock(said, "to") or _DAY
    if start >= end:
        said.refuse("to", "write a time after from; a window over midnight is two rates")
    days = said.texts("weekdays")
    for day in days or ():
        if day not in WEEKDAYS:
            said.refuse("weekdays", f"choose from {', '.join(WEEKDAYS)}")
    numbers = None if days is None else tuple(sorted(WEEKDAYS.index(day) for day in days))
    offset = _offset(said)
    return tuple(_in_utc(start - offset, end - offset, numbers))


def _in_utc(start: int, end: int, weekdays: tuple[int, ...] | None) -> Iterator[Window]:
    """The parts of a span by the UTC days they are in; the span may begin the day before."""
    for shift in (-1, 0, 1):
        first, last = max(start, shift * _DAY), min(end, (shift + 1) * _DAY)
        if first < last:
            days = None if weekdays is None else tuple(sorted((d + shift) % 7 for d in weekdays))
            yield Window((first - shift * _DAY, last - shift * _DAY), days)


def _clock(table: Table, name: str) -> int:
    """A time of day in microseconds since midnight."""
    value = table.values.get(name)
    if not isinstance(value, dt.time):
        table.refuse(name, "write a time of day like 09:00:00, without quotes")
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _offset(table: Table) -> int:
    """How far the clock of a window is before UTC, in microseconds."""
    said = table.text("utc_offset", "+00:00")
    found = _OFFSET.fullmatch(said)
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        table.refuse("utc_offset", 'write it like "+08:00"')
    minutes = int(found[2]) * 60 + int(found[3])
    return (minutes if found[1] == "+" else -minutes) * 60_000_000
