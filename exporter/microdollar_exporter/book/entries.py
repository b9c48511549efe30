# SPDX-License-Identifier: Apache-2.0
"""The entries of one call: one for each model that worked in it, with its price and its reason."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from microdollar_exporter.customer import Named
from microdollar_exporter.entry import USAGE, Entry
from microdollar_exporter.evidence import Evidence, Profile
from microdollar_exporter.money import MAX_PICODOLLARS, microdollars
from microdollar_exporter.price import Price
from microdollar_exporter.usage import UsageRow
from microdollar_semconv import attributes as md

__all__ = ["BEYOND", "Pricer", "Prices", "entries_of", "tags"]

log = logging.getLogger(__name__)

BEYOND: Final = "is beyond what an entry can hold"
"""How the note of a price ends that is too much to be booked."""

Pricer = Callable[[UsageRow], Price]
"""Gives the price of a usage row; `price.Engine.price` is one."""


class Prices(NamedTuple):
    """A price book to book by: what prices by it, and its id."""

    price: Pricer
    book: str | None


_EXACT: Final = ("priced", "free")


def tags(profile: Profile) -> Mapping[str, str]:
    """The tags of a profile's spans, by their names."""
    prefix = md.TAG_PREFIX
    return {
        name.removeprefix(prefix): value
        for name, value in profile.attributes.items()
        if name.startswith(prefix)
    }


def entries_of(
    evidence: Evidence,
    rows: Sequence[UsageRow],
    named: Named,
    prices_of: Callable[[UsageRow], Prices],
    *,
    tags: Mapping[str, str],
    notes: Sequence[str] = (),
) -> list[Entry]:
    """The usage entries of a call, from the usage rows of its witness, each by its own prices."""
    profile = evidence.profile
    made = []
    for row in rows:
        price, price_book = prices_of(row)
        priced = _price(row, price)
        reason = "call" if row.calls else "further model"
        if row.notes or notes:
            reason = "; ".join([reason, *row.notes, *notes])
        usage = row.usage
        made.append(
            Entry(
                USAGE,
                row.started_at,
                evidence.trace_id,
                evidence.span_id,
                row.position,
                0,
                named.customer_id,
                named.user_id,
                tags,
                profile.service,
                profile.environment,
                row.provider,
                row.operation,
                row.request_model,
                row.response_model,
                evidence.response_id,
                row.service_tier,
                row.calls,
                *usage,
                row.source,
                profile.rule,
                None if priced.cost is None else microdollars(priced.cost),
                None if priced.list_cost is None else microdollars(priced.list_cost),
                priced.status,
                priced.note,
                priced.price_row,
                price_book,
                None,
                None,
                reason,
            )
        )
    return made


def _price(row: UsageRow, price: Pricer) -> Price:
    """The row's price. A fault of ours leaves the row unpriced and visible, never unbooked."""
    try:
        priced = price(row)
        if row.notes and priced.status in _EXACT:
            # The price is exact, and what it was applied to is not.
            note = "; ".join([*row.notes, priced.note] if priced.note else row.notes)
            priced = priced._replace(status="fallback", note=note)
    except Exception:
        log.exception("pricing failed; the call is booked without a cost")
        return Price(None, None, "bad_usage", None, "pricing failed")
    for cost in (priced.cost, priced.list_cost):
        if cost is not None and abs(cost) > MAX_PICODOLLARS:
            note = f"a cost of {cost} picodollars {BEYOND}"
            return Price(None, None, "bad_usage", priced.price_row, note)
    return priced
