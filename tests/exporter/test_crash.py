# SPDX-License-Identifier: Apache-2.0
"""The exporter is killed at every point of a commit, and nothing is lost and nothing twice.

Processes of `microdollar serve` end by SIGKILL, and their successors take over what they left. A
sender counts for itself, sends again whatever was not acknowledged, and compares: after each death,
and at the end. Everything random follows from `CRASH_SEED`.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from microdollar_exporter.errors import MicrodollarError
from microdollar_exporter.operate.door import perform
from microdollar_exporter.store import Store
from microdollar_exporter.store.migrations import MIGRATIONS
from tests.exporter.test_migrations import SUMS, read, write
from tests.fakes.otlp import STARTED_AT, call, request
from tests.simulation.books import check_books
from tests.simulation.disk import Disk
from tests.simulation.doomed import KILLED, CountingSender, Doomed, Zygote, accepted, copied, kept
from tests.simulation.episodes import make_episode

SEED = int(os.environ.get("CRASH_SEED", "20261121"))
ROUNDS = 7
"""How many processes die at each point."""
RANDOM_ROUNDS = 20
"""How many die whenever it comes, and at any statement."""

POINTS = (
    "before the transaction",
    "after inserting profiles",
    "after inserting spans",
    "after booking",
    "after inserting entries",
    "before COMMIT",
    "inside COMMIT",
    "after COMMIT",
    "after the futures are done",
    "before the answer is sent",
    "before CHECKPOINT",
    "inside CHECKPOINT",
    "after CHECKPOINT",
    "after inserting entries of reversals",
    "inside COMMIT of reversals",
)


class Campaign:
    """A ledger whose exporters die one after the other, and its sender."""

    def __init__(self, name: str, zygote: Zygote, folder: Path) -> None:
        self.random = Random(f"{SEED}/{name}")
        self.zygote = zygote
        self.folder = folder
        self.db = folder / "meter.duckdb"
        self.sender = CountingSender()
        self.rounds = self.reversals = self._episodes = 0

    def traffic(self) -> None:
        """More calls to report, of processes that nobody has met yet."""
        self._episodes += 1
        name = f"{SEED}/{self._episodes}"
        began = STARTED_AT + self.random.randrange(86_400_000_000)
        episode = make_episode(name, self.random, began, f" {self._episodes}")
        self.sender.add([episode], self.random.choice((1, 1, 20)))

    def send_until_it_dies(self, exporter: Doomed) -> None:
        """Report one episode after the other."""
        deadline = time.monotonic() + 30
        if not exporter.ready():
            return
        while exporter.runs:
            assert time.monotonic() < deadline, "it never came to where it should have died"
            self.traffic()
            self.sender.send(exporter.port, self.random.choice((1, 4)))

    def look(self) -> None:
        """What is left holds what was acknowledged, and tells the truth about it."""
        self.rounds += 1
        if self.db.exists():
            self.reversals = kept(copied(self.db, self.folder), self.sender)

    def end(self) -> None:
        """The last exporter gets all that is left, and ends in order."""
        with self.zygote.exporter(self.db) as exporter:
            assert exporter.ready(), self.zygote.log
            while not self.sender.done:
                self.sender.send(exporter.port)
            assert exporter.stop() == 0
        self.reversals = kept(self.db, self.sender, everything=True)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Where exporters come from."""
    with Zygote(tmp_path_factory.mktemp("zygote")) as made:
        yield made


Started = Callable[[str], Campaign]


@pytest.fixture(scope="module")
def campaigns() -> list[Campaign]:
    """All of this module."""
    return []


@pytest.fixture(scope="module")
def died() -> list[str]:
    """Where else processes have died."""
    return []


@pytest.fixture
def start(zygote: Zygote, tmp_path: Path, campaigns: list[Campaign]) -> Started:
    """Begin with a new ledger."""

    def begin(name: str) -> Campaign:
        campaigns.append(Campaign(name, zygote, tmp_path))
        return campaigns[-1]

    return begin


@pytest.mark.parametrize("point", POINTS)
def test_killed_there_again_and_again(point: str, start: Started) -> None:
    """The first time that it comes there, or the second, or the third."""
    campaign = start(point)
    for _ in range(ROUNDS):
        turn, wait = campaign.random.randint(1, 3), campaign.random.randint(0, 1500)
        with campaign.zygote.exporter(campaign.db, point, turn, wait) as exporter:
            campaign.send_until_it_dies(exporter)
            assert exporter.wait() == KILLED
        campaign.look()
    campaign.end()


