# SPDX-License-Identifier: Apache-2.0
"""The exporter as one process: the parts joined, started, and stopped without losing anything."""

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from microdollar_exporter.ask.connect import Card
from microdollar_exporter.ask.http import ask_routes
from microdollar_exporter.book import book
from microdollar_exporter.entry import Entry
from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.price import Engine
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.receive import Ingest, otlp_routes, start_grpc
from microdollar_exporter.store import Store, Writer

__all__ = ["Address", "serve"]

log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, option: str, text: str) -> "Address":
        """Read `HOST:PORT`; `option` names the option in the error.

        Raises:
            UsageError: the text is of another form.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65535:
            raise UsageError(f"{option} is {text!r}: write HOST:PORT, as in 127.0.0.1:4317")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def serve(db: Path, grpc: Address, http: Address) -> None:
    """Run the exporter until SIGTERM or SIGINT, then write what was accepted and close the file.

    Raises:
        UsageError: an address cannot be listened on.
        StoreError: the file cannot be used.
    """
    asyncio.run(_serve(db, grpc, http))


async def _serve(db: Path, grpc: Address, http: Address) -> None:
    store = Store(db)
    try:
        prices = import_genai_prices()
        store.record_book(prices)
        engine = Engine(prices)

        def entries(evidence: Sequence[Evidence]) -> list[Entry]:
            return book(evidence, engine.price)

        writer = Writer(store, entries)
        try:
            await _listen(db, store, writer, grpc, http)
        finally:
            writer.close()
            log.info("closed %s; %d spans stored in this run", db, writer.stored)
    finally:
        store.close()


async def _listen(db: Path, store: Store, writer: Writer, grpc: Address, http: Address) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    ingest = Ingest(writer)
    token = secrets.token_urlsafe(32)

    def counters() -> dict[str, int]:
        written = {"spans_stored": writer.stored, "spans_duplicate": writer.duplicates}
        return {**ingest.counters, **written}

    http_socket = _bind(http)
    with contextlib.closing(http_socket):
        grpc_server, grpc_port = await start_grpc(ingest, str(grpc))
        app = Starlette(routes=[*otlp_routes(ingest), *ask_routes(store.cursor, token, counters)])
        http_server = _HttpServer(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=int(_GRACE_SECONDS),
            )
        )
        http_task = asyncio.create_task(http_server.serve([http_socket]))
        http_port = http_socket.getsockname()[1]
        card = Card(_reachable(http.host), http_port, token)
        card.write(db)
        log.info("ledger in %s", db)
        log.info("OTLP/gRPC on %s", Address(grpc.host, grpc_port))
        log.info("OTLP/HTTP and queries on %s", Address(http.host, http_port))
        try:
            await stop.wait()
            log.info("stopping: no new data is taken, what was accepted is written")
        finally:
            Card.path(db).unlink(missing_ok=True)
            await grpc_server.stop(_GRACE_SECONDS)
            http_server.should_exit = True
            await http_task


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_listen`, which stops both doors."""
        yield


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        # From here on clients are queued: whoever reads the address card is answered.
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen for OTLP/HTTP on {address} ({error.strerror}): choose another address "
            "with --http HOST:PORT"
        ) from error
    return listener


def _reachable(host: str) -> str:
    """Where a process on this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
