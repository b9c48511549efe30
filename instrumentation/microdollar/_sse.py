# SPDX-License-Identifier: Apache-2.0
"""Server-sent events from bytes that are cut anywhere."""

import re
from collections.abc import Iterator

__all__ = ["EventTooLargeError", "SSEParser"]

_LINE_END = re.compile(rb"\r\n|\n|\r")
"""Only these. `splitlines()` also splits at U+2028 and others, which JSON may hold unescaped."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLargeError(Exception):
    """One event outgrew the limit; the rest of the stream cannot be understood."""


class SSEParser:
    """Turns chunks into the data of complete events.

    Event names, ids and comments are skipped, and so is an event that the end of the stream
    cuts off, as the specification demands.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line_size = 0
        self._data_size = 0
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of the events that `chunk` completes.

        Raises:
            EventTooLargeError: an event holds more than `limit` bytes.
        """
        if not chunk:
            return
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
            if not chunk:
                return
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for piece in ended:
            line = b"".join((*self._line, piece))
            self._line.clear()
            self._line_size = 0
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line:
                self._field(line)
            elif self._data:
                yield b"\n".join(self._data)
                self._data.clear()
                self._data_size = 0
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
            self._check()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._data_size += len(value) + 1  # with the line end that joins it to the next
            self._check()

    def _check(self) -> None:
        if self._line_size + self._data_size > self._limit:
            raise EventTooLargeError
