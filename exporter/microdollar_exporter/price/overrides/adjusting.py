# SPDX-License-Identifier: Apache-2.0
"""The rows that multipliers make of another row: for each time, and for each kind of request."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product

from microdollar_exporter.price.adjustment import Adjustment
from microdollar_exporter.price.book import STANDARD, PriceRow
from microdollar_exporter.price.context import facts_of
from microdollar_exporter.price.overrides.rules import Adjust
from microdollar_exporter.price.validity import holds_throughout

__all__ = ["adjusted"]


def adjusted(provider: str, row: PriceRow, rules: Sequence[Adjust]) -> Iterator[PriceRow]:
    """A row as calls at a provider are charged by it, wherever one of the rules applies.

    The rules are all those about the provider, in the order of the file. A row that asks for facts
    of a request has them in its context, beside those of the row it is made of.

    Raises:
        UsageError: the multipliers have more than 18 decimals together.
    """
    mine = [rule for rule in rules if rule.model in (None, row.model.lower())]
    if not mine or row.layer == "free":
        return
    own = facts_of(row.context)
    for asked in _requests(own, mine):
        known = own | asked
        told = [rule for rule in mine if rule.when <= known]
        for time in _times(row, told):
            active = [rule for rule in told if holds_throughout(rule.start, rule.end, *time)]
            # Where less is asked for than a request says, the row for less has the answer.
            if active and frozenset[str]().union(*(rule.when for rule in active)) - own == asked:
                yield _made(provider, row, active, known, time)


def _requests(own: frozenset[str], rules: Sequence[Adjust]) -> Iterator[frozenset[str]]:
    """The facts beside a row's own that a request can have, as far as the rules ask for them.

    A request has one value, or none, for each key.
    """
    taken = {fact.partition("=")[0] for fact in own}
    values: dict[str, set[str]] = {}
    for rule in rules:
        for fact in rule.when:
            key = fact.partition("=")[0]
            if key not in taken:
                values.setdefault(key, set()).add(fact)
    for chosen in product(*([None, *sorted(facts)] for facts in values.values())):
        yield frozenset(fact for fact in chosen if fact is not None)


def _times(row: PriceRow, rules: Sequence[Adjust]) -> Iterator[tuple[int | None, int | None]]:
    """The validity of a row, divided where a rule begins or ends."""
    first, last = row.effective_from, row.effective_to
    edges = {edge for rule in rules for edge in (rule.start, rule.end)}
    inside = sorted(
        edge
        for edge in edges
        if edge is not None and (first is None or first < edge) and (last is None or edge < last)
    )
    return pairwise([first, *inside, last])


def _made(
    provider: str,
    row: PriceRow,
    rules: Sequence[Adjust],
    known: frozenset[str],
    time: tuple[int | None, int | None],
) -> PriceRow:
    said = dict.fromkeys(rule.reason for rule in rules if rule.reason)
    try:
        return replace(
            row,
            provider=provider,
            context=",".join(sorted(known)) or STANDARD,
            effective_from=time[0],
            effective_to=time[1],
            reason="; ".join(said) or None,
            base_row=row.price_row,
            origin=row.origin if provider == row.provider else row.billed_as,
            adjustments=tuple(
                Adjustment(rule.name, rule.multiply, rule.tokens_only) for rule in rules
            ),
        )
    except ValueError as error:
        rules[-1].at.refuse("multiply", f"{error}: write fewer decimals")
