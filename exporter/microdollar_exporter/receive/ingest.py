# SPDX-License-Identifier: Apache-2.0
"""What both OTLP doors do with an export request: decode, reduce, and wait until it is durable."""

import asyncio
import logging
from collections import Counter

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from microdollar_exporter.errors import MalformedRequest, MicrodollarError
from microdollar_exporter.receive.status import Refusal, refusal
from microdollar_exporter.reduce import Reduced, reduce
from microdollar_exporter.store.writer import Writer

__all__ = ["MAX_REQUEST_BYTES", "Ingest", "RefusedExport"]

log = logging.getLogger(__name__)

_COUNTERS = (
    "requests",
    "requests_refused",
    "spans_evidence",
    "spans_ignored",
    "spans_refused",
    "values_dropped",
)
_MAX_LOGGED = 1000

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Far above gRPC's default of 4 MiB: a sender drops what is refused for its size."""


class RefusedExport(Exception):
    """An export that must be answered with `refusal` instead of a response."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Ingest:
    """Takes export requests as bytes; counts what becomes of their spans.

    `counters` has `requests`, `requests_refused`, `spans_evidence`, `spans_ignored` (not GenAI),
    `spans_refused` and `values_dropped`.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._logged: set[tuple[str, str]] = set()
        self.counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))

    def refuse(self, reason: str) -> None:
        """Count a request that a door does not let in, and log each reason once."""
        self.counters["requests"] += 1
        self.counters["requests_refused"] += 1
        self._log_once("refused", reason, logging.WARNING, f"a request is refused: {reason}")

    async def export(self, body: bytes) -> ExportTraceServiceResponse:
        """Store the GenAI spans of a request; returns once they are durable.

        Raises:
            RefusedExport: nothing of the request is promised; it says whether to send again.
        """
        self.counters["requests"] += 1
        try:
            return await self._export(body)
        except Exception as error:
            if isinstance(error, MicrodollarError):
                log.warning("an export is refused: %s", error)
            else:
                log.exception("an export could not be taken; the sender is asked to send again")
            self.counters["requests_refused"] += 1
            raise RefusedExport(refusal(error)) from error

    async def _export(self, body: bytes) -> ExportTraceServiceResponse:
        if len(body) > MAX_REQUEST_BYTES:
            raise MalformedRequest(f"a request may have {MAX_REQUEST_BYTES} bytes")
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError as error:
            raise MalformedRequest(
                "the body is not an OTLP ExportTraceServiceRequest in protobuf"
            ) from error
        reduced = reduce(request)
        if reduced.evidence:
            unstorable = await asyncio.wrap_future(self._writer.submit(reduced.evidence))
            if unstorable:
                reduced.refused["a value cannot be stored; the exporter's log says more"] = (
                    unstorable
                )
        self._count(reduced)
        response = ExportTraceServiceResponse()
        if reduced.refused:
            response.partial_success.rejected_spans = reduced.refused.total()
            response.partial_success.error_message = "; ".join(
                f"{count} spans: {reason}" for reason, count in sorted(reduced.refused.items())
            )
        return response

    def _count(self, reduced: Reduced) -> None:
        self.counters["spans_evidence"] += len(reduced.evidence)
        self.counters["spans_ignored"] += reduced.ignored
        self.counters["spans_refused"] += reduced.refused.total()
        self.counters["values_dropped"] += reduced.values_dropped.total()
        for service in {item.service for item in reduced.evidence}:
            self._log_once("service", str(service), logging.INFO, f"first calls of {service}")
        for reason in reduced.refused:
            self._log_once("span", reason, logging.WARNING, f"spans are refused: {reason}")
        for name in reduced.values_dropped:
            message = f"values of {name} are dropped: too long, or not of their type"
            self._log_once("value", name, logging.WARNING, message)

    def _log_once(self, kind: str, key: str, level: int, message: str) -> None:
        # The names come from senders, who may think up any number of them.
        if (kind, key) not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add((kind, key))
            log.log(level, "%s (said once; GET /v1/status counts)", message)
