# SPDX-License-Identifier: Apache-2.0
"""Questions over HTTP while the exporter writes: SQL as an Arrow stream, and reports as JSON.

SQL is for whoever may read everything: nothing short of a parser for all of SQL could keep a
query to one customer's rows. Who may read one customer gets reports, whose every row passes one
condition that the asker does not write.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.http import body_of, error_answer
from microdollar_exporter.access.scopes import METRICS, READ
from microdollar_exporter.ask.readonly import check_select
from microdollar_exporter.errors import MicrodollarError, QueryFailed, UsageError

__all__ = ["Queries", "ask_routes"]

QUERY_SECONDS = 60.0
"""A query that runs longer is interrupted."""
_LOOK_SECONDS = 0.5
_TURN_SECONDS = 0.05
_BATCH_ROWS = 10_000
_ARROW = "application/vnd.apache.arrow.stream"
_REPORT_OPTIONS = ("by", "from", "to", "customer", "as_of")

Counters = Callable[[], Mapping[str, Any]]


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

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT of this process's own, as `Connection.sql` does."""
        return _Answer(self, self.begin(), query, list(parameters)).table()

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


def ask_routes(queries: Queries, guard: Guard, counters: Counters) -> list[Route]:
    """`POST /v1/sql`, `GET /v1/report` and `GET /v1/status`, each for a token with its scope."""

    async def sql(request: Request) -> Response:
        try:
            guard.check(request.headers.get("authorization"), READ)
            query, parameters = _query(await body_of(request))
            con = queries.begin()
            leaving = asyncio.create_task(_interrupt_when_gone(request, con))
            try:
                answer = await run_in_threadpool(_Answer, queries, con, query, parameters)
            finally:
                leaving.cancel()
        except MicrodollarError as error:
            return error_answer(error)
        return StreamingResponse(answer.stream(), media_type=_ARROW)

    async def report(request: Request) -> Response:
        try:
            grant = guard.grant(request.headers.get("authorization"))
            asked = _report_options(request.query_params)
            asked["customer"] = grant.reads(asked["customer"])
            text = await run_in_threadpool(_report, queries, asked)
        except MicrodollarError as error:
            return error_answer(error)
        return Response(text, media_type="application/json")

    async def status(request: Request) -> Response:
        try:
            guard.grant(request.headers.get("authorization")).require(METRICS)
        except MicrodollarError as error:
            return error_answer(error)
        return JSONResponse(dict(counters()))

    return [
        Route("/v1/sql", sql, methods=["POST"]),
        Route("/v1/report", report),
        Route("/v1/status", status),
    ]


def _query(body: bytes) -> tuple[str, list[Any]]:
    try:
        asked = json.loads(body)
        query, parameters = asked["sql"], asked.get("parameters", [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError('send {"sql": "SELECT …", "parameters": []}') from error
    if not isinstance(query, str) or not isinstance(parameters, list):
        raise UsageError("sql is a text and parameters a list")
    return query, parameters


def _report_options(given: QueryParams) -> dict[str, str | None]:
    for name in given:
        if name not in _REPORT_OPTIONS or len(given.getlist(name)) > 1:
            known = ", ".join(_REPORT_OPTIONS)
            raise UsageError(f"give each of {known} at most once, and nothing else")
    return {name: given.get(name) for name in _REPORT_OPTIONS}


def _report(queries: Queries, asked: Mapping[str, str | None]) -> str:
    """What `microdollar report --format json` prints."""
    from microdollar_exporter.ask.render import render  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.ask.report import report_on  # noqa: PLC0415 - loads pandas

    by = "customer" if asked["by"] is None else asked["by"]
    made = report_on(
        queries,
        by,
        from_=asked["from"],
        to=asked["to"],
        customer=asked["customer"],
        as_of=asked["as_of"],
    )
    return render(made, "json")


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

    def table(self) -> pa.Table:
        """The whole answer.

        Raises:
            QueryFailed: it was interrupted.
        """
        try:
            return self._reader.read_all()
        except (duckdb.Error, pa.ArrowException) as error:
            raise QueryFailed(str(error)) from error
        finally:
            self._end()

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
