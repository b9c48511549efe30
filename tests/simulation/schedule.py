# SPDX-License-Identifier: Apache-2.0
"""One schedule: some episodes, the processes that report them, and everything that goes wrong.

All of it follows from a number. Each part has random numbers of its own, so that a part can be
left out without changing the others: that is how a schedule that fails is made small.
"""

from collections.abc import Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final, Self, TypeVar

from microdollar_exporter.errors import StoreError
from tests.simulation.books import Moments, check_bills, check_books, stored_names
from tests.simulation.disk import Disk, Killed, Mishap
from tests.simulation.episodes import DAY, Episode, make_episode
from tests.simulation.exporter import Clock, Exporter, Limits, small_world
from tests.simulation.network import Collector, Events, Network, Sender
from tests.simulation.reports import SECOND

__all__ = ["SLOTS", "Counts", "Plan", "Trouble", "World"]

_Part = TypeVar("_Part")

_BEGIN: Final = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * SECOND
_SLOT: Final = 40 * DAY
"""How far the schedules that share a file are apart, so that none knows of another."""
SLOTS: Final = 25
"""How many share a file: those of seeds that are the same when divided by this."""
_ONLY_OURS: Final = 0.7
"""The part of the schedules in which nobody reports anything but our own instrumentation. So it is
in life; and they take a quarter of the time."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong at a moment: `what`, at `at` µs, in a way that `number` decides."""

    what: str
    at: int
    number: int


