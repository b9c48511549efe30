# SPDX-License-Identifier: Apache-2.0
"""A real exporter process, as `microdollar serve` starts it."""

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from microdollar_exporter.ask.connect import Card

__all__ = ["Answer", "Exporter"]

_READY = re.compile(r"OTLP/HTTP and queries on \S+:(\d+)")
_GRPC = re.compile(r"OTLP/gRPC on \S+:(\d+)")
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Answer(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Exporter:
    """A context manager around `microdollar serve`; ports are free ones unless given.

    `options` are further ones of the command, and `environment` adds to that of the tests. With
    `tls` and `credentials` the doors are reached over TLS, under the name `localhost`.
    """

    def __init__(
        self,
        db: Path,
        *,
        grpc_port: int = 0,
        http_port: int = 0,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.db = db
        self.tls = tls
        self.credentials = credentials
        self.lines: list[str] = []
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "microdollar_exporter", "serve", "--db", str(db)),
                *("--grpc", f"127.0.0.1:{grpc_port}", "--http", f"127.0.0.1:{http_port}"),
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(60)
        if not _READY.search(self.log):
            self.kill()
            raise RuntimeError("the exporter did not start:\n" + "\n".join(self.lines))
        self.grpc_port = self._port(_GRPC)
        self.http_port = self._port(_READY)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has logged so far."""
        return "\n".join(self.lines)

    def export(
        self,
        request: ExportTraceServiceRequest,
        *,
        token: str | None = None,
        compression: grpc.Compression = grpc.Compression.NoCompression,
    ) -> ExportTraceServiceResponse:
        """Send one request over gRPC and wait for its acknowledgement."""
        body = request.SerializeToString()
        return self.export_bytes(body, token=token, compression=compression)

    def export_bytes(
        self,
        body: bytes,
        *,
        token: str | None = None,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        compression: grpc.Compression = grpc.Compression.NoCompression,
    ) -> ExportTraceServiceResponse:
        """Send whatever it is as one message over gRPC; gRPC's errors are raised."""
        if token is not None:
            metadata = [*metadata, ("authorization", f"Bearer {token}")]
        with self.channel() as channel:
            export = channel.unary_unary(_EXPORT)
            answer = export(body, timeout=60, metadata=metadata, compression=compression)
        return ExportTraceServiceResponse.FromString(answer)

    def channel(self) -> grpc.Channel:
        """A new channel to the gRPC door, for messages of any size."""
        unlimited = [("grpc.max_send_message_length", -1)]
        if self.credentials is None:
            return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", unlimited)
        return grpc.secure_channel(f"localhost:{self.grpc_port}", self.credentials, unlimited)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> Answer:
        """Send one request to the HTTP door."""
        headers = dict(headers or {})
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        connection = self.connection()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def connection(self) -> http.client.HTTPConnection:
        """A new connection to the HTTP door."""
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        return http.client.HTTPSConnection(
            "localhost", self.http_port, timeout=60, context=self.tls
        )

    @property
    def card(self) -> Card:
        """How its own commands reach it."""
        card = Card.read(self.db)
        assert card is not None
        return card

    def status(self) -> dict[str, Any]:
        """What became of the spans it was sent, by its own count."""
        connection = http.client.HTTPConnection(self.card.host, self.card.port, timeout=30)
        try:
            connection.request("GET", "/v1/status", headers=self.card.headers)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._process.kill()
        self._end()

    def terminate(self) -> int:
        """SIGTERM; returns the exit status once everything is written and closed."""
        self._process.send_signal(signal.SIGTERM)
        return self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.terminate()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip("\n"))
            if _READY.search(line):
                self._ready.set()
        self._ready.set()

    def _end(self) -> int:
        status = self._process.wait(60)
        self._reader.join(10)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def _port(self, pattern: re.Pattern[str]) -> int:
        found = pattern.search(self.log)
        assert found is not None, self.log
        return int(found[1])
