# SPDX-License-Identifier: Apache-2.0
"""The one thread that writes: it gathers what is waiting into one durable commit."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
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

_Request = tuple[Sequence[Evidence], "Future[int]"]


class Writer:
    """Group commit: concurrent requests share one transaction and one fsync.

    An idle writer commits at once; while a commit runs the next group gathers, so groups grow with
    the load and nobody waits for a timer. `healthy` is whether the last commit succeeded; `stored`
    and `duplicates` count spans. `on_fatal` is called once, from the writer's thread, when nothing
    more can be written until the process has been started again.
    """

    def __init__(
        self, store: Store, book: Booker, on_fatal: Callable[[], object] = lambda: None
    ) -> None:
        self._store = store
        self._book = book
        self._on_fatal = on_fatal
        self._waiting: deque[_Request] = deque()
        self._waiting_spans = 0
        self._changed = threading.Condition()
        self._closed = False
        self.healthy = True
        self.stored = 0
        self.duplicates = 0
        self._thread = threading.Thread(target=self._run, name="microdollar-writer", daemon=True)
        self._thread.start()

    def submit(self, evidence: Sequence[Evidence]) -> "Future[int]":
        """Queue evidence; the future is done once it is durable.

        Its result is the number of spans that could not be stored and never can be.

        Raises:
            Busy: too much is waiting already.
            StoreUnavailable: the writer has ended.
        """
        future: Future[int] = Future()
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
        try:
            while self._turn() and not self._store.broken:
                pass
        except Exception:
            log.exception("a fault in the writer")
            self._give_up()
        else:
            if self._store.broken:
                self._give_up()

    def _turn(self) -> bool:
        """One commit, or one quiet moment; False once closed and empty."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(QUIET_SECONDS)
            group = self._take()
            closed = self._closed
        if group:
            self._commit(group)
        elif closed:
            return False
        else:
            self._store.checkpoint()
        return True

    def _take(self) -> list[_Request]:
        group: list[_Request] = []
        spans = 0
        while self._waiting and (not group or spans + len(self._waiting[0][0]) <= GROUP_SPANS):
            evidence, future = self._waiting.popleft()
            self._waiting_spans -= len(evidence)
            # A sender that has gone away will send again: nothing was promised to it.
            if future.set_running_or_notify_cancel():
                group.append((evidence, future))
                spans += len(evidence)
        return group

    def _commit(self, group: Sequence[_Request]) -> None:
        try:
            self._append([item for evidence, _ in group for item in evidence])
        except StoreUnavailable as error:
            self.healthy = False
            for _, future in group:
                future.set_exception(error)
        except Exception:
            log.exception("a group cannot be stored as it is; its spans are tried one by one")
            for evidence, future in group:
                self._commit_alone(evidence, future)
        else:
            self.healthy = True
            for _, future in group:
                future.set_result(0)

    def _commit_alone(self, evidence: Sequence[Evidence], future: "Future[int]") -> None:
        """Store what can be stored of one request, so that one bad span costs no other."""
        refused = 0
        try:
            for item in evidence:
                try:
                    self._append([item])
                except StoreUnavailable:
                    raise
                except Exception:
                    refused += 1
        except StoreUnavailable as error:
            self.healthy = False
            future.set_exception(error)
        else:
            future.set_result(refused)

    def _append(self, evidence: Sequence[Evidence]) -> None:
        appended = self._store.append(evidence, self._book)
        self.stored += appended.new
        self.duplicates += appended.duplicates

    def _give_up(self) -> None:
        log.critical("nothing more can be written; the exporter has to start again")
        self.healthy = False
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(StoreUnavailable("the exporter has to start again"))
        self._on_fatal()
