# SPDX-License-Identifier: Apache-2.0
"""The metering spans' own way out: apart from the app's provider, sampler, limits and exporter."""

import atexit
import functools
import os
import random
import threading
import time
from importlib.metadata import version
from types import ModuleType
from typing import Final

import wrapt
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from microdollar import _boot, _exporter
from microdollar._guard import guarded, warn_once
from microdollar._identity import Identity
from microdollar._queue import SpanQueue
from microdollar._settings import Settings
from microdollar.providers import Provider, provider_of
from microdollar_semconv import SCOPE_NAME

__all__ = ["Pipeline", "current", "flush", "start", "stop"]

_MAX_HOSTS = 1024
"""Hosts whose provider is remembered; more than an app talks to."""


class Pipeline:
    """What a metering span is made with, and the queue it goes into."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.queue = SpanQueue(functools.partial(_exporter.load, settings), settings.queue_size)
        self.scope = InstrumentationScope(SCOPE_NAME, version("microdollar"))
        # For its resource alone, which the SDK renews in forked children.
        self._own = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        self.identity = Identity(settings)
        self._random = random.Random()  # noqa: S311  it is seeded by the operating system
        self._providers: dict[tuple[str, int | None], Provider | None] = {}

    def resource(self) -> Resource:
        """The resource of the app's provider, which it may install after us; else our own."""
        resource = getattr(trace.get_tracer_provider(), "resource", None)
        return resource if isinstance(resource, Resource) else self._own.resource

    def ids(self, parent: SpanContext | None) -> SpanContext:
        """The ids of a new span, from a generator of our own.

        The SDK draws them from the `random` module. An app that seeds it would get the same ids
        in every run, and calls with the same ids are taken for one; and it would see its own
        random numbers change.
        """
        draw = self._random.getrandbits
        if parent is None:
            return SpanContext(draw(128) or 1, draw(64) or 1, False, _SAMPLED_AT_RANDOM)
        flags = TraceFlags(parent.trace_flags | TraceFlags.SAMPLED)
        return SpanContext(parent.trace_id, draw(64) or 1, False, flags)

    def provider(self, host: str, port: int | None) -> Provider | None:
        """The provider behind a host; None for a host that is none of our business."""
        try:
            return self._providers[host, port]
        except KeyError:
            found = provider_of(host, port, self.settings.hosts)
            if len(self._providers) < _MAX_HOSTS:
                self._providers[host, port] = found
            return found

    def reset(self) -> None:
        """Start afresh in a forked child, which would draw the ids that its parent draws."""
        self._random = random.Random()  # noqa: S311
        self.queue.reset()


_SAMPLED_AT_RANDOM: Final = TraceFlags(
    TraceFlags.SAMPLED | getattr(TraceFlags, "RANDOM_TRACE_ID", 0)
)
"""Older SDKs do not know that an id may be random."""


_current: Pipeline | None = None
_pipelines: list[Pipeline] = []
"""The current one, and stopped ones that may still have spans to deliver."""


def start(settings: Settings) -> None:
    """Start a pipeline, unless one runs."""
    global _current  # noqa: PLW0603
    if _current is not None:
        return
    _current = next((one for one in _pipelines if one.settings == settings), None)
    if _current is None:
        _current = Pipeline(settings)
        _pipelines[:] = [one for one in _pipelines if len(one.queue)] + [_current]


def current() -> Pipeline | None:
    """The running pipeline; None while metering is off."""
    return _current


def stop() -> None:
    """Take no more calls. Those that have begun still end, and are sent in the background."""
    global _current
    pipeline, _current = _current, None
    if pipeline is not None:
        pipeline.queue.stop()


_LONGEST_WAIT = 86_400.0
"""Seconds; locks cannot wait for ever, and `flush(math.inf)` is not worth an exception."""


def flush(timeout: float) -> bool:
    """Wait up to `timeout` seconds for everything ended so far to be delivered."""
    deadline = time.monotonic() + min(max(0.0, timeout), _LONGEST_WAIT)
    delivered = True
    for pipeline in list(_pipelines):
        remaining = max(0.0, deadline - time.monotonic())
        delivered &= pipeline.queue.force_flush(int(remaining * 1000))
    return delivered


_WORKER_END: Final = 0.5
"""Seconds the end of the process waits for a worker that is not in the middle of an export."""

_exit_waited = 0.0
"""Seconds the end of the process has waited for us so far."""


@guarded
def _before_exit() -> None:
    """Deliver what is there while exporters can be loaded and threads started.

    They cannot be any more when `atexit` runs, because threads have been shut down by then.
    """
    _flush_at_exit()


@guarded
def _at_exit() -> None:
    """Deliver the rest: calls still open now, and those of threads that outlived the main one."""
    from microdollar import _call  # noqa: PLC0415

    _call.finish_all()
    _flush_at_exit()
    dropped = _boot.current().dropped_calls
    lost = dropped + sum(len(one.queue) for one in _pipelines)
    if lost:
        warn_once(
            "lost",
            "%s not delivered%s; %s in no ledger",
            "1 call was" if lost == 1 else f"{lost} calls were",
            f" ({dropped} of them dropped when the queue was full)" if dropped else "",
            "it is" if lost == 1 else "they are",
        )
    for pipeline in _pipelines:
        # A subinterpreter can only be ended when no thread runs in it any more.
        pipeline.queue.shutdown(_WORKER_END)


def _flush_at_exit() -> None:
    from microdollar import _call  # noqa: PLC0415

    global _exit_waited  # noqa: PLW0603
    start = time.monotonic()
    limit = max((one.settings.exit_timeout for one in _pipelines), default=0.0)
    remaining = max(0.0, limit - _exit_waited)
    for pipeline in _pipelines:
        pipeline.queue.prepare_exit(remaining, expected=_call.any_open())
    flush(remaining - (time.monotonic() - start))
    _exit_waited += time.monotonic() - start


def _after_fork() -> None:
    for pipeline in _pipelines:
        pipeline.reset()


def _watch(util: ModuleType) -> None:
    """A forked child of `multiprocessing` ends without `atexit`, but with finalizers."""
    util.register_after_fork(Pipeline, lambda _: util.Finalize(None, _at_exit, exitpriority=0))


atexit.register(_at_exit)
if hasattr(threading, "_register_atexit"):  # as concurrent.futures does, and ahead of it
    import concurrent.futures.thread  # noqa: F401

    threading._register_atexit(_before_exit)
wrapt.register_post_import_hook(guarded(_watch), "multiprocessing.util")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
