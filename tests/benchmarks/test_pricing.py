# SPDX-License-Identifier: Apache-2.0
"""The benchmark of pricing measures what it says, at a size at which the figures say nothing."""

import pytest

from benchmarks import pricing
from benchmarks.receivers import CheckFailed


def test_both_ways_of_pricing_are_measured_in_the_same_rounds() -> None:
    found = pricing.measure(pricing.mix(200, seed=1), rounds=2)
    assert list(found) == [pricing.OURS, pricing.PEER]
    assert all(len(took) == 2 and min(took) > 0 for took in found.values())


def test_calls_of_which_the_costs_differ_give_no_figure() -> None:
    [call] = pricing.mix(1, seed=1)
    with pytest.raises(CheckFailed, match="USD by calc_price"):
        pricing.measure([call._replace(usage={"input_tokens": 1})], rounds=1)
