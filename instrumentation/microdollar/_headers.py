# SPDX-License-Identifier: Apache-2.0
"""The per-request headers that say whom a call is made for, and that never leave the process."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from microdollar._customer import Attribution, attribution

__all__ = ["OURS", "PRIVATE", "names", "read", "restore", "take"]

_CUSTOMER, _USER, _TAGS = "x-microdollar-customer", "x-microdollar-user", "x-microdollar-tags"

OURS = frozenset(name.encode() for name in (_CUSTOMER, _USER, _TAGS))
"""No host is sent these: only we can read them, and they hold the names of customers."""

PRIVATE = OURS | {b"baggage"}
"""What no provider is sent."""


def names(headers: Any, private: Collection[bytes]) -> list[str]:
    """The names of the private headers among a request's, as they are written there."""
    return [name.decode("ascii") for name, _ in headers.raw if name.lower() in private]


def take(headers: Any, written: Sequence[str]) -> dict[str, str]:
    """Remove the headers of these names from a request's, and return them."""
    return {name: headers.pop(name) for name in dict.fromkeys(written) if name in headers}


def restore(headers: Any, taken: dict[str, str]) -> None:
    """Give the app its request back as it was; it may send it again."""
    headers.update(taken)


def read(headers: Mapping[str, str]) -> Attribution:
    """What the headers say. Tags are written `name=value,name=value`."""
    said = {name.lower(): value for name, value in headers.items()}
    if not said.keys() & {_CUSTOMER, _USER, _TAGS}:
        return Attribution()
    pairs = (pair.partition("=") for pair in said.get(_TAGS, "").split(",") if pair.strip())
    tags = {name.strip(): value.strip() for name, _, value in pairs}
    return attribution(said.get(_CUSTOMER), said.get(_USER), tags)
