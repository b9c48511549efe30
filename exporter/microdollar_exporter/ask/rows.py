# SPDX-License-Identifier: Apache-2.0
"""The rows of a report and their total, and how money is put into them."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import pandas as pd

from microdollar_exporter.ask.amounts import Row, sums_of
from microdollar_exporter.ask.honesty import IN_DOUBT, plural
from microdollar_exporter.markup import Bill, Key, Markup, Part, Piece, Span, bill
from microdollar_exporter.money import usd
from microdollar_exporter.rounding import Unit, allocation
from microdollar_exporter.usage import BUCKETS, PARTS
from microdollar_semconv import UNASSIGNED

__all__ = ["AMOUNTS", "HONESTY", "SUMS", "Table"]

SUMS: Final = ("calls", *BUCKETS, *PARTS)
"""The columns that count calls and tokens."""

HONESTY: Final = (*IN_DOUBT, "late")
"""The columns that count what a cost leaves out or where it is in doubt, and what came late."""

AMOUNTS: Final = (
    *("charge", "charge_usd", "allowance", "allowance_usd", "minimum", "minimum_usd"),
    *("amount", "amount_usd", "margin", "margin_usd"),
    *("unbilled", "rules"),
)
"""The columns that a markup adds to a report, after its other ones."""


class Table:
    """A report's rows while their money is being put in."""

    def __init__(
        self,
        names: Sequence[str],
        keys: Sequence[str],
        found: Iterable[dict[str, Any]],
        total: dict[str, Any],
    ) -> None:
        self.total = _row(total, (), ())
        self.exact: dict[str, Decimal | None] | None = None
        self.notes: list[str] = []
        self._names = names
        self._rows: dict[Key, dict[str, Any]] = {}
        self._cancelled: set[Key] = set()
        for row in found:
            key = Key(tuple(row[key] for key in keys), Part.CHARGE)
            self._rows[key] = _row(row, names, keys)
            if not row["standing"]:
                self._cancelled.add(key)
        self._columns = [*names, *SUMS, "cost", "cost_usd", *HONESTY]

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame; counts can be absent and are integers nevertheless.

        A group in which all was taken back is not among them, unless money is left in it.
        """
        figures = [name for name in self._columns if name not in (*self._names, "line", "rules")]
        rows = [
            row
            for key, row in self._rows.items()
            if key not in self._cancelled or any(row[name] for name in figures)
        ]
        frame = pd.DataFrame(rows, columns=self._columns)
        counts = [*SUMS, *HONESTY, *({"unbilled"} & set(self._columns))]
        frame[counts] = frame[counts].astype("Int64")
        return frame

    def put_amounts(
        self,
        found: Sequence[Piece],
        markup: Markup | None,
        unit: Unit | None,
        span: Span,
    ) -> None:
        """Round the costs and, by a markup, add what is paid."""
        rules = markup or Markup()
        made = Bill() if markup is None else bill(rules, found, self._names, span)
        money = sums_of(found, made, unit or Unit.PICODOLLAR)
        in_unit = _In(unit or Unit.PICODOLLAR)
        if markup is not None:
            self._columns.insert(len(self._names), "line")
            self._columns += AMOUNTS
            self._add_rows(money.rows)
        order = {name: number for number, name in enumerate(rules.names)}
        for key, row in self._rows.items():
            sums = money.rows.get(key, Row())
            row.update(in_unit.cost(sums))
            if markup is not None:
                row.update(in_unit.amounts(sums))
                row["rules"] = tuple(sorted(sums.rules, key=order.__getitem__)) or None
        self.total |= in_unit.cost(money.total)
        if markup is not None:
            self.total |= in_unit.amounts(money.total) | {"line": None, "rules": None}
            self.notes += _said_of(made)
        if unit is not None:
            exactly = _In(Unit.PICODOLLAR)
            self.exact = {"cost": exactly.microdollars(money.exact_cost)}
            if markup is not None:
                self.exact["amount"] = exactly.microdollars(money.exact_amount)
            self.notes.append(_rounded(unit, self.exact))

    def _add_rows(self, rows: Iterable[Key]) -> None:
        """Rows for what is paid without a call, among the others in their order."""
        empty: dict[str, Any] = dict.fromkeys((*SUMS, "cost", "cost_usd"))
        empty |= dict.fromkeys(("calls", *HONESTY), 0)
        for key in rows:
            if key not in self._rows:
                part = Part.MINIMUM if key.line is Part.CHARGE else key.line
                named = dict(zip(self._names, map(_named, self._names, key.names), strict=True))
                self._rows[key] = named | {"line": part.value} | empty
        for row in self._rows.values():
            row.setdefault("line", Part.CHARGE.value)
        kinds = list(Part)

        def order(key: Key) -> tuple[Any, ...]:
            return *((name is None, name or "") for name in key.names), kinds.index(key.line)

        self._rows = {key: self._rows[key] for key in sorted(self._rows, key=order)}

    def allocate(self, dollars: Decimal | str, unit: Unit) -> None:
        """Share a bill out over the rows in proportion to their cost, where that is known."""
        costs = {
            key.names: Fraction(row["cost"]) * 10**6
            for key, row in self._rows.items()
            if row["cost"] is not None
        }
        bill_units = unit.count("the bill to allocate", dollars)
        shares = allocation(costs, bill_units)
        for key, row in self._rows.items():
            row.update(_In(unit).pair("allocated", shares.get(key.names)))
        self.total |= _In(unit).pair("allocated", bill_units)
        self._columns += ["allocated", "allocated_usd"]


class _In:
    """Money in a unit, as a report has it."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def microdollars(self, count: int | None) -> Decimal | None:
        """So many of the unit."""
        return None if count is None else self._unit.microdollars(count)

    def pair(self, name: str, count: int | None) -> dict[str, Decimal | None]:
        """A column in microdollars, and the same in dollars."""
        dollars = None if count is None else self._unit.usd(count)
        return {name: self.microdollars(count), f"{name}_usd": dollars}

    def cost(self, sums: Row) -> dict[str, Any]:
        """The columns of the cost."""
        return self.pair("cost", sums.cost)

    def amounts(self, sums: Row) -> dict[str, Any]:
        """The columns of what is paid."""
        return {
            **self.pair("charge", sums.parts.get(Part.CHARGE)),
            **self.pair("allowance", sums.parts.get(Part.ALLOWANCE)),
            **self.pair("minimum", sums.parts.get(Part.MINIMUM)),
            **self.pair("amount", sums.amount),
            **self.pair("margin", sums.margin),
            "unbilled": sums.unbilled,
        }


