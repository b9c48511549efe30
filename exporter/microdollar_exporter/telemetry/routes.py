# SPDX-License-Identifier: Apache-2.0
"""`GET /healthz`, `GET /readyz` and `GET /metrics`."""

from collections.abc import Callable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.http import error_answer
from microdollar_exporter.access.scopes import METRICS
from microdollar_exporter.errors import MicrodollarError

__all__ = ["telemetry_routes"]

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def telemetry_routes(
    guard: Guard, unready: Callable[[], str | None], metrics: Callable[[], bytes]
) -> list[Route]:
    """The routes; `unready` says why an export would be refused just now, or None.

    The first two are for supervisors and load balancers, and want no token.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        reason = unready()
        if reason is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"error": reason}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def prometheus(request: Request) -> Response:
        try:
            guard.check(request.headers.get("authorization"), METRICS)
        except MicrodollarError as error:
            return error_answer(error)
        return Response(await run_in_threadpool(metrics), media_type=_PROMETHEUS)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", prometheus),
    ]
