# SPDX-License-Identifier: Apache-2.0
"""The bounded queue between ended calls and the Collector.

The SDK's `BatchSpanProcessor` forgets a batch whose export has failed, and does not say how many
spans it has dropped. A meter may do neither: here a batch stays first in the queue until it is
delivered, and a span that finds the queue full is counted.
"""

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, takewhile
from queue import Empty, SimpleQueue
from typing import Protocol, TypeGuard, cast

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from microdollar import _boot, _exporter
from microdollar._exporter import ExporterUnavailableError
from microdollar._guard import report, warn_once

__all__ = ["Ended", "SpanQueue"]

MAX_BATCH = 256
"""Keeps a request well under the 4 MiB that gRPC receivers accept by default."""

GATHERING = 1.0
"""Seconds from one request to the next, for spans to share it."""

MIN_BACKOFF, MAX_BACKOFF = 1.0, 30.0

LOADING = 10.0
"""Seconds a fork waits at most for an exporter that is being loaded."""

_loading = threading.RLock()
"""Held while an exporter is loaded. A child forked in the middle of that would inherit imports
that nobody finishes, and so could never import those modules itself."""

_jitter = random.Random()  # noqa: S311  an own generator: the app's sequence stays as seeded


MAX_REFUSALS = 3
"""Attempts to deliver one span, each while another one was taken, before it is dropped."""


class Ended(Protocol):
    """A call that has ended."""

    def span(self) -> ReadableSpan:
        """Its span, the same whenever asked for. Never raises."""


class _Marker:
    """Travels through the queue behind the spans that were put before it."""

    def __init__(self, *, last: bool = False) -> None:
        self.reached = threading.Event()
        self.delivered = False
        self.last = last


_Item = Ended | _Marker


def _is_ended(item: _Item) -> TypeGuard[Ended]:
    return not isinstance(item, _Marker)


