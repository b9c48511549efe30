# SPDX-License-Identifier: Apache-2.0
"""Gather what has to be decided together with new spans: all that may be about the same calls."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from microdollar_exporter.customer import NOBODY
from microdollar_exporter.evidence import Evidence, Identity
from microdollar_exporter.normalise import normalise
from microdollar_exporter.store import WINDOW, Known, spells
from microdollar_exporter.usage import UsageRow
from microdollar_exporter.witness import (
    ANTHROPIC_REQUEST_ID,
    NEAR,
    Claim,
    claim,
    same_alone,
    same_moment,
)
from microdollar_semconv import UNASSIGNED
from microdollar_semconv import attributes as md

__all__ = ["Pool", "gather", "names_customer"]


@dataclass(slots=True)
class Pool:
    """Spans by what they are known by, the usage rows of those that may be billed, their claims."""

    spans: dict[Identity, Evidence] = field(default_factory=dict)
    rows: dict[Identity, Sequence[UsageRow]] = field(default_factory=dict)
    claims: dict[Identity, Claim] = field(default_factory=dict)
    inside: set[tuple[str, str]] = field(default_factory=set)
    """The traces and ids of the spans that have a parent."""

    def take(self, found: Iterable[Evidence]) -> list[Evidence]:
        """Add what is not there yet, and return that."""
        fresh = []
        for item in found:
            identity = item.identity
            if identity not in self.spans:
                self.spans[identity] = item
                rows = normalise(item) if item.profile.role != "other" else []
                self.rows[identity] = rows
                self.claims[identity] = claim(item, rows)
                if item.parent_span_id is not None:
                    self.inside.add((item.trace_id, item.span_id))
                fresh.append(item)
        return fresh


def gather(seeds: Sequence[Evidence], known: Known) -> Pool:
    """The seeds and every recorded span whose decision they may change.

    Goes from span to span until nothing new is found: up to the root, down from every call or
    agent, across to the same response and to calls of another scope that may be the same.
    """
    pool = Pool()
    pool.take(seeds)
    for cluster in _clusters(seeds):
        frontier = _with_heirs(cluster, pool, known.around(cluster))
        while frontier:
            # Each step looks around what it starts from, however far that is from the seeds.
            near = known.around(frontier)
            found = pool.take(near.ancestors(frontier))
            claims = [item for item in (*frontier, *found) if item.profile.role != "other"]
            calls = [item for item in claims if item.profile.role == "call"]
            if claims:
                near = known.around(claims)
            found += pool.take(near.descendants(claims))
            found += pool.take(near.told_again(claims))
            found += pool.take(_answering(claims, pool, near))
            found += pool.take(_beside(calls, pool, near))
            frontier = found
    return pool


def _clusters(seeds: Sequence[Evidence]) -> list[list[Evidence]]:
    """The seeds, those apart that are far apart in time."""
    starts = np.array([item.started_at for item in seeds], np.int64)
    return [
        [item for item in seeds if first <= item.started_at <= last]
        for first, last in spells(starts, WINDOW)
    ]


def _answering(claims: Iterable[Evidence], pool: Pool, known: Known) -> list[Evidence]:
    """The calls with the same response: anywhere, or in the same trace where an id is weak."""
    anywhere: set[str] = set()
    here: set[tuple[str, str]] = set()
    requests: set[str] = set()
    for item in claims:
        request = pool.claims[item.identity].request_key
        if request is not None:
            # One emitter reports the request's id as that of the response, another beside it.
            (requests if request.text == item.response_id else anywhere).add(request.text)
        key = pool.claims[item.identity].response_key
        if key is not None and item.response_id is not None:
            if key.strong:
                anywhere.add(item.response_id)
            else:
                here.add((item.trace_id, item.response_id))
    found = known.answering(anywhere) + known.answering_within(here)
    return found + known.detailing(ANTHROPIC_REQUEST_ID, requests)


def _beside(calls: Sequence[Evidence], pool: Pool, known: Known) -> list[Evidence]:
    """The calls of other scopes that may be the same; what only happens to be near is left."""
    there: dict[str, list[Claim]] = {}
    for item in calls:
        there.setdefault(item.trace_id, []).append(pool.claims[item.identity])
    related = [
        item
        for item in known.beside(calls)
        if item.identity not in pool.spans
        and any(same_moment(_claim(item), one) for one in there[item.trace_id])
    ]
    # Only what begins a trace, or is directly in what does, can be alone.
    alone = [item for item in calls if (item.trace_id, item.parent_span_id) not in pool.inside]
    by_service: dict[str | None, list[Claim]] = {}
    for item in alone:
        by_service.setdefault(item.profile.service, []).append(pool.claims[item.identity])
    for item in known.ended_near(alone, NEAR):
        if item.identity not in pool.spans:
            other = _claim(item)
            if any(same_alone(other, one) for one in by_service[item.profile.service]):
                related.append(item)
    return related


def _claim(item: Evidence) -> Claim:
    return claim(item, normalise(item))


def names_customer(item: Evidence) -> bool:
    """Whether a span says itself, in our own attribute, whom it is for."""
    return item.details.get(md.CUSTOMER_ID, UNASSIGNED) not in NOBODY


def _with_heirs(seeds: Sequence[Evidence], pool: Pool, known: Known) -> list[Evidence]:
    """The seeds, and the calls whose customer may change by them.

    That is by a customer that a seed names, or because it stands between a call and a span that
    names one.
    """
    traces = {i.trace_id for i in seeds if names_customer(i) or i.profile.role == "other"}
    customers = known.customers(traces, md.CUSTOMER_ID)
    changed = [
        trace_id
        for trace_id, named in customers.items()
        if len(named) > 1 or not all(named.values())
    ]
    return [*seeds, *pool.take(known.indirect_calls(changed))]
