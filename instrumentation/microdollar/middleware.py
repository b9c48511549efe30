# SPDX-License-Identifier: Apache-2.0
"""For web apps: the customer of the calls made during a request, from the request's own headers.

Opt in by wrapping the app. What a request says of itself is a claim: put this behind whatever
checks callers, and have that set or remove the headers.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from microdollar._customer import Attribution, CustomerBlock
from microdollar._guard import guarded
from microdollar._identity import Identity
from microdollar._settings import Settings

__all__ = ["ASGIMiddleware", "WSGIMiddleware"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_ASGIApp = Callable[[_Message, _Receive, _Send], Awaitable[None]]
_WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Claims:
    """Makes a block of what the headers of an inbound request say."""

    def __init__(self) -> None:
        self._settings = Settings.load()
        self._identity = Identity(self._settings)

    @guarded
    def of(self, headers: Mapping[str, str]) -> CustomerBlock | None:
        """None where they say nothing, so that a block around it keeps holding."""
        who = self._identity.headers(headers)
        return None if who == Attribution() else CustomerBlock(who)


class ASGIMiddleware:
    """`app = ASGIMiddleware(app)`: reads `X-Microdollar-Customer` and the headers of the settings.

    The calls made while a request or websocket is served are for the customer that it names; those
    of a request that names none are unassigned. A block in the code wins.
    """

    def __init__(self, app: _ASGIApp) -> None:
        self._app = app
        self._claims = _Claims()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        block = self._claims.of(_asgi_headers(scope) or {})
        if block is None:
            await self._app(scope, receive, send)
            return
        with block:
            await self._app(scope, receive, send)


class WSGIMiddleware:
    """`app = WSGIMiddleware(app)`: as `ASGIMiddleware`, also while the answer is iterated."""

    def __init__(self, app: _WSGIApp) -> None:
        self._app = app
        self._claims = _Claims()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Serve one request."""
        block = self._claims.of(_wsgi_headers(environ) or {})
        if block is None:
            return self._app(environ, start_response)
        with block:
            answer = self._app(environ, start_response)
        # A list is there already; a server may ask for its length.
        return answer if isinstance(answer, list | tuple) else _Answer(answer, block)


class _Answer:
    """An answer that is made while the server iterates over it."""

    def __init__(self, answer: Iterable[bytes], block: CustomerBlock) -> None:
        self._answer = answer
        self._block = block

    def __iter__(self) -> Iterator[bytes]:
        @self._block
        def chunks() -> Iterator[bytes]:
            yield from self._answer

        return chunks()

    def close(self) -> None:
        """WSGI servers call it if it is there."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()


@guarded
def _asgi_headers(scope: _Message) -> dict[str, str]:
    pairs = scope.get("headers", ())
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


@guarded
def _wsgi_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
