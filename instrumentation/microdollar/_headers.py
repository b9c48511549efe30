# SPDX-License-Identifier: Apache-2.0
"""The per-request headers that say whom a call is made for, and that never leave the process."""

from collections.abc import MutableMapping

from microdollar._customer import Attribution, attribution

__all__ = ["read", "restore", "take"]

_CUSTOMER, _USER, _TAGS = "x-microdollar-customer", "x-microdollar-user", "x-microdollar-tags"

Headers = MutableMapping[str, str]


def take(headers: Headers) -> dict[str, str]:
    """Remove our headers, and `baggage`, from a request; returns ours."""
    headers.pop("baggage", None)
    return {name: headers.pop(name) for name in (_CUSTOMER, _USER, _TAGS) if name in headers}


def restore(headers: Headers, taken: dict[str, str]) -> None:
    """Give the app its request back as it was; it may send it again."""
    headers.update(taken)


def read(taken: dict[str, str]) -> Attribution:
    """What the headers say. Tags are written `name=value,name=value`."""
    if not taken:
        return Attribution()
    pairs = (pair.partition("=") for pair in taken.get(_TAGS, "").split(",") if pair.strip())
    tags = {name.strip(): value.strip() for name, _, value in pairs}
    return attribution(taken.get(_CUSTOMER), taken.get(_USER), tags)
