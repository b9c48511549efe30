# SPDX-License-Identifier: Apache-2.0
"""The customer that a call gets from its trace when it does not name one itself.

Where all spans of a trace that name a customer agree, it is theirs. Else it is that of the nearest
span above the call; and where the spans between are not there, that of the span by which the trace
came into the service. Our own spans say themselves whom they are for and inherit nothing.
"""

from collections.abc import Mapping

from microdollar_exporter.book.relatives import names_customer
from microdollar_exporter.evidence import Evidence, Identity
from microdollar_exporter.store import Known
from microdollar_semconv import attributes as md

__all__ = ["inherited"]

_Place = tuple[str, str]
"""A trace and a span in it."""


def inherited(pool: Mapping[Identity, Evidence], known: Known) -> dict[Identity, str]:
    """The customers that calls in a pool of related spans get from their traces."""
    heirs = [
        item
        for item in pool.values()
        if item.profile.role != "other" and not item.profile.rule.startswith("microdollar/")
    ]
    customers = known.customers({item.trace_id for item in heirs}, md.CUSTOMER_ID)
    several = {trace_id for trace_id, named in customers.items() if len(named) > 1}
    of_several = [item for item in pool.values() if item.trace_id in several]
    by_place = {(item.trace_id, item.span_id): item for item in of_several}
    of_services = known.customers_of_services(several, md.CUSTOMER_ID)
    found = {}
    for item in heirs:
        named = customers.get(item.trace_id)
        if not named:
            continue
        if item.trace_id in several:
            service = item.trace_id, item.profile.service
            customer = _of_nearest(item, by_place) or of_services.get(service)
        else:
            [customer] = named
        if customer is not None:
            found[item.identity] = customer
    return found


def _of_nearest(item: Evidence, by_place: Mapping[_Place, Evidence]) -> str | None:
    """The customer of the nearest span above that names one."""
    seen = set()
    above = by_place.get((item.trace_id, item.parent_span_id or ""))
    while above is not None and above.span_id not in seen:
        if names_customer(above):
            return above.details[md.CUSTOMER_ID]
        seen.add(above.span_id)
        above = by_place.get((above.trace_id, above.parent_span_id or ""))
    return None
