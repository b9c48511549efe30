# SPDX-License-Identifier: Apache-2.0
"""Record what an exporter was told that decides on whose calls are: the ledger follows from it."""

import getpass
import logging
from collections.abc import Sequence
from typing import Any, Final

from microdollar_exporter.customer import CUSTOMER_KEYS, KEYS_DECISION
from microdollar_exporter.store import Store

__all__ = ["PSEUDONYMS", "record_told"]

log = logging.getLogger(__name__)

PSEUDONYMS: Final = "pseudonyms"
"""The kind of the decisions to keep pseudonyms for names: `check` tells two keys apart, and is None
where names are kept."""


def record_told(store: Store, customer_keys: Sequence[str], check: str | None) -> None:
    """Record as decisions what differs from what is in force.

    Attributes that name customers hold for calls that began from now on; in a ledger without
    evidence for all.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    keys, known_check = _in_force(store, KEYS_DECISION), _in_force(store, PSEUDONYMS)
    told: list[tuple[str, str, dict[str, Any]]] = []
    if list(customer_keys) != (keys["keys"] if keys else list(CUSTOMER_KEYS)):
        content = {"keys": list(customer_keys), "past": _is_empty(store)}
        told.append((KEYS_DECISION, "serve --customer-key", content))
    if check != (known_check["check"] if known_check else None):
        told.append((PSEUDONYMS, "serve --pseudonyms", {"check": check}))
        if known_check and known_check["check"]:
            log.warning(
                "the key of the pseudonyms is not what it was: from now on the same customers and "
                "users have other pseudonyms"
            )
    if not told:
        return
    with store.change() as change:
        for kind, reason, content in told:
            change.decide(kind=kind, made_by=_user(), reason=reason, content=content)


def _in_force(store: Store, kind: str) -> Any:
    made = [decision for decision in store.decisions if decision.kind == kind]
    return made[-1].content if made else None


def _is_empty(store: Store) -> bool:
    cursor = store.cursor()
    try:
        return not cursor.execute("SELECT 1 FROM span LIMIT 1").fetchall()
    finally:
        cursor.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "serve"
