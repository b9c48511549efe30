# SPDX-License-Identifier: Apache-2.0
"""The rules of an overrides file, as data.

Providers are ids of the book or new ones; models are names in lower case, as the file has them.
`start` and `end` are microseconds since 1970 UTC, the end not included, None being unbounded. `at`
is where the rule stands, for what is said against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from microdollar_exporter.toml_source import Table

__all__ = ["Adjust", "Aliased", "Free", "Rate", "Rule", "SameAs", "Step", "Target", "Window"]


class Step(NamedTuple):
    """The rates of a request of more than `over` input tokens, in 10⁻¹⁸ USD by their names."""

    over: int
    rates: Mapping[str, int]
    unit_rates: Mapping[str, int]


class Window(NamedTuple):
    """A part of a UTC day, in microseconds since midnight, on some weekdays; None is all."""

    span: tuple[int, int]
    weekdays: tuple[int, ...] | None


class Target(NamedTuple):
    """A model whose price another one has."""

    provider: str
    model: str
    at: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all rules about a model have."""

    at: Table
    provider: str
    model: str
    start: int | None
    end: int | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Rule):
    """Rates for a model in one context; at all hours unless there are `windows`."""

    context: str
    windows: tuple[Window, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SameAs(Rule):
    """A model has the rates of another, in every context."""

    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Free(Rule):
    """A model costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliased(Rule):
    """A name means a model, and adds these facts to its calls."""

    target: Target
    context: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust:
    """A multiplier on whichever price a call has, if the call has all facts of `when`.

    A `provider` or `model` of None stands for all of them.
    """

    at: Table
    name: str
    provider: str | None
    model: str | None
    when: frozenset[str]
    multiply: str
    tokens_only: bool
    start: int | None
    end: int | None
    reason: str | None
