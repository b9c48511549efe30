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

__all__ = ["Ingest", "RefusedExport"]

log = logging.getLogger(__name__)


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
        self._reasons_logged: set[str] = set()
        self.counters: Counter[str] = Counter()

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
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError as error:
            raise MalformedRequest(
                "the body is not an OTLP ExportTraceServiceRequest in protobuf"
            ) from error
        reduced = reduce(request)
        if reduced.evidence:
            await asyncio.wrap_future(self._writer.submit(reduced.evidence))
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
        for reason in reduced.refused:
            self._log_once(reason, f"spans are refused: {reason}")
        for name in reduced.values_dropped:
            self._log_once(name, f"values of {name} are dropped: too long, or not of their type")

    def _log_once(self, key: str, message: str) -> None:
        if key not in self._reasons_logged:
            self._reasons_logged.add(key)
            log.warning("%s (said once; GET /v1/status counts them)", message)
