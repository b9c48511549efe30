# SPDX-License-Identifier: Apache-2.0
"""A small OTLP/HTTP receiver that keeps every byte it is sent."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

OURS = "microdollar"


class Collector:
    """A context manager; `url` is its base URL. While `down`, it answers 503."""

    def __init__(self) -> None:
        self.down = False
        self._lock = threading.Lock()
        self._bodies: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self._read_body()
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                self.send_response_only(collector._take(self.path, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def _read_body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers["content-length"]))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _take(self, path: str, body: bytes) -> int:
        with self._lock:
            if self.down:
                return 503
            self._bodies.append((path, body))
            return 200

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self) -> list[bytes]:
        """The bodies sent to the standard path since this was last asked."""
        with self._lock:
            bodies, self._bodies = self._bodies, []
        return [body for path, body in bodies if path == "/v1/traces"]

    @property
    def bytes(self) -> bytes:
        """Everything received, of every signal."""
        with self._lock:
            return b"".join(body for _, body in self._bodies)

    def paths(self) -> set[str]:
        """The paths that were used."""
        with self._lock:
            return {path for path, _ in self._bodies}

    def spans(self, *, ours: bool = True) -> list[Span]:
        """The spans of our scope, or of all others."""
        with self._lock:
            bodies = [body for path, body in self._bodies if path == "/v1/traces"]
        return [
            span
            for body in bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if (scope.scope.name == OURS) is ours
        ]

    def services(self) -> set[str]:
        """The service names our spans came with."""
        with self._lock:
            bodies = [body for path, body in self._bodies if path == "/v1/traces"]
        return {
            attribute.value.string_value
            for body in bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            if any(scope.scope.name == OURS for scope in resource.scope_spans)
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


def attributes(span: Span) -> dict[str, Any]:
    """The attributes of a span as Python values."""
    values: dict[str, Any] = {}
    for attribute in span.attributes:
        kind = attribute.value.WhichOneof("value")
        assert kind is not None
        value = getattr(attribute.value, kind)
        values[attribute.key] = (
            [item.string_value for item in value.values] if kind == "array_value" else value
        )
    return values
