# SPDX-License-Identifier: Apache-2.0
"""Booking by columns: it gives the entries that booking one by one gives, and no others."""

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter.batch import Batch
from microdollar_exporter.book import Bookkeeper, outlines
from microdollar_exporter.book.bulk import Bulk
from microdollar_exporter.customer import KEYS_DECISION, Customers
from microdollar_exporter.price import Book, Engine
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.price.overrides import read
from microdollar_exporter.store import Decision, Store
from microdollar_semconv import attributes as md
from tests.exporter.ledgers import evidence_of
from tests.fakes.otlp import STARTED_AT, Value, call, request

DECEMBER = 1_796_083_200_000_000
"""2026-12-01 00:00 UTC, when prices in the shipped data change."""

EDGES = [None, 0, 199_999, 200_000, 200_001, 272_001, 2**28 - 1, 2**28, 2**40]
MODELS = [
    *(("openai", "gpt-6-luna", "api.openai.com"), ("openai", "gpt-5.4", "api.openai.com")),
    ("anthropic", "claude-sonnet-4-6", "api.anthropic.com"),
    ("anthropic", "claude-haiku-4-5", "gateway.internal"),
    ("gcp.gemini", "gemini-4-argon", "generativelanguage.googleapis.com"),
    ("gcp.gemini", "gemini-2.5-pro", "generativelanguage.googleapis.com"),
    ("openai", "nobody-knows-this", "api.openai.com"),
]


AGREED = """
schema = 1

[[adjust]]
name = "a whole number of picodollars"
provider = "openai"
multiply = 0.88
reason = "agreed"

[[adjust]]
name = "and no such number"
provider = "anthropic"
multiply = 0.333333333
reason = "agreed"
"""

ODD: list[dict[str, Value | None]] = [
    *({}, {}, {}, {}, {}, {}),
    {"microdollar__usage__source": "provider_partial"},
    {"microdollar__usage__units__web_search": 2},
    {"microdollar__response__service_tier": "priority"},
    {"microdollar__usage__additional": '[{"model":"gpt-image-2","output":9}]'},
    {"gen_ai__operation__name": "embeddings", "gen_ai__usage__output_tokens": None},
    {"gen_ai__usage__output_tokens": -1},
]


def a_call(random: Random, *moments: int) -> Span:
    """A call of ours, ordinary more often than not."""
    provider, model, host = random.choice(MODELS)

    def count(most: int, *others: int | None) -> int | None:
        return random.choice([random.randrange(most), random.randrange(most), *others])

    said: dict[str, Value | None] = {
        "gen_ai__usage__input_tokens": count(3000, random.choice(EDGES)),
        "gen_ai__usage__output_tokens": count(3000, random.choice(EDGES)),
        "gen_ai__usage__cache_read__input_tokens": count(500, None),
        "gen_ai__usage__cache_write__input_tokens": count(300, None),
        "microdollar__usage__cache_write_5m__input_tokens": count(300, None),
        "microdollar__usage__cache_write_1h__input_tokens": count(200, None),
        "microdollar__usage__tool__input_tokens": count(100, None),
        "gen_ai__usage__reasoning__output_tokens": count(400, None),
        "gen_ai__usage__audio__input_tokens": random.choice([None, 0, 0, 3]),
        "gen_ai__usage__image__output_tokens": random.choice([None, 0, 0, 3]),
        "microdollar__user__id": random.choice([None, "u1", "u2"]),
        "microdollar__tag__feature": random.choice([None, "chat"]),
    }
    return call(
        random.choice(["acme", "globex", None, "unassigned"]),
        started_at=random.choice(moments or (STARTED_AT, DECEMBER - 1, DECEMBER, DECEMBER + 1)),
        gen_ai__provider__name=provider,
        gen_ai__request__model=model,
        gen_ai__response__model=model,
        server__address=host,
        **(said | random.choice(ODD)),  # type: ignore[arg-type]
    )


@functools.cache
def shipped() -> tuple[Book, Engine]:
    """The price book that comes with the package."""
    prices = import_genai_prices()
    return prices, Engine(prices)