def _said_of(made: Bill) -> list[str]:
    """What the amounts leave out."""
    said = []
    if made.uncovered or made.uncovered_tokens:
        said.append(f"{_counted(made.uncovered, made.uncovered_tokens)} that no rule is about")
    if made.unknown or made.unknown_tokens:
        said.append(
            f"{_counted(made.unknown, made.unknown_tokens)} whose cost or usage is not known"
        )
    lines = [f"Without an amount: {', '.join(said)}."] if said else []
    if made.incomplete:
        customers = plural(len({customer for customer, _ in made.incomplete}), "customer")
        periods = ", ".join(sorted({period for _, period in made.incomplete}))
        lines.append(
            f"The allowances and minimums of {customers} in {periods} are worked out without calls "
            "whose cost or usage is not known."
        )
    if made.cut:
        lines.append(
            f"Without the allowances and minimums of {', '.join(sorted(made.cut))}, of which the "
            "report has a part only."
        )
    return lines


def _counted(calls: int, tokens: int) -> str:
    return f"{plural(calls, 'call')} ({plural(tokens, 'token')})"


def _rounded(unit: Unit, exact: Mapping[str, Decimal | None]) -> str:
    totals = ", ".join(
        f"{name} {usd(value):f}" for name, value in exact.items() if value is not None
    )
    said = f"Rounded to {unit.name.lower()}s, each customer's total once"
    return f"{said}; exactly in $: {totals}." if totals else f"{said}."


def _row(found: dict[str, Any], names: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, key in zip(names, keys, strict=True):
        row[name] = _named(name, found[key])
    row.update({column: found[column] for column in (*SUMS, "cost", *HONESTY)})
    cost: Decimal | None = row["cost"]
    row["cost_usd"] = None if cost is None else usd(cost)
    return row


def _named(name: str, value: str | None) -> str | None:
    return UNASSIGNED if name == "customer" and value is None else value
