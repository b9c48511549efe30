# SPDX-License-Identifier: Apache-2.0
"""What a token can be for, and what the holder of one may do."""

from typing import NamedTuple

from microdollar_exporter.customer import NOBODY
from microdollar_exporter.errors import Forbidden, UsageError

__all__ = ["ADMIN", "CUSTOMER", "INGEST", "METRICS", "READ", "SCOPES", "Grant", "check_scope"]

INGEST = "ingest"
"""Send spans."""
READ = "read"
"""Ask anything of the ledger."""
CUSTOMER = "read:customer="
"""Followed by a customer's name: ask for the report of that customer and for nothing else."""
METRICS = "metrics"
"""Read the exporter's own counters, which name no customer."""
ADMIN = "admin"
"""Do an operator's acts, and everything above."""

SCOPES = (INGEST, READ, CUSTOMER + "NAME", METRICS, ADMIN)


def check_scope(text: str) -> str:
    """The scope as it is kept.

    Raises:
        UsageError: there is none of this name.
    """
    if text in (INGEST, READ, METRICS, ADMIN):
        return text
    customer = text.removeprefix(CUSTOMER)
    if customer in ("", text):
        raise UsageError(f"the scope is {text!r}: choose from {', '.join(SCOPES)}")
    if customer in NOBODY:
        raise UsageError(
            f"{text!r} names no customer: what is nobody's, or an erased one's, is the operator's"
        )
    return text


class Grant(NamedTuple):
    """What somebody may do: `who` is the id of their token, which is no secret."""

    who: str
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Whether the holder may do what `scope` is for."""
        return scope in self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Raise unless the holder may do what `scope` is for.

        Raises:
            Forbidden: it may not.
        """
        if not self.allows(scope):
            raise Forbidden(f"this token lacks the scope {scope}")

    def reads(self, customer: str | None) -> str | None:
        """The customer whose report is given to one who asks for that of `customer`.

        None stands for all customers. A holder who may read one only need not name it.

        Raises:
            Forbidden: it may not read that.
        """
        if self.allows(READ):
            return customer
        own = [s.removeprefix(CUSTOMER) for s in self.scopes if s.startswith(CUSTOMER)]
        if customer is None and len(own) == 1:
            return own[0]
        if customer is None or customer not in own:
            raise Forbidden(
                "this token may read one customer only, and not this one"
                if own
                else f"this token lacks the scope {READ}"
            )
        return customer
