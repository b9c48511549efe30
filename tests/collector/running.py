# SPDX-License-Identifier: Apache-2.0
"""A Collector process with our configuration, on free ports of the loopback.

Standard library only, so that the demo can use it too.
"""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.collector.obtain import CONFIG
from tests.fakes.ports import free_ports

__all__ = ["CollectorFailed", "RunningCollector"]

HOST = "127.0.0.1"


class CollectorFailed(Exception):
    """The Collector ended, or did not become healthy in time; holds the end of its log."""


class RunningCollector:
    """One Collector, which may be killed and started again on the same ports and queue.

    `backend` is the `host:port` of the OTLP/gRPC server it exports to. Its queue lies in
    `folder/queue` and its log in `folder/collector.log`. `settings` are further `--set` values,
    `environment` further variables. As a context manager it is started and terminated.
    """

    def __init__(
        self,
        binary: Path,
        *,
        folder: Path,
        backend: str,
        settings: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        config: Path = CONFIG,
    ) -> None:
        self.storage = folder / "queue"
        self.log = folder / "collector.log"
        self.grpc_port, self.http_port, self._health_port = free_ports(3)
        self._command = [
            str(binary),
            f"--config={config}",
            # The Collector's own metrics have a fixed port, which a second one could not bind.
            "--set=service::telemetry::metrics::level=none",
            *(f"--set={setting}" for setting in settings),
        ]
        self._environment = {
            "OTEL_COLLECTOR_GRPC": f"{HOST}:{self.grpc_port}",
            "OTEL_COLLECTOR_HTTP": f"{HOST}:{self.http_port}",
            "OTEL_COLLECTOR_HEALTH": f"{HOST}:{self._health_port}",
            "OTEL_COLLECTOR_STORAGE": str(self.storage),
            "MICRODOLLAR_GRPC": backend,
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def grpc_endpoint(self) -> str:
        """Where it takes OTLP/gRPC, as a URL."""
        return f"http://{HOST}:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """Where it takes OTLP/HTTP, as a URL without the path of a signal."""
        return f"http://{HOST}:{self.http_port}"

    def start(self, timeout: float = 60) -> Self:
        """Start the process and return once its pipelines run.

        Raises:
            CollectorFailed: it ended, or was not healthy within `timeout` seconds.
        """
        if self._process is not None:
            raise CollectorFailed("already running")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + timeout
        while not self._healthy():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                what = "not healthy in time" if ended is None else f"ended with status {ended}"
                raise CollectorFailed(f"{what}\n{self._end_of_log()}")
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """End it at once (SIGKILL): no draining, no goodbye. Does nothing when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self, timeout: float = 60) -> None:
        """End it in order (SIGTERM). Does nothing when it has ended.

        Raises:
            CollectorFailed: it ended with an error, or had to be killed after `timeout` seconds.
        """
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise CollectorFailed(f"ignored SIGTERM\n{self._end_of_log()}") from error
        self._process = None
        if status != 0:
            raise CollectorFailed(f"ended with status {status}\n{self._end_of_log()}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.terminate()

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._health_port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])
