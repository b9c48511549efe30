# SPDX-License-Identifier: Apache-2.0
"""A small book to lay overrides over, and the answer of what comes of it.

Rates in names and figures are USD per million tokens, which is microdollars per token.
"""

from typing import Any

from microdollar_exporter.price import Book, Engine, Price, PriceRow
from microdollar_exporter.price.book import Model, Provider
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.reader import read_book
from microdollar_exporter.price.rules import Rule

from .rows import at, row

LISTED = {
    # provider, model, context: the rates of input and output
    ("maker", "large", "std"): (2, 10),
    ("maker", "large", "processing=batch"): (1, 5),
    ("maker", "small", "std"): (1, 4),
    ("other", "tiny", "std"): (3, 6),
}
TIER = 200_000
"""Above as many tokens `small` costs twice as much."""


def rates(usd_input: int, usd_output: int) -> dict[str, int]:
    """Rates of input and output per token, in 10⁻¹⁸ USD."""
    return {"input_uncached": usd_input * 10**12, "output": usd_output * 10**12}


def listed() -> Book:
    """`maker` sells `large` and `small`, `other` sells `tiny`; `cloud` is lent what `maker` has."""
    rows = [
        PriceRow(provider=p, model=m, context=c, rates=rates(*usd), unit_rates=_fees(m))
        for (p, m, c), usd in LISTED.items()
    ]
    rows.append(
        PriceRow(provider="maker", model="small", over_input_tokens=TIER, rates=rates(2, 8))
    )
    providers = [
        Provider(id="maker", models=(_model("large"), _model("small"))),
        Provider(id="other", models=(_model("tiny"), _model("unpriced"))),
        Provider(id="cloud", models=(), fallbacks=("maker",)),
    ]
    return Book(source="test", source_version="1", providers=providers, rows=rows)


def _fees(model: str) -> dict[str, int]:
    return {"web_search": 10**16} if model == "large" else {}


def _model(name: str) -> Model:
    return Model(id=name, rule=Rule("starts_with", name))


def overridden(rules: str) -> Book:
    """The listed book with these rules over it, read back from what a ledger keeps of it."""
    book = parse(f"schema = 1\n{rules}", "prices.toml").over(listed())
    kept = read_book(book.canonical_json().decode())
    assert kept.id == book.id
    return kept


def priced(book: Book, provider: str, model: str, when: str = "2026-11-21", **facts: Any) -> Price:
    """The price of 1000 input and 100 output tokens, or of what is said otherwise."""
    counts = {"input_uncached": 1000, "output": 100} | facts
    return Engine(book).price(row(provider, model, started_at=at(when), **counts))
