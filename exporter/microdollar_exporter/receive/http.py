# SPDX-License-Identifier: Apache-2.0
"""The second door: OTLP over HTTP, in protobuf or JSON, plain or packed."""

from http import HTTPStatus

from google.protobuf import json_format
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from microdollar_exporter.errors import BrokenOff, TooLarge, Unsupported
from microdollar_exporter.receive.ingest import Body, Ingest, RefusedExport
from microdollar_exporter.receive.limits import Held
from microdollar_exporter.receive.status import Refusal

__all__ = ["otlp_routes"]

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"


def otlp_routes(ingest: Ingest) -> list[Route]:
    """The route `POST /v1/traces` of the OTLP specification."""

    async def traces(request: Request) -> Response:
        form = request.headers.get("content-type", "").partition(";")[0].strip().lower()

        async def read(held: Held) -> Body:
            if form not in (_PROTOBUF, _JSON):
                raise Unsupported(f"send OTLP as {_PROTOBUF} or {_JSON}, by content-type")
            content = await _content(request, held, ingest.max_bytes)
            encoding = request.headers.get("content-encoding", "identity")
            return Body(content, encoding, form == _JSON)

        try:
            expected = min(_announced(request), ingest.max_bytes)
            token = request.headers.get("authorization")
            response = await ingest.export("http", token, expected, read)
        except RefusedExport as error:
            return _refused(error.refusal, form)
        if form == _JSON:
            return Response(json_format.MessageToJson(response, indent=None), media_type=_JSON)
        return Response(response.SerializeToString(), media_type=_PROTOBUF)

    return [Route("/v1/traces", traces, methods=["POST"])]


def _announced(request: Request) -> int:
    """How large the request says it is; 0 when it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


async def _content(request: Request, held: Held, limit: int) -> bytes:
    """What arrives, as long as there is room for it."""
    if _announced(request) > limit:
        raise TooLarge(f"a request may have {limit} bytes: send smaller batches")
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise TooLarge(f"a request may have {limit} bytes: send smaller batches")
            held.resize(max(size, held.size))
            parts.append(part)
    except ClientDisconnect:
        raise BrokenOff("the sender left before its request had arrived") from None
    return b"".join(parts)


def _refused(refused: Refusal, form: str) -> Response:
    headers: dict[str, str] = {}
    if refused.retry_after is not None:
        headers["retry-after"] = str(refused.retry_after)
    if refused.http_status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if form == _PROTOBUF:
        return Response(refused.details(), refused.http_status, headers, media_type=_PROTOBUF)
    # People read JSON, and who sent another form is most likely trying things out by hand.
    return Response(refused.json(), refused.http_status, headers, media_type=_JSON)
