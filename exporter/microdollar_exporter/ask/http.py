# SPDX-License-Identifier: Apache-2.0
"""Questions over HTTP while the exporter writes: read-only SQL, answered as an Arrow stream."""

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

__all__ = ["ask_routes"]

QUERY_SECONDS = 60.0
"""A query that runs longer is interrupted."""
_BATCH_ROWS = 10_000
_ARROW = "application/vnd.apache.arrow.stream"

Cursor = Callable[[], duckdb.DuckDBPyConnection]
Counters = Callable[[], Mapping[str, int]]


def ask_routes(cursor: Cursor, token: str, counters: Counters) -> list[Route]:
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
            answer = await run_in_threadpool(_Answer, cursor(), query, parameters)
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
        return JSONResponse({"status": "ok"})

    return [
        Route("/v1/sql", sql, methods=["POST"]),
        Route("/v1/status", status),
        Route("/healthz", health),
    ]


class _Answer:
    """One running query; raises before the first byte of an answer is sent where it can."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any]) -> None:
        self._con = con
        self._watchdog = threading.Timer(QUERY_SECONDS, con.interrupt)
        self._watchdog.daemon = True
        self._watchdog.start()
        try:
            check_select(con, sql)
            self._reader = con.sql(sql, params=parameters).to_arrow_reader(_BATCH_ROWS)
        except duckdb.InterruptException as error:
            self._end()
            raise QueryFailed(f"the query ran longer than {QUERY_SECONDS:.0f} seconds") from error
        except duckdb.Error as error:
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
        self._con.close()


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