@functools.cache
def adjusted() -> tuple[Book, Engine]:
    """The same book with what an operator has agreed with two providers."""
    folder = Path(tempfile.mkdtemp())
    (folder / "prices.toml").write_text(AGREED)
    prices = read(folder / "prices.toml").over(import_genai_prices())
    shutil.rmtree(folder)
    return prices, Engine(prices)


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    """Two ledgers: one to be booked by columns, one call by call."""
    folder = tmp_path_factory.mktemp("ledgers")
    stores = [Store(Path(folder) / name) for name in ("columns", "calls")]
    yield stores
    for store in stores:
        store.close()


def entries(store: Store) -> pa.Table:
    """Everything in the ledger but when it was recorded."""
    everything = "SELECT * EXCLUDE recorded_at FROM ledger ORDER BY entry_id"
    return store.cursor().sql(everything).to_arrow_table()


@pytest.mark.parametrize("seed", range(25))
def test_calls_booked_by_columns_have_the_entries_they_have_one_by_one(
    ledgers: list[Store], seed: int
) -> None:
    """Every column of every entry, its id included."""
    random = Random(seed)
    spans = [a_call(random) for _ in range(200)]
    prices, engine = shipped() if seed % 3 else adjusted()
    by_columns, one_by_one = ledgers
    process: dict[str, Value] = {"microdollar.customer.id": "initech"} if seed % 2 else {}
    evidence = evidence_of(request(*spans, resource=process))
    for store, keeper in (
        (by_columns, Bookkeeper(engine.price, engine.flat, prices.id)),
        (one_by_one, Bookkeeper(engine.price, price_book=prices.id)),
    ):
        store.cursor().execute("DELETE FROM ledger")
        appended = store.append(evidence, keeper)
        assert appended.entries >= len(evidence)
    assert entries(by_columns).equals(entries(one_by_one))


@pytest.mark.parametrize("remembered", [3, 10_000])
def test_what_is_remembered_from_batch_to_batch_changes_no_entry(
    ledgers: list[Store], remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices change between batches and back again, and names may be too many to keep."""
    monkeypatch.setattr(outlines, "_MAX_OUTLINES", remembered)
    random = Random(remembered)
    prices, engine = adjusted()
    by_columns, one_by_one = ledgers
    keepers = (
        (by_columns, Bookkeeper(engine.price, engine.flat, prices.id)),
        (one_by_one, Bookkeeper(engine.price, price_book=prices.id)),
    )
    for store, _ in keepers:
        store.cursor().execute("DELETE FROM ledger")
    for _ in range(8):
        at = random.choice([STARTED_AT, DECEMBER - 1, DECEMBER])
        evidence = evidence_of(request(*(a_call(random, at) for _ in range(100))))
        for store, keeper in keepers:
            store.append(evidence, keeper)
    assert entries(by_columns).equals(entries(one_by_one))


@pytest.mark.parametrize("book", [shipped, adjusted])
def test_ordinary_calls_are_booked_by_columns_and_the_rest_is_left(
    book: Callable[[], tuple[Book, Engine]],
) -> None:
    """Otherwise the comparison above would compare nothing."""
    _, engine = book()
    bulk = Bulk(engine.flat, None, Customers(), lambda _: {})
    odd = call(microdollar__usage__units__web_search=1)
    table, left = bulk.book(Batch.of(evidence_of(request(*(call() for _ in range(40)), odd))))
    assert table is not None
    assert (table.num_rows, len(left)) == (40, 1)
    assert (table["cost"] == table["list_cost"]) == (book is shipped)


def test_calls_whose_customers_follow_from_a_decision_are_not_booked_by_columns() -> None:
    """A decision on keys may make any attribute name a customer, the user's among them."""
    _, engine = shipped()
    keys = {"keys": [md.USER_ID], "past": True}
    decided = Decision("d", KEYS_DECISION, 0, "ops", "every user pays for itself", keys, None)
    bulk = Bulk(engine.flat, None, Customers([decided]), lambda _: {})
    calls = [call(None, microdollar__user__id="u1") for _ in range(40)]
    table, left = bulk.book(Batch.of(evidence_of(request(*calls))))
    assert (table, len(left)) == (None, 40)
