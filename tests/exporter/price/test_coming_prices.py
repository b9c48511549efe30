# SPDX-License-Identifier: Apache-2.0
"""The prices of the shipped book that change on 2026-12-01 and on 2027-01-01.

They do so at midnight UTC, wherever a call is made: for calls that are priced one by one, and for
those that are booked by columns.
"""

import pyarrow as pa
import pytest

from microdollar_exporter.batch import Batch
from microdollar_exporter.book.bulk import Bulk
from microdollar_exporter.customer import Customers
from microdollar_exporter.price import Engine
from microdollar_exporter.price.shipped import shipped
from tests.exporter.ledgers import evidence_of
from tests.fakes.otlp import call, request

from .rows import MICRODOLLAR, at, charged, row

DECEMBER, JANUARY = "2026-12-01", "2027-01-01"

CHANGES = [
    (DECEMBER, "gemini-4-argon", None, (2000, 10_000), (4000, 20_000)),
    (DECEMBER, "gemini-4-argon", "batch", (1000, 5000), (2000, 10_000)),
    (JANUARY, "gemini-3.6-flash", None, (750, 3750), (1500, 7500)),
    (JANUARY, "gemini-3.6-flash", "batch", (375, 1875), (750, 3750)),
    (JANUARY, "gemini-3.7-flash", None, (750, 3750), (1500, 7500)),
    (JANUARY, "gemini-3.8-flash", None, (750, 3750), (1500, 7500)),
    (JANUARY, "gemini-3.8-flash", "batch", (375, 1875), (750, 3750)),
    (JANUARY, "gemini-3.8-flash-lite-tts", None, (500, 6000), (1000, 12_000)),
    (JANUARY, "gemini-3.8-flash-lite-tts", "batch", (250, 3000), (500, 6000)),
    (JANUARY, "gemini-3.8-flash-lite-tts", "flex", (250, 3000), (500, 6000)),
    (JANUARY, "gemini-3.8-flash-lite-tts", "priority", (900, 10_800), (1800, 21_600)),
    (JANUARY, "gemini-3.8-flash-tts", None, (500, 9000), (1000, 18_000)),
    (JANUARY, "gemini-3.8-flash-tts", "batch", (250, 4500), (500, 9000)),
    (JANUARY, "gemini-3.8-flash-tts", "flex", (250, 4500), (500, 9000)),
    (JANUARY, "gemini-3.8-flash-tts", "priority", (900, 16_200), (1800, 32_400)),
    (JANUARY, "gemini-robotics-er-2-preview", None, (1000, 5000), (2000, 10_000)),
    (JANUARY, "gemini-robotics-er-2-streaming-preview", None, (1000, 5000), (2000, 10_000)),
]
"""When, whose rates, in which service tier, and what 1,000 tokens of input and 1,000 of output cost
before and after, each in microdollars."""

Rates = tuple[int, int]
AROUND = [
    (DECEMBER, "2026-11-30T23:59:59.999999+00:00", False),
    (DECEMBER, "2026-12-01T00:00:00+00:00", True),
    # Already December where the call is made.
    (DECEMBER, "2026-12-01T08:59:59.999999+09:00", False),
    (DECEMBER, "2026-12-01T13:59:59.999999+14:00", False),
    # Still November there.
    (DECEMBER, "2026-11-30T19:00:00-05:00", True),
    (DECEMBER, "2026-11-30T12:00:00-12:00", True),
    (JANUARY, "2026-12-31T23:59:59.999999+00:00", False),
    (JANUARY, "2027-01-01T00:00:00+00:00", True),
    (JANUARY, "2027-01-01T05:29:59.999999+05:30", False),
    (JANUARY, "2026-12-31T16:00:00-08:00", True),
]
"""Instants by the clocks of some places, and whether the change has come by then."""


