# SPDX-License-Identifier: Apache-2.0
"""What both OTLP doors do with an export request: let it in, reduce it, wait until it is durable.

Whatever goes wrong on the way becomes a refusal of the error law, and is counted by its reason.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple, Protocol, TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.scopes import INGEST
from microdollar_exporter.aside import Reduces
from microdollar_exporter.errors import MicrodollarError, TooLarge, TooSlow
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.receive.encodings import unpack
from microdollar_exporter.receive.limits import Gate, Held
from microdollar_exporter.receive.otlp_json import NOT_A_SPAN, to_protobuf
from microdollar_exporter.receive.status import Refusal, refusal
from microdollar_exporter.reduce import Reduced, Reducer

__all__ = ["Body", "Door", "Ingest", "Read", "RefusedExport"]

log = logging.getLogger(__name__)

Door = Literal["grpc", "http"]

_ARRIVAL_SECONDS = 60.0
"""A request that takes longer to arrive gives its place to others."""
_ASIDE_BYTES = 64 * 1024
"""Beyond this a request is worked on aside: small ones take less time than to pass them on."""
_JSON_SHARE = 4
"""Reading JSON takes some times the memory of protobuf, so a request may have this much less."""
_UNSTORABLE = "cannot be stored, or older than what is kept; the exporter's log says more"
_MAX_LOGGED = 1000
_DAY_SECONDS = 86_400.0
_SILENT_SECONDS = 60.0
"""How long a reason that was logged is not logged again."""

_Result = TypeVar("_Result")


class Body(NamedTuple):
    """A request as it came: its bytes, and what HTTP says of them."""

    content: bytes
    encoding: str = "identity"
    is_json: bool = False


Read = Callable[[Held], Awaitable[Body]]
"""Gives a request once it has arrived, and says meanwhile how much of it has."""


class RefusedExport(Exception):
    """An export that must be answered with `refusal` instead of a response."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Submits(Protocol):
    """What is asked of the writer."""

    def submit(self, evidence: Sequence[Evidence]) -> "Future[int]": ...


Observe = Callable[[Door, float, float], None]
"""Told of each acknowledged request that held evidence: how long it took, and how long before its
acknowledgement its oldest span had ended; both in seconds."""


