# SPDX-License-Identifier: Apache-2.0
"""The per-request headers that say whom a call is made for, and that never leave the process."""

from collections.abc import Sequence
from typing import Any

from microdollar._customer import Attribution, attribution

__all__ = ["OURS", "PRIVATE", "read", "restore", "take"]

_CUSTOMER, _USER, _TAGS = "x-microdollar-customer", "x-microdollar-user", "x-microdollar-tags"

OURS = (_CUSTOMER, _USER, _TAGS)
"""No host is sent these: only we can read them, and they hold the names of customers."""

PRIVATE = (*OURS, "baggage")
"""What no provider is sent."""


def take(headers: Any, names: Sequence[str]) -> dict[str, str]:
    """Remove the headers of these names from a request's; returns them as they were written."""
    found = [name for name in names if name in headers]
    if not found:
        return {}
    written = {name.lower(): name for name in (raw.decode("latin-1") for raw, _ in headers.raw)}
    return {written[name]: headers.pop(name) for name in found}


def restore(headers: Any, taken: dict[str, str]) -> None:
    """Give the app its request back as it was; it may send it again."""
    headers.update(taken)


def read(taken: dict[str, str]) -> Attribution:
    """What the headers say. Tags are written `name=value,name=value`."""
    taken = {name.lower(): value for name, value in taken.items()}
    if not taken.keys() & {_CUSTOMER, _USER, _TAGS}:
        return Attribution()
    pairs = (pair.partition("=") for pair in taken.get(_TAGS, "").split(",") if pair.strip())
    tags = {name.strip(): value.strip() for name, _, value in pairs}
    return attribution(taken.get(_CUSTOMER), taken.get(_USER), tags)
