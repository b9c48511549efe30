# SPDX-License-Identifier: Apache-2.0
"""Senders, a Collector and the network between them and the exporter, on simulated time.

Every message can be lost, come twice, and overtake another; so can every answer. What a sender has
accepted it sends until it is told that it need not: that is all that is asked of it.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from tests.simulation.exporter import Answer, Clock
from tests.simulation.reports import SECOND, Report, request_of

__all__ = ["Collector", "Events", "Network", "Sender"]

Take = Callable[[bytes, Callable[[Answer], None]], None]
"""Something that takes export requests and may answer."""

_TIMEOUT: Final = 30 * SECOND


class Events:
    """What happens when, in the order of time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, wait: int, happen: Callable[[], None]) -> None:
        """Let something happen in `wait` µs."""
        heapq.heappush(self._due, (self._clock.now + wait, next(self._numbers), happen))

    def next(self) -> bool:
        """Let the next thing happen; False when nothing is left to."""
        if not self._due:
            return False
        self._clock.now, _, happen = heapq.heappop(self._due)
        happen()
        return True


class Network:
    """Carries requests and answers. `trouble` is how likely anything goes wrong with one."""

    def __init__(self, events: Events, random: Random, trouble: float) -> None:
        self._events = events
        self._random = random
        self.trouble = trouble
        self.lost = self.doubled = 0

    def carry(self, body: bytes, take: Take, answered: Callable[[Answer], None]) -> None:
        """Bring a request to `take`, perhaps, and its answer back, perhaps."""
        times = 1
        if self._goes_wrong():
            times = self._random.choice((0, 2, 3))
        self.lost += times == 0
        self.doubled += times > 1
        for _ in range(times):
            self._events.after(self._way(), lambda: take(body, self._back(answered)))

    def _back(self, answered: Callable[[Answer], None]) -> Callable[[Answer], None]:
        def send(answer: Answer) -> None:
            if self._goes_wrong():
                self.lost += 1
            else:
                self._events.after(self._way(), lambda: answered(answer))

        return send

    def _goes_wrong(self) -> bool:
        return self._random.random() < self.trouble

    def _way(self) -> int:
        if self._goes_wrong():
            return self._random.randint(0, 20 * SECOND)
        return self._random.randint(0, SECOND // 10)


class Sender:
    """A process that sends batches of reports, several at a time, until each is acknowledged."""

    def __init__(self, events: Events, random: Random, network: Network, take: Take) -> None:
        self._events = events
        self._random = random
        self._network = network
        self.take = take
        self._batch = random.choice((1, 3, 20, 20))
        self._patience = random.choice((SECOND, 60 * SECOND))
        self._waiting: list[Report] = []
        self._due = False
        self.acknowledged: set[str] = set()
        self.refused = 0
        self.unanswered = 0

    def report(self, report: Report) -> None:
        """Have something to send."""
        self._waiting.append(report)
        if not self._due:
            self._due = True
            self._events.after(self._random.randint(0, self._patience), self._send_waiting)

    def _send_waiting(self) -> None:
        self._due = False
        self._random.shuffle(self._waiting)
        while self._waiting:
            batch = self._waiting[: self._batch]
            del self._waiting[: self._batch]
            _Delivery(self, batch)

    def send(
        self, body: bytes, answered: Callable[[Answer], None], again: Callable[[], None]
    ) -> None:
        """Send a request, and do `again` when there is no answer in time."""
        self._network.carry(body, self.take, answered)
        self._events.after(_TIMEOUT + self._random.randint(0, _TIMEOUT), again)


class _Delivery:
    """One batch on its way, until it is acknowledged."""

    def __init__(self, sender: Sender, batch: Sequence[Report]) -> None:
        self._sender = sender
        self._batch = batch
        self._body = request_of(*batch)
        self._done = False
        sender.unanswered += 1
        self._send()

    def _send(self) -> None:
        if not self._done:
            self._sender.send(self._body, self._answered, self._send)

    def _answered(self, answer: Answer) -> None:
        if self._done or answer.again:
            return
        self._done = True
        sender = self._sender
        sender.unanswered -= 1
        sender.refused += answer.refused
        sender.acknowledged.update(report.name for report in self._batch)


class Collector:
    """Answers once a request is in its queue, and passes it on until the exporter has it.

    Its queue is on disk: a restart forgets only what was under way, and sends that again.
    """

    def __init__(self, events: Events, random: Random, network: Network, take: Take) -> None:
        self._events = events
        self._random = random
        self._network = network
        self._take = take
        self._queue: dict[int, bytes] = {}
        self._numbers = itertools.count()
        self._lives = 0

    @property
    def empty(self) -> bool:
        """Whether the exporter has all of it."""
        return not self._queue

    def take(self, body: bytes, answered: Callable[[Answer], None]) -> None:
        """Put a request into the queue, and say so."""
        number = next(self._numbers)
        self._queue[number] = body
        answered(Answer(again=False))
        self._send(number, self._lives)

    def restart(self) -> None:
        """Die and come back with the queue."""
        self._lives += 1
        for number in list(self._queue):
            self._send(number, self._lives)

    def _send(self, number: int, life: int) -> None:
        if number not in self._queue or life != self._lives:
            return

        def answered(answer: Answer) -> None:
            if life == self._lives and not answer.again:
                self._queue.pop(number, None)

        self._network.carry(self._queue[number], self._take, answered)
        wait = _TIMEOUT + self._random.randint(0, _TIMEOUT)
        self._events.after(wait, lambda: self._send(number, life))
