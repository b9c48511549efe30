# SPDX-License-Identifier: Apache-2.0
"""Small books for one rule at a time."""

from microdollar_exporter.price import Book, Engine, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.rules import Rule


def priced_by(rows: list[PriceRow]) -> Engine:
    """An engine whose book has one provider `p` with one model `m`."""
    models = (Model(id="m", rule=Rule("equals", "m")),)
    providers = [Provider(id="p", models=models)]
    return Engine(Book(source="test", source_version="1", providers=providers, rows=rows))


def single(**rates: int) -> Engine:
    """An engine with one price row; rates in picodollars per token, which is USD/MTok x 10⁶."""
    scaled = {name: rate * 10**6 for name, rate in rates.items()}
    return priced_by([PriceRow(provider="p", model="m", rates=scaled)])
