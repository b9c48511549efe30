# SPDX-License-Identifier: Apache-2.0
"""A real exporter process, as `microdollar serve` starts it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self, cast

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from microdollar_exporter.ask.connect import Card

__all__ = ["Exporter"]

_READY = re.compile(r"OTLP/HTTP and queries on \S+:(\d+)")
_GRPC = re.compile(r"OTLP/gRPC on \S+:(\d+)")


class Exporter:
    """A context manager around `microdollar serve`; ports are free ones unless given."""

    def __init__(self, db: Path, *, grpc_port: int = 0, http_port: int = 0) -> None:
        self.db = db
        self.lines: list[str] = []
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "microdollar_exporter", "serve", "--db", str(db)),
                *("--grpc", f"127.0.0.1:{grpc_port}", "--http", f"127.0.0.1:{http_port}"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
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
    def log(self) -> str:
        """Everything it has logged so far."""
        return "\n".join(self.lines)

    def export(self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
        """Send one request over gRPC and wait for its acknowledgement."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            export = channel.unary_unary(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                request_serializer=ExportTraceServiceRequest.SerializeToString,
                response_deserializer=ExportTraceServiceResponse.FromString,
            )
            return cast(ExportTraceServiceResponse, export(request, timeout=30))

    def status(self) -> dict[str, int]:
        """What became of the spans it was sent, by its own count."""
        card = Card.read(self.db)
        assert card is not None
        connection = http.client.HTTPConnection(card.host, card.port, timeout=30)
        try:
            headers = {"authorization": f"Bearer {card.token}"}
            connection.request("GET", "/v1/status", headers=headers)
            found: dict[str, int] = json.loads(connection.getresponse().read())
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
