# SPDX-License-Identifier: Apache-2.0
"""What the doors share that answer in JSON, to questions and to an operator's acts.

What senders of spans are told when they are refused is another law, in `receive/status.py`.
"""

from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from microdollar_exporter.errors import (
    BrokenOff,
    Busy,
    Forbidden,
    MicrodollarError,
    QueryRefused,
    StoreUnavailable,
    TokensUnreadable,
    TooLarge,
    Unauthenticated,
    UsageError,
)

__all__ = ["body_of", "error_answer"]

_MAX_BYTES = 16 * 1024 * 1024


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it is longer than any question or act could be.
        BrokenOff: its sender has left.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise TooLarge(f"a request may have {_MAX_BYTES} bytes")
    except ClientDisconnect:
        raise BrokenOff("the sender left before its request had arrived") from None
    return bytes(body)


def error_answer(error: MicrodollarError) -> Response:
    """The answer that an error calls for; it names no file of ours."""
    headers: dict[str, str] = {}
    message = str(error)
    match error:
        case Unauthenticated():
            status = HTTPStatus.UNAUTHORIZED
            headers["www-authenticate"] = "Bearer"
        case Forbidden() | QueryRefused():
            status = HTTPStatus.FORBIDDEN
        case UsageError():
            status = HTTPStatus.BAD_REQUEST
        case TokensUnreadable():
            status = HTTPStatus.SERVICE_UNAVAILABLE
            message = "the token file cannot be read just now; the exporter's log says why"
        case TooLarge():
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        case StoreUnavailable() | Busy():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
    return JSONResponse({"error": message}, status, headers)
