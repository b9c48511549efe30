# SPDX-License-Identifier: Apache-2.0
"""AWS event streams (`application/vnd.amazon.eventstream`) from bytes that are cut anywhere.

A frame is its length, the length of its headers, a checksum of both, the headers, the payload and
a checksum of all, numbers being big-endian. Checksums are not verified: TLS has, and a wrong one
is for the app's SDK to refuse.
"""

import base64
import re
from collections.abc import Iterator

from microdollar._skim import Document

__all__ = ["EventStreamParser", "MalformedFrameError"]

_PRELUDE = 12
_CHECKSUM = 4
_MAX_HEADERS = 4 * 2**10
_MAX_FRAME = 64 * 2**20

_VALUE_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; 6 and 7 say their length themselves."""

_BYTES = re.compile(rb'"bytes"\s*:\s*"')
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_-]{0,63}")


class MalformedFrameError(ValueError):
    """A frame whose lengths cannot be true."""


class EventStreamParser:
    """Turns chunks into the JSON of their events.

    `chunk` events (invoke) are their inner JSON, which comes in base64; any other is an object
    with the event's name as its only member, `{"metadata": {...}}`. An exception is the member
    `error` with its name as `type`.
    """

    def __init__(self, names: frozenset[bytes] = frozenset()) -> None:
        self._names = names
        self._head = b""
        self._left = 0  # bytes of the frame's payload that are still to come
        self._skip = 0
        self._payload: _Payload | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that `chunk` completes.

        Raises:
            MalformedFrameError: it is no event stream.
            TextTooLargeError: an event is too large to be understood.
        """
        while chunk:
            if self._skip:
                taken = min(self._skip, len(chunk))
                self._skip -= taken
                chunk = chunk[taken:]
            elif self._payload is None:
                chunk = self._prelude(chunk)
            else:
                part, chunk = chunk[: self._left], chunk[self._left :]
                self._left -= len(part)
                self._payload.feed(part)
            if self._payload is not None and not self._left:
                event = self._payload.take()
                self._payload = None
                self._skip = _CHECKSUM
                if event:
                    yield event

    def _prelude(self, chunk: bytes) -> bytes:
        """Read up to the end of a frame's headers; what is left of the chunk."""
        needed = _PRELUDE
        if len(self._head) >= _PRELUDE:
            needed += int.from_bytes(self._head[4:8])
        missing = needed - len(self._head)
        self._head += chunk[:missing]
        chunk = chunk[missing:]
        if len(self._head) < needed:
            return chunk
        size, headers = int.from_bytes(self._head[:4]), int.from_bytes(self._head[4:8])
        self._left = size - _PRELUDE - headers - _CHECKSUM
        if headers > _MAX_HEADERS or size > _MAX_FRAME or self._left < 0:
            raise MalformedFrameError
        if len(self._head) == _PRELUDE + headers:
            kind, name = _kind(self._head[_PRELUDE:])
            self._head = b""
            is_chunk = kind == b"event" and name == b"chunk"
            self._payload = (_Chunk if is_chunk else _Event)(self._names)
            if not is_chunk:
                self._payload.name(kind, name)
        return chunk


def _kind(headers: bytes) -> tuple[bytes, bytes]:
    """The message's type, and the name of the event or of the exception."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(headers):
        name_end = position + 1 + headers[position]
        name = headers[position + 1 : name_end]
        kind = headers[name_end : name_end + 1]
        position = name_end + 1
        if kind in {b"\x06", b"\x07"}:
            start = position + 2
            position = start + int.from_bytes(headers[position:start])
            found[name] = headers[start:position]
        elif kind and kind[0] in _VALUE_SIZES:
            position += _VALUE_SIZES[kind[0]]
        else:
            raise MalformedFrameError
    kind = found.get(b":message-type", b"event")
    name = found.get(b":event-type") or found.get(b":exception-type") or b""
    if kind == b"error":
        name = found.get(b":error-code", b"")
    return kind, name if _NAME.fullmatch(name) else b"unknown"


class _Payload:
    """The JSON of one frame."""

    def __init__(self, names: frozenset[bytes]) -> None:
        self._text = Document(names)

    def name(self, kind: bytes, name: bytes) -> None:
        """Say what the payload is of; before it is fed."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the payload."""
        self._text.feed(data)

    def take(self) -> bytes:
        """The event's JSON."""
        return self._text.take()


class _Event(_Payload):
    _frame = b"%b"

    def name(self, kind: bytes, name: bytes) -> None:
        self._frame = b'{"%b":%%b}' % name
        if kind != b"event":
            self._frame = b'{"error":{"type":"%b"},"detail":%%b}' % name

    def take(self) -> bytes:
        return self._frame % (super().take() or b"null")


class _Chunk(_Payload):
    """Base64 inside of JSON: `{"bytes":"…","p":"padding"}`."""

    def __init__(self, names: frozenset[bytes]) -> None:
        super().__init__(names)
        self._rest = b""
        self._inside = self._over = False

    def feed(self, data: bytes) -> None:
        if self._over:
            return
        data = self._rest + data
        if not self._inside:
            found = _BYTES.search(data)
            if found is None:
                self._rest = data[-64:]
                return
            self._inside = True
            data = data[found.end() :]
        data, quote, _ = data.partition(b'"')
        self._over = bool(quote)
        whole = len(data) - len(data) % 4
        self._rest = data[whole:]
        super().feed(base64.b64decode(data[:whole]))
