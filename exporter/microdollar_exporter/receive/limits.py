# SPDX-License-Identifier: Apache-2.0
"""How much may be under way at once, so that a flood waits at its senders and not in memory.

Under way is what was let in and is not yet durable. A request for which there is no room waits
before its door for a moment, while flow control keeps its bytes at the sender, and is then refused
with the time after which to send it again.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from microdollar_exporter.errors import Busy, RateLimited

__all__ = ["MEBIBYTE", "Bounds", "Gate", "Held"]

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of both OTLP doors together.

    `request_bytes` bounds one request, as it comes and once it is unpacked; `bytes` and `requests`
    bound what is under way. `spans_per_second` is what each token may send on average; None is
    without a limit. `patience` is how many seconds a request waits for room.
    """

    request_bytes: int = 64 * MEBIBYTE
    bytes: int = 256 * MEBIBYTE
    requests: int = 1000
    spans_per_second: int | None = None
    patience: float = 1.0


class Held:
    """What one request occupies of the gate's bytes: `size` of them."""

    def __init__(self, gate: "Gate", size: int) -> None:
        self._gate = gate
        self.size = size

    def resize(self, size: int) -> None:
        """Occupy this many bytes from now on.

        Raises:
            Busy: that is more than before, and there is no room for it.
        """
        self._gate.resize(self.size, size)
        self.size = size


class Gate:
    """Lets requests in while there is room, first come first served; for one event loop.

    `bytes` and `requests` are under way now, with those that wait. A request that is alone is let
    in whatever its size, so that none is refused for ever.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self.bytes = 0
        self.requests = 0
        self._clock = clock
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._due: dict[str, float] = {}

    @property
    def full(self) -> bool:
        """Whether there is no room just now."""
        return self.bytes >= self.bounds.bytes or self.requests >= self.bounds.requests

    @asynccontextmanager
    async def enter(self, who: str, size: int) -> AsyncIterator[Held]:
        """Let in a request of `size` bytes, or so; it is under way until the context ends.

        Raises:
            Busy: there is no room.
            RateLimited: `who` has sent too much already.
        """
        wait = self._due.get(who, 0.0) - self._clock()
        if wait > 0:
            limit = self.bounds.spans_per_second
            raise RateLimited(f"this token may send {limit} spans a second", math.ceil(wait))
        if self.requests >= self.bounds.requests:
            raise Busy(f"{self.requests} requests are waiting to be written")
        self.requests += 1
        try:
            await self._room(size)
            held = Held(self, size)
            try:
                yield held
            finally:
                held.resize(0)
        finally:
            self.requests -= 1

    def sent(self, who: str, spans: int) -> None:
        """Count what a request of `who` held: the next one has to wait until it is paid for."""
        if self.bounds.spans_per_second:
            now = self._clock()
            self._due[who] = max(self._due.get(who, now), now) + (
                spans / self.bounds.spans_per_second
            )

    def resize(self, size: int, to: int) -> None:
        """Occupy `to` bytes instead of `size`, for a request that is in.

        Raises:
            Busy: there is no room for more.
        """
        others = self.bytes - size
        if to > size and others and others + to > self.bounds.bytes:
            raise self._busy()
        self.bytes = others + to
        self._let_in()

    async def _room(self, size: int) -> None:
        """Occupy `size` bytes once there is room.

        Raises:
            Busy: there was none in time.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = size
        self._let_in()
        try:
            async with asyncio.timeout(self.bounds.patience):
                await turn
        except BaseException as error:
            if self._waiting.pop(turn, None) is None and not turn.cancelled():
                # It was let in at the very moment in which it gave up.
                self.bytes -= size
            self._let_in()
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _let_in(self) -> None:
        """Let in those who wait and for whom there is room, in their order."""
        while self._waiting:
            turn, size = next(iter(self._waiting.items()))
            if not turn.cancelled():
                if self.bytes and self.bytes + size > self.bounds.bytes:
                    return
                self.bytes += size
                turn.set_result(None)
            del self._waiting[turn]

    def _busy(self) -> Busy:
        return Busy(f"{self.bytes} bytes are waiting to be written")
