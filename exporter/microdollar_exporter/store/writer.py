# SPDX-License-Identifier: Apache-2.0
"""The one thread that writes: it gathers what is waiting into one durable commit."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from microdollar_exporter.errors import Busy, StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.store import Booker, Store

__all__ = ["Writer"]

log = logging.getLogger(__name__)

GROUP_SPANS = 10_000
"""A commit takes whole requests until it holds this many spans."""
WAITING_SPANS = 200_000
"""Beyond this many spans waiting, senders are told to come back later."""
QUIET_SECONDS = 2.0
"""After this long without work the write-ahead log is folded into the file."""


class Writer:
    """Group commit: concurrent requests share one transaction and one fsync.

    An idle writer commits at once; while a commit runs the next group gathers, so groups grow
    with the load and nobody waits for a timer.
    """

    def __init__(self, store: Store, book: Booker) -> None:
        self._store = store
        self._book = book
        self._waiting: deque[tuple[Sequence[Evidence], Future[None]]] = deque()
        self._waiting_spans = 0
        self._changed = threading.Condition()
        self._closed = False
        self.stored = 0
        self.duplicates = 0
        self._thread = threading.Thread(target=self._run, name="microdollar-writer", daemon=True)
        self._thread.start()

    def submit(self, evidence: Sequence[Evidence]) -> Future[None]:
        """Queue evidence; the future is done once it is durable.

        Raises:
            Busy: too much is waiting already.
            StoreUnavailable: the writer is shutting down.
        """
        future: Future[None] = Future()
        with self._changed:
            if self._closed:
                raise StoreUnavailable("the exporter is shutting down")
            if self._waiting_spans + len(evidence) > WAITING_SPANS and self._waiting:
                raise Busy(f"{self._waiting_spans} spans are waiting to be written")
            self._waiting.append((evidence, future))
            self._waiting_spans += len(evidence)
            self._changed.notify()
        return future

    def close(self) -> None:
        """Write everything that was accepted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closed:
                    self._changed.wait(QUIET_SECONDS)
                group = self._take()
                closed = self._closed
            if group:
                self._commit(group)
            elif closed:
                return
            else:
                self._store.checkpoint()

    def _take(self) -> list[tuple[Sequence[Evidence], Future[None]]]:
        group: list[tuple[Sequence[Evidence], Future[None]]] = []
        spans = 0
        while self._waiting and (not group or spans + len(self._waiting[0][0]) <= GROUP_SPANS):
            evidence, future = self._waiting.popleft()
            self._waiting_spans -= len(evidence)
            # A sender that has gone away will send again: nothing was promised to it.
            if future.set_running_or_notify_cancel():
                group.append((evidence, future))
                spans += len(evidence)
        return group

    def _commit(self, group: Sequence[tuple[Sequence[Evidence], Future[None]]]) -> None:
        try:
            evidence = [item for request, _ in group for item in request]
            appended = self._store.append(evidence, self._book)
        except Exception as error:
            if not isinstance(error, StoreUnavailable):
                log.exception("a commit failed; the senders are asked to send again")
            for _, future in group:
                future.set_exception(error)
            return
        self.stored += appended.new
        self.duplicates += appended.duplicates
        for _, future in group:
            future.set_result(None)
