# SPDX-License-Identifier: Apache-2.0
"""Read the arguments of acts, which come as JSON from whoever may act."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from microdollar_exporter.customer import NOBODY
from microdollar_exporter.errors import UsageError
from microdollar_exporter.values import MAX_TEXT, plain

__all__ = [
    "Who",
    "customer_of",
    "flag_of",
    "known_only",
    "mapping_of",
    "text_of",
    "who_of",
]


class Who(NamedTuple):
    """Who decided something, and why."""

    made_by: str
    reason: str


def known_only(arguments: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse arguments of other names: a misspelt filter would be no filter.

    Raises:
        UsageError: there is one.
    """
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise UsageError(f"there is no argument {unknown[0]!r}: choose from {', '.join(names)}")


def text_of(arguments: Mapping[str, Any], name: str, longest: int = MAX_TEXT) -> str:
    """A short text on one line.

    Raises:
        UsageError: it is something else, or missing.
    """
    value = arguments.get(name)
    found = plain(value, longest) if isinstance(value, str) else None
    if found is None:
        raise UsageError(f"{name} is {value!r}: write a text of one line, up to {longest} letters")
    return found


def customer_of(arguments: Mapping[str, Any], name: str = "customer") -> str:
    """A customer's name.

    Raises:
        UsageError: it cannot be one.
    """
    customer = text_of(arguments, name)
    if customer in NOBODY:
        raise UsageError(f"{name} is {customer!r}, which no customer can have for a name")
    return customer


def who_of(arguments: Mapping[str, Any]) -> Who:
    """Who decides, and why.

    Raises:
        UsageError: one of them is not said.
    """
    return Who(text_of(arguments, "by"), text_of(arguments, "reason", 1000))


def flag_of(arguments: Mapping[str, Any], name: str) -> bool:
    """True or false; false where nothing is said.

    Raises:
        UsageError: it is something else.
    """
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}: write true or false")
    return value


def mapping_of(arguments: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        UsageError: it is something else, empty, or missing.
    """
    value = arguments.get(name)
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{name} is {value!r}: give a JSON object with at least one member")
    return value
