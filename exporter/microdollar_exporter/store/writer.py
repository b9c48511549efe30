# SPDX-License-Identifier: Apache-2.0
"""The one thread that writes: it gathers what is waiting into one durable commit."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from microdollar_exporter.batch import Batch
from microdollar_exporter.errors import Busy, StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.store import Booker, Store

__all__ = ["Tally", "Writer"]

log = logging.getLogger(__name__)

GROUP_SPANS = 10_000
"""A commit takes whole requests until it holds this many spans."""
WAITING_SPANS = 200_000
"""Beyond this many spans waiting, senders are told to come back later."""
QUIET_SECONDS = 2.0
"""After this long without work the write-ahead log is folded into the file."""
CALM_BYTES = 64 * 1024 * 1024
CALM_SECONDS = 5.0
CALM_SHARE = 0.2
"""A log of this size is folded as well when commits took less than this share of so many seconds:
nobody waits long then, and it need not be folded when there is much to do."""

_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class Tally:
    """What the writer has done since it began.

    `stored`, `duplicates`, `held` (back) and `expired` (before the books were closed) count spans,
    and `contradictory` the duplicates that say something else; `superseded` entries taken back;
    `unpriced` and `unassigned` calls booked so. `commit_seconds` is the time spent in `commits`;
    `lag_seconds` how long before the last commit the newest span in it had ended.
    """

    stored: int = 0
    duplicates: int = 0
    contradictory: int = 0
    held: int = 0
    expired: int = 0
    superseded: int = 0
    unpriced: int = 0
    unassigned: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    lag_seconds: float = 0.0


@dataclass(slots=True)
class _Request:
    """Evidence to store; the future gives the number of spans that never can be."""

    evidence: Batch
    future: "Future[int]"


@dataclass(slots=True)
class _Task:
    """Something else to do on the writer's thread."""

    function: Callable[[Store], Any]
    future: "Future[Any]"


