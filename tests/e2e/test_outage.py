# SPDX-License-Identifier: Apache-2.0
"""A Collector with our configuration between senders and exporter, and everything fails at once.

It is killed in the middle of a run, the exporter is down for a while, and the disk is slow: in the
end the books are what the sender counts for itself. Everything random follows from `OUTAGE_SEED`.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from microdollar_exporter import connect
from microdollar_exporter.errors import StoreError
from tests.collector.running import RunningCollector
from tests.fakes.otlp import STARTED_AT
from tests.fakes.ports import free_ports
from tests.simulation.doomed import CountingSender, Doomed, Zygote, kept
from tests.simulation.episodes import make_episode

SEED = int(os.environ.get("OUTAGE_SEED", "20261121"))
SLOW = 0.2
"""How many seconds a commit takes."""
EAGER = tuple(
    f"exporters::otlp/microdollar::retry_on_failure::{name}=100ms"
    for name in ("initial_interval", "max_interval")
)
"""Retries at once, so that a test need not wait for the back-off of an outage."""

# The first test may have to wait for the Collector to be built.
pytestmark = pytest.mark.timeout(1800)


class Run:
    """Senders, a Collector and an exporter."""

    def __init__(self, otelcol: Path, zygote: Zygote, folder: Path) -> None:
        self.random = Random(SEED)
        self.db = folder / "meter.duckdb"
        self.sender = CountingSender()
        [self._port] = free_ports(1)
        self._zygote = zygote
        self._episodes = 0
        self.collector = RunningCollector(
            otelcol, folder=folder, backend=f"127.0.0.1:{self._port}", settings=EAGER
        )

    def exporter(self, delay: float = SLOW) -> Doomed:
        """Start an exporter where the Collector expects it."""
        started = self._zygote.exporter(self.db, delay=delay, port=self._port)
        assert started.ready(), self._zygote.log
        return started

    def send(self, episodes: int) -> None:
        """Have the Collector take so many episodes, and what it did not take before."""
        for _ in range(episodes):
            self._episodes += 1
            name = f"{SEED}/{self._episodes}"
            began = STARTED_AT + self.random.randrange(86_400_000_000)
            episode = make_episode(name, Random(name), began)
            self.sender.add([episode], self.random.choice((1, 3, 20)))
        self.sender.send(self.collector.grpc_port, self.random.choice((1, 8)))

    def send_all(self) -> None:
        """Send until the Collector has taken everything."""
        deadline = time.monotonic() + 60
        while not self.sender.done:
            assert time.monotonic() < deadline, "the Collector does not take what it is sent"
            self.sender.send(self.collector.grpc_port)

    @contextmanager
    def killing_the_collector(self, after: int) -> Iterator[None]:
        """The Collector is killed once it has taken so many reports, and started again after all.

        The block has to send more.
        """
        enough = len(self.sender.acknowledged) + after

        def kill() -> None:
            while len(self.sender.acknowledged) < enough:
                time.sleep(0.001)
            self.collector.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        yield
        killer.join()
        assert not self.sender.done
        self.collector.start()

    def wait_until_stored(self) -> None:
        """Until the exporter has everything that was reported."""
        reports = sum(len(episode.reports) for episode in self.sender.episodes)
        deadline = time.monotonic() + 60
        while (stored := spans_in(self.db)) < reports:
            assert time.monotonic() < deadline, f"{stored} of {reports} spans have arrived"
            time.sleep(0.2)


def spans_in(db: Path) -> int:
    """How many spans a running exporter has stored."""
    try:
        [row] = connect(db).sql("SELECT count(*) AS spans FROM spans").to_pylist()
    except StoreError:
        return 0
    return int(row["spans"])


@pytest.fixture
def run(otelcol: Path, tmp_path: Path) -> Iterator[Run]:
    """All of them; the Collector runs."""
    with Zygote(tmp_path) as zygote:
        made = Run(otelcol, zygote, tmp_path)
        made.collector.start()
        try:
            yield made
        finally:
            made.collector.kill()


def test_the_books_are_the_senders_whatever_was_down(run: Run) -> None:
    """Killed and stopped, one after the other and both at once, with a queue that has to wait."""
    with run.exporter() as exporter:
        run.send(15)
        exporter.kill()
    # The Collector has to keep everything, also over a restart of its own.
    run.send(15)
    with run.killing_the_collector(after=30):
        run.send(60)
    run.send_all()
    # It is killed again while it empties its queue, and the exporter in the middle of a commit.
    with run.exporter() as exporter:
        with run.killing_the_collector(after=10):
            run.send(30)
        run.send(15)
        exporter.kill()
    with run.exporter() as exporter:
        run.send(15)
        assert exporter.stop() == 0
    run.collector.terminate()
    run.collector.start()
    with run.exporter(delay=0.0) as exporter:
        run.send_all()
        run.wait_until_stored()
        assert exporter.stop() == 0
    reversals = kept(run.db, run.sender, everything=True)
    assert reversals > 0
