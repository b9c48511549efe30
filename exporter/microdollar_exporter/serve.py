# SPDX-License-Identifier: Apache-2.0
"""The exporter as one process: the parts joined, started, and stopped without losing anything."""

import asyncio
import contextlib
import functools
import logging
import secrets
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from microdollar_exporter.ask.connect import Card
from microdollar_exporter.ask.http import Queries, ask_routes
from microdollar_exporter.book import book
from microdollar_exporter.errors import StoreUnavailable, UsageError
from microdollar_exporter.price import Engine
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.receive import Ingest, otlp_routes, start_grpc
from microdollar_exporter.store import Store, Writer

__all__ = ["Address", "serve"]

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
"""How long what has begun may take to end; less than the 10 s after which supervisors kill."""
_PATIENCE_SECONDS = 10.0
"""How long to wait for a process that has the file open."""


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
        number = int(port) if port.isascii() and port.isdigit() else -1
        if not colon or not host or "/" in host or not 0 <= number <= 65535:
            raise UsageError(
                f"{option} is {text!r}: write HOST:PORT, as in 127.0.0.1:4317, without http://"
            )
        return cls(host.strip("[]"), number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def serve(db: Path, grpc: Address, http: Address) -> None:
    """Run the exporter until SIGTERM or SIGINT, then write what was accepted and close the file.

    Raises:
        UsageError: an address cannot be listened on.
        StoreError: the file cannot be used, or DuckDB has given up on it.
    """
    asyncio.run(_serve(db.resolve(), grpc, http))


async def _serve(db: Path, grpc: Address, http: Address) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # The addresses first: where they cannot be had, no new file is left behind.
    _bind("--grpc", grpc).close()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_bind("--http", http)))
        store = Store(db, patience=_PATIENCE_SECONDS)
        stack.callback(store.close)
        prices = import_genai_prices()
        store.record_book(prices)
        writer = Writer(
            store,
            functools.partial(book, price=Engine(prices).price),
            on_fatal=lambda: loop.call_soon_threadsafe(stop.set),
        )
        stack.callback(_close, writer, db)
        await _listen(stop, store, writer, grpc, listener)
        if store.broken:
            raise StoreUnavailable(
                f"DuckDB has given up on {db}: see the log, and start the exporter again; what was "
                "acknowledged is on disk"
            )


async def _listen(
    stop: asyncio.Event, store: Store, writer: Writer, grpc: Address, listener: socket.socket
) -> None:
    ingest = Ingest(writer)
    queries = Queries(store.cursor)
    token = secrets.token_urlsafe(32)

    def counters() -> dict[str, int]:
        return {
            **ingest.counters,
            "spans_stored": writer.stored,
            "spans_duplicate": writer.duplicates,
            "queries_running": len(queries),
        }

    host, port = listener.getsockname()[:2]
    asking = ask_routes(queries, token, counters, lambda: writer.healthy)
    config = uvicorn.Config(
        Starlette(routes=[*otlp_routes(ingest), *asking]),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=int(_GRACE_SECONDS),
    )
    http_server = _HttpServer(config)
    grpc_server, grpc_port = await start_grpc(ingest, str(grpc))
    card = Card(_reachable(host), port, token)
    http_task = asyncio.create_task(http_server.serve([listener]))
    try:
        card.write(store.path)
        log.info("ledger in %s", store.path)
        log.info("OTLP/gRPC on %s", Address(grpc.host, grpc_port))
        log.info("OTLP/HTTP and queries on %s", Address(host, port))
        await stop.wait()
        log.info("stopping: no new data is taken, what was accepted is written")
    finally:
        Card.path(store.path).unlink(missing_ok=True)
        http_server.should_exit = True
        await asyncio.gather(grpc_server.stop(_GRACE_SECONDS), queries.close(), http_task)


def _close(writer: Writer, db: Path) -> None:
    writer.close()
    log.info("closed %s; %d spans stored in this run", db, writer.stored)


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_serve`, which stops both doors."""
        yield


def _bind(option: str, address: Address) -> socket.socket:
    """Listen on an address; from then on clients are queued until they are served.

    Raises:
        UsageError: it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {address} ({error.strerror}): choose another address with {option} "
            "HOST:PORT"
        ) from error
    return listener


def _reachable(host: str) -> str:
    """Where a process on this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
