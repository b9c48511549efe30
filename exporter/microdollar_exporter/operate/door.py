# SPDX-License-Identifier: Apache-2.0
"""Do an act on a ledger from any process: through the exporter that serves it, else on its file.

While an exporter writes the file no other process can open it. It therefore does the act itself,
on its writer's thread, for whoever has a token with the scope `admin`; the operator's address card
beside the file has one, which who may write the ledger may read.
"""

import asyncio
import http.client
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.http import body_of, error_answer
from microdollar_exporter.access.scopes import ADMIN
from microdollar_exporter.ask.connect import Card, NotServed, Role, ledger_file
from microdollar_exporter.errors import (
    ActFailed,
    MicrodollarError,
    StoreLocked,
    StoreUnavailable,
    UsageError,
)
from microdollar_exporter.operate import ACTS, Act
from microdollar_exporter.store import Store

__all__ = ["act_routes", "ask_exporter", "perform"]

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5.0
_TURN_SECONDS = 0.1


class _Run(Protocol):
    """`Writer.run`: call a function with the store on the writer's thread, between commits."""

    def __call__(
        self, function: Callable[[Store], dict[str, Any]], /
    ) -> "Future[dict[str, Any]]": ...


def act_routes(run: _Run, guard: Guard, acts: Mapping[str, Act] = ACTS) -> list[Route]:
    """`POST /v1/acts/{name}`: its body is the act's arguments, its answer what the act says."""

    async def perform(request: Request) -> Response:
        try:
            guard.check(request.headers.get("authorization"), ADMIN)
            act = _find(acts, request.path_params["name"])
            arguments = _read_arguments(await body_of(request))
            return JSONResponse(await asyncio.wrap_future(run(lambda store: act(store, arguments))))
        except MicrodollarError as error:
            return error_answer(error)
        except Exception:
            log.exception("an act failed")
            message = "a fault in the exporter: its log says more; look before you repeat it"
            return JSONResponse({"error": message}, HTTPStatus.INTERNAL_SERVER_ERROR)

    return [Route("/v1/acts/{name}", perform, methods=["POST"])]


def perform(db: str | Path, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Do the act `name` on the ledger in `db`, whether or not an exporter is writing it just now.

    Raises:
        UsageError: there is no such file or act, or an argument is wrong.
        StoreError: the ledger cannot be reached or written; the message says why.
        ActFailed: it could not be done; the message says why.
    """
    path = ledger_file(db)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        done = ask_exporter(path, name, arguments)
        if done is not None:
            return done
        try:
            return _do_on_file(path, name, json.dumps(dict(arguments)))
        except StoreLocked:
            # An exporter that is starting has the file and no card yet.
            if time.monotonic() > deadline:
                raise
            time.sleep(_TURN_SECONDS)


def ask_exporter(path: Path, name: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Have the exporter that serves a ledger do an act; None when none serves it.

    Raises:
        MicrodollarError: as `perform`.
    """
    card = Card.read(path, Role.OPERATOR)
    if card is None:
        return None
    try:
        return _ask(card, name, json.dumps(dict(arguments)))
    except NotServed:
        return None


def _ask(card: Card, name: str, arguments: str) -> dict[str, Any]:
    with closing(card.dial()) as line:
        # Nothing may be done twice: who is on the line is known before it is asked to act.
        _greet(line, card)
        try:
            line.request("POST", f"/v1/acts/{quote(name, safe='')}", arguments, card.headers)
            response = line.getresponse()
            body = response.read()
            if response.status == HTTPStatus.NOT_FOUND:
                raise UsageError(f"the exporter knows no act {name!r}")
            answer: dict[str, Any] = json.loads(body)
            if response.status == HTTPStatus.OK:
                return answer
            message = str(answer["error"])
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            raise ActFailed(
                "the exporter broke off its answer, and may have acted: look before you repeat it"
            ) from error
    match response.status:
        case HTTPStatus.BAD_REQUEST:
            raise UsageError(message)
        case HTTPStatus.SERVICE_UNAVAILABLE:
            raise StoreUnavailable(message)
        case _:
            raise ActFailed(message)


def _greet(line: http.client.HTTPConnection, card: Card) -> None:
    try:
        line.request("GET", "/v1/status", headers=card.headers)
        response = line.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotServed from error
    if response.status != HTTPStatus.OK:
        raise NotServed


def _do_on_file(path: Path, name: str, arguments: str) -> dict[str, Any]:
    act = _find(ACTS, name)
    with closing(Store(path)) as store:
        # Through JSON, so that an act says the same whichever way it was asked.
        done: dict[str, Any] = json.loads(json.dumps(act(store, json.loads(arguments))))
    return done


def _find(acts: Mapping[str, Act], name: str) -> Act:
    if name not in acts:
        raise UsageError(f"there is no act {name!r}: choose from {', '.join(sorted(acts))}")
    return acts[name]


def _read_arguments(body: bytes) -> dict[str, Any]:
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise UsageError("send the act's arguments as a JSON object")
    return arguments
