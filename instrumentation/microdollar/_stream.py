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

__all__ = ["Wrapper", "observed", "wrapped"]


class Wrapper:
    """A stream around another one, which looks like it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        # `elapsed` and whatever else a library or transport keeps on its streams.
        # While a copy is being made there is no stream yet.
        if name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)


class _Observed(Wrapper):
    """What both kinds of stream share."""

    def __init__(self, stream: Any, call: Call) -> None:
        super().__init__(stream)
        self._call = call
        # The app may drop the stream without closing it.
        weakref.finalize(self, call.finish).atexit = False


class _Sync(_Observed):
    def __iter__(self) -> Iterator[bytes]:
        observe = self._call.observe
        try:
            for chunk in self._stream:
                observe(chunk)  # before the app sees it, because it may stop at its last event
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._call.fail(error)
            raise
        else:
            self._call.finish(in_order=True)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.finish()


class _Async(_Observed):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        observe = self._call.observe
        source = aiter(self._stream)
        try:
            async for chunk in source:
                observe(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._call.fail(error)
            raise
        else:
            self._call.finish(in_order=True)
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.finish()


def observed(stream: Any, call: Call) -> Any:
    """Wrap a byte stream of httpx or httpx2 in one that a call looks on.

    Raises:
        TypeError: it is no such stream.
    """
    return wrapped(stream, _Sync, _Async, call)


def wrapped(stream: Any, sync: type[Any], unsync: type[Any], argument: Any) -> Any:
    """Wrap a byte stream of httpx or httpx2 in one that is of the same library and kind.

    Raises:
        TypeError: it is no such stream.
    """
    for base in stream.__class__.__mro__:
        wrapper = {"SyncByteStream": sync, "AsyncByteStream": unsync}.get(base.__name__)
        if wrapper is not None:
            return _class(cast("Any", wrapper), base)(stream, argument)
    raise TypeError


@functools.cache
def _class(wrapper: Any, base: Any) -> Any:
    """The libraries check `isinstance`, and which of them there is shows at run time only."""
    return type("ObservedByteStream", (wrapper, base), {})
