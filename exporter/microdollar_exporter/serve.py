# SPDX-License-Identifier: Apache-2.0
"""The exporter as one process: the parts joined, started, and stopped without losing anything."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.tls import Tls
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.aside import Reduces, ReducesAside
from microdollar_exporter.ask.connect import Card, Role
from microdollar_exporter.ask.http import Queries, ask_routes
from microdollar_exporter.customer import CUSTOMER_KEYS
from microdollar_exporter.errors import StoreLocked, StoreUnavailable, UsageError
from microdollar_exporter.listen import LOOPBACK, Address, HttpDoor, bind
from microdollar_exporter.markup import beside
from microdollar_exporter.operate import ACTS
from microdollar_exporter.operate.door import act_routes
from microdollar_exporter.operate.prices import USE_PRICES, OverridesAsked, PricesInUse
from microdollar_exporter.operate.pseudonyms import PseudonymReducer, Pseudonyms
from microdollar_exporter.operate.told import record_told
from microdollar_exporter.receive import Bounds, Gate, GrpcDoor, Ingest, otlp_routes
from microdollar_exporter.reduce import Reducer
from microdollar_exporter.store import Store, Writer
from microdollar_exporter.store.writer import WAITING_SPANS
from microdollar_exporter.telemetry.metrics import Metrics, Sources
from microdollar_exporter.telemetry.otlp import otlp_reader
from microdollar_exporter.telemetry.routes import telemetry_routes

__all__ = ["Settings", "serve"]

log = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005
_GRACE_SECONDS = 5.0
"""How long what has begun may take to end; less than the 10 s after which supervisors kill."""
_PATIENCE_SECONDS = 10.0
"""How long to wait for a process that has the file open."""
_TURN_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `microdollar serve` is told.

    `tokens` None is the token file beside the ledger; `insecure` lets anyone who reaches a door
    send spans; `otlp_metrics` sends the exporter's own metrics on. `customer_keys` are the
    attributes of other emitters that name a customer; `pseudonyms` is the file of the key by which
    pseudonyms are kept for names, None to keep names. `overrides` is the file of the operator's own
    prices, False for none and None for those in use.
    """

    db: Path
    grpc: Address
    http: Address
    tokens: Path | None = None
    insecure: bool = False
    tls: Tls | None = None
    bounds: Bounds = field(default_factory=Bounds)
    otlp_metrics: bool = False
    customer_keys: tuple[str, ...] = CUSTOMER_KEYS
    pseudonyms: Path | None = None
    overrides: OverridesAsked = None


def serve(settings: Settings) -> None:
    """Run the exporter until SIGTERM or SIGINT, then write what was accepted and close the file.

    Raises:
        UsageError: an address cannot be listened on, or should not be.
        StoreError: the file cannot be used, or DuckDB has given up on it.
    """
    # The writer comes and goes between Python and DuckDB: with the default of 5 ms each return
    # would wait for a request that is being read.
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    db = settings.db.resolve()
    tokens = TokenFile(settings.tokens) if settings.tokens else TokenFile.beside(db)
    _check_exposure(settings, tokens)
    pseudonyms = Pseudonyms.read(settings.pseudonyms) if settings.pseudonyms else None
    # The addresses first: where they cannot be had, no new file is left behind.
    bind("--grpc", settings.grpc).close()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(bind("--http", settings.http)))
        metrics = _metrics(settings, listener)
        stack.callback(metrics.close)
        store = await _open(db, stop)
        if store is None:
            return
        stack.callback(store.close)
        prices = await asyncio.to_thread(PricesInUse, store, settings.overrides)
        record_told(store, settings.customer_keys, pseudonyms.check if pseudonyms else None)
        writer = Writer(store, prices, on_fatal=lambda: loop.call_soon_threadsafe(stop.set))
        stack.callback(_close, writer, db)
        new_reducer = _new_reducer(settings, pseudonyms)
        reducer_aside = ReducesAside(new_reducer)
        stack.callback(reducer_aside.close)
        doors = _Doors(
            settings,
            stop=stop,
            store=store,
            writer=writer,
            prices=prices,
            tokens=tokens,
            metrics=metrics,
            reducer=new_reducer(),
            reducer_aside=reducer_aside,
        )
        await doors.serve(listener)
        if store.broken:
            raise StoreUnavailable(
                f"DuckDB has given up on {db}: see the log, and start the exporter again; what was "
                "acknowledged is on disk"
            )


def _new_reducer(settings: Settings, pseudonyms: Pseudonyms | None) -> Callable[[], Reduces]:
    if pseudonyms is None:
        return partial(Reducer, settings.customer_keys)
    return partial(PseudonymReducer, pseudonyms, settings.customer_keys)


def _exposed(settings: Settings) -> str:
    """The doors that other machines can reach, as the options that open them."""
    return " and ".join(
        f"{option} {address}"
        for option, address in (("--grpc", settings.grpc), ("--http", settings.http))
        if not address.is_loopback
    )


def _check_exposure(settings: Settings, tokens: TokenFile) -> None:
    """Refuse to stand open to other machines without having been told to."""
    exposed = _exposed(settings)
    by_certificate = settings.tls is not None and settings.tls.client_ca is not None
    if exposed and not (settings.insecure or by_certificate or tokens.in_force()):
        raise UsageError(
            f"other machines can reach {exposed}, and whoever can could write the ledger: make a "
            "token with `microdollar token create --scope ingest`, ask for client certificates "
            "with --tls-client-ca, listen on 127.0.0.1, or allow it with --insecure-no-auth"
        )


