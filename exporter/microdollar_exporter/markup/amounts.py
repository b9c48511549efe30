# SPDX-License-Identifier: Apache-2.0
"""From usage and cost to what customers pay: rates, then allowances, then minimums.

Rates are charged call by call, and a charge is a sum over calls, so that it can be computed from
sums. Allowances and minimums are of a customer and a period as a whole. Everything is exact, as
fractions of picodollars; nothing is rounded here.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from microdollar_exporter.markup.periods import Per
from microdollar_exporter.markup.rules import Allowance, Counted, Markup, Minimum, Rate, Winners
from microdollar_exporter.usage import BUCKETS
from microdollar_semconv import UNASSIGNED

__all__ = ["Bill", "Key", "Line", "Part", "Piece", "Span", "bill"]

_PICO = 10**12


class Part(Enum):
    """What an amount is made of; also the kinds of a report's rows."""

    CHARGE = "usage"
    ALLOWANCE = "allowance"
    MINIMUM = "minimum"


class Key(NamedTuple):
    """A row of a report: the names it is grouped by, and what kind of row it is."""

    names: tuple[str | None, ...]
    line: Part


class Piece(NamedTuple):
    """Sums over calls that one rate holds for, that lie in one row, and that are all alike.

    `names` are those of the row. `since` is a moment at which the same rates hold as for the
    calls, `period` the shortest period of the file that they lie in. `measured` says whether
    their usage is known, `accepted` whether the provider took them. Tokens are in the order of
    `BUCKETS`; `cost` is picodollars, None when it is not known of any of them.
    """

    names: tuple[str | None, ...]
    customer: str | None
    provider: str | None
    model: str | None
    since: datetime
    period: str
    measured: bool
    accepted: bool
    calls: int
    tokens: tuple[int, ...]
    units: Mapping[str, int]
    cost: int | None

    @property
    def all_tokens(self) -> int:
        """The tokens of all buckets."""
        return sum(self.tokens)


class Span(NamedTuple):
    """What a report is about: moments from `first` on and before `end`, None being unbounded.

    `customer` is the only one it is about, None for all. `now` is when it is made: a period that
    has not begun by then has no minimum yet.
    """

    first: datetime | None
    end: datetime | None
    now: datetime
    customer: str | None = None

    def holds(self, per: Per, label: str) -> bool:
        """Whether the whole of a period is in the report."""
        return (self.first is None or self.first <= per.begin(label)) and (
            self.end is None or per.end(label) <= self.end
        )


@dataclass(slots=True)
class Line:
    """What one customer pays in one row, in picodollars.

    `parts` has no charge where none is known. `costed_parts` is the same without the charges of
    calls whose cost is not known, and `cost` the cost of the others. `unbilled` counts calls whose
    amount is not known.
    """

    parts: dict[Part, Fraction] = field(default_factory=dict)
    costed_parts: dict[Part, Fraction] = field(default_factory=dict)
    cost: int = 0
    unbilled: int = 0
    rules: set[str] = field(default_factory=set)

    def add(self, part: Part, amount: Fraction, rule: str, cost: int | None) -> None:
        """Add to one part, and say by which rule and what the calls cost."""
        self.rules.add(rule)
        self.parts[part] = self.parts[part] + amount if part in self.parts else amount
        if cost is not None:
            before = self.costed_parts.get(part)
            self.costed_parts[part] = amount if before is None else before + amount
            self.cost += cost


@dataclass(slots=True)
class Bill:
    """What customers pay, by customer and row, and what is not in it.

    `uncovered` and `unknown` count calls and their tokens: those that no rate is about, and those
    whose rate needs a cost or a usage that is not known. `incomplete` names the customers and
    periods whose allowance or minimum is worked out without such unknown calls. `cut` names the
    periods of which the report has a part only, so that their allowances and minimums are not in
    it.
    """

    lines: defaultdict[tuple[str | None, Key], Line] = field(
        default_factory=lambda: defaultdict(Line)
    )
    uncovered: int = 0
    uncovered_tokens: int = 0
    unknown: int = 0
    unknown_tokens: int = 0
    incomplete: set[tuple[str | None, str]] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)


