# SPDX-License-Identifier: Apache-2.0
"""Streams of bytes that pass untouched and at once, while a call looks on.

What is known lives in the call, not in an iterator: the openai SDK iterates one body twice, and
others close it before its end or drop it.
"""

import functools
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, cast

from microdollar._call import Call

__all__ = ["observed"]


class _Observed:
    """What both kinds of stream share."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._call = call
        # The app may drop the stream without closing it.
        weakref.finalize(self, call.finish).atexit = False

    def __getattr__(self, name: str) -> Any:
        # `elapsed` and whatever else a library or transport keeps on its streams.
        # While a copy is being made there is no stream yet.
        if name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)


class _Sync(_Observed):
    def __iter__(self) -> Iterator[bytes]:
        source = iter(self._stream)
        while True:
            try:
                chunk = next(source)
            except StopIteration:
                self._call.finish(in_order=True)
                return
            except BaseException as error:
                self._call.fail(error)
                raise
            # Before the app sees it, because the app may stop at its last event.
            self._call.observe(chunk)
            yield chunk

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.finish()


class _Async(_Observed):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        source = aiter(self._stream)
        try:
            while True:
                try:
                    chunk = await anext(source)
                except StopAsyncIteration:
                    self._call.finish(in_order=True)
                    return
                except BaseException as error:
                    self._call.fail(error)
                    raise
                self._call.observe(chunk)
                yield chunk
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.finish()


def observed(stream: Any, call: Call) -> Any:
    """Wrap a byte stream of httpx or httpx2 in one that is of the same library and kind.

    Raises:
        TypeError: it is no such stream.
    """
    for base in stream.__class__.__mro__:
        wrapper = _WRAPPERS.get(base.__name__)
        if wrapper is not None:
            return _class(cast("Any", wrapper), base)(stream, call)
    raise TypeError


_WRAPPERS: dict[str, type[_Observed]] = {"SyncByteStream": _Sync, "AsyncByteStream": _Async}


@functools.cache
def _class(wrapper: Any, base: Any) -> Any:
    """The libraries check `isinstance`, and which of them there is shows at run time only."""
    return type("ObservedByteStream", (wrapper, base), {})