KINDS: Final = (
    "disk refuses",
    "disk refuses",
    "disk does not say that it is done",
    "something nobody has thought of",
    "duckdb gives up",
    "killed at a statement",
    "killed at a statement",
    "power fails in a commit",
    "killed",
    "restarted",
    "collector restarted",
    "clock jumps",
    "checkpoint",
)
_MISHAPS: Final = {
    "disk refuses": Mishap.REFUSED,
    "disk does not say that it is done": Mishap.UNANSWERED,
    "something nobody has thought of": Mishap.ODD,
    "duckdb gives up": Mishap.FATAL,
    "killed at a statement": Mishap.KILLED,
    "power fails in a commit": Mishap.TORN,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule before it runs."""

    seed: int
    episodes: tuple[Episode, ...]
    troubles: tuple[Trouble, ...]
    network_trouble: float

    @classmethod
    def of(cls, seed: int) -> Self:
        """The schedule with a number."""
        random = Random(f"{seed}/plan")
        began = _BEGIN + seed % SLOTS * _SLOT
        count = random.choice((1, 1, 2, 2, 3, 3, 6))
        episodes = tuple(
            make_episode(
                f"{seed}/{number}",
                Random(f"{seed}/{number}"),
                began + random.randint(0, random.choice((60, 60, 86_400)) * SECOND),
            )
            for number in range(count)
        )
        ends = [r.ended_at + r.delay for episode in episodes for r in episode.reports]
        troubles = tuple(
            Trouble(
                random.choice(KINDS),
                random.choice(ends) + random.randint(0, 10 * SECOND),
                random.randint(0, 2**32),
            )
            for _ in range(random.choice((0, 1, 1, 2, 3)))
        )
        return cls(seed, episodes, troubles, random.choice((0.0, 0.05, 0.3)))

    def smaller(self) -> Iterator[Self]:
        """The same without one part, in every way."""
        for number in range(len(self.troubles)):
            yield replace(self, troubles=_without(self.troubles, number))
        for number in range(len(self.episodes)):
            if len(self.episodes) > 1:
                yield replace(self, episodes=_without(self.episodes, number))
        if self.network_trouble:
            yield replace(self, network_trouble=0.0)

    def __str__(self) -> str:
        lines = [f"schedule {self.seed}, network trouble {self.network_trouble}"]
        lines += [
            f"  {episode.kind}: {len(episode.calls)} calls, {len(episode.reports)} reports"
            for episode in self.episodes
        ]
        began = _BEGIN + self.seed % SLOTS * _SLOT
        lines += [
            f"  {trouble.what} after {(trouble.at - began) / SECOND:.1f} s"
            for trouble in sorted(self.troubles, key=lambda trouble: trouble.at)
        ]
        return "\n".join(lines)


def _without(parts: tuple[_Part, ...], number: int) -> tuple[_Part, ...]:
    return parts[:number] + parts[number + 1 :]


@dataclass(slots=True)
class Counts:
    """What schedules came to.

    `superseded` counts entries taken back, `aborted` what happened in the middle of a transaction,
    `lost` and `doubled` messages.
    """

    schedules: int = 0
    calls: int = 0
    reports: int = 0
    superseded: int = 0
    restarts: int = 0
    aborted: int = 0
    lost: int = 0
    doubled: int = 0
    kinds: set[str] = field(default_factory=set)

    def __iadd__(self, other: Self) -> Self:
        for name in _FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kinds |= other.kinds
        return self

    def __str__(self) -> str:
        figures = ", ".join(f"{getattr(self, name):,} {name}" for name in _FIGURES)
        return f"{figures}, {len(self.kinds)} kinds of episodes"


_FIGURES: Final = (
    *("schedules", "calls", "reports", "superseded", "restarts", "aborted", "lost", "doubled"),
)


class World:
    """An exporter with a file, in which schedules run one after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        random = Random(f"{seed}/world")
        self._random = random
        self._clock = Clock()
        self._poisonous: set[tuple[str, str, int]] = set()
        self._disk = Disk(folder, Random(f"{seed}/disk"))
        self._limits = Limits(
            group=random.choice((3, 10_000)),
            waiting=random.choice((8, 200_000)),
            ordinary=random.choice((1, 32)),
            log=random.choice((1, 30_000, 2**28)),
        )
        self._moments = Moments()
        self.exporter = Exporter(self._disk, self._poisonous)

    @contextmanager
    def open(self) -> Iterator[Self]:
        """The exporter runs inside the block."""
        with small_world(self._clock, self._limits), self._disk.in_use():
            self._clock.now = _BEGIN - DAY
            self.exporter.start()
            try:
                yield self
            finally:
                self._disk.calm()
                self.exporter.buried()

    def run(self, plan: Plan) -> Counts:
        """Run a schedule to its end, and compare the books with its truth."""
        run = _Run(plan, self)
        run.to_the_end()
        return run.counts()

    def look(self, episodes: Sequence[Episode], acknowledged: Set[str]) -> set[str]:
        """The books at this moment say the truth, of all at least that was acknowledged.

        Returns the names of the reports that are stored.
        """
        with closing(self.exporter.store.cursor()) as con:
            stored = stored_names(con, episodes)
            assert acknowledged <= stored, f"lost: {sorted(acknowledged - stored)}"
            check_bills(con, episodes, stored)
            self._moments.remember(con)
        return stored

    def look_back(self) -> None:
        """The books are in order, and say of every earlier moment what they said then."""
        with closing(self.exporter.store.cursor()) as con:
            check_books(con)
            self._moments.check(con)


class _Run:
    """A schedule under way."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._exporter = world.exporter
        self._clock = world._clock
        self._random = Random(f"{plan.seed}/run")
        self._restarts = self._exporter.restarts
        self._superseded = self._exporter.superseded
        self._mishaps = len(world._disk.mishaps)
        self._clock.now = _BEGIN + plan.seed % SLOTS * _SLOT
        self._clock.off = 0
        self._events = Events(self._clock)
        self._network = Network(self._events, Random(f"{plan.seed}/network"), plan.network_trouble)
        self._collector = Collector(
            self._events, Random(f"{plan.seed}/collector"), self._network, self._take
        )
        self._senders: dict[str, Sender] = {}
        self._turning = False
        self._pace = self._random.choice((SECOND // 10, 60 * SECOND, 120 * SECOND))
        for episode in plan.episodes:
            for report in episode.reports:
                if report.poisonous:
                    world._poisonous.add(report.identity)
                sender = self._sender(report.process)
                wait = report.ended_at + report.delay - self._clock.now
                self._events.after(
                    max(0, wait), lambda sender=sender, report=report: sender.report(report)
                )
        for trouble in plan.troubles:
            self._events.after(
                max(0, trouble.at - self._clock.now), lambda trouble=trouble: self._happen(trouble)
            )

    def to_the_end(self) -> None:
        """Until every sender has been told that all it sent is stored."""
        latest = _BEGIN + self._plan.seed % SLOTS * _SLOT + _SLOT
        while self._events.next():
            assert self._clock.now < latest, "some sender is never told that all is stored"
        world, plan = self._world, self._plan
        world._disk.calm()
        if not self._exporter.runs:
            self._start()
        reports = [report for episode in plan.episodes for report in episode.reports]
        healthy = {report.name for report in reports if not report.poisonous}
        assert self._collector.empty
        assert not any(sender.unanswered for sender in self._senders.values())
        stored = world.look(plan.episodes, healthy)
        assert stored == healthy

    def counts(self) -> Counts:
        """What it came to."""
        return Counts(
            schedules=1,
            calls=sum(len(episode.calls) for episode in self._plan.episodes),
            reports=sum(len(episode.reports) for episode in self._plan.episodes),
            superseded=self._exporter.superseded - self._superseded,
            restarts=self._exporter.restarts - self._restarts,
            aborted=len(self._world._disk.mishaps) - self._mishaps,
            lost=self._network.lost,
            doubled=self._network.doubled,
            kinds={episode.kind for episode in self._plan.episodes},
        )

    def _sender(self, process: str) -> Sender:
        """A process; half of them send to a Collector, which sends on."""
        if process not in self._senders:
            random = Random(f"{self._plan.seed}/{process}")
            take = random.choice((self._take, self._collector.take))
            self._senders[process] = Sender(self._events, random, self._network, take)
        return self._senders[process]

    def _take(self, body: bytes, answered) -> None:
        self._exporter.take(body, answered)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._turning and not self._exporter.idle:
            self._turning = True
            self._events.after(self._random.randint(0, self._pace), self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._survive(self._exporter.turn)
        self._turn_soon()

    def _survive(self, act) -> None:
        """Do something that may kill the exporter; its supervisor starts it again."""
        try:
            act()
        except Killed:
            self._exporter.buried()
        except (StoreError, MemoryError):
            # It could not be started: its supervisor tries again.
            assert not self._exporter.runs
        if not self._exporter.runs:
            self._events.after(self._random.randint(0, 60 * SECOND), self._start)

    def _start(self) -> None:
        if self._exporter.runs:
            return
        self._survive(self._exporter.start)
        if self._exporter.runs:
            self._look()

    def _look(self) -> None:
        acknowledged = set().union(
            *(sender.acknowledged for sender in self._senders.values() if sender.take == self._take)
        )
        poisonous = {r.name for e in self._plan.episodes for r in e.reports if r.poisonous}
        self._world.look(self._plan.episodes, acknowledged - poisonous)

    def _happen(self, trouble: Trouble) -> None:
        random = Random(trouble.number)
        what = trouble.what
        if what in _MISHAPS:
            after = None if what == "power fails in a commit" else random.randint(1, 40)
            self._world._disk.ready(_MISHAPS[what], after)
        elif what == "killed":
            self._survive(self._exporter.die)
        elif what == "restarted":
            self._survive(self._exporter.stop)
        elif what == "collector restarted":
            self._collector.restart()
        elif what == "clock jumps":
            self._clock.off += random.choice((-1, 1)) * random.randint(0, 3 * DAY)
        elif what == "checkpoint":
            self._survive(self._exporter.checkpoint)