def by_columns(
    engine: Engine, model: str, tier: str | None, *nanoseconds: int
) -> tuple[list[tuple[int, int]], set[int]]:
    """Book calls by columns, 40 for each moment at which they begin, as few are not.

    Returns when those that were booked began and what they cost, here in whole microdollars, and
    when those began that were left to be booked one by one.
    """
    spans = []
    for began in nanoseconds * 40:
        span = call(
            gen_ai__provider__name="gcp.gemini",
            gen_ai__request__model=model,
            gen_ai__response__model=model,
            gen_ai__usage__cache_read__input_tokens=None,
            gen_ai__usage__output_tokens=1000,
            microdollar__response__service_tier=tier,
            server__address="generativelanguage.googleapis.com",
        )
        span.start_time_unix_nano = began
        span.end_time_unix_nano = began + 10**9
        spans.append(span)
    bulk = Bulk(engine.flat, None, Customers(), lambda _: {})
    table, left = bulk.book(Batch.of(evidence_of(request(*spans))))
    assert table is not None
    assert table.num_rows + len(left) == len(spans)
    assert table["list_cost"] == table["cost"]
    starts = table["started_at"].cast(pa.int64()).to_pylist()
    booked = set(zip(starts, table["cost"].to_pylist(), strict=True))
    return sorted(booked), set(left.starts.tolist())


@pytest.mark.parametrize(("day", "model", "tier", "before", "after"), CHANGES)
def test_a_price_changes_at_midnight_utc_to_the_microsecond(
    engine: Engine, day: str, model: str, tier: str | None, before: Rates, after: Rates
) -> None:
    """And to the nanosecond that a span says, of which the ledger keeps the microsecond."""
    edge = at(day)
    for began, rates in [(edge - 1, before), (edge, after)]:
        one = row(
            *("gcp.gemini", model),
            service_tier=tier,
            started_at=began,
            input_uncached=1000,
            output=1000,
        )
        assert charged(engine.price(one)) == (sum(rates) * MICRODOLLAR, "priced")
    for began, rates in [(edge * 1000 - 1, before), (edge * 1000, after)]:
        booked = ([(began // 1000, sum(rates))], set[int]())
        assert by_columns(engine, model, tier, began) == booked


@pytest.mark.parametrize(("day", "model", "tier", "before", "after"), CHANGES)
def test_what_the_columns_have_at_one_price_is_left_when_it_is_at_the_other(
    engine: Engine, day: str, model: str, tier: str | None, before: Rates, after: Rates
) -> None:
    """The first call decides which price the columns have."""
    last, first = at(day) - 1, at(day)
    booked = by_columns(engine, model, tier, last * 1000, first * 1000)
    assert booked == ([(last, sum(before))], {first})
    booked = by_columns(engine, model, tier, first * 1000, last * 1000)
    assert booked == ([(first, sum(after))], {last})


@pytest.mark.parametrize(("day", "instant", "has_changed"), AROUND)
def test_it_does_not_matter_which_day_it_is_where_the_call_is_made(
    engine: Engine, day: str, instant: str, has_changed: bool
) -> None:
    """By the clocks of other places it may be the day before, or the day after."""
    began = at(instant)
    for changed_on, model, tier, before, after in CHANGES:
        if changed_on == day and tier is None:
            expected = sum(after if has_changed else before)
            one = row("gcp.gemini", model, started_at=began, input_uncached=1000, output=1000)
            assert charged(engine.price(one)) == (expected * MICRODOLLAR, "priced")
            booked = ([(began, expected)], set[int]())
            assert by_columns(engine, model, None, began * 1000) == booked


def test_no_other_price_changes_then() -> None:
    """Of any model of the shipped book, in any context."""
    contexts = {None: "std", "batch": "processing=batch"}
    assert {
        (one.effective_from, one.model, one.context)
        for one in shipped().rows
        if one.effective_from in {at(DECEMBER), at(JANUARY)}
    } == {
        (at(day), model, contexts.get(tier, f"service_tier={tier}"))
        for day, model, tier, _, _ in CHANGES
    }
