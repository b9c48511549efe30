# SPDX-License-Identifier: Apache-2.0
"""Questions over HTTP while the exporter writes: SQL as an Arrow stream, and reports as JSON.

SQL is for whoever may read everything: nothing short of a parser for all of SQL could keep a
query to one customer's rows. Who may read one customer gets reports, whose every row passes one
condition that the asker does not write.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.http import body_of, error_answer
from microdollar_exporter.access.scopes import METRICS, READ
from microdollar_exporter.ask.readonly import check_select
from microdollar_exporter.errors import MicrodollarError, QueryFailed, UsageError

__all__ = ["Queries", "ask_routes"]

QUERY_SECONDS = 60.0
"""A query that runs longer is interrupted."""
_CLOSE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_TURN_SECONDS = 0.05
_BATCH_ROWS = 10_000
_ARROW = "application/vnd.apache.arrow.stream"
_REPORT_OPTIONS = ("by", "from", "to", "customer", "as_of", "markup", "round")

Counters = Callable[[], Mapping[str, Any]]


class Queries:
    """Runs queries, each on a cursor of its own, and can end them all."""

    def __init__(self, cursor: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._cursor = cursor
        self._running: dict[duckdb.DuckDBPyConnection, threading.Timer] = {}
        self._lock = threading.Lock()
        self._closed = False

    def begin(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one query, which is interrupted when it takes too long.

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
            watchdog = self._running[con] = threading.Timer(QUERY_SECONDS, con.interrupt)
            watchdog.daemon = True
            watchdog.start()
            return con

    def end(self, con: duckdb.DuckDBPyConnection) -> None:
        """The query is over; only the first time counts."""
        with self._lock:
            watchdog = self._running.pop(con, None)
        if watchdog is not None:
            watchdog.cancel()
            con.close()

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT of this process's own, as `Connection.sql` does."""
        return _Answer(self, self.begin(), query, list(parameters)).table()

    def __len__(self) -> int:
        """How many are running."""
        return len(self._running)

    async def close(self) -> None:
        """Begin nothing more, and interrupt what runs until it has ended, for some seconds."""
        self._closed = True
        deadline = time.monotonic() + _CLOSE_SECONDS
        while self._running and time.monotonic() < deadline:
            with self._lock:
                for con in self._running:
                    con.interrupt()
            # Again, because a query that is only about to start does not hear it.
            await asyncio.sleep(_TURN_SECONDS)


def ask_routes(
    queries: Queries, guard: Guard, counters: Counters, markup_file: Path
) -> list[Route]:
    """`POST /v1/sql`, `GET /v1/report` and `GET /v1/status`, each for a token with its scope.

    A report has what customers pay if it is asked for, by the rules in `markup_file`. What is
    earned by them stands beside it, so it is for who may read everything.
    """

    async def sql(request: Request) -> Response:
        try:
            guard.check(request.headers.get("authorization"), READ)
            query, parameters = _query(await body_of(request))
            con = queries.begin()
            leaving = asyncio.create_task(_interrupt_when_gone(request, con))
            try:
                answer = await run_in_threadpool(_Answer, queries, con, query, parameters)
            except BaseException:
                queries.end(con)
                raise
            finally:
                leaving.cancel()
        except MicrodollarError as error:
            return error_answer(error)
        return _Streamed(answer)

    async def report(request: Request) -> Response:
        try:
            grant = guard.grant(request.headers.get("authorization"))
            asked = _report_options(request.query_params)
            asked["customer"] = grant.reads(asked["customer"])
            rules = None
            if asked["markup"] == "true":
                grant.require(READ)
                rules = markup_file
            text = await run_in_threadpool(_report, queries, asked, rules)
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
    if given.get("markup", "false") not in {"true", "false"}:
        raise UsageError(f"markup is {given['markup']!r}: choose true or false")
    return {name: given.get(name) for name in _REPORT_OPTIONS}


def _report(queries: Queries, asked: Mapping[str, str | None], rules: Path | None) -> str:
    """What `microdollar report --format json` prints."""
    from microdollar_exporter.ask.render import render  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.ask.report import report_on, unit_named  # noqa: PLC0415 - pandas
    from microdollar_exporter.markup import read  # noqa: PLC0415 - only with rules

    by = "customer" if asked["by"] is None else asked["by"]
    made = report_on(
        queries,
        by,
        from_=asked["from"],
        to=asked["to"],
        customer=asked["customer"],
        markup=None if rules is None else read(rules),
        unit=None if asked["round"] is None else unit_named(asked["round"]),
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
        try:
            check_select(con, sql)
            self._reader = con.sql(sql, params=parameters).to_arrow_reader(_BATCH_ROWS)
        except duckdb.InterruptException as error:
            self.end()
            raise QueryFailed(
                f"the query was interrupted: it ran longer than {QUERY_SECONDS:.0f} seconds, its "
                "client left, or the exporter stopped"
            ) from error
        except (duckdb.Error, UnicodeError) as error:
            self.end()
            raise QueryFailed(str(error)) from error
        except BaseException:
            self.end()
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
            self.end()

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
            self.end()

    def end(self) -> None:
        """Nobody asks for more of it."""
        self._queries.end(self._con)


class _Streamed(StreamingResponse):
    """An answer on its way, which is over even where its client has left before it began."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(answer.stream(), media_type=_ARROW)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.end()


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
