# SPDX-License-Identifier: Apache-2.0
"""Price books with one model, and who books by them."""

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.price import Book, Engine, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.rules import Rule

__all__ = ["book", "keeper"]


def book(output_rate: int) -> Book:
    """A book that knows `gpt-6-luna`; `output_rate` is microdollars per token."""
    model = Model(id="gpt-6-luna", rule=Rule("equals", "gpt-6-luna"))
    rates = {"input_uncached": 2, "cache_read": 1, "output": output_rate}
    row = PriceRow(
        provider="openai",
        model=model.id,
        rates={name: rate * 10**12 for name, rate in rates.items()},
    )
    provider = Provider(id="openai", models=(model,))
    return Book(source="test", source_version="1", providers=[provider], rows=[row])


def keeper(prices: Book) -> Bookkeeper:
    """Books by these prices."""
    engine = Engine(prices)
    return Bookkeeper(engine.price, engine.flat, prices.id)
