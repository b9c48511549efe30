# SPDX-License-Identifier: Apache-2.0
"""Read provider JSON without trusting its shape."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from microdollar._facts import MAX_COUNT, distinct
from microdollar._text import label

__all__ = ["count", "error_type", "first", "objects", "part", "present", "reasons", "units"]

_UNIT = re.compile(r"([a-z][a-z0-9_]{0,39}?)(?:_requests|_calls)?")


def part(value: object, *path: str) -> Mapping[str, Any]:
    """The object at `path` inside `value`, or an empty one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def objects(value: object) -> Sequence[Mapping[str, Any]]:
    """The objects in a list; nothing if it is no list."""
    if not isinstance(value, list):
        return ()
    return [item for item in value if isinstance(item, dict)]


def count(value: object) -> int | None:
    """A count as providers write it, or None."""
    # The types are those of JSON, where true is no number.
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def present(wire: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object that are not null."""
    return {name: value for name, value in wire.items() if value is not None}


def first(*values: object) -> int | None:
    """The first that is a count: one number has several spellings."""
    for value in values:
        if (known := count(value)) is not None:
            return known
    return None


def units(wire: Mapping[str, Any]) -> dict[str, int]:
    """The counts of an object, by what is counted: `web_search_requests` are `web_search`."""
    found = {}
    for name, value in wire.items():
        unit, number = _UNIT.fullmatch(name), count(value)
        if unit is not None and number is not None:
            found[unit[1]] = number
    return found


def error_type(error: object) -> str | None:
    """What an error object calls itself."""
    if not isinstance(error, dict):
        return None
    return label(error.get("type")) or label(error.get("code")) or label(error.get("status"))


def reasons(items: object, name: str) -> tuple[str, ...]:
    """Why the choices of an answer ended."""
    return distinct(*(label(item.get(name)) for item in objects(items)))
