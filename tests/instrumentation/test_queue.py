# SPDX-License-Identifier: Apache-2.0
"""Nothing metered is lost while the queue has room, and what is lost is counted."""

import gc
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from microdollar import _boot, _queue
from microdollar._exporter import ExporterUnavailableError
from microdollar._queue import SpanQueue


class Ended:
    """A call that has ended, with a number for its name."""

    def __init__(self, number: int) -> None:
        self._span = ReadableSpan(name=str(number))

    def span(self) -> ReadableSpan:
        return self._span


def span(number: int) -> Ended:
    return Ended(number)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for 10 seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Collector(SpanExporter):
    """An exporter whose Collector can be down, or refuse batches over a size."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.down = threading.Event()
        self.attempts = 0
        self.limit = 10_000
        self.shut = 0
        self.poison = ""
        self.refused: list[int] = []
        self.suppressed: set[object] = set()
        self._endpoint: str | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.attempts += 1
        self.suppressed.add(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        if self.down.is_set() or len(spans) > self.limit:
            return SpanExportResult.FAILURE
        if any(span.name == self.poison for span in spans):
            self.refused.append(len(spans))
            return SpanExportResult.FAILURE
        self.sizes.append(len(spans))
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.shut += 1


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def queue(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpanQueue]:
    monkeypatch.setattr(_queue, "MIN_BACKOFF", 0.001)
    monkeypatch.setattr(_queue, "MAX_BACKOFF", 0.002)
    queue = SpanQueue(lambda: collector, capacity=600)
    yield queue
    collector.down.clear()
    queue.stop()
    until(lambda: queue._worker is None)


@pytest.fixture(autouse=True)
def boot(monkeypatch: pytest.MonkeyPatch) -> _boot.Boot:
    boot = _boot.Boot()
    monkeypatch.setattr(_boot, "_current", boot)
    return boot


def numbers(*ranges: range) -> list[str]:
    return [str(number) for numbers in ranges for number in numbers]


def test_spans_are_delivered_in_order_and_in_batches(
    queue: SpanQueue, collector: Collector
) -> None:
    for number in range(600):
        queue.put(span(number))
    assert queue.force_flush()
    assert collector.names == numbers(range(600))
    assert max(collector.sizes) <= 256
    assert collector.suppressed == {True}


def test_an_idle_queue_has_no_thread_and_needs_no_exporter() -> None:
    def unneeded() -> SpanExporter:
        raise AssertionError

    queue = SpanQueue(unneeded, capacity=1)
    assert queue.force_flush(0)
    assert queue._worker is None


def test_an_outage_loses_nothing_while_there_is_room(
    queue: SpanQueue, collector: Collector, boot: _boot.Boot
) -> None:
    collector.down.set()
    for number in range(600):
        queue.put(span(number))
    until(lambda: collector.attempts > 3)
    assert not queue.force_flush(5)
    collector.down.clear()
    assert queue.force_flush()
    assert collector.names == numbers(range(600))
    assert boot.dropped_calls == 0


def test_a_full_queue_drops_the_newest_and_counts_them(
    queue: SpanQueue, collector: Collector, boot: _boot.Boot, warnings_logged: list[str]
) -> None:
    collector.down.set()
    for number in range(600):
        queue.put(span(number))
    assert boot.dropped_calls == 0
    for number in range(600, 603):
        queue.put(span(number))
    assert boot.dropped_calls == 3
    (message,) = [one for one in warnings_logged if "queue of 600 is full" in one]
    assert "boot.dropped_calls" in message
    collector.down.clear()
    assert queue.force_flush()
    assert collector.names == numbers(range(600))


def test_a_batch_that_is_too_big_is_halved(queue: SpanQueue, collector: Collector) -> None:
    collector.limit = 3
    for number in range(40):
        queue.put(span(number))
    assert queue.force_flush()
    assert sorted(map(int, collector.names)) == list(range(40))


@pytest.mark.parametrize("position", [0, 255, 256, 590])
def test_a_span_that_is_refused_does_not_keep_the_others(
    queue: SpanQueue, collector: Collector, boot: _boot.Boot, position: int
) -> None:
    """Wherever it stands: it is dropped after three attempts, and counted."""
    collector.poison = str(position)
    for number in range(600):
        queue.put(span(number))
    assert queue.force_flush()
    assert sorted(map(int, collector.names)) == [n for n in range(600) if n != position]
    assert collector.refused[-3:] == [1, 1, 1]
    assert boot.dropped_calls == 1


def test_a_span_that_is_alone_is_kept(
    queue: SpanQueue, collector: Collector, boot: _boot.Boot
) -> None:
    """Nothing tells then whether it is refused or the Collector is away."""
    collector.poison = "1"
    queue.put(span(1))
    until(lambda: len(collector.refused) > 9)
    assert len(queue) == 1
    queue.put(span(2))
    queue.put(span(3))
    queue.put(span(4))
    assert queue.force_flush()
    assert sorted(collector.names) == ["2", "3", "4"]
    assert boot.dropped_calls == 1


def test_the_first_span_after_a_rest_goes_at_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process loses is what it gathered while it was busy."""
    monkeypatch.setattr(_queue, "GATHERING", 3600.0)
    queue = SpanQueue(lambda: collector, capacity=600)
    queue.put(span(1))
    until(lambda: collector.names == ["1"])
    queue.put(span(2))
    queue.put(span(3))
    assert queue.force_flush()
    assert collector.sizes == [1, 2]
    queue.stop()
    until(lambda: queue._worker is None)


