# SPDX-License-Identifier: Apache-2.0
"""Booking by columns: it gives the entries that booking one by one gives, and no others."""

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter.batch import Batch
from microdollar_exporter.book import Bookkeeper, outlines
from microdollar_exporter.book import bulk as bulk_module
from microdollar_exporter.book.bulk import Bulk
from microdollar_exporter.customer import KEYS_DECISION, USERS_DECISION, Customers
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.money import MAX_PICODOLLARS
from microdollar_exporter.price import Book, Engine
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.price.overrides import read
from microdollar_exporter.store import Booking, Decision, Known, Store
from microdollar_exporter.usage import BUCKETS
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
    *({} for _ in range(20)),
    {"microdollar__usage__source": "provider_partial"},
    {"microdollar__usage__source": "none"},
    {"microdollar__usage__units__web_search": 2},
    {"microdollar__response__service_tier": "priority"},
    {"microdollar__usage__additional": '[{"model":"gpt-image-2","output":9}]'},
    {"gen_ai__operation__name": "embeddings", "gen_ai__usage__output_tokens": None},
    {"gen_ai__usage__output_tokens": -1},
]


def counts(random: Random) -> dict[str, int | None]:
    """Counts of a call, by their names in the code: such as agree with each other, mostly."""

    def some(most: int) -> int | None:
        return random.choice([None, 0, random.randrange(most)])

    read, tool = some(500), some(100)
    write_5m, write_1h = random.choice([None, 0, some(300)]), random.choice([None, 0, some(200)])
    other = random.choice([0, 0, 0, 0, 7])
    written = (write_5m or 0) + (write_1h or 0) + other
    said = {
        "cache_read__input": read,
        "cache_write__input": written if written or random.random() < 0.5 else None,
        "cache_write_5m__input": write_5m,
        "cache_write_1h__input": write_1h,
        "tool__input": tool,
    }
    whole = (read or 0) + written + (tool or 0) + random.randrange(3000)
    output = random.randrange(3000)
    said |= {"input": whole, "output": output, "reasoning__output": some(output + 1)}
    if random.random() < 0.1:
        said["input"] = random.choice(EDGES)
    if random.random() < 0.1:
        said[random.choice(list(said))] = random.choice([None, -1, 0, 5, 299, *EDGES])
    if random.random() < 0.05:
        said[random.choice(["audio__input", "image__output"])] = random.choice([0, 3])
    return said


def a_call(random: Random, *moments: int) -> Span:
    """A call of ours, ordinary more often than not.

    One through a gateway, or cut short, is an hour earlier: whatever is near it may be the same
    call, and is not booked by columns.
    """
    odd = random.choice(ODD)
    provider, model, host = random.choice(MODELS)
    moment = random.choice(moments or (STARTED_AT, DECEMBER - 1, DECEMBER, DECEMBER + 1))
    if host == "gateway.internal" or odd.get("microdollar__usage__source") == "provider_partial":
        moment -= 3_600_000_000
    said: dict[str, Value | None] = {
        f"{_ROOTS.get(name, 'gen_ai')}__usage__{name}_tokens": count
        for name, count in counts(random).items()
    }
    said["microdollar__user__id"] = random.choice([None, "u1", "u2"])
    said["microdollar__tag__feature"] = random.choice([None, "chat"])
    return call(
        random.choice(["acme", "globex", None, "unassigned", "erased"]),
        started_at=moment,
        gen_ai__provider__name=provider,
        gen_ai__request__model=model,
        gen_ai__response__model=model,
        server__address=host,
        **(said | odd),  # type: ignore[arg-type]
    )


