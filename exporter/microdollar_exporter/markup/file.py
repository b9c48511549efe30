# SPDX-License-Identifier: Apache-2.0
"""The markup file: TOML that people write, read into rules or refused with its line."""

from collections.abc import Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from microdollar_exporter import toml_source
from microdollar_exporter.markup.periods import Per
from microdollar_exporter.markup.rules import (
    PRICED_AS,
    Allowance,
    Counted,
    Markup,
    Minimum,
    Rate,
    Rule,
)
from microdollar_exporter.price.units import UNITS, unit_name
from microdollar_exporter.toml_source import Table

__all__ = ["beside", "parse", "read"]

_WHOM = ("customer", "provider", "model")
_WHEN = ("from", "to")
_PRICES = ("percent", "per_mtok", "per_call", "per_unit")
_COUNTED = tuple(counted.value for counted in Counted)
_PERIODS = tuple(per.name.lower() for per in Per)
_UNITS = (*(unit for unit in UNITS if unit != "audio_hours"), "audio_seconds")
_NEAR = 0.8
"""How alike the name of an unknown unit is to that of a known one when it is taken for a slip."""
_BUCKETS = ("input", *PRICED_AS)


def beside(db: Path) -> Path:
    """Where the markup file of a ledger is when nobody says: `meter.markup.toml`."""
    return db.with_name(f"{db.stem}.markup.toml")


def read(path: Path) -> Markup:
    """The rules in a file.

    Raises:
        UsageError: something in it is not understood or two rules overlap; the message has the
            line, the key, its value and what to write.
    """
    return _markup(toml_source.read(path))


def parse(text: str, name: str = "markup") -> Markup:
    """The rules in a text; `name` says in errors which file it is.

    Raises:
        UsageError: as `read` does.
    """
    return _markup(toml_source.parse(text, name))


def _markup(document: Table) -> Markup:
    document.only(("schema", "markup", "allowance", "minimum"))
    if document.whole("schema") != 1:
        document.refuse("schema", "write schema = 1")
    names: dict[str, int] = {}
    found = Markup(
        [_rate(table, names) for table in document.tables("markup")],
        [_allowance(table, names) for table in document.tables("allowance")],
        [_minimum(table, names) for table in document.tables("minimum")],
    )
    _refuse_overlaps(document.tables("markup"), found.rates)
    _refuse_overlaps(document.tables("allowance"), found.allowances)
    _refuse_overlaps(document.tables("minimum"), found.minimums)
    _refuse_longer(document.tables("allowance"), found)
    return found


def _rate(table: Table, names: dict[str, int]) -> Rate:
    table.only(("name", *_WHOM, *_WHEN, *_PRICES))
    if not any(name in table for name in _PRICES):
        table.refuse_whole(f"has no price: write one or more of {', '.join(_PRICES)}")
    percent = table.number("percent")
    if percent is not None and percent < -100:
        table.refuse("percent", "write -100 or more: nobody is paid for calling")
    return Rate(
        **_common(table, names),
        percent=percent,
        per_mtok=_per_mtok(table),
        per_call=_price(table, "per_call"),
        per_unit=_per_unit(table),
    )


def _per_mtok(table: Table) -> dict[str, Decimal] | None:
    """A price for every bucket, so that no tokens go without one."""
    prices = table.table("per_mtok")
    if prices is None:
        return None
    prices.only(_BUCKETS)
    found = {}
    for bucket, places in PRICED_AS.items():
        name = next((place for place in places if place in prices), places[-1])
        price = _price(prices, name)
        if price is None:
            prices.refuse(name, f"write its price, or 0: without it {bucket} would have none")
        found[bucket] = price
    return found


