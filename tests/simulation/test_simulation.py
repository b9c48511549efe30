# SPDX-License-Identifier: Apache-2.0
"""Thousands of schedules in which everything goes wrong, and the books come out right.

Each schedule follows from its seed alone. `SIMULATION_SEED` is the first of them, and
`SIMULATION_SCHEDULES` how many there are:

    SIMULATION_SEED=1234 SIMULATION_SCHEDULES=1 uv run pytest tests/simulation   # that one again
    SIMULATION_SEED=$RANDOM SIMULATION_SCHEDULES=20000 uv run pytest tests/simulation

A schedule that fails is made as small as it can be while it still fails, and printed.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import pytest

from tests.simulation.episodes import KINDS
from tests.simulation.running import Outcome, blocks, run_block
from tests.simulation.schedule import Counts

SEED = int(os.environ.get("SIMULATION_SEED", "20261121"))
SCHEDULES = int(os.environ.get("SIMULATION_SCHEDULES", "2000"))
ENOUGH = 500
"""From so many schedules on, everything that can happen has happened."""


@pytest.mark.timeout(300 + SCHEDULES)
def test_whatever_goes_wrong_the_books_are_those_of_the_senders(say: Callable[[str], None]) -> None:
    """No call is lost and none counts twice; what was once booked stays; every moment is kept.

    Acknowledgements and requests are lost, doubled and overtake each other; reports come up to ten
    days late, by clocks that are wrong; the disk is full, transactions fail at any statement,
    the power fails in the middle of a commit, and the exporter is killed and started again.
    """
    total = Counts()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        running = [pool.submit(run_block, block) for block in blocks(SEED, SCHEDULES)]
        for done in as_completed(running):
            outcome: Outcome = done.result()
            if outcome.failure:
                pool.shutdown(cancel_futures=True)
                pytest.fail(outcome.failure, pytrace=False)
            total += outcome.counts
    say(f"simulation: seed {SEED}, {total}")
    assert total.schedules == SCHEDULES
    if SCHEDULES >= ENOUGH:
        assert min(vars_of(total).values()) > 0
        assert len(total.kinds) == len(set(KINDS))


def vars_of(counts: Counts) -> dict[str, int]:
    """The figures among them."""
    return {name: getattr(counts, name) for name in ("superseded", "restarts", "aborted", "lost")}