def _metrics(settings: Settings, listener: socket.socket) -> Metrics:
    if not settings.otlp_metrics:
        return Metrics()
    own = [listener.getsockname()[:2], (settings.grpc.host, settings.grpc.port)]
    return Metrics([otlp_reader(os.environ, own)])


async def _open(db: Path, stop: asyncio.Event) -> Store | None:
    """The ledger once no other process holds it; None when told to stop before that.

    Raises:
        StoreLocked: another process keeps it.
        StoreError: the file cannot be used.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    waited = False
    while not stop.is_set():
        try:
            # Aside, because a signal is heard between two turns of the loop.
            return await asyncio.to_thread(Store, db)
        except StoreLocked as error:
            if time.monotonic() > deadline:
                raise
            if not waited:
                log.info("waiting: %s", error)
            waited = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TURN_SECONDS)
    return None


def _close(writer: Writer, db: Path) -> None:
    writer.close()
    log.info("closed %s; %d spans stored in this run", db, writer.tally.stored)


class _Doors:
    """All doors of a running exporter, open from first to last together."""

    def __init__(
        self,
        settings: Settings,
        *,
        stop: asyncio.Event,
        store: Store,
        writer: Writer,
        prices: PricesInUse,
        tokens: TokenFile,
        metrics: Metrics,
        reducer: Reduces,
        reducer_aside: Reduces,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._store = store
        self._writer = writer
        self._tokens = tokens
        self._guard = guard = Guard(tokens, insecure=settings.insecure)
        self._gate = Gate(settings.bounds)
        self._ingest = Ingest(
            writer,
            guard,
            self._gate,
            metrics.observe,
            reducer=reducer,
            reducer_aside=reducer_aside,
        )
        self._queries = Queries(store.cursor)
        metrics.watch(Sources(self._ingest, self._gate, writer, self._queries.__len__))
        self._inner = [
            *ask_routes(self._queries, guard, self._counters, beside(settings.db.resolve())),
            *act_routes(writer.run, guard, {**ACTS, USE_PRICES: prices.use}),
            *telemetry_routes(guard, self._unready, metrics.text),
        ]

    async def serve(self, listener: socket.socket) -> None:
        """Until told to stop."""
        settings = self._settings
        grpc_door = GrpcDoor(self._ingest, lambda: self._writer.healthy)
        credentials = settings.tls.credentials() if settings.tls else None
        grpc_port = await grpc_door.start(str(settings.grpc), credentials)
        doors = [
            HttpDoor(
                listener,
                [*otlp_routes(self._ingest), *self._inner],
                _GRACE_SECONDS,
                settings.tls,
            )
        ]
        if settings.tls:
            # The commands of this machine need no certificate, and none can expire on them.
            doors.append(HttpDoor(bind("--http", LOOPBACK), self._inner, _GRACE_SECONDS))
        try:
            self._write_cards(doors[-1].address)
            log.info("ledger in %s", self._store.path)
            log.info("OTLP/gRPC on %s", Address(settings.grpc.host, grpc_port))
            log.info("OTLP/HTTP and queries on %s", doors[0].address)
            if self._tokens.in_force():
                log.info("tokens in %s", self._tokens.path)
            if settings.tls is None and _exposed(settings):
                log.warning("other machines can reach %s without TLS", _exposed(settings))
            await self._stop.wait()
            log.info("stopping: no new data is taken, what was accepted is written")
        finally:
            for role in Role:
                Card.path(self._store.path, role).unlink(missing_ok=True)
            await asyncio.gather(
                grpc_door.stop(_GRACE_SECONDS),
                self._queries.close(),
                *(door.stop() for door in doors),
            )
            self._ingest.close()

    def _write_cards(self, address: Address) -> None:
        """Say where and how the commands of this machine reach us; the one for reading last."""
        tokens = {Role.OPERATOR: self._guard.operator_token, Role.READER: self._guard.reader_token}
        for role, token in tokens.items():
            Card(address.reachable, address.port, token).write(self._store.path, role)

    def _counters(self) -> dict[str, Any]:
        """What `GET /v1/status` says."""
        ingest, tally = self._ingest, self._writer.tally
        return {
            "requests": ingest.requests.total(),
            "requests_refused": ingest.refused.total(),
            "requests_refused_by_reason": dict(ingest.refused),
            "requests_abandoned": ingest.abandoned,
            "requests_under_way": self._gate.requests,
            "bytes_under_way": self._gate.bytes,
            "spans_evidence": ingest.spans["evidence"],
            "spans_ignored": ingest.spans["ignored"],
            "spans_refused": ingest.spans_refused.total(),
            "values_dropped": ingest.values_dropped.total(),
            "spans_stored": tally.stored,
            "spans_duplicate": tally.duplicates,
            "queries_running": len(self._queries),
        }

    def _unready(self) -> str | None:
        """Why an export would be refused just now."""
        if self._stop.is_set():
            return "the exporter is stopping"
        if not self._writer.healthy:
            return "the last commit failed; the exporter's log says why"
        if self._gate.full or self._writer.waiting_spans >= WAITING_SPANS:
            return "too much is waiting to be written"
        return None