def _per_unit(table: Table) -> dict[str, Decimal]:
    prices = table.table("per_unit")
    if prices is None:
        return {}
    found: dict[str, Decimal] = {}
    for name in prices.values:
        unit = unit_name(name)
        if name == "audio_hours":
            prices.refuse(name, "write audio_seconds, the price of a second: those are counted")
        if unit in found:
            prices.refuse(name, f"it is another name for {unit}, which is there already")
        if unit not in _UNITS and (near := get_close_matches(unit, _UNITS, 1, _NEAR)):
            prices.refuse(name, f"do you mean {near[0]}? known are {', '.join(_UNITS)}")
        price = _price(prices, name)
        if price is not None:
            found[unit] = price
    return found


def _price(table: Table, name: str) -> Decimal | None:
    way_out = "write US dollars like 0.25, not below 0"
    price = table.number(name, way_out)
    if price is not None and price < 0:
        table.refuse(name, way_out)
    return price


def _allowance(table: Table, names: dict[str, int]) -> Allowance:
    table.only(("name", *_WHOM, *_WHEN, "per", *_COUNTED))
    given = [name for name in _COUNTED if name in table]
    if len(given) != 1:
        one = f"exactly one of {', '.join(_COUNTED)}"
        table.refuse_whole(f"says {' and '.join(given) or 'nothing'} of what is included: {one}")
    counted = Counted(given[0])
    included = _price(table, given[0]) if counted is Counted.USD else table.whole(given[0])
    return Allowance(
        **_common(table, names), counted=counted, amount=Decimal(included or 0), per=_per(table)
    )


def _minimum(table: Table, names: dict[str, int]) -> Minimum:
    table.only(("name", "customer", *_WHEN, "per", "usd"))
    usd = _price(table, "usd")
    if usd is None:
        table.refuse("usd", "write US dollars like 100")
    if "customer" in table and "from" not in table:
        table.refuse("from", "write its first period: it is owed without any call, too")
    return Minimum(**_common(table, names), usd=usd, per=_per(table))


def _per(table: Table) -> Per:
    """The kind of period, with whose edges the rule begins and ends."""
    per = Per[table.choice("per", _PERIODS, "month").upper()]
    for name in _WHEN:
        moment = table.instant(name)
        if moment is not None and moment != per.begin(per.label(moment)):
            first = per.begin(per.label(moment)).date()
            table.refuse(name, f"write the first day of a {per.name.lower()}, like {first}")
    return per


def _common(table: Table, names: dict[str, int]) -> dict[str, Any]:
    """What every rule has."""
    name = table.text("name")
    if name is None:
        table.refuse("name", "write one, by which reports can say which rule it was")
    if name in names:
        table.refuse("name", f"write another: that of line {names[name]} has it already")
    names[name] = table.line
    from_, to = table.instant("from"), table.instant("to")
    if from_ is not None and to is not None and from_ >= to:
        table.refuse("to", f"write a time after {from_.isoformat()}, when the rule begins")
    whom = {f"{word}s": frozenset(table.texts(word) or ()) for word in _WHOM}
    return {"name": name, "line": table.line, "from_": from_, "to": to, **whom}


def _refuse_overlaps(tables: Sequence[Table], rules: Sequence[Rule]) -> None:
    alike: dict[tuple[object, ...], list[Rule]] = {}
    for table, rule in zip(tables, rules, strict=True):
        # Rules about different customers cannot meet, and there may be thousands of them.
        for customer in rule.customers or [None]:
            before = alike.setdefault((customer, rule.rank), [])
            for other in before:
                if rule.meets(other):
                    table.refuse_whole(
                        f'"{rule.name}" overlaps "{other.name}" of line {other.line}: end one '
                        "before the other begins, or let only one of them name the customer, the "
                        "model or the provider"
                    )
            before.append(rule)


def _refuse_longer(tables: Sequence[Table], found: Markup) -> None:
    """What a minimum adds to a month cannot wait for what an allowance takes from the year."""
    for table, allowance in zip(tables, found.allowances, strict=True):
        for minimum in found.minimums:
            if allowance.per.is_longer(minimum.per) and allowance.meets(minimum):
                table.refuse(
                    "per",
                    f'"{minimum.name}" of line {minimum.line} is a minimum per '
                    f"{minimum.per.name.lower()}: write that here, or a longer period there",
                )