_ROOTS = dict.fromkeys(
    ("cache_write_5m__input", "cache_write_1h__input", "tool__input"), "microdollar"
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


def booked(store: Store, spans: Sequence[Evidence], keeper: Bookkeeper) -> int:
    """Book these calls, and say how many of them were booked by columns."""
    by_columns = 0

    def booker(new: Batch, known: Known) -> Booking:
        nonlocal by_columns
        booking = keeper(new, known)
        by_columns += 0 if booking.table is None else booking.table.num_rows
        return booking

    store.append(spans, booker)
    return by_columns


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
    spans = [a_call(random) for _ in range(300)]
    prices, engine = shipped() if seed % 3 else adjusted()
    by_columns, one_by_one = ledgers
    process: dict[str, Value] = {"microdollar.customer.id": "initech"} if seed % 2 else {}
    evidence = evidence_of(request(*spans, resource=process))
    for store in ledgers:
        store.cursor().execute("DELETE FROM ledger")
    assert booked(by_columns, evidence, Bookkeeper(engine.price, engine.flat, prices.id)) > 50
    assert booked(one_by_one, evidence, Bookkeeper(engine.price, price_book=prices.id)) == 0
    assert entries(by_columns).num_rows >= len(evidence)
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
    found = [0, 0]
    for _ in range(8):
        at = random.choice([STARTED_AT, DECEMBER - 1, DECEMBER])
        evidence = evidence_of(request(*(a_call(random, at) for _ in range(150))))
        for place, (store, keeper) in enumerate(keepers):
            found[place] += booked(store, evidence, keeper)
    assert found[0] > 150
    assert found[1] == 0
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


@pytest.mark.parametrize("first", [DECEMBER - 1, DECEMBER])
def test_calls_at_another_price_than_the_first_of_their_kind_are_left(first: int) -> None:
    """Gemini 4 Argon costs twice as much from December on, to the microsecond."""
    _, engine = shipped()
    kind: dict[str, Value] = {
        "gen_ai__provider__name": "gcp.gemini",
        "gen_ai__request__model": "gemini-4-argon",
        "gen_ai__response__model": "gemini-4-argon",
        "server__address": "generativelanguage.googleapis.com",
    }
    second = 2 * DECEMBER - 1 - first
    moments = [first] * 40 + [second] * 40
    calls = [call(started_at=at, **kind) for at in moments]  # type: ignore[arg-type]
    bulk = Bulk(engine.flat, None, Customers(), lambda _: {})
    table, left = bulk.book(Batch.of(evidence_of(request(*calls))))
    assert table is not None
    assert table.num_rows == 40
    assert [item.started_at for item in left] == [second] * 40


def test_calls_above_a_threshold_are_left() -> None:
    """At 272,000 tokens of input the lower rates hold, at one more the higher ones."""
    _, engine = shipped()
    calls = [call(gen_ai__usage__input_tokens=272_000 + number % 2) for number in range(80)]
    bulk = Bulk(engine.flat, None, Customers(), lambda _: {})
    table, left = bulk.book(Batch.of(evidence_of(request(*calls))))
    assert table is not None
    assert table["input_uncached"].to_pylist() == [271_900] * 40
    assert len(left) == 40


def test_cache_writes_are_taken_apart_by_their_lifetimes() -> None:
    _, engine = shipped()
    counts: dict[str, Value] = {
        "gen_ai__provider__name": "anthropic",
        "gen_ai__request__model": "claude-sonnet-4-6",
        "gen_ai__response__model": "claude-sonnet-4-6",
        "server__address": "api.anthropic.com",
        "gen_ai__usage__cache_write__input_tokens": 300,
        "microdollar__usage__cache_write_5m__input_tokens": 200,
        "microdollar__usage__cache_write_1h__input_tokens": 100,
        "microdollar__usage__tool__input_tokens": 50,
    }
    bulk = Bulk(engine.flat, None, Customers(), lambda _: {})
    calls = [call(**counts) for _ in range(40)]  # type: ignore[arg-type]
    table, _ = bulk.book(Batch.of(evidence_of(request(*calls))))
    assert table is not None
    found = {name: set(table[name].to_pylist()) for name in BUCKETS}
    assert found == {
        "input_uncached": {550},
        "cache_read": {100},
        "cache_write_5m": {200},
        "cache_write_1h": {100},
        "cache_write": {0},
        "input_tool": {50},
        "output": {50},
    }


def test_no_cost_that_is_worked_out_by_columns_is_too_much_for_the_ledger() -> None:
    """However dear, and however much of everything."""
    dearest = bulk_module._MAX_FACTOR - 1
    assert len(BUCKETS) * dearest * dearest <= MAX_PICODOLLARS


def test_what_says_less_than_the_ordinary_calls_before_it_is_left_as_well() -> None:
    """It has nothing where the others name their customer and their user, and is the last."""
    _, engine = shipped()
    for searches in (None, 1):
        ordinary = [call("acme", microdollar__user__id=f"u{number}") for number in range(40)]
        odd = call(None, microdollar__usage__units__web_search=searches, server__address="gateway")
        table, left = Bulk(engine.flat, None, Customers(), lambda _: {}).book(
            Batch.of(evidence_of(request(*ordinary, odd)))
        )
        assert table is not None
        assert table["user_id"].to_pylist() == [f"u{number}" for number in range(40)]
        assert [item.details for item in left] == [{}]


def test_calls_of_users_that_are_known_to_the_operator_are_not_booked_by_columns() -> None:
    """Whose they are changes with time."""
    _, engine = shipped()
    users = {"users": {"u1": "globex"}, "past": True}
    decided = Decision("d", USERS_DECISION, 0, "ops", "theirs", users, None)
    bulk = Bulk(engine.flat, None, Customers([decided]), lambda _: {})
    calls = [call(None, microdollar__user__id=f"u{number % 2}") for number in range(80)]
    table, left = bulk.book(Batch.of(evidence_of(request(*calls))))
    assert table is not None
    assert table["user_id"].to_pylist() == ["u0"] * 40
    assert [item.details[md.USER_ID] for item in left] == ["u1"] * 40


@pytest.mark.parametrize(("ordinary", "booked_by_columns"), [(31, 0), (32, 32)])
def test_few_calls_are_booked_one_by_one(ordinary: int, booked_by_columns: int) -> None:
    """Few of them all, or few that are ordinary."""
    _, engine = shipped()
    for others in (0, 10):
        bulk = Bulk(engine.flat, None, Customers(), lambda _: {})
        odd = [call(microdollar__usage__units__web_search=1) for _ in range(others)]
        table, left = bulk.book(
            Batch.of(evidence_of(request(*odd, *(call() for _ in range(ordinary)))))
        )
        assert (0 if table is None else table.num_rows) == booked_by_columns
        assert len(left) == others + ordinary - booked_by_columns


@pytest.mark.parametrize("key", [md.USER_ID, "microdollar.tag.feature"])
def test_calls_whose_customers_follow_from_a_decision_are_not_booked_by_columns(key: str) -> None:
    """A decision on keys may make any attribute name a customer, the user's among them."""
    _, engine = shipped()
    keys = {"keys": [key], "past": True}
    decided = Decision("d", KEYS_DECISION, 0, "ops", "every user pays for itself", keys, None)
    bulk = Bulk(engine.flat, None, Customers([decided]), lambda _: {})
    said: dict[str, Value] = {key.replace(".", "__"): "u1"}
    calls = [call(None, **said) for _ in range(40)]  # type: ignore[arg-type]
    table, left = bulk.book(Batch.of(evidence_of(request(*calls))))
    assert (table, len(left)) == (None, 40)