class Writer:
    """Group commit: concurrent requests share one transaction and one fsync.

    An idle writer commits at once; while a commit runs the next group gathers, so groups grow with
    the load and nobody waits for a timer. `healthy` is whether the last commit succeeded.
    `on_fatal` is called once, from the writer's thread, when nothing more can be written until
    the process has been started again.
    """

    def __init__(
        self, store: Store, book: Booker, on_fatal: Callable[[], object] = lambda: None
    ) -> None:
        self._store = store
        self._book = book
        self._on_fatal = on_fatal
        self._waiting: deque[_Request | _Task] = deque()
        self._waiting_spans = 0
        self._changed = threading.Condition()
        self._closed = False
        self.healthy = True
        self.tally = Tally()
        self._calm_since = time.monotonic()
        self._calm_commits = 0.0
        self._thread = threading.Thread(target=self._run, name="microdollar-writer", daemon=True)
        self._thread.start()

    @property
    def waiting_spans(self) -> int:
        """How many spans wait for the next commit."""
        return self._waiting_spans

    def submit(self, evidence: Sequence[Evidence]) -> "Future[int]":
        """Queue evidence; the future is done once it is durable.

        Its result is the number of spans that could not be stored and never can be.

        Raises:
            Busy: too much is waiting already.
            StoreUnavailable: the writer has ended.
        """
        future: Future[int] = Future()
        with self._changed:
            self._refuse_when_closed()
            if self._waiting_spans + len(evidence) > WAITING_SPANS and self._waiting:
                raise Busy(f"{self._waiting_spans} spans are waiting to be written")
            self._waiting.append(_Request(Batch.of(evidence), future))
            self._waiting_spans += len(evidence)
            self._changed.notify()
        return future

    def run(self, function: Callable[[Store], _Answer]) -> "Future[_Answer]":
        """Call a function with the store on the writer's thread, after what waits before it.

        Raises:
            StoreUnavailable: the writer has ended.
        """
        future: Future[_Answer] = Future()
        with self._changed:
            self._refuse_when_closed()
            self._waiting.append(_Task(function, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Write everything that was accepted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the exporter is shutting down")

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
        """One commit, one task or one quiet moment; False once closed and empty."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(QUIET_SECONDS)
            idle = not self._waiting
            closed = self._closed
            task = self._next_task()
            group = [] if task else self._take()
        if task:
            self._do(task)
            self._take_in()
        elif group:
            self._commit(group)
            self._fold_if_calm()
        elif idle and closed:
            return False
        elif idle:
            self._take_in()
            self._store.checkpoint()
        return True

    def _take_in(self) -> None:
        """Book what was held back, once an act has made that possible."""
        try:
            taken = self._store.take_in(self._book)
        except StoreUnavailable as error:
            log.warning("spans that were held back stay so: %s", error)
        except Exception:
            log.exception("spans that were held back cannot be booked, and stay so")
        else:
            if taken:
                self.tally.stored += taken
                log.info("%d spans that were held back are taken in", taken)

    def _fold_if_calm(self) -> None:
        seconds = time.monotonic() - self._calm_since
        if seconds < CALM_SECONDS:
            return
        share = (self.tally.commit_seconds - self._calm_commits) / seconds
        self._calm_since = time.monotonic()
        self._calm_commits = self.tally.commit_seconds
        if share < CALM_SHARE and not self._waiting and self._store.wal_bytes >= CALM_BYTES:
            self._store.checkpoint()

    def _next_task(self) -> _Task | None:
        task = self._waiting[0] if self._waiting else None
        if isinstance(task, _Task):
            self._waiting.popleft()
            return task
        return None

    def _do(self, task: _Task) -> None:
        if not task.future.set_running_or_notify_cancel():
            return
        try:
            answer = task.function(self._store)
        except Exception as error:
            task.future.set_exception(error)
        else:
            task.future.set_result(answer)

    def _take(self) -> list[_Request]:
        group: list[_Request] = []
        spans = 0
        while self._waiting:
            request = self._waiting[0]
            if isinstance(request, _Task):
                break
            if group and spans + len(request.evidence) > GROUP_SPANS:
                break
            self._waiting.popleft()
            self._waiting_spans -= len(request.evidence)
            # A sender that has gone away will send again: nothing was promised to it.
            if request.future.set_running_or_notify_cancel():
                group.append(request)
                spans += len(request.evidence)
        return group

    def _commit(self, group: Sequence[_Request]) -> None:
        try:
            self._append(Batch.joined([request.evidence for request in group]))
        except StoreUnavailable as error:
            self.healthy = False
            for request in group:
                request.future.set_exception(error)
        except Exception:
            log.exception("a group cannot be stored as it is; its spans are tried one by one")
            for request in group:
                self._commit_alone(request)
        else:
            self.healthy = True
            for request in group:
                request.future.set_result(self._expired(request))

    def _commit_alone(self, request: _Request) -> None:
        """Store what can be stored of one request, so that one bad span costs no other."""
        refused = 0
        try:
            for item in request.evidence:
                refused += not self._can_append(item)
        except StoreUnavailable as error:
            self.healthy = False
            request.future.set_exception(error)
        else:
            self.healthy = True
            request.future.set_result(refused + self._expired(request))

    def _can_append(self, item: Evidence) -> bool:
        """Append one span, or keep it at least; what is the span's own fault is there twice."""
        for attempt in (self._append_one, self._append_one, self._hold_back):
            try:
                attempt(item)
            except StoreUnavailable:
                raise
            except Exception as error:
                log.debug("a span cannot be stored: %s", type(error).__name__)
            else:
                return True
        return False

    def _append_one(self, item: Evidence) -> None:
        self._append(Batch.of([item]))

    def _hold_back(self, item: Evidence) -> None:
        self._store.hold_back(item)
        self.tally.held += 1
        log.error(
            "a span cannot be booked, by a fault that the log has above: it is kept, and tried "
            "again when the exporter starts"
        )

    def _expired(self, request: _Request) -> int:
        """How many spans of a request began before the books were closed."""
        closed = self._store.closed_before
        if closed is None:
            return 0
        return sum(moment < closed for moment in request.evidence.started_at)

    def _append(self, evidence: Batch) -> None:
        began = time.perf_counter()
        appended = self._store.append(evidence, self._book)
        tally = self.tally
        tally.commits += 1
        tally.commit_seconds += time.perf_counter() - began
        tally.lag_seconds = max(0.0, time.time() - evidence.ended_at[-1] / 1e6)
        tally.stored += appended.new
        tally.duplicates += appended.duplicates
        tally.contradictory += appended.contradictory
        tally.superseded += appended.superseded
        tally.unpriced += appended.unpriced
        tally.unassigned += appended.unassigned
        tally.expired += appended.expired
        if appended.expired:
            log.warning(
                "%d spans began before the time that `microdollar retain` has closed: they cannot "
                "be told from removed ones, and are refused",
                appended.expired,
            )
        if appended.contradictory:
            log.warning(
                "%d spans came again with the same ids and start, and say something else than "
                "before: what came first stands",
                appended.contradictory,
            )
        tally.held += appended.held
        if appended.held:
            log.warning(
                "%d spans came late, and may be about calls whose evidence lies in the archive "
                "only: they are kept, and booked once `microdollar unarchive` has "
                "brought it back",
                appended.held,
            )

    def _give_up(self) -> None:
        log.critical("nothing more can be written; the exporter has to start again")
        self.healthy = False
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            self._waiting_spans = 0
        for item in waiting:
            if item.future.set_running_or_notify_cancel():
                item.future.set_exception(StoreUnavailable("the exporter has to start again"))
        self._on_fatal()
