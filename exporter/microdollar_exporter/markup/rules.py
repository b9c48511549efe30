# SPDX-License-Identifier: Apache-2.0
"""What customers pay: the rules of a markup file, and which of them holds for a call.

Money is US dollars, exactly as the file has it. Moments are UTC without a zone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Generic, TypeVar

from microdollar_exporter.markup.periods import Per
from microdollar_semconv import UNASSIGNED

__all__ = ["PRICED_AS", "Allowance", "Counted", "Markup", "Minimum", "Rate", "Rule", "Winners"]

PRICED_AS: Mapping[str, tuple[str, ...]] = {
    "input_uncached": ("input_uncached", "input"),
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "cache_write", "input"),
    "cache_write_1h": ("cache_write_1h", "cache_write", "input"),
    "cache_write": ("cache_write", "input"),
    "input_tool": ("input_tool", "input"),
    "output": ("output",),
}
"""The names under which a bucket's price is looked for; the first that is there is its price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What every rule has: a name, the calls it is about, and when it holds.

    An empty set of customers, providers or models stands for all of them. Calls of no customer
    are only those of a rule that names `unassigned`. The rule holds from `from_` on and before
    `to`, None being unbounded. `line` is where it stands in the file.
    """

    name: str
    line: int
    customers: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    from_: datetime | None = None
    to: datetime | None = None

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Of two rules about a call, the one of the higher rank holds."""
        return bool(self.customers), bool(self.models), bool(self.providers)

    def holds_at(self, moment: datetime) -> bool:
        """Whether the rule is in force."""
        return (self.from_ is None or moment >= self.from_) and (
            self.to is None or moment < self.to
        )

    def is_about(self, customer: str | None, provider: str | None, model: str | None) -> bool:
        """Whether the rule is about calls of this customer to this model."""
        if customer is None and UNASSIGNED not in self.customers:
            return False
        asked = ((self.customers, customer or UNASSIGNED), (self.providers, provider))
        return all(not named or word in named for named, word in (*asked, (self.models, model)))

    def meets(self, other: "Rule") -> bool:
        """Whether there could be a call that both are about while both are in force."""
        begin = max(self.from_ or datetime.min, other.from_ or datetime.min)
        end = min(self.to or datetime.max, other.to or datetime.max)
        sets = (
            (self.customers, other.customers),
            (self.providers, other.providers),
            (self.models, other.models),
        )
        return begin < end and all(
            not mine or not theirs or not mine.isdisjoint(theirs) for mine, theirs in sets
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Rule):
    """What a call adds to the bill: a share of its cost, prices of its own, or both together.

    With `percent` a call adds its cost and so many hundredths more. `per_mtok` has the price of a
    million tokens for every bucket, `per_call` that of a call, `per_unit` those of units such as
    `web_search`.
    """

    percent: Decimal | None = None
    per_mtok: Mapping[str, Decimal] | None = None
    per_call: Decimal | None = None
    per_unit: Mapping[str, Decimal] = field(default_factory=dict)


class Counted(Enum):
    """What an allowance counts."""

    TOKENS = "tokens"
    CALLS = "calls"
    USD = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance(Rule):
    """What each customer has in each period without paying for it."""

    counted: Counted
    amount: Decimal
    per: Per


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum(Rule):
    """What each customer pays in each period at the least."""

    usd: Decimal
    per: Per


_Rule = TypeVar("_Rule", bound=Rule)


class Winners(Generic[_Rule]):
    """Finds the rule that holds for a call, among many rules and for many calls."""

    def __init__(self, rules: Iterable[_Rule]) -> None:
        self._of: dict[str, list[_Rule]] = {}
        self._of_all = []
        for rule in rules:
            if not rule.customers:
                self._of_all.append(rule)
            for customer in rule.customers:
                self._of.setdefault(customer, []).append(rule)
        self._found: dict[tuple[object, ...], _Rule | None] = {}

    def of(
        self, customer: str | None, provider: str | None, model: str | None, moment: datetime
    ) -> _Rule | None:
        """Of the rules about the call that are in force, the one that says most of whom.

        A rule that names the customer wins over one that does not, then one that names the model,
        then one that names the provider. Rules of a markup file never tie.
        """
        asked = customer, provider, model, moment
        if asked not in self._found:
            about = (
                rule
                for rule in (*self._of.get(customer or UNASSIGNED, ()), *self._of_all)
                if rule.holds_at(moment) and rule.is_about(customer, provider, model)
            )
            self._found[asked] = max(about, key=lambda rule: rule.rank, default=None)
        return self._found[asked]


@dataclass(frozen=True, slots=True)
class Markup:
    """The rules of one markup file."""

    rates: Sequence[Rate] = ()
    allowances: Sequence[Allowance] = ()
    minimums: Sequence[Minimum] = ()

    @property
    def names(self) -> list[str]:
        """The names of all rules, rates first."""
        return [rule.name for rule in (*self.rates, *self.allowances, *self.minimums)]

    @property
    def edges(self) -> list[datetime]:
        """The moments at which a rate begins or ends, in order."""
        edges = {edge for rate in self.rates for edge in (rate.from_, rate.to) if edge is not None}
        return sorted(edges)

    @property
    def finest(self) -> Per:
        """The shortest kind of period in the file, which all others are made of."""
        kinds = {rule.per for rule in self.allowances} | {rule.per for rule in self.minimums}
        return next((per for per in (Per.DAY, Per.MONTH) if per in kinds), Per.YEAR)
