# SPDX-License-Identifier: Apache-2.0
"""An OTLP/gRPC server that stands where the exporter would, and records what reaches it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

__all__ = ["RecordingBackend", "recording_backend"]

TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"


class RecordingBackend:
    """Answers OK, or UNAVAILABLE to the next `refuse` exports, and keeps the bytes of both."""

    def __init__(self) -> None:
        self.port = 0
        self._changed = threading.Condition()
        self._refuse: float = 0
        self._refused: list[bytes] = []
        self._accepted: list[bytes] = []

    @property
    def endpoint(self) -> str:
        """Its `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def accepted(self) -> list[ExportTraceServiceRequest]:
        """The exports answered with OK."""
        with self._changed:
            return [ExportTraceServiceRequest.FromString(body) for body in self._accepted]

    @property
    def refused(self) -> list[ExportTraceServiceRequest]:
        """The exports answered with UNAVAILABLE."""
        with self._changed:
            return [ExportTraceServiceRequest.FromString(body) for body in self._refused]

    @property
    def received_bytes(self) -> bytes:
        """Everything it was ever sent, as it came, after decompression."""
        with self._changed:
            return b"".join(self._refused + self._accepted)

    @property
    def resource_spans(self) -> list[ResourceSpans]:
        """The resources of the exports answered with OK."""
        return [one for export in self.accepted for one in export.resource_spans]

    @property
    def scope_spans(self) -> list[ScopeSpans]:
        """The scopes of the exports answered with OK."""
        return [one for resource in self.resource_spans for one in resource.scope_spans]

    @property
    def spans(self) -> list[Span]:
        """The spans of the exports answered with OK, redelivered ones again."""
        return [span for scope in self.scope_spans for span in scope.spans]

    @property
    def resources(self) -> list[Resource]:
        """The resources of the exports answered with OK."""
        return [one.resource for one in self.resource_spans]

    def refuse(self, exports: float) -> None:
        """Answer UNAVAILABLE to that many exports from now on (`inf`: until told otherwise)."""
        with self._changed:
            self._refuse = exports

    def wait_for_spans(self, ids: set[bytes], timeout: float = 60) -> None:
        """Return once spans of all these ids have been accepted; fail after `timeout` seconds."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: ids <= {span.span_id for span in self.spans}, timeout
            )
        assert arrived, f"{len(ids - {span.span_id for span in self.spans})} spans never arrived"

    def wait_for_refusals(self, count: int, timeout: float = 60) -> None:
        """Return once that many exports have been refused; fail after `timeout` seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._refused) >= count, timeout)

    def export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        """The `Export` method of the trace service, on undecoded messages."""
        with self._changed:
            refused = self._refuse > 0
            self._refuse -= refused
            (self._refused if refused else self._accepted).append(body)
            self._changed.notify_all()
        if refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "refused by the test")
        return ExportTraceServiceResponse().SerializeToString()


@contextmanager
def recording_backend() -> Iterator[RecordingBackend]:
    """A backend that listens on a free port until the block ends."""
    backend = RecordingBackend()
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    export = grpc.unary_unary_rpc_method_handler(backend.export)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(TRACES, {"Export": export}),)
    )
    backend.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield backend
    finally:
        server.stop(grace=None).wait()
