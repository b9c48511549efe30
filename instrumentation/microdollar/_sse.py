# SPDX-License-Identifier: Apache-2.0
"""Server-sent events from bytes that are cut anywhere."""

import re
from collections.abc import Iterator
from enum import Enum, auto

from microdollar._skim import SMALL, Document

__all__ = ["SSEParser", "plain_data"]

_LINE_END = re.compile(rb"\r\n|\n|\r")
"""Only these. `splitlines()` also splits at U+2028 and others, which JSON may hold unescaped."""

_PLAIN = re.compile(
    rb'(?:(?:(?:event|id|retry)?:[^"\n]*+\n)*+(?:data: ?[^\n]{0,%d}+\n)?+\n)*+' % SMALL
)
"""Events with their data in one short line, and before it only what cannot be taken for data."""

_PLAIN_DATA = re.compile(rb"^data: ?([^\n]*+)\n", re.MULTILINE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAME = 6
"""Bytes that tell a line of data from any other: `data:` and the space that may follow."""


class _Line(Enum):
    """What the line is, whose end has not come yet."""

    UNKNOWN = auto()
    DATA = auto()
    OTHER = auto()


class SSEParser:
    """Turns chunks into the data of complete events.

    Event names, ids and comments are skipped, and so is an event that the end of the stream
    cuts off, as the specification demands. Of the data of a large event only the frame is left.
    """

    def __init__(self, names: frozenset[bytes] = frozenset()) -> None:
        self._data = Document(names)
        self._has_data = False
        self._only: bytes | None = None  # an event of one line, the usual kind
        self._line = _Line.UNKNOWN
        self._head = b""
        self._after_cr = False
        self._at_start = True

    def passes(self, run: bytes) -> bool:
        """Whether `run` is whole events in their plain form, one at least, and need not be fed.

        What is in such a run can be searched at once: see `plain_data`.
        """
        in_line = self._line is not _Line.UNKNOWN or bool(self._head)
        if in_line or self._has_data or self._only is not None:
            return False
        if b"\r" in run or _PLAIN.fullmatch(run) is None:
            return False
        self._at_start = self._after_cr = False
        return True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of the events that `chunk` completes.

        Raises:
            TextTooLargeError: an event is too large to be understood.
        """
        if not chunk:
            return
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
            if not chunk:
                return
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk) if b"\r" in chunk else chunk.split(b"\n")
        for piece in ended:
            if not self._end_line(piece):
                continue
            if self._only is not None:
                yield self._only
                self._only = None
            elif self._has_data:
                self._has_data = False
                yield self._data.take()
        if rest:
            self._begin_line(rest)

    def _end_line(self, piece: bytes) -> bool:
        """Take a line's last piece; whether the line is empty."""
        line, self._line = self._line, _Line.UNKNOWN
        if line is _Line.DATA:
            self._data.feed(piece)
        if line is not _Line.UNKNOWN:
            return False
        whole, self._head = self._head + piece, b""
        if self._at_start:
            self._at_start = False
            whole = whole.removeprefix(_BYTE_ORDER_MARK)
        if not whole:
            return True
        name, _, value = whole.partition(b":")
        if name != b"data":
            return False
        if not self._has_data and self._only is None and len(value) <= SMALL:
            self._only = value.removeprefix(b" ")
        else:
            self._begin_data(value)
        return False

    def _begin_line(self, piece: bytes) -> None:
        """Take a piece of a line whose end has not come yet."""
        if self._line is _Line.DATA:
            self._data.feed(piece)
        if self._line is not _Line.UNKNOWN:
            return
        self._head += piece
        head = self._head
        if self._at_start:
            head = head.removeprefix(_BYTE_ORDER_MARK)
        if len(head) < _NAME or len(self._head) < len(_BYTE_ORDER_MARK):
            return
        self._at_start = False
        self._head = b""
        self._line = _Line.DATA if head.startswith(b"data:") else _Line.OTHER
        if self._line is _Line.DATA:
            self._begin_data(head[len(b"data:") :])

    def _begin_data(self, value: bytes) -> None:
        if self._only is not None:
            self._data.feed(self._only)
            self._has_data = True
            self._only = None
        if self._has_data:
            self._data.feed(b"\n")
        self._has_data = True
        self._data.feed(value.removeprefix(b" "))


def plain_data(run: bytes, place: int) -> re.Match[bytes] | None:
    """The data, as group 1, of the event that a place in a run of plain events is in.

    Of an event without data it is the next one's; None if there is none.
    """
    return _PLAIN_DATA.search(run, run.rfind(b"\n", 0, place) + 1)
