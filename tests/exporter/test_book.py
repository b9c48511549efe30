# SPDX-License-Identifier: Apache-2.0
"""Booking a call: its entries, its owner, its price and its reason."""

from decimal import Decimal
from typing import Any

import pytest

from microdollar_exporter.entry import Entry
from microdollar_exporter.money import MAX_PICODOLLARS, microdollars, usd
from microdollar_exporter.price import Price
from microdollar_exporter.usage import UsageRow
from tests.exporter import ledgers
from tests.exporter.ledgers import evidence_of
from tests.fakes.otlp import Value, call, request

PRICED = Price(1_234_567, 2_000_000, "priced", "r1", None)


def booked(
    customer: str | None = "acme",
    price: Price | Exception = PRICED,
    resource: dict[str, Value] | None = None,
    **changes: Any,
) -> list[Entry]:
    """The entries of one call."""

    def priced(_: UsageRow) -> Price:
        if isinstance(price, Exception):
            raise price
        return price

    return ledgers.booked(
        evidence_of(request(call(customer, **changes), resource=resource)), priced
    )


def test_an_entry_says_whose_what_and_how_much() -> None:
    """With the price row that gave the cost."""
    (entry,) = booked(
        microdollar__user__id="u1",
        microdollar__tag__feature="chat",
        openai__response__service_tier="flex",
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
    )
    assert entry.kind == "usage"
    assert (entry.trace_id, entry.span_id) == (b"t".hex() * 16, b"s".hex() * 8)
    assert (entry.customer_id, entry.user_id, entry.tags) == ("acme", "u1", {"feature": "chat"})
    assert (entry.provider, entry.operation, entry.service_tier) == ("openai", "chat", "flex")
    assert (entry.calls, entry.input_uncached, entry.cache_read, entry.output) == (1, 900, 100, 50)
    assert (entry.cost, entry.list_cost, entry.price_status, entry.price_row) == (
        Decimal("1.234567"),
        Decimal("2.000000"),
        "priced",
        "r1",
    )
    assert entry.price_note is None
    assert entry.reason == "call"


def test_a_further_model_is_an_entry_of_the_same_call_and_owner() -> None:
    """It counts no call of its own."""
    own, further = booked(microdollar__usage__additional='[{"model":"gpt-image-2","output":9}]')
    assert (own.calls, further.calls) == (1, 0)
    assert (further.customer_id, further.response_model, further.output) == (
        "acme",
        "gpt-image-2",
        9,
    )
    assert further.reason == "further model"
    assert further.response_id == own.response_id


@pytest.mark.parametrize(
    ("own", "process", "owner"),
    [
        ("acme", "globex", "acme"),
        (None, "globex", "globex"),
        (None, None, None),
        ("unassigned", None, None),
    ],
)
def test_the_call_s_own_customer_goes_before_that_of_the_process(
    own: str | None, process: str | None, owner: str | None
) -> None:
    """Without either it is unassigned, a word that no customer can have for an id."""
    resource: dict[str, Value] | None = (process and {"microdollar.customer.id": process}) or None
    (entry,) = booked(own, resource=resource)
    assert entry.customer_id == owner


def test_the_reason_says_what_was_put_right_and_the_note_what_the_price_could_not_do() -> None:
    """Each in the words of the stage that found it."""
    (entry,) = booked(
        price=Price(None, None, "unpriced_model", None, "no price for x"),
        gen_ai__usage__input_tokens=99,
    )
    assert entry.cost is None
    assert entry.reason == "call; cache and tool input exceed the input by 1 tokens"
    assert entry.price_note == "no price for x"


def test_a_fault_in_pricing_books_the_call_without_a_cost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unbooked would be silently missing, and an error would stop every sender."""
    (entry,) = booked(price=ZeroDivisionError())
    assert (entry.cost, entry.price_status, entry.calls) == (None, "bad_usage", 1)
    assert (entry.reason, entry.price_note) == ("call", "pricing failed")
    assert "booked without a cost" in caplog.text


def test_a_price_of_counts_that_were_put_right_is_a_fallback() -> None:
    """The rate is exact, and what it was applied to is not."""
    (entry,) = booked(gen_ai__usage__input_tokens=99)
    assert (entry.cost, entry.price_status) == (Decimal("1.234567"), "fallback")
    assert entry.price_note == "cache and tool input exceed the input by 1 tokens"


@pytest.mark.parametrize(
    ("picodollars", "cost"),
    [
        (MAX_PICODOLLARS, Decimal("999999999999.999999")),
        (MAX_PICODOLLARS + 1, None),
        (0, Decimal("0.000000")),
    ],
)
def test_a_cost_that_the_column_cannot_hold_is_unknown_and_said(
    picodollars: int, cost: Decimal | None
) -> None:
    """Just under a million dollars fits."""
    (entry,) = booked(price=Price(picodollars, picodollars, "priced", "r", None))
    assert (entry.cost, entry.list_cost) == (cost, cost)
    assert ("beyond what an entry can hold" in (entry.price_note or "")) is (cost is None)


@pytest.mark.parametrize(
    ("cost", "list_cost"), [(1, MAX_PICODOLLARS + 1), (MAX_PICODOLLARS + 1, 1)]
)
def test_a_cost_that_fits_before_or_after_adjustments_only_is_unknown(
    cost: int, list_cost: int
) -> None:
    """One without the other would look like a discount of everything."""
    (entry,) = booked(price=Price(cost, list_cost, "priced", "r", None))
    assert (entry.cost, entry.list_cost, entry.price_status) == (None, None, "bad_usage")


def test_money_moves_its_point_and_never_rounds() -> None:
    """Not even where the ambient decimal context would."""
    assert str(microdollars(1)) == "0.000001"
    assert str(usd(Decimal("12345678901234567890123456789012.345678"))) == (
        "12345678901234567890123456.789012345678"
    )
    with pytest.raises(ValueError, match="not a finite amount"):
        usd(Decimal("NaN"))