def bill(markup: Markup, pieces: Iterable[Piece], by: Sequence[str], span: Span) -> Bill:
    """What customers pay for these calls, in a report that is grouped by the words of `by`."""
    return _Billing(markup, by, span).run(pieces)


class _Pool:
    """The calls of one customer and period that share one allowance."""

    def __init__(self) -> None:
        self.used = Fraction()
        self.charge = Fraction()
        self.is_incomplete = False

    def credit(self, allowance: Allowance) -> Fraction:
        """What of the charge is included: as large a share of it as of the usage."""
        used = self.charge if allowance.counted is Counted.USD else self.used
        included = Fraction(allowance.amount)
        if allowance.counted is Counted.USD:
            included *= _PICO
        if used <= 0 or self.charge <= 0:
            return Fraction()
        return self.charge * min(Fraction(1), included / used)


class _Billing:
    def __init__(self, markup: Markup, by: Sequence[str], span: Span) -> None:
        self._markup = markup
        self._by = by
        self._span = span
        self._bill = Bill()
        self._pools: defaultdict[tuple[str | None, str, str], _Pool] = defaultdict(_Pool)
        self._rates = Winners(markup.rates)
        self._charging = {rate.name: _Charging(rate) for rate in markup.rates}
        self._allowances = Winners(markup.allowances)
        self._minimums = Winners(markup.minimums)
        self._named = {allowance.name: allowance for allowance in markup.allowances}
        # By customer and the shortest kind of period, only where there were calls.
        self._due: defaultdict[tuple[str | None, str], Fraction] = defaultdict(Fraction)
        self._incomplete: set[tuple[str | None, str]] = set()

    def run(self, pieces: Iterable[Piece]) -> Bill:
        for piece in pieces:
            self._charge(piece)
        for (customer, name, label), pool in self._pools.items():
            self._include(customer, self._named[name], label, pool)
        for minimum in self._markup.minimums:
            for (customer, label), due in self._owing(minimum).items():
                self._top_up(customer, minimum, label, due)
        return self._bill

    def _charge(self, piece: Piece) -> None:
        whose = piece.customer, piece.provider, piece.model
        line = self._bill.lines[piece.customer, Key(piece.names, Part.CHARGE)]
        rate = self._rates.of(*whose, piece.since)
        charge = None if rate is None else self._charging[rate.name].charge(piece)
        if piece.calls or piece.all_tokens or piece.cost:
            self._due[piece.customer, piece.period] += charge or 0
        is_unknown = bool(rate and charge is None and (piece.calls or piece.all_tokens))
        if is_unknown:
            self._incomplete.add((piece.customer, piece.period))
        if rate is None:
            self._bill.uncovered += piece.calls
            self._bill.uncovered_tokens += piece.all_tokens
        elif charge is None:
            self._bill.unknown += piece.calls
            self._bill.unknown_tokens += piece.all_tokens
        else:
            line.add(Part.CHARGE, charge, rate.name, piece.cost)
        if charge is None:
            line.unbilled += piece.calls
        allowance = self._allowances.of(*whose, self._markup.finest.begin(piece.period))
        if allowance is not None:
            label = allowance.per.of(piece.period)
            pool = self._pools[piece.customer, allowance.name, label]
            pool.charge += charge or 0
            pool.is_incomplete |= is_unknown
            if allowance.counted is Counted.TOKENS:
                pool.used += piece.all_tokens
            elif piece.accepted:
                pool.used += piece.calls

    def _include(self, customer: str | None, allowance: Allowance, label: str, pool: _Pool) -> None:
        if not self._span.holds(allowance.per, label):
            self._bill.cut.add(label)
            return
        if credit := pool.credit(allowance):
            if pool.is_incomplete:
                self._bill.incomplete.add((customer, label))
            self._due[customer, self._a_finest(allowance.per, label)] -= credit
            self._adjust(customer, Part.ALLOWANCE, -credit, allowance, label)

    def _owing(self, minimum: Minimum) -> dict[tuple[str | None, str], Fraction]:
        """The customers and periods for which a minimum holds, and what they have to pay anyway."""
        per = minimum.per
        found: defaultdict[tuple[str | None, str], Fraction] = defaultdict(Fraction)
        for (customer, period), amount in self._due.items():
            found[customer, per.of(period)] += amount
        for customer in minimum.customers:
            if self._span.customer in {None, customer}:
                whose = None if customer == UNASSIGNED else customer
                for label in self._periods(minimum):
                    found[whose, label] += 0
        return {
            (customer, label): due
            for (customer, label), due in found.items()
            if minimum is self._minimums.of(customer, None, None, per.begin(label))
        }

    def _periods(self, minimum: Minimum) -> Iterator[str]:
        """The periods of a minimum that is owed without any call, as far as the report goes."""
        begin = max(minimum.from_ or datetime.min, self._span.first or datetime.min)
        ends = (minimum.to, self._span.end)
        while begin <= self._span.now and all(end is None or begin < end for end in ends):
            label = minimum.per.label(begin)
            yield label
            begin = minimum.per.end(label)

    def _top_up(self, customer: str | None, minimum: Minimum, label: str, due: Fraction) -> None:
        if not self._span.holds(minimum.per, label):
            self._bill.cut.add(label)
            return
        missing = Fraction(minimum.usd) * _PICO - due
        if missing > 0:
            self._adjust(customer, Part.MINIMUM, missing, minimum, label)
            self._bill.incomplete |= {
                (customer, label)
                for whose, period in self._incomplete
                if whose == customer and minimum.per.of(period) == label
            }

    def _adjust(
        self,
        customer: str | None,
        part: Part,
        amount: Fraction,
        rule: Allowance | Minimum,
        label: str,
    ) -> None:
        """Add to the row of the customer and period, or to one of its own beside finer rows."""
        known: dict[str, str | None] = {"customer": customer}
        if rule.per in {Per.DAY, Per.MONTH}:
            known["month"] = Per.MONTH.of(label)
        if rule.per is Per.DAY:
            known["day"] = label
        names = tuple(known.get(word) for word in self._by)
        finer = any(word not in known for word in self._by)
        line = self._bill.lines[customer, Key(names, part if finer else Part.CHARGE)]
        line.add(part, amount, rule.name, 0)

    def _a_finest(self, per: Per, label: str) -> str:
        """One of the shortest periods in a period, to which what is of the whole is counted."""
        return self._markup.finest.label(per.begin(label))


