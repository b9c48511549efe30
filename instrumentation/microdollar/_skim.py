# SPDX-License-Identifier: Apache-2.0
"""Hold one JSON text in a few kilobytes, however long it is.

A short text is kept as it is. Of a long one only the frame is: numbers, short strings, and the
objects and lists with the names that are asked for. So an answer of megabytes costs no memory and
hardly any time, because most of it is a few long strings.
"""

import re

__all__ = ["Document", "TextTooLargeError"]

SMALL = 4 * 2**10
"""Bytes up to which a text is kept whole."""

MAX_FRAME = 8 * 2**10
"""Bytes of the frame of a larger one beyond which it is given up."""

MAX_BODY_FRAME = 64 * 2**10
"""The same for a body that is no stream, of which there is one and not many."""

_MAX_STRING = 256
_MAX_DEPTH = 64

_TOKEN = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""The inside of a string, up to its end or to a backslash with nothing behind it yet."""

_FLAT = rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+'
_SKIPPED = re.compile(
    rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"|\[%b\]|\{%b\})*+' % (_FLAT, _FLAT), re.DOTALL
)
"""What can be passed over at once: all but the objects and lists that hold others."""


class TextTooLargeError(Exception):
    """Even the frame of a text is larger than it may be."""


class Document:
    """Collects one JSON text after the other: `feed` the pieces of one, then `take` it."""

    def __init__(self, names: frozenset[bytes], *, whole_body: bool = False) -> None:
        """`names` are the members of a long text whose objects and lists are kept.

        What is inside a member with `usage` in its name is always kept. `whole_body`: the text is
        a response of its own and not one event of many.
        """
        self._names = names
        self._limit = MAX_BODY_FRAME if whole_body else MAX_FRAME
        self._parts: list[bytes] = []
        self._size = 0
        self._frame: _Frame | None = None

    def __bool__(self) -> bool:
        """Whether anything has been fed since the last `take`."""
        return self._frame is not None or bool(self._parts)

    def feed(self, data: bytes) -> None:
        """The next bytes of the text.

        Raises:
            TextTooLargeError: there is too much to keep.
        """
        if self._frame is None:
            self._size += len(data)
            if self._size <= SMALL:
                self._parts.append(data)
                return
            self._frame = _Frame(self._names, self._limit)
            for part in self._parts:
                self._frame.feed(part)
            self._parts.clear()
        self._frame.feed(data)

    def take(self) -> bytes:
        """The text, or its frame; the next one begins."""
        text = b"".join(self._parts) if self._frame is None else self._frame.text()
        self._parts.clear()
        self._size = 0
        self._frame = None
        return text


class _Frame:
    """Copies a JSON text without what is not wanted: `""` for long strings, null for the rest."""

    def __init__(self, names: frozenset[bytes], limit: int) -> None:
        self._names = names
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0
        # (is an object, everything inside is kept) of each level that is kept
        self._levels: list[tuple[bool, bool]] = []
        self._left_out = 0  # levels deep in something that is not kept
        self._in_string = False
        self._escaped = False
        self._string = bytearray()

    def feed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._in_string:
                position = self._inside(data, position)
                continue
            if self._left_out:
                skipped = _SKIPPED.match(data, position)
                position = position if skipped is None else skipped.end()
            found = _TOKEN.search(data, position)
            stop = len(data) if found is None else found.start()
            if not self._left_out:
                self._keep(b"".join(data[position:stop].split()))
            if found is not None:
                self._token(found[0])
            position = stop + 1

    def text(self) -> bytes:
        return b"".join(self._kept)

    def _inside(self, data: bytes, start: int) -> int:
        found = _INSIDE.match(data, start + self._escaped)
        stop = len(data) if found is None else found.end()
        self._escaped = stop < len(data) and data[stop] != 0x22
        if self._escaped:
            stop += 1
        if not self._left_out:
            room = _MAX_STRING + 1 - len(self._string)
            self._string += data[start : min(stop, start + room)]
        if stop < len(data):
            self._end_string()
            stop += 1
        return stop

    def _end_string(self) -> None:
        self._in_string = False
        if not self._left_out:
            if len(self._string) > _MAX_STRING:
                self._string.clear()
            self._keep(b'"%b"' % bytes(self._string))

    def _token(self, token: bytes) -> None:
        if token == b'"':
            self._in_string = True
            if not self._left_out:
                self._string.clear()
        elif token in b"{[":
            self._open(token)
        elif self._left_out:
            self._left_out -= 1
        elif self._levels:
            self._levels.pop()
            self._keep(token)

    def _open(self, token: bytes) -> None:
        # In front of what opens in an object there is its name, so that is the last string.
        name = self._string.lower()
        in_object, whole = self._levels[-1] if self._levels else (False, False)
        if in_object:
            whole = whole or b"usage" in name
        wanted = whole or not in_object or bytes(self._string) in self._names
        if self._left_out or not wanted or len(self._levels) >= _MAX_DEPTH:
            if not self._left_out:
                self._keep(b"null")
            self._left_out += 1
            return
        self._levels.append((token == b"{", whole))
        self._keep(token)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise TextTooLargeError
        if data:
            self._kept.append(data)
