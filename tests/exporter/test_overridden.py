# SPDX-License-Identifier: Apache-2.0
"""A ledger booked by list prices with overrides over them: every cost can be proved from it."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.operate.assign import assign
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.price import Book, Engine
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.store import Store
from tests.exporter.ledgers import evidence_of
from tests.exporter.small_books import book, keeper
from tests.fakes.otlp import STARTED_AT, call, request

RULES = """
schema = 1
[[adjust]]
name = "contract"
provider = "openai"
multiply = 0.8875
reason = "contract 7"
[[adjust]]
name = "residency"
provider = "openai"
when = { inference_geo = "us" }
multiply = 1.1
[default]
per_mtok = { input = 1, output = 2 }
"""


@pytest.fixture
def prices() -> Book:
    """A model at 2 microdollars for input and 10 for output, at 0.8875 times that."""
    return parse(RULES, "prices.toml").over(book(10))


@pytest.fixture
def store(tmp_path: Path, prices: Book) -> Iterator[Store]:
    """Ordinary calls, enough to be booked by columns, and three that are not."""
    opened = Store(tmp_path / "meter.duckdb")
    opened.record_book(prices)
    ordinary = [call(None, started_at=STARTED_AT + n) for n in range(40)]
    odd = [
        call(None, microdollar__response__inference_geo="us"),
        call(None, gen_ai__request__model="nebula-1", gen_ai__response__model="nebula-1"),
        call(None, microdollar__usage__units__web_search=2),
    ]
    for batch in (request(*ordinary), request(*odd)):
        opened.append(evidence_of(batch), keeper(prices))
    yield opened
    opened.close()


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    return store.cursor().execute(sql).fetchall()


def test_list_cost_and_cost_stand_side_by_side_with_what_the_price_could_not_do(
    store: Store,
) -> None:
    """900 x 2 + 100 x 1 + 50 x 10 microdollars, and 1000 x 1 + 50 x 2 where nothing is listed."""
    assert rows(
        store,
        """SELECT count(*), list_cost, cost, price_status, price_note FROM ledger
           GROUP BY ALL ORDER BY ALL""",
    ) == [
        (1, Decimal(1100), Decimal(1100), "fallback", NOT_LISTED),
        (1, Decimal(2400), Decimal(2130), "partial", "web_search has no price"),
        (1, Decimal(2400), Decimal(2343), "priced", None),
        (40, Decimal(2400), Decimal(2130), "priced", None),
    ]


NOT_LISTED = "model nebula-1 is not in the book, default rate used; cache_read at the input rate"


def test_every_cost_is_its_list_cost_times_what_its_row_says(store: Store) -> None:
    """In SQL alone, from the rows that the ledger keeps."""
    assert rows(
        store,
        """SELECT count(*) FROM ledger JOIN price_row r USING (price_row)
           WHERE r.book_id = price_book AND multiplier IS NOT NULL
           AND cost = CAST(list_cost * CAST(multiplier AS DECIMAL(12, 6)) AS DECIMAL(18, 6))""",
    ) == [(42,)]
    assert rows(
        store,
        """SELECT DISTINCT r.layer, r.reason, r.context, base.layer, base.rates = r.rates
           FROM ledger JOIN price_row r USING (price_row)
           LEFT JOIN price_row base ON base.price_row = r.base_row ORDER BY ALL""",
    ) == [
        ("adjust", "contract 7", "inference_geo=us", None, True),
        ("adjust", "contract 7", "std", None, True),
        ("default", None, "std", None, None),
    ]


def test_calls_booked_by_columns_have_the_list_cost_they_have_one_by_one(
    prices: Book, tmp_path: Path
) -> None:
    spans = [call(None, started_at=STARTED_AT + n) for n in range(40)]
    evidence = evidence_of(request(*spans))
    found = []
    for name, flatten in (("columns", Engine(prices).flat), ("calls", lambda _: None)):
        other = Store(tmp_path / name)
        other.append(evidence, Bookkeeper(Engine(prices).price, flatten, prices.id))
        everything = "SELECT * EXCLUDE (recorded_at) FROM ledger ORDER BY entry_id"
        found.append(other.cursor().sql(everything).to_arrow_table())
        other.close()
    assert found[0].num_rows == 40
    assert found[0].equals(found[1])


def test_the_ledger_follows_from_its_evidence_and_the_book_it_names(
    store: Store, prices: Book, tmp_path: Path
) -> None:
    assert rows(store, "SELECT DISTINCT price_book FROM ledger") == [(prices.id,)]
    store.close()
    verdict = verify(tmp_path / "meter.duckdb")
    assert verdict.holds, verdict.examples
    assert verdict.unproven == {}


@pytest.mark.parametrize(
    "falsified", ["list_cost = list_cost + 0.000001", "list_cost = cost", "list_cost = NULL"]
)
def test_a_list_cost_that_is_not_what_the_book_gives_is_found(
    store: Store, tmp_path: Path, falsified: str
) -> None:
    store.close()
    db = tmp_path / "meter.duckdb"
    with duckdb.connect(str(db)) as con:
        con.execute(f"UPDATE ledger SET {falsified} WHERE price_status = 'priced'")
    assert verify(db).differences == {"entry differs": 41}


def test_what_is_taken_back_takes_its_list_cost_back(store: Store) -> None:
    """The sums stay what they were, of both."""
    sums = rows(store, "SELECT sum(cost), sum(list_cost) FROM ledger")
    rule = {"customer": "globex", "rule": {"service": "shop"}, "apply": True}
    found = assign(store, rule | {"by": "ada", "reason": "theirs"})
    assert found["calls"] == 43
    assert rows(store, "SELECT sum(cost), sum(list_cost) FROM ledger") == sums
    assert rows(
        store, "SELECT customer_id, sum(list_cost) FROM ledger GROUP BY ALL ORDER BY sum(calls)"
    ) == [(None, Decimal(0)), ("globex", sums[0][1])]
