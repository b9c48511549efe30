# SPDX-License-Identifier: Apache-2.0
"""The scenarios in a real ledger, in every order of arrival: the sums are always the same."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.price import Book, Engine, Price
from microdollar_exporter.store import Store
from microdollar_exporter.usage import UsageRow
from tests.exporter.ledgers import evidence_of
from tests.exporter.scenarios import SCENARIOS, Booked, Scenario
from tests.exporter.small_books import book, keeper
from tests.fakes.otlp import STARTED_AT, call, request

OTHER = "opentelemetry.instrumentation.openai_v2"
ALIKE: dict[str, Any] = {"trace_id": b"one call, 2 told", "gen_ai__response__id": "r-1"}
"""Two spans that say this are about the same call."""


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
    booker = Bookkeeper(price)
    for made in requests:
        store.append(evidence_of(made), booker)


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


class Changing:
    """A ledger whose price book changes between two commits."""

    def __init__(self, path: Path) -> None:
        self.path = path / "meter.duckdb"
        self._store = Store(self.path)

    def append(self, prices: Book, told: ExportTraceServiceRequest) -> None:
        self._store.record_book(prices)
        self._store.append(evidence_of(told), keeper(prices))

    def close(self) -> list[tuple[Any, ...]]:
        """Customer, cost and book of what stands; all that is booked can be proven."""
        found = (
            self._store.cursor()
            .execute("""
                SELECT customer_id, sum(cost), price_book FROM ledger
                GROUP BY ALL HAVING sum(calls) <> 0 OR sum(cost) <> 0 ORDER BY ALL""")
            .fetchall()
        )
        self._store.close()
        assert verify(self.path).differences == {}
        return found


def by_other(**changes: Any) -> ExportTraceServiceRequest:
    """A call as another emitter tells it."""
    return request(call(None, **ALIKE, **changes), scope=OTHER)


def by_us(**changes: Any) -> ExportTraceServiceRequest:
    """The same call as our own instrumentation tells it, a little later, with its customer."""
    return request(call("globex", started_at=STARTED_AT + 500, **ALIKE, **changes))


NOBODYS = Book(source="test", source_version="1", providers=[], rows=[])
[ROW] = book(10).rows
BY_SPEED = Book(
    source="test",
    source_version="1",
    providers=book(10).providers.values(),
    rows=[
        ROW,
        replace(
            ROW,
            context="speed=fast",
            rates={name: 2 * rate for name, rate in ROW.rates.items()},
        ),
    ],
)


@pytest.mark.parametrize("later", [book(20), NOBODYS], ids=["dearer", "unknown"])
@pytest.mark.parametrize("ours_first", [False, True])
def test_what_is_told_later_of_a_call_leaves_its_price_as_it_was(
    tmp_path: Path, later: Book, *, ours_first: bool
) -> None:
    """The book by which a call came into the books goes on pricing it, whatever came since."""
    told = [by_us(), by_other()] if ours_first else [by_other(), by_us()]
    ledger = Changing(tmp_path)
    ledger.append(book(10), told[0])
    ledger.append(later, told[1])
    assert ledger.close() == [("globex", 900 * 2 + 100 * 1 + 50 * 10, book(10).id)]


def test_counts_that_come_later_are_priced_by_the_book_of_their_call(tmp_path: Path) -> None:
    """How much of the input was cached is told last, and by then other prices are in force."""
    ledger = Changing(tmp_path)
    ledger.append(book(10), by_other(gen_ai__usage__cache_read__input_tokens=None))
    ledger.append(book(20), by_us())
    assert ledger.close() == [("globex", 900 * 2 + 100 * 1 + 50 * 10, book(10).id)]


def test_a_fact_that_only_decides_the_price_changes_the_price(tmp_path: Path) -> None:
    """How fast a call was answered is in no entry; what it costs is."""
    ledger = Changing(tmp_path)
    ledger.append(BY_SPEED, by_us())
    ledger.append(book(20), by_other(microdollar__response__speed="fast"))
    assert ledger.close() == [("globex", 2 * (900 * 2 + 100 * 1 + 50 * 10), BY_SPEED.id)]


@pytest.mark.parametrize("order", [("begun", "again"), ("again", "begun")])
def test_calls_that_turn_out_to_be_one_have_the_price_of_the_first(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    """What stood twice in the books, by two books, stands once: by the older one."""
    answer = "chatcmpl-CdTq1R7vXn0aYw3KzB5LmPq8sUtEf"
    span: dict[str, Any] = {"trace_id": ALIKE["trace_id"], "span_id": b"one span"}
    told = {
        "begun": request(call(None, gen_ai__response__id=None, **span), scope=OTHER),
        "again": request(call(None, gen_ai__response__id=answer), scope=OTHER),
    }
    whole = call("globex", started_at=STARTED_AT + 1, gen_ai__response__id=answer, **span)
    ledger = Changing(tmp_path)
    for prices, name in zip((book(10), book(20)), order, strict=True):
        ledger.append(prices, told[name])
    ledger.append(book(30), request(whole, scope=OTHER))
    assert ledger.close() == [("globex", 900 * 2 + 100 * 1 + 50 * 10, book(10).id)]


def test_a_book_that_the_ledger_does_not_have_prices_nothing_more(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The book in force is then all there is to price by, and the log says so."""
    for table in ("span", "ledger"):
        store.cursor().execute(f"DELETE FROM {table}")
    engine = Engine(book(20))
    store.append(evidence_of(by_other()), Bookkeeper(price, price_book="lost"))
    store.append(evidence_of(by_us()), Bookkeeper(engine.price, engine.flat, book(20).id))
    assert "the ledger has no price book lost that can be read" in caplog.text
    query = "SELECT cost, price_book FROM ledger WHERE kind = 'usage' AND cost > 1000"
    assert store.cursor().execute(query).fetchall() == [(900 * 2 + 100 * 1 + 50 * 20, book(20).id)]
