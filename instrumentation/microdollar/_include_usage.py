# SPDX-License-Identifier: Apache-2.0
"""Ask for the usage of a chat stream that the app has not asked for, and keep it from the app.

Only where the setting says so, since it changes a request. What a provider sends in addition is
one event without choices, and a `usage` of null on all others: both are taken out again, so that
the app gets the bytes that it would have got.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Final

from microdollar import _headers, _stream
from microdollar._call import Request
from microdollar._decode import UnknownEncodingError, decoder
from microdollar._guard import guarded, is_foreign, report, warn_once

__all__ = ["Extra", "UsageFilter", "ask"]

_OPTION: Final = b'"stream_options":{"include_usage":true},'

_ACCEPTING: Final = frozenset(("openai", "azure.ai.openai", "vllm"))
"""Providers of which it is known that they take the option and send no usage without it."""

_AZURE_SINCE: Final = "2024-09-01"
"""The version of Azure's API from which on it takes the option; one with `/v1/` has none."""

_PATH = re.compile(r"/(?:chat/)?completions$")


@guarded
def ask(request: Any, call: Request) -> "Extra | None":
    """Put the option into a request for a stream; None if it is not for us to do so."""
    provider = call.provider.name
    if not call.may_ask or provider not in _ACCEPTING:
        return None
    url, content = request.url, request.content
    if not _PATH.search(url.path):
        return None
    # Also where the app has set it to null, or to false.
    if b'"stream_options"' in content:
        return None
    version = url.params.get("api-version", "")
    if provider == "azure.ai.openai" and version < _AZURE_SINCE and "/v1/" not in url.path:
        return None
    return Extra(request, content[:1] + _OPTION + content[1:])


class Extra:
    """A request that asks for more than the app did."""

    def __init__(self, request: Any, content: bytes) -> None:
        self._request = request
        (self._length,) = _headers.names(request.headers, (b"content-length",))
        self._before = request._content, request.stream, request.headers[self._length]
        self._set(content, type(request.stream)(content), str(len(content)))

    def _set(self, content: bytes, stream: Any, length: str) -> None:
        self._request._content = content
        self._request.stream = stream
        self._request.headers[self._length] = length

    @guarded
    def give_back(self) -> None:
        """Give the app its request back as it was."""
        self._set(*self._before)

    @guarded
    def keep_from(self, response: Any) -> None:
        """Let the app get what it would have got. Whoever is to see all of it looks on already."""
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return
        if hasattr(response, "_content"):
            wanted = UsageFilter()
            response._content = wanted.feed(response._content) + wanted.end()
            return
        decode = None
        if encoding := response.headers.get("content-encoding", ""):
            # What is taken out of a compressed body cannot be put together again as it was.
            try:
                decode = decoder(encoding)
            except UnknownEncodingError:
                warn_once("include usage", "a stream has an encoding that cannot be read")
                return
            del response.headers["content-encoding"]
        wanted = UsageFilter(decode)
        response.stream = _stream.wrapped(response.stream, _Sync, _Async, wanted)


_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_NULL = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])|"usage"\s*:\s*null\s*,\s*')

_MAX_EVENT: Final = 2**20
"""Bytes of an event beyond which it cannot be the one that is looked for."""


class UsageFilter:
    """Server-sent events without those about usage.

    An event is passed on when it is there as a whole: before that no reader can use it, and we
    cannot tell what it is. So no event is later than it would be.
    """

    def __init__(self, decode: Any = None) -> None:
        self._decode = decode
        self._held = b""
        self._passing = False

    def feed(self, data: bytes) -> bytes:
        """The bytes that the app gets of the next ones."""
        if self._passing:
            return data
        try:
            return self._feed(data if self._decode is None else self._decode(data))
        except Exception as error:
            if is_foreign(error):
                raise
            report("UsageFilter.feed", error)
            self._passing = True
            held, self._held = self._held, b""
            return held + data

    def _feed(self, data: bytes) -> bytes:
        # The blank line may be cut, so its search begins a little before the new bytes.
        start, data = max(0, len(self._held) - 3), self._held + data
        passed, begin = [], 0
        while found := _EVENT_END.search(data, start):
            start = found.end()
            if start == len(data) and found[0].endswith(b"\r"):
                break  # a LF may follow that belongs to it
            passed.append(_without_usage(data[begin:start]))
            begin = start
        if len(data) - begin > _MAX_EVENT:
            passed.append(data[begin:])
            begin = len(data)
        self._held = data[begin:]
        return b"".join(passed)

    def end(self) -> bytes:
        """What is left of an event without an end."""
        held, self._held = self._held, b""
        return _without_usage(held)


def _without_usage(event: bytes) -> bytes:
    """The event as it would be, had nobody asked for usage; nothing if there would be none."""
    if b'"usage"' not in event:
        return event
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        chunk = json.loads(data)
    except ValueError:
        return event
    if not isinstance(chunk, dict) or "usage" not in chunk:
        return event
    if chunk["usage"] is None:
        without, count = _NULL.subn(b"", event)
        return without if count == 1 else event
    alone = chunk.get("choices") == [] and not chunk.get("prompt_filter_results")
    return b"" if alone and isinstance(chunk["usage"], dict) else event


class _Filtered(_stream.Wrapper):
    """What both kinds of stream share."""

    def __init__(self, stream: Any, wanted: UsageFilter) -> None:
        super().__init__(stream)
        self._wanted = wanted


class _Sync(_Filtered):
    def __iter__(self) -> Iterator[bytes]:
        source = iter(self._stream)
        while True:
            try:
                chunk = next(source)
            except Exception as error:  # to be cancelled or interrupted waits for nothing
                if rest := self._wanted.end():
                    yield rest
                if isinstance(error, StopIteration):
                    return
                raise
            if wanted := self._wanted.feed(chunk):
                yield wanted

    def close(self) -> None:
        self._stream.close()


class _Async(_Filtered):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        source = aiter(self._stream)
        try:
            while True:
                try:
                    chunk = await anext(source)
                except Exception as error:
                    if rest := self._wanted.end():
                        yield rest
                    if isinstance(error, StopAsyncIteration):
                        return
                    raise
                if wanted := self._wanted.feed(chunk):
                    yield wanted
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    async def aclose(self) -> None:
        await self._stream.aclose()
