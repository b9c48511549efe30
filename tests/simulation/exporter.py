# SPDX-License-Identifier: Apache-2.0
"""The exporter of a simulation: reducer, writer, bookkeeper and store, on simulated time.

All of it is the product's own code. The writer's thread is the one thing left out: its turns are
taken when the schedule says so, so that nothing depends on the machine.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, Self

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.book import bulk as bulk_module
from microdollar_exporter.errors import MicrodollarError, StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.price import Flat, Price
from microdollar_exporter.receive.status import refusal
from microdollar_exporter.reduce import Reducer
from microdollar_exporter.store import Booking, Known, Store, Writer
from microdollar_exporter.store import file as file_module
from microdollar_exporter.store import store as store_module
from microdollar_exporter.store import writer as writer_module
from microdollar_exporter.usage import UsageRow
from tests.simulation.disk import Disk
from tests.simulation.episodes import CACHED, OUTPUT, UNCACHED

__all__ = ["Answer", "Clock", "Exporter", "Limits", "flat", "price", "small_world"]


def price(row: UsageRow) -> Price:
    """The prices of `episodes`."""
    usage = row.usage
    if usage.output is None or usage.input_uncached is None:
        return Price(None, None, "bad_usage", None, "usage not reported")
    cost = (
        usage.input_uncached * UNCACHED + (usage.cache_read or 0) * CACHED + usage.output * OUTPUT
    )
    return Price(cost, cost, "priced", "row", None)


def flat(_: UsageRow) -> Flat:
    """The same prices as rates."""
    rates = (UNCACHED, CACHED, None, None, None, None, OUTPUT)
    return Flat(rates, rates, "row", None, None, None)


class Clock:
    """The time of a simulation, in µs since 1970; the exporter's own clock may be wrong by `off`."""

    def __init__(self) -> None:
        self.now = 0
        self.off = 0


class Limits(NamedTuple):
    """Limits of the exporter that a few spans can reach.

    `group` is how many spans one commit takes, `waiting` how many may wait for the next;
    `ordinary` how many ordinary calls are booked by columns; `log` how many bytes the write-ahead
    log may have before it is folded into the file.
    """

    group: int
    waiting: int
    ordinary: int
    log: int


@contextmanager
def small_world(clock: Clock, limits: Limits) -> Iterator[None]:
    """The product with the simulated clock and these limits."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp((clock.now + clock.off) / 1e6, tz or UTC)

    # More threads would only disturb each other on a file this small.
    config = {**file_module._WRITER_CONFIG, "threads": "1"}
    changes: list[tuple[Any, str, object]] = [
        (store_module, "datetime", Now),
        (file_module, "_WRITER_CONFIG", config),
        (writer_module, "GROUP_SPANS", limits.group),
        (writer_module, "WAITING_SPANS", limits.waiting),
        (bulk_module, "_FEWEST", limits.ordinary),
        (store_module, "CHECKPOINT_BYTES", limits.log),
    ]
    before = [getattr(module, name) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(changes, before, strict=True):
            setattr(module, name, value)


class _Writer(Writer):
    """A writer without a thread: whoever calls `turn` is it."""

    def _run(self) -> None:
        pass

    def turn(self) -> None:
        """What the thread does between two waits."""
        if self._waiting:
            self._turn()
        if self._store.broken:
            self._give_up()


class Answer:
    """What a sender is told: whether to send again, and how many spans never will be stored."""

    def __init__(self, *, again: bool, refused: int = 0) -> None:
        self.again = again
        self.refused = refused


class _Fault(Exception):
    """A fault of the receiver that one span meets."""


class Exporter:
    """An exporter that can be stopped, can die, and is started again by its supervisor."""

    def __init__(self, disk: Disk, poisonous: set[tuple[str, str, int]]) -> None:
        self._disk = disk
        self._poisonous = poisonous
        self._store: Store | None = None
        self._writer: _Writer | None = None
        self._reducer = Reducer()
        self.restarts = 0
        self._superseded = 0

    @property
    def runs(self) -> bool:
        """Whether it answers."""
        return self._writer is not None

    @property
    def store(self) -> Store:
        """Its ledger; it has to run."""
        assert self._store is not None
        return self._store

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return self._writer is None or not self._writer._waiting

    def start(self) -> None:
        """Open the file as it is, remembering nothing."""
        self._store = Store(self._disk.path)
        keeper = Bookkeeper(price, flat, "book")

        def book(new: Sequence[Evidence], known: Known) -> Booking:
            if not self._poisonous.isdisjoint({item.identity for item in new}):
                raise _Fault
            return keeper(new, known)

        self._reducer = Reducer()
        self._writer = _Writer(self._store, book)

    def take(self, body: bytes, answered: Callable[[Answer], None]) -> None:
        """An export request; `answered` is called when there is an answer, perhaps never."""
        writer = self._writer
        if writer is None:
            answered(Answer(again=True))
            return
        try:
            reduced = self._reducer.reduce(body)
            if not reduced.evidence:
                answered(Answer(again=False, refused=reduced.refused.total()))
                return
            future = writer.submit(reduced.evidence)
        except MicrodollarError as error:
            answered(_refused(error))
            return
        future.add_done_callback(lambda done: answered(_answer(done, reduced.refused.total())))

    @property
    def superseded(self) -> int:
        """How many entries it has taken back in all its lives."""
        return self._superseded + (self._writer.tally.superseded if self._writer else 0)

    def turn(self) -> None:
        """One commit."""
        if self._writer is not None:
            self._writer.turn()
            if self.store.broken:
                self.stop()

    def checkpoint(self) -> None:
        """What the writer does in a quiet moment."""
        if self._store is not None:
            self._store.checkpoint()

    def stop(self) -> None:
        """End in order: what was accepted is written first."""
        if self._writer is not None:
            while not self.idle:
                self._writer.turn()
        store = self._forget()
        if store is not None:
            store.close()

    def die(self) -> None:
        """SIGKILL between two statements."""
        if self._store is not None:
            self._disk.keep()
        self.buried()

    def buried(self) -> None:
        """Let go of what a death has left in memory."""
        store = self._forget()
        if store is not None:
            store._con.close()

    def _forget(self) -> Store | None:
        store = self._store
        if store is not None:
            self._superseded = self.superseded
            self.restarts += 1
        self._store = self._writer = None
        return store


def _answer(done: "Future[int]", refused: int) -> Answer:
    error = done.exception()
    if error is None:
        return Answer(again=False, refused=refused + done.result())
    assert isinstance(error, StoreUnavailable), error
    return _refused(error)


def _refused(error: Exception) -> Answer:
    """The answer by the error law, as a sender that keeps to OTLP understands it."""
    refused = refusal(error)
    assert refused.retry_after is not None, f"the sender would drop its data: {error}"
    return Answer(again=True)
