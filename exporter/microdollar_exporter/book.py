# SPDX-License-Identifier: Apache-2.0
"""Book a call: one ledger entry for each of its usage rows, with its price and its reason."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator

from microdollar_exporter.entry import KIND_USAGE, Entry
from microdollar_exporter.evidence import RESOURCE_CUSTOMER_ID, Evidence
from microdollar_exporter.money import MAX_PICODOLLARS, microdollars
from microdollar_exporter.normalise import normalise
from microdollar_exporter.price import Price
from microdollar_exporter.reduce import RULE_MICRODOLLAR
from microdollar_exporter.usage import UsageRow
from microdollar_semconv import UNASSIGNED
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["Pricer", "book"]

log = logging.getLogger(__name__)

Pricer = Callable[[UsageRow], Price]
"""Gives the price of a usage row; `price.Engine.price` is one."""


_EXACT = ("priced", "free")


def book(evidence: Iterable[Evidence], price: Pricer) -> list[Entry]:
    """The ledger entries of newly stored evidence.

    Only our own spans are booked: they are one per physical call. A GenAI span of another
    emitter may describe the same call again and stays evidence.
    """
    return [
        entry
        for item in evidence
        if item.rule == RULE_MICRODOLLAR
        for entry in _entries(item, price)
    ]


def _entries(evidence: Evidence, price: Pricer) -> Iterator[Entry]:
    attributes = evidence.attributes
    customer_id = attributes.get(md.CUSTOMER_ID) or attributes.get(RESOURCE_CUSTOMER_ID)
    if customer_id == UNASSIGNED:
        customer_id = None
    prefix = md.TAG_PREFIX
    tags = {k.removeprefix(prefix): v for k, v in attributes.items() if k.startswith(prefix)}
    for row in normalise(evidence):
        usage = row.usage
        priced = _price(row, price)
        notes = ["call" if row.calls else "further model", *row.notes]
        if priced.note:
            notes.append(priced.note)
        yield Entry(
            entry_id=_entry_id(evidence, row.position),
            kind=KIND_USAGE,
            started_at=row.started_at,
            trace_id=evidence.trace_id,
            span_id=evidence.span_id,
            customer_id=customer_id,
            user_id=attributes.get(md.USER_ID),
            tags=tags,
            service=evidence.service,
            environment=evidence.environment,
            provider=row.provider,
            operation=row.operation,
            request_model=row.request_model,
            response_model=row.response_model,
            response_id=attributes.get(ga.RESPONSE_ID),
            service_tier=row.service_tier,
            calls=row.calls,
            input_uncached=usage.input_uncached,
            cache_read=usage.cache_read,
            cache_write_5m=usage.cache_write_5m,
            cache_write_1h=usage.cache_write_1h,
            cache_write=usage.cache_write,
            input_tool=usage.input_tool,
            output=usage.output,
            reasoning=usage.reasoning,
            audio_in=usage.audio_in,
            audio_out=usage.audio_out,
            image_in=usage.image_in,
            image_out=usage.image_out,
            units=usage.units,
            usage_source=row.source,
            cost=None if priced.cost is None else microdollars(priced.cost),
            price_status=priced.status,
            price_row=priced.price_row,
            reason="; ".join(notes),
        )


def _price(row: UsageRow, price: Pricer) -> Price:
    """The row's price. A fault of ours leaves the row unpriced and visible, never unbooked."""
    try:
        priced = price(row)
        if row.notes and priced.status in _EXACT:
            # The price is exact, and what it was applied to is not.
            priced = priced._replace(status="fallback")
    except Exception:
        log.exception("pricing failed; the call is booked without a cost")
        return Price(cost=None, status="bad_usage", price_row=None, note="pricing failed")
    if priced.cost is not None and abs(priced.cost) > MAX_PICODOLLARS:
        note = f"a cost of {priced.cost} picodollars is beyond what an entry can hold"
        return Price(cost=None, status="bad_usage", price_row=priced.price_row, note=note)
    return priced


def _entry_id(evidence: Evidence, position: int) -> str:
    span = f"{evidence.trace_id}|{evidence.span_id}|{evidence.started_at}"
    identity = f"{KIND_USAGE}|{span}|{position}"
    return hashlib.blake2b(identity.encode("ascii"), digest_size=16).hexdigest()
