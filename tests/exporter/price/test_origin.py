# SPDX-License-Identifier: Apache-2.0
"""A model is billed by the rules of who makes its price, whoever sells it, and at what discount.

What a provider bills in a way of its own goes with the rates: a shortest audio, a unit that is
free, a cache write of which nobody knows the lifetime.
"""

from typing import Any

import pytest

from microdollar_exporter.price import Book, Engine, Price, PriceRow
from microdollar_exporter.price.book import Origin
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.reader import read_book

from .overriding import overridden, priced
from .rows import MICRODOLLAR, row

WHISPER = {"provider": "groq", "model": "whisper-large-v3-turbo"}
HALF = '[[adjust]]\nname = "half"\nprovider = "gateway"\nmultiply = 0.5\n'


def over(book: Book, rules: str) -> Engine:
    """The list prices with these rules over them, read back from what a ledger keeps."""
    made = parse(f"schema = 1\n{rules}", "prices.toml").over(book)
    kept = read_book(made.canonical_json().decode())
    assert kept.id == made.id
    return Engine(kept)


def alias(provider: str, model: str) -> str:
    """`x` at the gateway means a model."""
    target = f'{{ provider = "{provider}", model = "{model}" }}'
    return f'[[alias]]\nprovider = "gateway"\nmodel = "x"\nis = {target}\n'


def same(provider: str, model: str) -> str:
    """`x` at the gateway has the rates of a model."""
    return alias(provider, model).replace("[[alias]]", "[[rate]]").replace("is =", "same_as =")


def sold(book: Book, rules: str, **usage: Any) -> Price:
    """The price of a call of `x` at the gateway."""
    return over(book, rules).price(row("gateway", "x", **usage))


@pytest.mark.parametrize("rules", [alias(**WHISPER), same(**WHISPER)])
def test_the_shortest_audio_that_a_model_bills_is_so_wherever_it_is_sold(
    book: Book, rules: str
) -> None:
    """Ten seconds of 0.04 USD an hour, though the call had seven; half of it at half the price."""
    heard = {"units": {"audio_seconds": 7}}
    assert sold(book, rules, **heard)[:3] == (111_111_111, 111_111_111, "priced")
    assert sold(book, rules + HALF, **heard)[:3] == (55_555_556, 111_111_111, "priced")


@pytest.mark.parametrize("rules", [alias, same])
def test_a_cache_write_of_unknown_lifetime_is_in_doubt_wherever_it_is_sold(
    book: Book, rules: Any
) -> None:
    why = "cache write of unknown lifetime at the shortest one's rate"
    for discount in ("", HALF):
        price = sold(
            book,
            rules("openai", "gpt-6-sol") + discount,
            input_uncached=10,
            cache_write=1000,
            output=1,
        )
        assert (price.status, price.note) == ("fallback", why)


@pytest.mark.parametrize("rules", [alias, same])
def test_a_unit_that_a_provider_does_not_charge_is_free_wherever_it_is_sold(
    book: Book, rules: Any
) -> None:
    for discount in ("", HALF):
        price = sold(
            book,
            rules("anthropic", "claude-sonnet-5-5") + discount,
            input_uncached=10,
            output=1,
            units={"web_fetch": 3},
        )
        assert (price.status, price.note) == ("priced", None)


@pytest.mark.parametrize("rules", [alias, same])
def test_a_fee_that_is_in_doubt_is_so_wherever_it_is_sold(book: Book, rules: Any) -> None:
    why = "request fee is the highest the book lists, it depends on search context size"
    for discount in ("", HALF):
        price = sold(book, rules("perplexity", "sonar") + discount, input_uncached=10, output=1)
        assert (price.status, price.note) == ("fallback", why)


def test_a_claude_has_two_lifetimes_of_caches_by_any_name(book: Book) -> None:
    usage = {"input_uncached": 10, "cache_write": 1000, "output": 1}
    price = sold(book, same("openrouter", "anthropic/claude-opus-5"), **usage)
    assert (price.status, price.note) == (
        "fallback",
        "cache write of unknown lifetime at the 5-minute rate",
    )


OWN = """
[[rate]]
provider = "house"
model = "a"
per_mtok = { input = 1, output = 1 }
[[rate]]
provider = "house"
model = "a"
window = { from = 09:00:00, to = 18:00:00 }
per_mtok = { input = 3, output = 3 }
[[rate]]
provider = "house"
model = "b"
same_as = { provider = "house", model = "a" }
[[rate]]
provider = "house"
model = "c"
same_as = { provider = "house", model = "b" }
"""


@pytest.mark.parametrize("model", ["a", "b", "c"])
def test_an_operators_times_of_day_are_sure_for_whoever_has_the_same_rates(model: str) -> None:
    price = priced(overridden(OWN), "house", model, "2026-11-21T12:00")
    assert price[:3] == (3300 * MICRODOLLAR, 3300 * MICRODOLLAR, "priced")


def test_a_row_that_is_billed_as_itself_names_no_origin() -> None:
    """Its id is then what it was before rows could name one."""
    mine = PriceRow(provider="p", model="m", rates={"output": 1})
    assert mine.billed_as == Origin("p", "m", is_listed=True)
    assert "origin" not in str(mine.canonical())
    half = HALF.replace("gateway", "maker")
    assert all(one.origin is None for one in overridden(half).rows)
    lent = [one for one in overridden(HALF.replace("gateway", "cloud")).rows if one.adjustments]
    assert {one.origin for one in lent} == {
        Origin("maker", "large", is_listed=True),
        Origin("maker", "small", is_listed=True),
    }


def test_a_row_of_a_ledger_that_names_no_origin_is_read_as_it_was_kept() -> None:
    """Such books are kept, and what they priced is proved by them."""
    for layer, is_listed in [("same_as", True), ("rate", False), ("default", False)]:
        made = PriceRow(provider="p", model="m", rates={"output": 1}, layer=layer)
        assert made.billed_as == Origin("p", "m", is_listed=is_listed)
