# SPDX-License-Identifier: Apache-2.0
"""The second door: OTLP over HTTP with protobuf bodies, plain or gzipped."""

import gzip
import io
import zlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microdollar_exporter.receive.ingest import MAX_REQUEST_BYTES, Ingest, RefusedExport

__all__ = ["otlp_routes"]

_PROTOBUF = "application/x-protobuf"
_TOO_LARGE = f"a request may have {MAX_REQUEST_BYTES} bytes: send smaller batches"


def otlp_routes(ingest: Ingest) -> list[Route]:
    """The route `POST /v1/traces` of the OTLP specification."""

    def refused(status: int, reason: str) -> Response:
        ingest.refuse(reason)
        return Response(reason + "\n", status, media_type="text/plain")

    async def traces(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != _PROTOBUF:
            return refused(415, f"send OTLP as {_PROTOBUF}: set the protocol to http/protobuf")
        received = bytearray()
        async for chunk in request.stream():
            received += chunk
            if len(received) > MAX_REQUEST_BYTES:
                return refused(413, _TOO_LARGE)
        body = bytes(received)
        encoding = request.headers.get("content-encoding", "identity")
        if encoding == "gzip":
            try:
                body = _gunzip(body)
            except (OSError, EOFError, zlib.error):
                return refused(400, "the body is not whole gzip, as content-encoding says it is")
            if len(body) > MAX_REQUEST_BYTES:
                return refused(413, _TOO_LARGE)
        elif encoding != "identity":
            return refused(415, "this content-encoding is not read: use gzip or none")
        try:
            response = await ingest.export(body)
        except RefusedExport as error:
            refusal = error.refusal
            headers = {"content-type": _PROTOBUF}
            if refusal.retry_after is not None:
                headers["retry-after"] = str(refusal.retry_after)
            return Response(refusal.details(), refusal.http_status, headers)
        return Response(response.SerializeToString(), media_type=_PROTOBUF)

    return [Route("/v1/traces", traces, methods=["POST"])]


def _gunzip(body: bytes) -> bytes:
    """Every member, checked to its end; at most one byte over the limit, so bombs stay small."""
    if not body:
        raise EOFError
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as reader:
        return reader.read(MAX_REQUEST_BYTES + 1)
