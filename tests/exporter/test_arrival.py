# SPDX-License-Identifier: Apache-2.0
"""The scenarios in a real ledger, in every order of arrival: the sums are always the same."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.price import Price
from microdollar_exporter.store import Store
from microdollar_exporter.usage import UsageRow
from tests.exporter.ledgers import evidence_of
from tests.exporter.scenarios import SCENARIOS, Booked, Scenario


def price(row: UsageRow) -> Price:
    """A picodollar for each token of output, so that cost tells entries apart."""
    cost = row.usage.output or 0
    return Price(cost, cost, "priced", "row", None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A ledger that is emptied for each order of arrival."""
    opened = Store(Path(tmp_path_factory.mktemp("arrival")) / "meter.duckdb")
    yield opened
    opened.close()


def arrive(store: Store, requests: Sequence[ExportTraceServiceRequest]) -> None:
    """Each request in a commit of its own, on an empty ledger."""
    for table in ("span", "ledger"):
        store.cursor().execute(f"DELETE FROM {table}")
    keeper = Bookkeeper(price)
    for request in requests:
        store.append(evidence_of(request), keeper)


def standing(store: Store, scenario: Scenario) -> list[Booked]:
    """The sums of the ledger by span, where they are not nothing."""
    labels = {scenario.identity(one.label)[:2]: one.label for one in scenario.spans}
    rows = (
        store.cursor()
        .execute("""
            SELECT trace_id, span_id, customer_id, sum(input_uncached), sum(cache_read),
                sum(output), usage_source
            FROM ledger GROUP BY ALL HAVING sum(calls) <> 0""")
        .fetchall()
    )
    found = [Booked(labels[trace, span], *said) for trace, span, *said in rows]
    return sorted(found, key=lambda one: one.label)


def expected(scenario: Scenario) -> list[Booked]:
    return sorted(scenario.booked, key=lambda one: one.label)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_in_whatever_order_spans_arrive_each_call_stands_once(
    store: Store, scenario: Scenario
) -> None:
    """One span a commit, every permutation of them; copies arrive as well."""
    requests = scenario.requests()
    orders = list(itertools.permutations(range(len(requests))))
    for order in orders[:: max(1, len(orders) // 24)]:
        arrive(store, [requests[number] for number in order])
        assert standing(store, scenario) == expected(scenario), order


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_spans_that_arrive_together_come_out_the_same(store: Store, scenario: Scenario) -> None:
    """In one commit, and all of them a second time: a redelivery changes nothing."""
    requests = scenario.requests()
    for table in ("span", "ledger"):
        store.cursor().execute(f"DELETE FROM {table}")
    assert store.append(evidence_of(*requests), Bookkeeper(price)).superseded == 0
    assert standing(store, scenario) == expected(scenario)
    assert store.append(evidence_of(*reversed(requests)), Bookkeeper(price)).new == 0
    assert standing(store, scenario) == expected(scenario)


def test_every_reversal_takes_back_one_entry_exactly(store: Store) -> None:
    """Entries are only ever added, and what is taken back is taken back whole."""
    for scenario in SCENARIOS:
        arrive(store, list(reversed(scenario.requests())))
        wrong = (
            store.cursor()
            .execute("""
                SELECT r.entry_id FROM ledger r LEFT JOIN ledger e ON e.entry_id = r.reverses
                WHERE r.kind = 'reversal' AND (
                    e.entry_id IS NULL OR e.calls <> -r.calls
                    OR e.output IS DISTINCT FROM -r.output OR e.cost IS DISTINCT FROM -r.cost
                    OR e.recorded_at >= r.recorded_at)
                UNION ALL
                SELECT reverses FROM ledger WHERE reverses IS NOT NULL
                GROUP BY ALL HAVING count(*) > 1
                UNION ALL SELECT entry_id FROM ledger GROUP BY ALL HAVING count(*) > 1""")
            .fetchall()
        )
        assert not wrong, scenario.name
