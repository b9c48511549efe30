# SPDX-License-Identifier: Apache-2.0
"""`ClientSession` of aiohttp, metered: each request that an app makes, a redirect not counted.

A response's body is seen as it arrives, where its reader is fed, since there are a dozen ways to
read it. Private headers go at `ClientRequest.send`, behind aiohttp's middlewares.
"""

import functools
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from microdollar import _transmit
from microdollar._guard import guarded
from microdollar._views import Field, Headers, MultiHeaders, View, json_members

if TYPE_CHECKING:
    from microdollar._call import Call

__all__ = ["metered", "stripped"]


def metered(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`ClientSession._request`, metered."""

    @functools.wraps(original)
    async def _request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(self, *args, **kwargs)
        if call is None:
            return await original(self, *args, **kwargs)
        try:
            response = await original(self, *args, **kwargs)
        except BaseException as error:
            call.fail(error)
            raise
        _arrived(self, kwargs, response, call)
        return response

    return _request


def stripped(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`ClientRequest.send` without private headers."""

    @functools.wraps(original)
    async def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        without = _without(self)
        try:
            return await original(self, *args, **kwargs)
        finally:
            if without is not None:
                without.give_back()

    return send


@guarded
def _without(request: Any) -> _transmit.Without | None:
    return _transmit.without(_Sent(request))


class _Sent:
    """A request as aiohttp is about to write it."""

    def __init__(self, request: Any) -> None:
        self.url = request.url
        self.headers = MultiHeaders(request.headers)


@guarded
def _begin(session: Any, method: str, str_or_url: Any, **options: Any) -> "Call | None":
    url = session._build_url(str_or_url)
    if _transmit.private_from(url) is None:
        return None  # what goes elsewhere is not looked at any further
    headers = session._prepare_headers(options.get("headers"))
    body: Any = options.get("data")
    if options.get("json") is not None:
        body = json_members(options["json"])
    elif hasattr(body, "_fields"):
        body = [Field(str(f[0].get("name")), f[2]) for f in body._fields if isinstance(f[2], str)]
    return _transmit.begin(View(method, url, Headers(headers), body))


_DECODED = frozenset(("gzip", "deflate", "br", "zstd"))
"""What aiohttp decodes, one at a time."""

_watched: "dict[int, Call]" = {}
"""Calls by the readers of their responses, which have no room for anything. An entry is removed
when its call ends, and at the latest when its response, which keeps the reader, is dropped."""


@guarded
def _arrived(session: Any, options: dict[str, Any], response: Any, call: "Call") -> None:
    try:
        headers = response.headers
        encoding = headers.get("content-encoding", "").lower()
        decodes = options.get("auto_decompress")
        if (session._auto_decompress if decodes is None else decodes) and encoding in _DECODED:
            encoding = ""
        call.respond(response.status, headers.get("content-type", ""), encoding)
        call.read_head(headers)
        _watch(response, response.content, call)
    except Exception:
        call.finish()  # a call that cannot be observed is still a call
        raise


def _watch(response: Any, reader: Any, call: "Call") -> None:
    for number, data in enumerate(getattr(reader, "_buffer", ())):
        call.observe(data if number else data[reader._buffer_offset :])
    if reader.is_eof():
        call.finish(in_order=True)
        return
    kind = _class(reader.__class__)
    weakref.finalize(response, _dropped, id(reader), call).atexit = False
    _watched[id(reader)] = call
    reader.__class__ = kind


@guarded
def _dropped(reader: int, call: "Call") -> None:
    if _watched.get(reader) is call:
        del _watched[reader]
    call.finish()


class _Fed:
    """What aiohttp's parser does to a reader."""

    __slots__ = ()

    def feed_data(self, data: bytes, *args: Any) -> Any:
        _arrives(self, data)
        return super().feed_data(data, *args)  # type: ignore[misc]

    def feed_eof(self) -> None:
        _ends(self)
        super().feed_eof()  # type: ignore[misc]

    def set_exception(self, exc: BaseException, *args: Any) -> None:
        _breaks(self, exc)
        super().set_exception(exc, *args)  # type: ignore[misc]


@guarded
def _arrives(reader: Any, data: bytes) -> None:
    call = _watched.get(id(reader))
    if call is not None:
        call.observe(bytes(data))


@guarded
def _ends(reader: Any) -> None:
    call = _watched.pop(id(reader), None)
    if call is not None:
        call.finish(in_order=True)


@guarded
def _breaks(reader: Any, error: BaseException) -> None:
    call = _watched.pop(id(reader), None)
    if call is not None:
        # So says a response of itself that the app has closed.
        if type(error).__name__ == "ClientConnectionError" and str(error) == "Connection closed":
            call.finish()
        else:
            call.fail(error)


@functools.cache
def _class(base: Any) -> Any:
    """Named as its base, since an app may log its type."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__slots__": ()}
    return type(base.__name__, (_Fed, base), names)
