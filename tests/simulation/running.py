# SPDX-License-Identifier: Apache-2.0
"""Run schedules in blocks that share a file; make one that fails as small as it can be."""

import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.simulation.schedule import SLOTS, Counts, Plan, World

__all__ = ["Outcome", "blocks", "run_block", "smallest"]

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - made by the system, and the folders in it are ours
"""Where files are that need not outlive the machine. What a kill leaves is the same there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a block; `failure` is empty when nothing failed."""

    counts: Counts = field(default_factory=Counts)
    failure: str = ""


def blocks(seed: int, count: int) -> list[range]:
    """The seeds of so many schedules, in those blocks in which they share a file."""
    ends = range(seed - seed % SLOTS + SLOTS, seed + count, SLOTS)
    edges = [seed, *ends, seed + count]
    return [range(first, last) for first, last in zip(edges, edges[1:], strict=False)]


def run_block(seeds: range) -> Outcome:
    """Run schedules one after the other on one file."""
    counts = Counts()
    plans: list[Plan] = []
    try:
        with _world(seeds[0]) as world:
            for seed in seeds:
                plans.append(Plan.of(seed))
                counts += world.run(plans[-1])
            world.look_back()
    except Exception:
        return Outcome(failure=_account(plans, traceback.format_exc()))
    return Outcome(counts)


def smallest(plan: Plan) -> Plan | None:
    """The least of a schedule that still fails on a file of its own; None when it does not."""
    if not _fails([plan]):
        return None
    while True:
        for smaller in plan.smaller():
            if _fails([smaller]):
                plan = smaller
                break
        else:
            return plan


def _account(plans: Sequence[Plan], error: str) -> str:
    """What failed, and how to see it again."""
    for plan in reversed(plans):
        small = smallest(plan)
        if small is not None:
            return (
                f"SIMULATION_SEED={plan.seed} SIMULATION_SCHEDULES=1 fails; this much of it does:\n"
                f"{small}\n{_fails([small])}"
            )
    return (
        f"SIMULATION_SEED={plans[0].seed} SIMULATION_SCHEDULES={len(plans)} fails, and none of "
        f"them alone:\n{error}"
    )


def _fails(plans: Sequence[Plan]) -> str:
    """How schedules fail on a file of their own; empty when they do not."""
    try:
        with _world(plans[0].seed) as world:
            for plan in plans:
                world.run(plan)
            world.look_back()
    except Exception:
        return traceback.format_exc()
    return ""


@contextmanager
def _world(seed: int) -> Iterator[World]:
    memory = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="microdollar-") as folder:
        world = World(Path(folder), seed // SLOTS)
        with world.open():
            yield world
