# SPDX-License-Identifier: Apache-2.0
"""The second door: OTLP over HTTP with protobuf bodies, plain or gzipped."""

import zlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microdollar_exporter.receive.ingest import Ingest, RefusedExport

__all__ = ["otlp_routes"]

_PROTOBUF = "application/x-protobuf"
MAX_BODY_BYTES = 64 * 1024 * 1024


def otlp_routes(ingest: Ingest) -> list[Route]:
    """The route `POST /v1/traces` of the OTLP specification."""

    async def traces(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != _PROTOBUF:
            return _text(415, f"send OTLP as {_PROTOBUF}: set the protocol to http/protobuf")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return _text(
                    413, f"a request may have {MAX_BODY_BYTES} bytes: send smaller batches"
                )
        encoding = request.headers.get("content-encoding", "identity")
        if encoding == "gzip":
            try:
                body = _gunzip(body)
            except zlib.error:
                return _text(400, "the body is not gzip, as content-encoding says it is")
            if len(body) > MAX_BODY_BYTES:
                return _text(
                    413, f"a request may have {MAX_BODY_BYTES} bytes: send smaller batches"
                )
        elif encoding != "identity":
            return _text(415, f"content-encoding {encoding!r} is not read: use gzip or none")
        try:
            response = await ingest.export(bytes(body))
        except RefusedExport as error:
            refused = error.refusal
            headers = {"content-type": _PROTOBUF}
            if refused.retry_after is not None:
                headers["retry-after"] = str(refused.retry_after)
            return Response(refused.details(), refused.http_status, headers)
        return Response(response.SerializeToString(), media_type=_PROTOBUF)

    return [Route("/v1/traces", traces, methods=["POST"])]


def _gunzip(body: bytearray) -> bytearray:
    """At most one byte more than is allowed, so that a bomb stays small."""
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    return bytearray(reader.decompress(body, MAX_BODY_BYTES + 1))


def _too_large() -> Response:
    return _text(413, f"a request may have {MAX_BODY_BYTES} bytes: send smaller batches")


def _text(status: int, message: str) -> Response:
    return Response(message + "\n", status, media_type="text/plain")