class Ingest:
    """Takes export requests; counts what becomes of them and of their spans.

    `requests` counts by door what came; of it, `refused` counts by reason what was not let in or
    not stored, and `abandoned` what its sender did not wait for. `spans` counts what is `evidence`,
    and `ignored` for not being GenAI; `spans_ahead` those of the evidence that begin a day from now
    or later, by a clock that is wrong: they are booked for that time. `spans_refused` counts by
    reason what can never be stored, and `values_dropped` by attribute what is too long,
    unprintable or not of its type.
    """

    def __init__(
        self,
        writer: _Submits,
        guard: Guard,
        gate: Gate,
        observe: Observe = lambda _door, _seconds, _lag: None,
        *,
        reducer: Reduces | None = None,
        reducer_aside: Reduces | None = None,
    ) -> None:
        """`reducer` is for small requests, on the thread of the doors; the other for large ones.

        What they remember is not shared, so they are two.
        """
        self._writer = writer
        self._guard = guard
        self._gate = gate
        self._observe = observe
        self._aside = ThreadPoolExecutor(1, "microdollar-reducer")
        self._reducer = reducer or Reducer()
        self._reducer_aside = reducer_aside or Reducer()
        self._logged: set[tuple[str, str]] = set()
        self._silent_until: dict[str, float] = {}
        self.requests: Counter[str] = Counter(grpc=0, http=0)
        self.refused: Counter[str] = Counter()
        self.abandoned = 0
        self.spans: Counter[str] = Counter(evidence=0, ignored=0)
        self.spans_ahead = 0
        self.spans_refused: Counter[str] = Counter()
        self.values_dropped: Counter[str] = Counter()

    @property
    def max_bytes(self) -> int:
        """How large one request may be."""
        return self._gate.bounds.request_bytes

    async def export(
        self,
        door: Door,
        authorization: str | None,
        size: int,
        read: Read,
    ) -> ExportTraceServiceResponse:
        """Store the GenAI spans of a request; returns once they are durable.

        `read` is called once the request is let in, and gives what has arrived; `size` is how much
        that will be, as far as is known.

        Raises:
            RefusedExport: nothing of the request is promised; it says whether to send again.
        """
        began = time.monotonic()
        self.requests[door] += 1
        try:
            who = self._guard.check(authorization, INGEST).who
            async with self._gate.enter(who, size) as held:
                reduced = await self._reduce(await _in_time(read(held)), held)
                await self._store(reduced)
                self._gate.sent(who, _spans(reduced))
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        except Exception as error:
            raise RefusedExport(self._refuse(error)) from error
        self._count(reduced)
        if reduced.evidence:
            ended = min(reduced.evidence.ended_at) / 1e6
            self._observe(door, time.monotonic() - began, time.time() - ended)
        return _response(reduced)

    def close(self) -> None:
        """End the thread of its own."""
        self._aside.shutdown()

    async def _reduce(self, body: Body, held: Held) -> Reduced:
        content = body.content
        limit = self.max_bytes // _JSON_SHARE if body.is_json else self.max_bytes
        if body.encoding != "identity":
            content = await self._aside_from(unpack, body.encoding, content, limit)
        if len(content) > limit:
            raise TooLarge(f"a request may have {limit} bytes: send smaller batches")
        held.resize(len(content))
        if body.is_json:
            content, not_spans = await self._aside_from(to_protobuf, content)
            reduced = await self._aside_from(self._reducer_aside.reduce, content)
            if not_spans:
                reduced.refused[NOT_A_SPAN] = not_spans
            return reduced
        if len(content) > _ASIDE_BYTES:
            return await self._aside_from(self._reducer_aside.reduce, content)
        return self._reducer.reduce(content)

    async def _aside_from(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._aside, function, *arguments)

    async def _store(self, reduced: Reduced) -> None:
        if reduced.evidence:
            unstorable = await asyncio.wrap_future(self._writer.submit(reduced.evidence))
            if unstorable:
                reduced.refused[_UNSTORABLE] += unstorable

    def _refuse(self, error: Exception) -> Refusal:
        refused = refusal(error)
        self.refused[refused.reason] += 1
        now = time.monotonic()
        if now >= self._silent_until.get(refused.reason, now):
            self._silent_until[refused.reason] = now + _SILENT_SECONDS
            known = isinstance(error, MicrodollarError)
            log.log(
                logging.WARNING if known else logging.ERROR,
                "an export is refused: %s; %d so far for this reason (said once a minute)",
                error if known else "a fault",
                self.refused[refused.reason],
                exc_info=None if known else error,
            )
        return refused

    def _count(self, reduced: Reduced) -> None:
        self.spans["evidence"] += len(reduced.evidence)
        self.spans["ignored"] += reduced.ignored
        self.spans_refused.update(reduced.refused)
        self.values_dropped.update(reduced.values_dropped)
        self._count_ahead(reduced)
        for service in {profile.service for profile in set(reduced.evidence.profiles)}:
            self._log_once("service", str(service), logging.INFO, f"first calls of {service}")
        for reason in reduced.refused:
            self._log_once("span", reason, logging.WARNING, f"spans are refused: {reason}")
        for name in reduced.values_dropped:
            message = f"values of {name} are dropped: too long, unprintable, or not of their type"
            self._log_once("value", name, logging.WARNING, message)

    def _count_ahead(self, reduced: Reduced) -> None:
        starts, tomorrow = reduced.evidence.started_at, (time.time() + _DAY_SECONDS) * 1e6
        if not starts or max(starts) < tomorrow:
            return
        for profile, start in zip(reduced.evidence.profiles, starts, strict=True):
            if start >= tomorrow:
                self.spans_ahead += 1
                message = f"spans of {profile.service} begin in the future, and are booked there"
                self._log_once("ahead", str(profile.service), logging.WARNING, message)

    def _log_once(self, kind: str, key: str, level: int, message: str) -> None:
        # The names come from senders, who may think up any number of them.
        if (kind, key) not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add((kind, key))
            log.log(level, "%s (said once; GET /metrics counts)", message)


async def _in_time(arriving: Awaitable[Body]) -> Body:
    try:
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            return await arriving
    except TimeoutError:
        raise TooSlow(f"the request did not arrive within {_ARRIVAL_SECONDS:.0f} s") from None


def _spans(reduced: Reduced) -> int:
    return len(reduced.evidence) + reduced.ignored + reduced.refused.total()


def _response(reduced: Reduced) -> ExportTraceServiceResponse:
    response = ExportTraceServiceResponse()
    if reduced.refused:
        response.partial_success.rejected_spans = reduced.refused.total()
        response.partial_success.error_message = "; ".join(
            f"{count} spans: {reason}" for reason, count in sorted(reduced.refused.items())
        )
    return response
