# SPDX-License-Identifier: Apache-2.0
"""The identity of this run of this process, and the numbers that make its calls countable."""

import itertools
import os
import threading
import uuid

__all__ = ["Boot", "current"]


class Boot:
    """One run of one process. A forked child is a boot of its own."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.pid = os.getpid()
        self.dropped_calls = 0
        self._sequence = itertools.count(1)
        # Re-entrant, because a span may be dropped by a call that the garbage collector ends.
        self._lock = threading.RLock()

    def next_call(self) -> int:
        """The number of the next call, from 1."""
        return next(self._sequence)

    def drop(self) -> None:
        """Count a call whose span will never be sent."""
        with self._lock:
            self.dropped_calls += 1


_current = Boot()


def current() -> Boot:
    """The boot of this process."""
    return _current


def _after_fork() -> None:
    global _current  # noqa: PLW0603
    _current = Boot()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
