# SPDX-License-Identifier: Apache-2.0
"""The benchmark of repricing measures what it says, at a size at which the figures say nothing."""

import pytest

from benchmarks import repricing
from benchmarks.receivers import CheckFailed


def test_both_updates_are_measured_in_the_rounds_of_the_repricing() -> None:
    found = repricing.measure(1_000, 2)
    assert list(found) == [repricing.OURS, repricing.PEER, repricing.CHEAPEST]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found.values())


def test_a_wrong_result_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "_reprice", lambda _: None)
    with pytest.raises(CheckFailed, match="1000 calls should cost"):
        repricing.measure(1_000, 1)
