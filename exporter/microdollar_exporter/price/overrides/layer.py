# SPDX-License-Identifier: Apache-2.0
"""Lay rules over a book: rows of the source give way for a time, rows of the operator come in."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Final, NoReturn

from microdollar_exporter.price.alias import Alias
from microdollar_exporter.price.book import STANDARD, Book, PriceRow, Provider
from microdollar_exporter.price.names import Names
from microdollar_exporter.price.overrides.adjusting import adjusted
from microdollar_exporter.price.overrides.cutting import left
from microdollar_exporter.price.overrides.rules import (
    Adjust,
    Aliased,
    Free,
    Rate,
    Rule,
    SameAs,
    Target,
    Window,
)
from microdollar_exporter.price.validity import common
from microdollar_exporter.toml_source import Table

__all__ = ["MOST_ADJUSTED", "Layer"]

MOST_ADJUSTED: Final = 20_000
"""How many prices multipliers may make: one of each price for every combination of facts."""

_Key = tuple[str, str]
"""A provider and a model, by the book's ids."""

_TYPO: Final = 0.85
"""How alike a new provider's name and a known one may be: `opnai` is a slip, `my-openai` none."""


class Layer:
    """A book in the making: the rows of another, and rules put over them one by one."""

    def __init__(self, book: Book) -> None:
        self._base = book
        self._names = Names(book)
        self._providers = dict(book.providers)
        self._rows: dict[tuple[str, str], list[PriceRow]] = {}
        for row in book.rows:
            self._rows.setdefault((row.provider, row.model), []).append(row)
        self._aliases: list[Alias] = []
        self._adjusted: list[PriceRow] = []

    def add_providers(
        self, document: Table, names: Mapping[str, str], rules: Iterable[Rule]
    ) -> None:
        """Take in the providers that rules are about; whoever is meant must be known by then."""
        own = {name for name, meant in names.items() if name == meant}
        for rule in rules:
            if rule.provider not in self._providers:
                near = difflib.get_close_matches(rule.provider, self._providers, 1, _TYPO)
                if near and rule.provider not in own:
                    rule.at.refuse(
                        "provider",
                        f"do you mean {near[0]}? If it is another one, "
                        f'say "{rule.provider}" = "{rule.provider}" under [providers]',
                    )
                self._providers[rule.provider] = Provider(id=rule.provider, models=())
        table = document.table("providers")
        for name, meant in names.items():
            if meant not in self._providers and name == meant:
                self._providers[meant] = Provider(id=meant, models=())
            elif meant not in self._providers and table is not None:
                written = next(key for key in table.values if key.strip().lower() == name)
                table.refuse(written, _near(meant, self._providers, "a provider of the book"))

    def place(self, rate: Rate) -> None:
        """Put rates in the place of those that the book has for the same calls."""
        model = self._model(rate)
        self._clear(rate, model, context=rate.context, windows=rate.windows)
        self._put(rate, model, "rate")

    def require_standard(self, rates: Iterable[Rate]) -> None:
        """Refuse a rate for a context of a model that has no price without it."""
        for rate in rates:
            model = self._id(rate)
            if not any(row.context == STANDARD for row in self._rows[rate.provider, model]):
                rate.at.refuse_whole(
                    f"is for {rate.context} only, and nothing says what {rate.provider} {model} "
                    "costs otherwise: write a rate without context too"
                )

    def place_default(self, rate: Rate) -> None:
        """Put in the rates for whatever the book does not list; nothing adjusts them."""
        self._put(rate, rate.model, "default")

    def _put(self, rate: Rate, model: str, layer: str) -> None:
        windows: tuple[Window | None, ...] = rate.windows or (None,)
        for window in windows:
            for step in rate.steps:
                self._rows.setdefault((rate.provider, model), []).append(
                    PriceRow(
                        provider=rate.provider,
                        model=model,
                        context=rate.context,
                        effective_from=rate.start,
                        effective_to=rate.end,
                        time_of_day=window and window.span,
                        weekdays=window and window.weekdays,
                        over_input_tokens=step.over,
                        rates=step.rates,
                        unit_rates=step.unit_rates,
                        layer=layer,
                        reason=rate.reason,
                    )
                )

    def make_free(self, rule: Free) -> None:
        """Let a model cost nothing, whatever is asked of it."""
        model = self._model(rule)
        self._clear(rule, model)
        row = PriceRow(
            provider=rule.provider,
            model=model,
            effective_from=rule.start,
            effective_to=rule.end,
            rates={},
            layer="free",
            reason=rule.reason,
        )
        self._rows.setdefault((rule.provider, model), []).append(row)

    def repeat_all(self, rules: Iterable[SameAs]) -> None:
        """Give models the rows of others, which may have them of yet others themselves."""
        of_model: dict[_Key, list[SameAs]] = {}
        for rule in rules:
            of_model.setdefault((rule.provider, self._id(rule)), []).append(rule)
        sorter: TopologicalSorter[_Key] = TopologicalSorter()
        for model, same in of_model.items():
            sorter.add(model, *({self._meant(rule.target, of_model) for rule in same} - {model}))
        try:
            in_order = list(sorter.static_order())
        except CycleError as error:
            _refuse_circle([rule for model in set(error.args[1]) for rule in of_model[model]])
        for model in in_order:
            for rule in of_model.get(model, ()):
                self._repeat(rule)

    def _repeat(self, rule: SameAs) -> None:
        target = self._target(rule.target)
        model = self._model(rule)
        if target == (rule.provider, model):
            rule.target.at.refuse("model", "write another model than the rule is about")
        repeated = [
            replace(
                row,
                provider=rule.provider,
                model=model,
                effective_from=time[0],
                effective_to=time[1],
                layer="free" if row.layer == "free" else "same_as",
                reason=rule.reason,
                base_row=row.price_row,
                origin=row.billed_as,
            )
            for row in self._rows[target]
            if (time := common(row.effective_from, row.effective_to, rule.start, rule.end))
        ]
        self._clear(rule, model)
        self._rows.setdefault((rule.provider, model), []).extend(repeated)

    def add_alias(self, rule: Aliased) -> None:
        """Let a name mean a model."""
        provider, model = self._target(rule.target)
        self._aliases.append(_alias(rule, provider, model, rule.context))

    def adjust(self, adjusts: Sequence[Adjust]) -> None:
        """Make the rows that multipliers give, of all that is there and stays as it is."""
        used: set[str] = set()
        for provider in self._providers:
            mine = [rule for rule in adjusts if rule.provider in (None, provider)]
            if not mine:
                continue
            for row in self._sold_by(provider):
                for made in adjusted(provider, row, mine):
                    used |= {adjustment.name for adjustment in made.adjustments}
                    self._adjusted.append(made)
                    if len(self._adjusted) > MOST_ADJUSTED:
                        _refuse_many(adjusts)
        for rule in adjusts:
            if rule.name not in used:
                self._refuse_unused(rule)

    def book(self, provider_names: Mapping[str, str]) -> Book:
        """The book with all that was put over it."""
        rows = [row for rows in self._rows.values() for row in rows]
        return Book(
            source=self._base.source,
            source_version=f"{self._base.source_version} with overrides",
            providers=self._providers.values(),
            rows=[*rows, *self._adjusted],
            base=self._base.id,
            aliases=self._aliases,
            provider_names=provider_names,
            lent=self._only_lent(),
        )

    def _only_lent(self) -> Iterator[PriceRow]:
        """The rows of the source that gave way at their own provider."""
        kept = {row.price_row for rows in self._rows.values() for row in rows}
        lenders = {lender for each in self._providers.values() for lender in each.fallbacks}
        for row in self._base.rows:
            if _is_lent(row, lenders) and row.price_row not in kept:
                yield row

    def _sold_by(self, provider: str) -> Iterable[PriceRow]:
        """The rows by which calls at a provider are priced: its own, and those lent to it."""
        meant = {
            (alias.to_provider, alias.to_model)
            for alias in self._aliases
            if alias.provider == provider
        }
        own = [
            row
            for (owner, model), rows in self._rows.items()
            for row in rows
            if owner == provider or (owner, model) in meant
        ]
        lenders = self._providers[provider].fallbacks
        lent = (row for row in self._base.rows if _is_lent(row, lenders))
        return {row.price_row: row for row in (*own, *lent)}.values()

    def _model(self, rule: Rule) -> str:
        """The model that a rule is about; a new one for its time, where it is none of the book."""
        model = self._id(rule)
        if all(model != known.id for known in self._providers[rule.provider].models):
            self._aliases.append(_alias(rule, rule.provider, model))
        return model

    def _id(self, rule: Rule) -> str:
        """The model that a rule is about as the book writes it, or else as the rule does."""
        models = self._providers[rule.provider].models
        return next((model.id for model in models if model.id.lower() == rule.model), rule.model)

    def _meant(self, target: Target, known: Collection[_Key]) -> _Key:
        """The model that a name means: one of the known ones, or else of the book if it has it."""
        if (target.provider, target.model) in known or target.provider not in self._base.providers:
            return target.provider, target.model
        found = self._names.model(target.provider, target.model)
        return (found.provider, found.model) if found else (target.provider, target.model)

    def _target(self, target: Target) -> _Key:
        """The model of the book that a name means, without any doubt."""
        if (target.provider, target.model) in self._rows:
            return target.provider, target.model
        if target.provider not in self._providers:
            target.at.refuse("provider", _near(target.provider, self._providers, "a provider"))
        found = None
        if target.provider in self._base.providers:
            found = self._names.model(target.provider, target.model)
        if found is None or (found.provider, found.model) not in self._rows:
            models = {model for owner, model in self._rows if owner == target.provider}
            target.at.refuse("model", _near(target.model, models, "a model with a price"))
        if found.doubt:
            target.at.refuse("model", f"{found.doubt}: write {found.model} if that is meant")
        return found.provider, found.model

    def _clear(
        self,
        rule: Rule,
        model: str,
        *,
        context: str | None = None,
        windows: Sequence[Window] = (),
    ) -> None:
        """Let rows of the source give way to a rule: those of one context, or of all."""
        kept: list[PriceRow] = []
        for row in self._rows.get((rule.provider, model), ()):
            if row.layer is None and context in (None, row.context):
                kept += left(row, rule, windows)
            else:
                kept.append(row)
        self._rows[rule.provider, model] = kept

    def _refuse_unused(self, rule: Adjust) -> None:
        """Raise against a multiplier that no price has."""
        known = {owner for owner, _ in self._rows}
        if rule.provider and rule.provider not in self._providers:
            rule.at.refuse("provider", _near(rule.provider, known, "a provider of the book"))
        if rule.provider and rule.model:
            models = {row.model for row in self._sold_by(rule.provider)}
            if rule.model not in {model.lower() for model in models}:
                rule.at.refuse("model", _near(rule.model, models, "a model with a price"))
        rule.at.refuse_whole("applies to no price of the book: change it, or leave it out")