def test_an_exporter_that_raises_is_a_failed_export(
    queue: SpanQueue, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microdollar._guard.reraise", False)
    export, broken = collector.export, threading.Event()
    broken.set()

    def sometimes(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if broken.is_set():
            broken.clear()
            raise OSError
        return export(spans)

    monkeypatch.setattr(collector, "export", sometimes)
    queue.put(span(1))
    assert queue.force_flush()
    assert collector.names == ["1"]


def test_a_missing_exporter_is_a_failed_export_and_no_fault(boot: _boot.Boot) -> None:
    def missing() -> SpanExporter:
        raise ExporterUnavailableError

    queue = SpanQueue(missing, capacity=1)
    queue.put(span(1))
    assert not queue.force_flush(10)
    queue.put(span(2))
    assert boot.dropped_calls == 1
    queue.shutdown()
    queue.stop()
    until(lambda: queue._worker is not None and not queue._worker.is_alive())


def test_a_stopped_queue_starts_again_by_itself(queue: SpanQueue, collector: Collector) -> None:
    for number in range(3):
        queue.put(span(number))
        queue.stop()
        until(lambda: queue._worker is None)
        until(lambda: collector.shut == number + 1)  # noqa: B023
    assert collector.names == numbers(range(3))


def test_many_threads_lose_nothing(queue: SpanQueue, collector: Collector) -> None:
    def work(start: int) -> None:
        for number in range(start, start + 100):
            queue.put(span(number))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 500, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.force_flush()
    assert sorted(map(int, collector.names)) == list(range(500))


def test_a_span_may_end_in_the_middle_of_another_ones_end(
    queue: SpanQueue, collector: Collector
) -> None:
    """The garbage collector ends calls wherever it runs, also inside the queue itself."""

    class Trap:
        def __init__(self, number: int) -> None:
            self.me = self  # a cycle: only the collector frees it
            self.number = number

        def __del__(self) -> None:
            queue.put(span(self.number))

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(100):
            Trap(2 * number)
            queue.put(span(2 * number + 1))
        gc.collect()
    finally:
        gc.set_threshold(*threshold)
    assert queue.force_flush()
    assert sorted(map(int, collector.names)) == list(range(200))


def refuse(_: Any) -> None:
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_what_ends_when_no_thread_can_be_started_is_delivered(
    queue: SpanQueue, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker for it is started before, while Python still starts threads."""
    last = span(1)
    queue.prepare_exit(1, expected=True)
    with monkeypatch.context() as only:
        only.setattr(threading.Thread, "start", refuse)
        queue.put(last)
        assert queue.force_flush()
    assert collector.names == ["1"]


def test_without_new_threads_a_flush_delivers_itself(
    queue: SpanQueue, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the time it is given: none, and nothing is tried; a failed attempt is the last."""
    last = span(1)
    with monkeypatch.context() as only:
        only.setattr(threading.Thread, "start", refuse)
        queue.put(last)
        assert not queue.force_flush(0)
        assert collector.attempts == 0
        collector.down.set()
        assert not queue.force_flush(3_600_000)
        assert collector.attempts == 1
        collector.down.clear()
        assert queue.force_flush()
    assert collector.names == ["1"]


def test_at_the_end_a_failed_attempt_is_the_last(queue: SpanQueue, collector: Collector) -> None:
    collector.down.set()
    queue.put(span(1))
    queue.prepare_exit(1, expected=False)
    assert not queue.force_flush(3_600_000)
    assert collector.attempts > 0
    assert len(queue) == 1
    collector.down.clear()
    assert queue.force_flush(3_600_000)
    assert collector.names == ["1"]


def test_the_end_does_not_wait_for_ever_for_an_exporter_being_loaded(queue: SpanQueue) -> None:
    free = threading.Event()

    def hold() -> None:
        with _queue._loading:
            held.set()
            free.wait(10)

    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    queue.prepare_exit(0.001, expected=True)
    assert queue._exporter is None
    free.set()
    thread.join()


def test_a_shut_queue_is_not_waited_for(collector: Collector) -> None:
    collector.down.set()
    queue = SpanQueue(lambda: collector, capacity=1)
    queue.put(span(1))
    queue.shutdown()
    assert not queue.force_flush(3_600_000)
    queue.stop()
    until(lambda: not queue._works())


def test_a_span_in_the_workers_hands_is_not_delivered(queue: SpanQueue) -> None:
    """From Python 3.13 on, putting hands an item over before the worker runs."""
    queue._worker = threading.current_thread()
    queue.put(span(1))
    item = queue._incoming.popleft()
    assert len(queue) == 1
    assert not queue.force_flush(0)
    queue._worker = None
    queue._incoming.append(item)
    assert queue.force_flush()
    assert len(queue) == 0


def test_a_worker_that_has_died_is_replaced(queue: SpanQueue, collector: Collector) -> None:
    dead = threading.Thread()
    dead.start()
    dead.join()
    queue._worker = dead
    queue.put(span(1))
    assert queue.force_flush()
    assert collector.names == ["1"]


def test_the_first_failure_is_said_once_and_where(
    queue: SpanQueue, collector: Collector, warnings_logged: list[str]
) -> None:
    collector._endpoint = "https://user:secret@collector:4318/v1/traces?key=secret"
    collector.down.set()
    queue.put(span(1))
    until(lambda: collector.attempts > 2)
    assert warnings_logged == [
        "microdollar: metering spans cannot be delivered to https://collector:4318/v1/traces yet; "
        "they are kept in memory and sent later"
    ]


def child(queue: SpanQueue, parent_boot: str, result: Any) -> None:
    inherited = len(queue)
    queue.reset()
    boot = _boot.current()
    result.put((inherited, len(queue), boot.id != parent_boot, boot.next_call()))


def test_a_fork_starts_a_boot_of_its_own(
    queue: SpanQueue, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    collector.down.set()
    queue.put(span(1))
    parent = _boot.current()
    first = parent.next_call()
    context = multiprocessing.get_context("fork")
    result = context.SimpleQueue()
    process = context.Process(target=child, args=(queue, parent.id, result))
    process.start()
    process.join()
    assert result.get()[1:] == (0, True, 1)
    assert parent.next_call() == first + 1
    collector.down.clear()
    assert queue.force_flush()
