# SPDX-License-Identifier: Apache-2.0
"""How long it takes to reprice calls, beside a plain DuckDB update of as many rows.

    python -m benchmarks.repricing [--calls N] [--rounds N]

Every call of the ledger is of a model that had no price, and gets one. The repricing works out what
each costs and appends two entries for it. Its peer overwrites the same columns of as many rows with
prices that are there already, by the id of the entry, in the same file with the same settings. The
cheapest update that there is stands beside it: the same columns, by an expression over the row.
Each is one transaction that is durable at the end. What the repricing did is checked first.
"""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

import duckdb

from benchmarks.history import fill
from benchmarks.receivers import CheckFailed
from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.operate import ACTS
from microdollar_exporter.price import Book, Engine, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.rules import Rule
from microdollar_exporter.reduce import reduce
from microdollar_exporter.store import Store
from tests.fakes.otlp import STARTED_AT, call, request

__all__ = ["CHEAPEST", "OURS", "PEER", "make_ledger", "measure"]

OURS: Final = "reprice"
PEER: Final = "update by id"
CHEAPEST: Final = "update by expression"

_REAL_CALLS: Final = 5_000
"""How many calls are received; the rest of the ledger repeats them."""
_MODEL: Final = "nova-9"
_RATES: Final = {
    "input_uncached": Decimal(3),
    "cache_read": Decimal("0.3"),
    "output": Decimal(15),
}
"""Microdollars per token."""
_WHO: Final = {"by": "benchmark", "reason": "the rate came"}
_SET: Final = """
    price_book = 'another', decision = 'd', recorded_at = now()::TIMESTAMP,
    reason = 'repriced by decision d'"""
_MONTH: Final = 31 * 86_400_000_000


def main() -> None:
    """Measure and print; the status is 1 when the repricing gave a wrong result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    asked = parser.parse_args()
    try:
        found = measure(asked.calls, asked.rounds)
    except CheckFailed as error:
        sys.exit(str(error))
    print()
    for name, seconds in found.items():
        took = statistics.median(seconds)
        print(f"{name:22} {took:7.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    for peer in (PEER, CHEAPEST):
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(found[OURS], found[peer], strict=True)
        )
        print(f"{OURS} takes {ratio:.1f} x as long as {peer}")


def measure(calls: int, rounds: int) -> dict[str, list[float]]:
    """The seconds that each takes, round by round, on a fresh copy of one ledger.

    Raises:
        CheckFailed: repricing gave a wrong result.
    """
    with tempfile.TemporaryDirectory() as name:
        ledger = Path(name) / "ledger.duckdb"
        make_ledger(ledger, calls)
        _on_copy(ledger, _check)
        acts = {OURS: _reprice, PEER: _update_by_id, CHEAPEST: _update_by_expression}
        found: dict[str, list[float]] = {act: [] for act in acts}
        for _ in range(rounds):
            for act, function in acts.items():
                found[act].append(_on_copy(ledger, function))
        return found


def make_ledger(path: Path, calls: int) -> None:
    """A ledger of about so many calls without a price, over a month, and a book that has it."""
    drawn = random.Random(20261121)  # noqa: S311 - no secret
    spans = [
        call(
            f"customer {min(int(drawn.paretovariate(1)), 500)}",
            started_at=STARTED_AT - _MONTH + number * 1000,
            gen_ai__request__model=_MODEL,
            gen_ai__response__model=_MODEL,
            gen_ai__response__id=f"resp_{drawn.getrandbits(128):032x}",
            gen_ai__usage__input_tokens=drawn.randrange(100, 20_000),
            gen_ai__usage__output_tokens=drawn.randrange(4_000),
            microdollar__tag__feature=drawn.choice("abcdefgh"),
        )
        for number in range(min(calls, _REAL_CALLS))
    ]
    store = Store(path)
    engine = Engine(_book({}))
    store.record_book(engine.book)
    keeper = Bookkeeper(engine.price, engine.flat, engine.book.id)
    for first in range(0, len(spans), 500):
        message = request(*spans[first : first + 500])
        store.append(reduce(message.SerializeToString()).evidence, keeper)
    store.close()
    fill(path, calls)
    store = Store(path)
    store.record_book(_book({name: int(rate * 10**12) for name, rate in _RATES.items()}))
    store.close()


def _book(rates: dict[str, int]) -> Book:
    """A book that has these rates for the model, or does not list it."""
    models = (Model(id=_MODEL, rule=Rule("equals", _MODEL)),) if rates else ()
    rows = [PriceRow(provider="openai", model=_MODEL, rates=rates)] if rates else []
    provider = Provider(id="openai", models=models)
    return Book(source="benchmark", source_version="1", providers=[provider], rows=rows)


def _on_copy(ledger: Path, function: Callable[[Store], None]) -> float:
    """How many seconds a function takes on a copy of the ledger that nobody else has."""
    copy = Path(shutil.copy(ledger, ledger.with_name("copy.duckdb")))
    store = Store(copy)
    try:
        # So that all have the prices by the id of their entries, and the file in memory.
        _con(store).execute(f"""
            CREATE TEMP TABLE price AS SELECT entry_id, {_cost()} AS cost, 'a row' AS price_row
            FROM ledger""")
        begun = time.perf_counter()
        function(store)
        return time.perf_counter() - begun
    finally:
        store.close()
        copy.unlink()


def _con(store: Store) -> duckdb.DuckDBPyConnection:
    return store._con


def _cost() -> str:
    terms = [
        f"CAST(coalesce({name}, 0) AS DECIMAL(9, 0)) * CAST({rate} AS DECIMAL(9, 6))"
        for name, rate in _RATES.items()
    ]
    return f"CAST({' + '.join(terms)} AS DECIMAL(18, 6))"


def _reprice(store: Store) -> None:
    ACTS["reprice"](store, {"apply": True, **_WHO})


def _check(store: Store) -> None:
    """Each call costs what its tokens do, none is unpriced, and each was corrected once."""
    con = _con(store)
    [(calls, cost)] = con.execute(f"SELECT sum(calls), sum({_cost()}) FROM ledger").fetchall()
    _reprice(store)
    found = con.execute("""
        SELECT sum(calls), sum(cost), sum(calls) FILTER (cost IS NULL), count(*) FROM ledger
        """).fetchall()
    if found != [(calls, cost, 0, 3 * calls)]:
        raise CheckFailed(f"{calls} calls should cost {cost}, with none unpriced; it is {found}")


def _update_by_id(store: Store) -> None:
    with store.change() as change:
        change.con.execute(f"""
            UPDATE ledger SET cost = price.cost, list_cost = price.cost, price_status = 'priced',
                price_note = NULL, price_row = price.price_row, {_SET}
            FROM price WHERE ledger.entry_id = price.entry_id""")


def _update_by_expression(store: Store) -> None:
    with store.change() as change:
        change.con.execute(f"""
            UPDATE ledger SET cost = {_cost()}, list_cost = {_cost()}, price_status = 'priced',
                price_note = NULL, price_row = 'a row', {_SET}""")


if __name__ == "__main__":
    main()
