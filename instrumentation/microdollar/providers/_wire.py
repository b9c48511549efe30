# SPDX-License-Identifier: Apache-2.0
"""Read provider JSON without trusting its shape."""

from collections.abc import Mapping, Sequence
from typing import Any

from microdollar._facts import MAX_COUNT

__all__ = ["count", "objects", "part", "present"]


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
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    return None


def present(wire: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object that are not null."""
    return {name: value for name, value in wire.items() if value is not None}
