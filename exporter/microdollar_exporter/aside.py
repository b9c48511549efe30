# SPDX-License-Identifier: Apache-2.0
"""Reduce requests in a process of its own.

Reading spans is half of the work there is, and while one thread of a Python process reads them no
other runs: neither the one that writes nor the one that answers. So large requests are read next
door, in a process that has nothing but a reducer and a line to this one, and ends with it.
"""

import logging
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

from microdollar_exporter.batch import Batch
from microdollar_exporter.errors import Busy, MalformedRequest
from microdollar_exporter.evidence import Profile
from microdollar_exporter.reduce import Reduced

__all__ = ["Reduces", "ReducesAside"]

log = logging.getLogger(__name__)

_MAX_PROFILES: Final = 50_000
_ANSWER_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 5.0


class Reduces(Protocol):
    """What is asked of a `Reducer`, or of what stands in for one."""

    def reduce(self, body: bytes) -> Reduced:
        """Reduce every span of an export request.

        Raises:
            MalformedRequest: the body is not an OTLP request in protobuf.
        """


class ReducesAside:
    """Reduces in another process; in this one, where no other can be started. For one thread.

    `new_reducer` makes the reducer, there and here; it is pickled. As a rule all spans with one
    profile have the same object for it, in whatever request they come.
    """

    def __init__(self, new_reducer: Callable[[], Reduces]) -> None:
        self._new_reducer = new_reducer
        self._here: Reduces | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def reduce(self, body: bytes) -> Reduced:
        """As `Reduces.reduce`.

        Raises:
            Busy: the other process has ended, or does not answer. It may be for this request, which
                is therefore not read here, beside the ledger; there is another for the next.
        """
        if self._process is None:
            self._start()
        reduced = self._ask(body) if self._process is not None else None
        if reduced is None:
            self._here = self._here or self._new_reducer()
            reduced = self._here.reduce(body)
        return reduced

    def _ask(self, body: bytes) -> Reduced | None:
        try:
            self._line.send_bytes(body)
            if not self._line.poll(_ANSWER_SECONDS):
                raise TimeoutError  # noqa: TRY301 - it ends as what ends the other process
            return self._reads.reduced(self._line.recv_bytes())
        except MalformedRequest:
            raise
        except (OSError, EOFError) as error:
            log.warning("the process that reads requests is replaced: %s", type(error).__name__)
            self.close()
            raise Busy(
                "the process that reads large requests has ended: send this again"
            ) from error
        except BaseException:
            # What is left on the line would be taken for the answer to the next request.
            self.close()
            raise

    def close(self) -> None:
        """End the other process."""
        process, self._process = self._process, None
        if process is None:
            return
        self._line.close()
        try:
            process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        try:
            ours, theirs = socket.socketpair()
            with theirs, ours:
                self._process = subprocess.Popen(
                    # Not with the working directory among the places to import from.
                    [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
                self._line = Connection(ours.detach())
        except OSError as error:
            log.warning("no process to read requests in: %s; they are read in this one", error)
            return
        self._reads = _Reads()
        with suppress(OSError):
            self._line.send_bytes(pickle.dumps(self._new_reducer))


class _Reads:
    """Reads what `_Answers` says, and remembers the profiles that it has named."""

    def __init__(self) -> None:
        self._profiles: list[Profile] = []

    def reduced(self, answer: bytes) -> Reduced | None:
        """What has become of a request; None where it met a fault.

        Raises:
            MalformedRequest: the answer says so.
            EOFError: an answer before this one was never read.
        """
        known, new, places, columns, others = pickle.loads(answer)  # noqa: S301 - our own process
        if isinstance(others, MalformedRequest):
            raise others
        if known > len(self._profiles):
            raise EOFError
        # Those named before, unless it has begun to name them anew.
        del self._profiles[known:]
        self._profiles += new
        batch = Batch()
        for name, column in columns.items():
            setattr(batch, name, column)
        batch.profiles = list(map(self._profiles.__getitem__, places))
        reduced: Reduced | None = others
        if reduced is not None:
            reduced.evidence = batch
        return reduced


class _Answers:
    """The other end: reduces, and names each profile once."""

    def __init__(self, reducer: Reduces) -> None:
        self._reducer = reducer
        self._places: dict[Profile, int] = {}

    def to(self, body: bytes) -> bytes:
        """How many profiles are named already, the new ones, those of the spans, and all else."""
        try:
            reduced = self._reducer.reduce(body)
        except MalformedRequest as error:
            return pickle.dumps((len(self._places), [], [], {}, error))
        except Exception:
            # It will meet the same fault where faults are answered and counted.
            return pickle.dumps((len(self._places), [], [], {}, None))
        columns: dict[str, Any] = dict(vars(reduced.evidence))
        profiles: list[Profile] = columns.pop("profiles")
        if len(self._places) > _MAX_PROFILES:
            self._places.clear()
        known = len(self._places)
        places = [self._places.setdefault(profile, len(self._places)) for profile in profiles]
        new = list(islice(self._places, known, None)) if len(self._places) > known else []
        reduced.evidence = Batch()
        return pickle.dumps((known, new, places, columns, reduced), pickle.HIGHEST_PROTOCOL)


def _answer(line: Connection) -> None:
    """Answer until the line is closed, as it is when the process at its other end has ended."""
    new_reducer: Callable[[], Reduces] = pickle.loads(line.recv_bytes())  # noqa: S301 - our own
    answers = _Answers(new_reducer())
    while True:
        line.send_bytes(answers.to(line.recv_bytes()))


if __name__ == "__main__":
    # Who is told to stop tells us: a signal to all processes must not cut off what is under way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError, EOFError), Connection(int(sys.argv[1])) as line:
        _answer(line)
