# SPDX-License-Identifier: Apache-2.0
"""Responses of urllib3, on which requests and botocore sit, while a call looks on.

A response becomes one of a class of our own that is derived from its class, so that whoever reads
it, by whichever of its methods, reads through the three that get bytes.
"""

import functools
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from microdollar._guard import guarded
from microdollar._views import text_of

if TYPE_CHECKING:
    from microdollar._call import Call

__all__ = ["observe"]


@guarded
def observe(response: Any, call: "Call", status: int, headers: Any) -> None:
    """Let `call` see the body of a response as the app reads it."""
    try:
        watch = _Watch(call, status, headers)
        kind = _class(response.__class__)
        # The app may drop the response without closing it.
        weakref.finalize(response, call.finish).atexit = False
        response._microdollar = watch
        response.__class__ = kind
    except Exception:
        call.finish()  # a call that cannot be observed is still a call
        raise


class _Watch:
    """What a response tells of itself, to the call.

    Attributes:
        reading: urllib3 is at work, which may close the response before it says what is wrong.
    """

    __slots__ = ("_begun", "_encoding", "_status", "_type", "call", "reading")

    def __init__(self, call: "Call", status: int, headers: Any) -> None:
        self.call = call
        self._status = status
        self._type = text_of(headers.get("content-type") or "")
        self._encoding = text_of(headers.get("content-encoding") or "")
        self._begun = False
        self.reading = False
        call.respond(status, self._type, self._encoding)
        call.read_head(headers)

    @guarded
    def read(self, data: bytes, *, decoded: bool) -> None:
        """The next bytes. Whether they are decoded is up to the app, each time it reads."""
        if not self._begun:
            self._begun = True
            if decoded and self._encoding:
                self.call.respond(self._status, self._type, "")
        self.call.observe(data)


class _Observed:
    """The methods that get bytes. Those that are built on them need no change."""

    _microdollar: _Watch

    def read(self, amt: Any = None, decode_content: Any = None, *args: Any, **kwargs: Any) -> Any:
        try:
            data = super().read(amt, decode_content, *args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            self._microdollar.call.fail(error)
            raise
        _have_read(self, data, decode_content)
        if amt is None or amt < 0 or (amt and not data):
            _ended(self)
        return data

    def read_chunked(self, amt: Any = None, decode_content: Any = None) -> Iterator[Any]:
        chunks = super().read_chunked(amt, decode_content)  # type: ignore[misc]
        watch = self._microdollar
        while True:
            watch.reading = True
            try:
                data = next(chunks)
            except StopIteration:
                break
            except BaseException as error:
                watch.call.fail(error)
                raise
            finally:
                watch.reading = False
            _have_read(self, data, bool(decode_content))
            yield data
        if amt != 0:
            _ended(self)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from super().stream(*args, **kwargs)  # type: ignore[misc]
        if 0 not in (*args[:1], kwargs.get("amt")):
            _ended(self)

    def close(self) -> None:
        try:
            super().close()  # type: ignore[misc]
        finally:
            if not self._microdollar.reading:
                self._microdollar.call.finish()


class _ObservedRead1(_Observed):
    """Those of urllib3 2, which has one more."""

    def read1(self, amt: Any = None, decode_content: Any = None) -> Any:
        try:
            data = super().read1(amt, decode_content)  # type: ignore[misc]
        except BaseException as error:
            self._microdollar.call.fail(error)
            raise
        _have_read(self, data, decode_content)
        if not data and amt != 0:
            _ended(self)
        return data


@guarded
def _have_read(response: Any, data: bytes | None, decode: bool | None) -> None:
    if data:
        wanted = response.decode_content if decode is None else decode
        decoded = bool(wanted) and response._decoder is not None
        response._microdollar.read(data, decoded=decoded)


@guarded
def _ended(response: Any) -> None:
    """The body is over; short of what its head has promised, if it was cut off."""
    whole = getattr(response, "length_remaining", None) in (None, 0)
    response._microdollar.call.finish(in_order=whole)


@functools.cache
def _class(base: Any) -> Any:
    """Named as its base, since an app may log its type."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    methods = _ObservedRead1 if hasattr(base, "read1") else _Observed
    return type(base.__name__, (methods, base), names)
