# SPDX-License-Identifier: Apache-2.0
"""Questions over HTTP while the exporter writes: read-only SQL, answered as an Arrow stream."""

import asyncio
import hmac
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from microdollar_exporter.ask.readonly import check_select
from microdollar_exporter.errors import QueryFailed, QueryRefused

__all__ = ["Queries", "ask_routes"]

QUERY_SECONDS = 60.0
"""A query that runs longer is interrupted."""
_LOOK_SECONDS = 0.5
_TURN_SECONDS = 0.05
_BATCH_ROWS = 10_000
_ARROW = "application/vnd.apache.arrow.stream"

Counters = Callable[[], Mapping[str, int]]


class Queries:
    """Runs queries, each on a cursor of its own, and can end them all."""

    def __init__(self, cursor: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._cursor = cursor
        self._running: set[duckdb.DuckDBPyConnection] = set()
        self._lock = threading.Lock()
        self._closed = False

    def begin(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one query.

        Raises:
            QueryFailed: the exporter is stopping, or has lost the file.
        """
        with self._lock:
            if self._closed:
                raise QueryFailed("the exporter is stopping")
            try:
                con = self._cursor()
            except duckdb.Error as error:
                raise QueryFailed(str(error)) from error
            self._running.add(con)
            return con

    def end(self, con: duckdb.DuckDBPyConnection) -> None:
        """The query is over."""
        with self._lock:
            self._running.discard(con)
        con.close()

    def __len__(self) -> int:
        """How many are running."""
        return len(self._running)

    async def close(self) -> None:
        """Begin nothing more, and interrupt what runs until it has ended."""
        self._closed = True
        while self._running:
            with self._lock:
                for con in self._running:
                    con.interrupt()
            # Again, because a query that is only about to start does not hear it.
            await asyncio.sleep(_TURN_SECONDS)


def ask_routes(
    queries: Queries, token: str, counters: Counters, healthy: Callable[[], bool]
) -> list[Route]:
    """`POST /v1/sql`, `GET /v1/status` and `GET /healthz`; the first two want the bearer token."""

    async def sql(request: Request) -> Response:
        if not _authorised(request, token):
            return _error(401, "send the exporter's token as a bearer token")
        try:
            body = await request.json()
            query, parameters = body["sql"], body.get("parameters", [])
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error(400, 'send {"sql": "SELECT …", "parameters": []}')
        if not isinstance(query, str) or not isinstance(parameters, list):
            return _error(400, "sql is a text and parameters a list")
        try:
            con = queries.begin()
            leaving = asyncio.create_task(_interrupt_when_gone(request, con))
            try:
                answer = await run_in_threadpool(_Answer, queries, con, query, parameters)
            finally:
                leaving.cancel()
        except QueryRefused as error:
            return _error(403, str(error))
        except QueryFailed as error:
            return _error(422, str(error))
        return StreamingResponse(answer.stream(), media_type=_ARROW)

    async def status(request: Request) -> Response:
        if not _authorised(request, token):
            return _error(401, "send the exporter's token as a bearer token")
        return JSONResponse(dict(counters()))

    async def health(_: Request) -> Response:
        if healthy():
            return JSONResponse({"status": "ok"})
        return _error(503, "the last commit failed; the exporter's log says why")

    return [
        Route("/v1/sql", sql, methods=["POST"]),
        Route("/v1/status", status),
        Route("/healthz", health),
    ]


async def _interrupt_when_gone(request: Request, con: duckdb.DuckDBPyConnection) -> None:
    """Nobody reads the answer of a client that has left."""
    while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(_LOOK_SECONDS)
    con.interrupt()


class _Answer:
    """One running query; raises before the first byte of an answer is sent where it can."""

    def __init__(
        self, queries: Queries, con: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any]
    ) -> None:
        self._queries = queries
        self._con = con
        self._watchdog = threading.Timer(QUERY_SECONDS, con.interrupt)
        self._watchdog.daemon = True
        self._watchdog.start()
        try:
            check_select(con, sql)
            self._reader = con.sql(sql, params=parameters).to_arrow_reader(_BATCH_ROWS)
        except duckdb.InterruptException as error:
            self._end()
            raise QueryFailed(
                f"the query was interrupted: it ran longer than {QUERY_SECONDS:.0f} seconds, its "
                "client left, or the exporter stopped"
            ) from error
        except (duckdb.Error, UnicodeError) as error:
            self._end()
            raise QueryFailed(str(error)) from error
        except BaseException:
            self._end()
            raise

    def stream(self) -> Iterator[bytes]:
        """The answer as an Arrow IPC stream; a stream without its end mark was broken off."""
        sink = _Sink()
        try:
            with pa.ipc.new_stream(sink, self._reader.schema) as writer:
                for batch in self._reader:
                    writer.write_batch(batch)
                    yield sink.taken()
            yield sink.taken()
        finally:
            self._end()

    def _end(self) -> None:
        self._watchdog.cancel()
        self._queries.end(self._con)


class _Sink:
    """A file to write to whose bytes are handed on as they come."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _authorised(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
