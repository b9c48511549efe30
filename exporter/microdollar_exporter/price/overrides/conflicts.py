# SPDX-License-Identifier: Apache-2.0
"""Two rules that would both decide one price are an error: which of them is meant, nobody knows."""

from collections.abc import Iterable, Iterator
from itertools import combinations

from microdollar_exporter.price.overrides.rules import Rate, Rule
from microdollar_exporter.price.validity import common

__all__ = ["refuse_conflicts"]


def refuse_conflicts(rules: Iterable[Rule]) -> None:
    """Refuse the first two rules that overlap.

    Raises:
        UsageError: it names both lines.
    """
    of_model: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        of_model.setdefault((rule.provider, rule.model), []).append(rule)
    for first, second in _pairs(of_model.values()):
        at_one_time = common(first.start, first.end, second.start, second.end)
        if at_one_time and _for_one_call(first, second):
            earlier, later = sorted((first, second), key=lambda rule: rule.at.line)
            later.at.refuse_whole(
                f"is about {later.provider} {later.model} at a time for which "
                f"{earlier.at.head} of line {earlier.at.line} is: end one with to where the other "
                "begins with from, or leave one out"
            )


def _pairs(groups: Iterable[list[Rule]]) -> Iterator[tuple[Rule, Rule]]:
    for group in groups:
        yield from combinations(group, 2)


def _for_one_call(first: Rule, second: Rule) -> bool:
    """Whether a call can be in both: only rates are confined to a context and to times of day."""
    if not isinstance(first, Rate) or not isinstance(second, Rate):
        return True
    if first.context != second.context:
        return False
    if not first.windows or not second.windows:
        return not first.windows and not second.windows
    return any(
        one.span[0] < other.span[1]
        and other.span[0] < one.span[1]
        and (
            one.weekdays is None
            or other.weekdays is None
            or not set(one.weekdays).isdisjoint(other.weekdays)
        )
        for one in first.windows
        for other in second.windows
    )
