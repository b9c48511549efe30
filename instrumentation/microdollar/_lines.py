# SPDX-License-Identifier: Apache-2.0
"""JSON lines, and the members of one JSON list, from bytes that are cut anywhere."""

import re
from collections.abc import Iterator

from microdollar._skim import Document

__all__ = ["LineParser", "ListParser"]

_BLANK = b" \t\r"
_TOKEN = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


class LineParser:
    """Turns chunks into lines. The last one counts without its end too: ask `end` for it."""

    def __init__(self, names: frozenset[bytes] = frozenset()) -> None:
        self._line = Document(names)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without the empty ones.

        Raises:
            TextTooLargeError: a line is too large to be understood.
        """
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._line.feed(piece)
            line = self._line.take().strip(_BLANK)
            if line:
                yield line
        self._line.feed(rest)

    def end(self) -> bytes:
        """What has come of the last line."""
        return self._line.take().strip(_BLANK)


class ListParser:
    """Turns chunks of a JSON list into the objects that are its members."""

    def __init__(self, names: frozenset[bytes] = frozenset()) -> None:
        self._member = Document(names)
        self._depth = 0  # 1 inside the list
        self._in_string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The members that `chunk` completes.

        Raises:
            TextTooLargeError: a member is too large to be understood.
        """
        start = position = 0
        while position < len(chunk):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            token = (_IN_STRING if self._in_string else _TOKEN).search(chunk, position)
            if token is None:
                break
            position = token.end()
            self._turn(token[0])
            if self._depth == 2 and token[0] == b"{":
                start = token.start()
            elif self._depth == 1 and token[0] == b"}":
                self._member.feed(chunk[start:position])
                yield self._member.take()
        if self._depth > 1:
            self._member.feed(chunk[start:])

    def _turn(self, token: bytes) -> None:
        if token == b'"':
            self._in_string = not self._in_string
        elif token == b"\\":
            self._escaped = True
        elif token in b"{[":
            self._depth += 1
        else:
            self._depth -= 1