def _refuse_circle(rules: Iterable[SameAs]) -> NoReturn:
    """Raise against models that have their rates of each other."""
    *others, last = sorted(rules, key=lambda rule: rule.at.line)
    lines = ", ".join(str(rule.at.line) for rule in others)
    last.at.refuse_whole(
        f"has the rates of a model that has its own, by way of line {lines}: write rates in one"
    )


def _refuse_many(rules: Sequence[Adjust]) -> NoReturn:
    """Raise against multipliers that make too many prices."""
    many = [rule for rule in rules if rule.when] or rules
    names = ", ".join(rule.name for rule in many)
    many[-1].at.refuse_whole(
        f"makes more than {MOST_ADJUSTED:,} prices, one for every combination of what these ask "
        f"for: {names}; say in each whose price it is, with provider and model"
    )


def _is_lent(row: PriceRow, lenders: Collection[str]) -> bool:
    """Whether a row of the source is lent by one of these: only standard prices are."""
    return row.provider in lenders and row.context == STANDARD


def _alias(rule: Rule, provider: str, model: str, context: tuple[str, ...] = ()) -> Alias:
    return Alias(
        provider=rule.provider,
        model=rule.model,
        to_provider=provider,
        to_model=model,
        context=context,
        effective_from=rule.start,
        effective_to=rule.end,
        reason=rule.reason,
    )


def _near(name: str, known: Iterable[str], what: str) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"write {what}" + (f"; do you mean {near[0]}?" if near else "")