class SpanQueue:
    """Hands spans of ended calls to an exporter, from a background thread that lives while needed.

    `make_exporter` is called in that thread, so that the exporter's libraries, which take 0.2 s
    and more to import, delay neither the start of the app nor its first call.
    """

    def __init__(self, make_exporter: Callable[[], SpanExporter], capacity: int) -> None:
        self._make_exporter = make_exporter
        self._capacity = capacity
        self._abandoned: list[SpanExporter] = []
        self._exporter: SpanExporter | None = None
        self.reset()

    def reset(self) -> None:
        """Start empty: what a forked child inherits belongs to its parent."""
        if self._exporter is not None:
            # Kept alive, since closing it here would speak on the parent's connections.
            self._abandoned.append(self._exporter)
        self._exporter = None
        self._incoming: deque[_Item] = deque()
        # SimpleQueue, because put() may be interrupted by a garbage collection that ends another
        # call and puts again. The locks inside queue.Queue and threading.Event would deadlock.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = False
        self._pending: deque[_Item] = deque()
        # Counted apart, since a queue does not count what it has just handed to the worker.
        self._undelivered: set[int] = set()
        self._worker: threading.Thread | None = None
        self._starting = threading.Lock()
        self._batch_size = MAX_BATCH
        self._refusals = 0
        self._last_delivery = -GATHERING
        self._closed = False
        self._exiting = False

    def __len__(self) -> int:
        """The number of undelivered spans."""
        return len(self._undelivered)

    def put(self, ended: Ended) -> None:
        """Queue a call, or count it as dropped. Never blocks.

        Its span is made in the background: many in a row take a fraction of the time of as many
        in between of what the app does.
        """
        if len(self) >= self._capacity:
            _boot.current().drop()
            warn_once(
                "dropped",
                "the Collector does not take metering spans and the queue of %d is full; "
                "calls are now dropped, and counted in microdollar.boot.dropped_calls",
                self._capacity,
            )
            return
        self._undelivered.add(id(ended))
        self._incoming.append(ended)
        # Waking the worker costs more than all else here, so that it is not done for each span.
        if self._idle or len(self._incoming) == MAX_BATCH:
            self._wake.put(None)
        self._ensure_worker()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until every span put before is delivered; False if that takes too long."""
        if not len(self):
            return True
        if self._closed:
            return False
        marker = self._mark()
        if not self._ensure_worker():
            self._deliver_here(marker, timeout_millis / 1000)
            return marker.delivered
        return marker.reached.wait(timeout_millis / 1000) and marker.delivered

    def prepare_exit(self, timeout: float, *, expected: bool) -> None:
        """Load the exporter, if it is or may be needed, while that is still possible.

        From now on a flush ends with the first attempt that fails, and an attempt may take
        `timeout` seconds. `expected` says that spans are still to come.
        """
        self._exiting = True
        if self._closed or not (len(self) or expected or self._exporter is not None):
            return
        exporter = self.load_exporter(timeout)
        if exporter is not None:
            _exporter.limit(exporter, timeout)
        self._ensure_worker()

    def load_exporter(self, timeout: float = -1) -> SpanExporter | None:
        """The exporter, made now if there is none; None if that fails, which is logged.

        `timeout` is how many seconds to wait for another thread that is making it; -1 is for ever.
        """
        lock = _loading  # a fork replaces it
        if not lock.acquire(timeout=timeout):
            return None
        try:
            if self._exporter is None:
                try:
                    self._exporter = self._make_exporter()
                except ExporterUnavailableError:
                    return None
                except Exception as error:
                    report("loading the exporter", error)
            return self._exporter
        finally:
            lock.release()

    def stop(self) -> None:
        """Let the worker end once everything is delivered. A later span starts a new one."""
        if self._worker is not None:
            self._mark(last=True)

    def shutdown(self, timeout: float = 0.0) -> None:
        """Abandon what is undelivered. The worker is given `timeout` seconds to end."""
        self._closed = True
        if self._exporter is not None:
            self._exporter.shutdown()
        worker = self._worker
        if worker is not None:
            self._wake.put(None)
            worker.join(timeout)

    def _deliver_here(self, marker: _Marker, timeout: float) -> None:
        """Deliver from this thread: some Pythons start no other while they shut down."""
        deadline = time.monotonic() + timeout
        if not self._starting.acquire(timeout=timeout):
            return
        token = attach(_suppressed())
        exporting = _exporter.exporting.set(True)
        try:
            self._take()
            while not marker.reached.is_set():
                remaining = deadline - time.monotonic()
                exporter = self.load_exporter(max(0.0, remaining))
                if exporter is None or remaining <= 0:
                    return
                _exporter.limit(exporter, remaining)
                if not self._deliver():
                    return
                self._pass_markers()
        finally:
            _exporter.exporting.reset(exporting)
            detach(token)
            self._starting.release()

    def _mark(self, *, last: bool = False) -> _Marker:
        marker = _Marker(last=last)
        self._incoming.append(marker)
        self._wake.put(None)
        return marker

    def _ensure_worker(self) -> bool:
        """Whether a worker runs or is being started."""
        if self._works():
            return True
        # Not waiting: the lock may be held further up this very thread.
        if not self._starting.acquire(blocking=False):
            return True
        try:
            if not self._works():
                self._worker = threading.Thread(target=self._work, name="microdollar", daemon=True)
                self._worker.start()
        except RuntimeError:  # the interpreter shuts down
            self._worker = None
            return False
        finally:
            self._starting.release()
        return True

    def _works(self) -> bool:
        return self._worker is not None and self._worker.is_alive()

    def _work(self) -> None:
        attach(_suppressed())
        _exporter.exporting.set(True)
        backoff = 0.0
        while True:
            self._gather(backoff)
            if self._closed:
                return
            if self._deliver():
                backoff = 0.0
            else:
                backoff = min(max(2 * backoff, MIN_BACKOFF), MAX_BACKOFF)
                backoff *= _jitter.uniform(0.8, 1.0)
                if self._exiting:
                    self._give_up()
            if self._pass_markers():
                self._end_work()
                return

    def _gather(self, backoff: float) -> None:
        """Take arrivals until there is a batch worth sending, or `backoff` seconds have passed.

        A marker that arrives ends the wait, because somebody waits for it.
        """
        self._await_first()
        # After a rest a span goes at once: what a process keeps is lost when it is killed.
        now = time.monotonic()
        deadline = now + backoff if backoff else self._last_delivery + GATHERING
        hurry = not backoff and any(isinstance(item, _Marker) for item in self._pending)
        while not (hurry or self._closed) and (backoff or len(self._pending) < self._batch_size):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            with suppress(Empty):
                self._wake.get(timeout=remaining)
            hurry = self._take()

    def _await_first(self) -> None:
        """Take what is there; while nothing is, sleep."""
        while not (self._pending or self._closed):
            # Before looking, so that whoever puts something after the look sees it.
            self._idle = True
            if not self._incoming:
                self._wake.get()
            self._idle = False
            self._take()

    def _take(self) -> bool:
        """Take all arrivals; whether somebody waits for one of them."""
        hurry = False
        while self._incoming:
            item = self._incoming.popleft()
            self._pending.append(item)
            hurry = hurry or isinstance(item, _Marker)
        return hurry

    def _deliver(self) -> bool:
        """Export the first batch. One that fails stays, unless it is what cannot be delivered."""
        ended = cast("Iterator[Ended]", takewhile(_is_ended, self._pending))
        batch = list(islice(ended, self._batch_size))
        if not batch or self._export(batch):
            self._last_delivery = time.monotonic()
            self._batch_size = min(2 * self._batch_size, MAX_BATCH)
            return True
        self._batch_size = max(len(batch) // 2, 1)
        if not self._takes_others(batch):
            if self._exporter is not None:
                _say_undelivered(self._exporter)
            return False
        if len(batch) > 1:  # it may be too big, or hold a span that is refused; no need to wait
            return True
        self._refusals += 1
        if self._refusals < MAX_REFUSALS:
            return False
        self._refuse(batch[0])
        return True

    def _export(self, batch: list[Ended]) -> bool:
        """Whether the Collector has taken the spans. The calls are then no longer ours to keep."""
        exporter = self.load_exporter()
        try:
            delivered = exporter is not None and (
                exporter.export([ended.span() for ended in batch]) is SpanExportResult.SUCCESS
            )
        except Exception as error:
            report("export", error)
            delivered = False
        if delivered:
            self._forget(batch)
        return delivered

    def _forget(self, batch: list[Ended]) -> None:
        if self._pending[0] is batch[0]:
            for _ in batch:
                self._pending.popleft()
            self._refusals = 0
        else:
            self._pending.remove(batch[0])
        self._undelivered.difference_update(map(id, batch))

    def _takes_others(self, batch: list[Ended]) -> bool:
        """Whether the Collector takes another span while it does not take this batch."""
        others = [item for item in islice(self._pending, len(batch), None) if _is_ended(item)]
        return bool(others) and not self._exiting and self._export([_jitter.choice(others)])

    def _refuse(self, ended: Ended) -> None:
        """Drop a call whose span will never be taken, for it would keep all others waiting."""
        self._forget([ended])
        _boot.current().drop()
        warn_once(
            "refused",
            "the Collector takes other metering spans and not this one; it is dropped, and "
            "counted in microdollar.boot.dropped_calls",
        )

    def _pass_markers(self) -> bool:
        """Release those whose marker is first now. True if the worker is to end."""
        end = False
        while self._pending and isinstance(marker := self._pending[0], _Marker):
            self._pending.popleft()
            marker.delivered = True
            marker.reached.set()
            end = end or marker.last
        return end and not self._pending

    def _give_up(self) -> None:
        """Release everybody who waits, although nothing is delivered."""
        markers = [item for item in self._pending if isinstance(item, _Marker)]
        self._pending = deque(item for item in self._pending if not isinstance(item, _Marker))
        for marker in markers:
            marker.reached.set()

    def _end_work(self) -> None:
        exporter, self._exporter = self._exporter, None
        self._worker = None
        # A span put just before saw this worker alive and started no other.
        if self._incoming:
            self._ensure_worker()
        if exporter is not None:
            exporter.shutdown()


def _suppressed() -> Context:
    """A context in which the exporter's own requests leave no spans in the app's traces."""
    return set_value(_SUPPRESS_INSTRUMENTATION_KEY, True)


def _say_undelivered(exporter: SpanExporter) -> None:
    endpoint = _exporter.endpoint(exporter)
    warn_once(
        "undelivered",
        "metering spans cannot be delivered%s yet; they are kept in memory and sent later",
        "" if endpoint is None else f" to {endpoint}",
    )


def _before_fork() -> None:
    _loading.acquire(timeout=LOADING)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # not held, because the wait was too long
        _loading.release()


def _after_fork_in_child() -> None:
    global _loading  # noqa: PLW0603
    _loading = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
