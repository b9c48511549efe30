# SPDX-License-Identifier: Apache-2.0
"""What the engine says of all calls of one kind at once holds for each of them, and no further."""

from dataclasses import replace

from microdollar_exporter.price import PriceRow

from .books import priced_by
from .rows import at, row

EDGE = at("2026-12-01")
CHEAP = PriceRow(
    provider="p", model="m", effective_to=EDGE, rates={"input_uncached": 10**6, "output": 2 * 10**6}
)
DEAR = replace(
    CHEAP,
    effective_from=EDGE,
    effective_to=None,
    rates={"input_uncached": 3 * 10**6, "output": 4 * 10**6},
)


def test_it_holds_until_just_before_the_next_price() -> None:
    engine = priced_by([CHEAP, DEAR])
    before = engine.flat(row("p", "m", started_at=EDGE - 1))
    after = engine.flat(row("p", "m", started_at=EDGE))
    assert before is not None and after is not None
    assert (before.rates[0], before.since, before.until) == (1, None, EDGE)
    assert (after.rates[0], after.since, after.until) == (3, EDGE, None)


def test_it_holds_up_to_the_first_threshold_at_the_rates_below_it() -> None:
    above = [replace(DEAR, effective_from=None, over_input_tokens=over) for over in (100, 200)]
    flat = priced_by([replace(CHEAP, effective_to=None), *above]).flat(row("p", "m"))
    assert flat is not None
    assert (flat.rates[0], flat.most_input) == (1, 100)
    assert flat.price_row == replace(CHEAP, effective_to=None).price_row


def test_there_is_none_where_there_is_no_price_or_a_doubt() -> None:
    engine = priced_by([DEAR])
    assert engine.flat(row("p", "m", started_at=EDGE - 1)) is None
    assert engine.flat(row("p", "unknown", started_at=EDGE)) is None
    assert engine.flat(row("p", "m", started_at=EDGE, service_tier="flex")) is None
    assert engine.flat(row("p", "m", started_at=EDGE)) is not None


def test_calls_are_unpriced_until_just_before_the_first_price() -> None:
    engine = priced_by([DEAR])
    assert engine.unpriced(row("p", "m", started_at=EDGE - 1)) == (None, EDGE)
    assert engine.unpriced(row("p", "m", started_at=EDGE)) is None
    assert engine.unpriced(row("p", "unknown", started_at=EDGE)) == (None, None)


def test_calls_that_have_a_price_at_some_hours_are_not_unpriced() -> None:
    engine = priced_by([replace(DEAR, effective_from=None, time_of_day=(0, 3_600_000_000))])
    noon = row("p", "m", started_at=at("2026-12-01T12:00"), input_uncached=1, output=0)
    assert engine.price(noon).status == "unpriced_model"
    assert engine.unpriced(noon) is None
    assert engine.flat(noon) is None


def test_there_is_none_where_reasoning_has_a_rate_of_its_own() -> None:
    rates = {"input_uncached": 10**6, "output": 10**6, "reasoning": 3 * 10**6}
    engine = priced_by([PriceRow(provider="p", model="m", rates=rates)])
    call = row("p", "m", input_uncached=10, output=10, reasoning=4)
    assert engine.price(call).cost == 10 + 6 + 3 * 4
    assert engine.flat(call) is None


def test_there_is_none_where_a_call_has_a_fee_or_a_doubt_whatever_it_uses() -> None:
    """A fee for what it may use is none of them: a call that uses it is no ordinary one."""
    rates = {"input_uncached": 10**6, "output": 10**6}
    plain = PriceRow(provider="p", model="m", rates=rates)
    for made, is_flat in [
        (replace(plain, unit_rates={"web_search": 10**16}), True),
        (replace(plain, unit_rates={"requests": 10**16}), False),
        (replace(plain, rates=rates | {"video_out": 2 * 10**6}), False),
        (replace(plain, rates=rates | {"video_out": 10**6}), True),
    ]:
        assert (priced_by([made]).flat(row("p", "m")) is not None) is is_flat