def test_killed_after_any_statement(start: Started) -> None:
    """Also while it makes its file, records the prices or takes over from its predecessor."""
    campaign = start("at a statement")
    for number in range(RANDOM_ROUNDS):
        # Two in three die while they start.
        most = 25 if number % 3 else 250
        turn = campaign.random.randint(1, most)
        with campaign.zygote.exporter(campaign.db, "at a statement", turn) as exporter:
            campaign.send_until_it_dies(exporter)
            assert exporter.wait() == KILLED
        campaign.look()
    campaign.end()


def test_killed_whenever_it_comes(start: Started) -> None:
    """By someone else, who knows nothing of commits."""
    campaign = start("whenever")
    for _ in range(RANDOM_ROUNDS):
        with campaign.zygote.exporter(campaign.db) as exporter:
            after = campaign.random.expovariate(1 / 0.3)
            killer = threading.Timer(after, os.kill, (exporter.pid, 9))
            killer.start()
            campaign.send_until_it_dies(exporter)
            killer.join()
            assert exporter.wait() == KILLED
        campaign.look()
    campaign.end()


def test_killed_at_every_statement_of_a_migration(
    zygote: Zygote, tmp_path: Path, died: list[str]
) -> None:
    """The file is as it was, or as it should be, and never between."""
    old = tmp_path / "old.duckdb"
    write(old, 1)
    sums = read(old, SUMS)
    points = [("at a statement", turn) for turn in range(1, _statements_to_open(old) + 1)]
    for number, (point, turn) in enumerate([*points, *[("inside COMMIT", 1)] * 5]):
        db = tmp_path / f"{number}.duckdb"
        shutil.copyfile(old, db)
        wait = Random(f"{SEED}/{number}").randint(0, 5000)
        with zygote.exporter(db, point, turn, wait) as exporter:
            assert exporter.wait() == KILLED
        died.append(point)
        with closing(Store(copied(db, tmp_path))) as store, closing(store.cursor()) as con:
            assert con.execute(SUMS).fetchall() == sums
            [(version,)] = con.execute("SELECT max(version) FROM schema_version").fetchall()
            assert version == len(MIGRATIONS)


def _statements_to_open(db: Path) -> int:
    copy = db.with_name("counted.duckdb")
    shutil.copyfile(db, copy)
    disk = Disk(db.parent, Random(0))
    with disk.in_use():
        store = Store(copy)
        statements = disk.statements
        store.close()
    return statements


@pytest.mark.parametrize(
    "point",
    [
        "before a decision is recorded",
        "after inserting entries",
        "before COMMIT",
        "inside COMMIT",
        "after COMMIT",
    ],
)
def test_killed_while_an_act_runs(
    point: str, zygote: Zygote, tmp_path: Path, died: list[str]
) -> None:
    """It was done as a whole or not at all, and can be repeated: it then does what is left."""
    db = tmp_path / "meter.duckdb"
    spans = [call(None) for _ in range(50)]
    with zygote.exporter(db) as exporter:
        assert exporter.ready()
        assert accepted(exporter.port, request(*spans))
        assert exporter.stop() == 0
    wait = Random(f"{SEED}/{point}").randint(0, 1500)
    with zygote.exporter(db, point, 1, wait) as exporter:
        assert exporter.ready()
        with pytest.raises(MicrodollarError):
            perform(db, "assign", ASSIGN)
        assert exporter.wait() == KILLED
    died.append(point)
    assert calls_of(copied(db, tmp_path)) in ({None: 50}, {"hooli": 50})
    with zygote.exporter(db) as exporter:
        assert exporter.ready()
        perform(db, "assign", ASSIGN)
        assert perform(db, "assign", ASSIGN)["calls"] == 0
        assert exporter.stop() == 0
    assert calls_of(db) == {"hooli": 50}


ASSIGN = {
    "customer": "hooli",
    "rule": {"provider": "openai"},
    "apply": True,
    "by": "a test",
    "reason": "theirs",
}


def calls_of(db: Path) -> dict[str | None, int]:
    """The calls of each customer that has any."""
    with closing(Store(db)) as store, closing(store.cursor()) as con:
        check_books(con)
        return dict(
            con.execute(
                "SELECT customer_id, sum(calls)::BIGINT AS calls FROM ledger "
                "GROUP BY ALL HAVING calls <> 0"
            ).fetchall()
        )


def test_enough_have_died(
    campaigns: list[Campaign], died: list[str], say: Callable[[str], None]
) -> None:
    """And the books had changed their mind in between."""
    rounds = sum(campaign.rounds for campaign in campaigns) + len(died)
    calls = sum(len(e.calls) for campaign in campaigns for e in campaign.sender.episodes)
    reversals = sum(campaign.reversals for campaign in campaigns)
    say(f"crashes: seed {SEED}, {rounds} killed, {calls:,} calls, {reversals} entries taken back")
    if len(campaigns) == len(POINTS) + 2:
        assert rounds >= 200
        assert reversals >= 20