class _Charging:
    """One rate made ready for many pieces: whole numbers of a fraction of a picodollar."""

    def __init__(self, rate: Rate) -> None:
        share = None if rate.percent is None else 1 + Fraction(rate.percent) / 100
        # A price of a million tokens in dollars is one of a token in millions of picodollars.
        tokens = [Fraction(rate.per_mtok[b]) * 10**6 for b in BUCKETS] if rate.per_mtok else []
        call = Fraction(rate.per_call or 0) * _PICO
        units = {unit: Fraction(price) * _PICO for unit, price in rate.per_unit.items()}
        prices = [share or Fraction(), call, *tokens, *units.values()]
        self._one = math.lcm(*(price.denominator for price in prices))
        self._share = None if share is None else int(share * self._one)
        self._tokens = [int(price * self._one) for price in tokens]
        self._call = int(call * self._one)
        self._units = {unit: int(price * self._one) for unit, price in units.items()}

    def charge(self, piece: Piece) -> Fraction | None:
        """What the rate adds to the bill for these calls; None when it is not known.

        A call that the provider refused has no price of its own.
        """
        charge = 0
        if self._share is not None:
            if piece.cost is None:
                return None
            charge += piece.cost * self._share
        if self._tokens or self._units:
            if not piece.measured:
                return None
            if self._tokens:
                charge += sum(map(operator.mul, piece.tokens, self._tokens))
            for unit, price in self._units.items():
                charge += piece.units.get(unit, 0) * price
        if piece.accepted:
            charge += piece.calls * self._call
        return Fraction(charge, self._one)
