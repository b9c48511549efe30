# SPDX-License-Identifier: Apache-2.0
"""Follow a response body as it passes, and keep nothing of it but the facts."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from microdollar._decode import Decode, UnknownEncodingError, decoder
from microdollar._eventstream import EventStreamParser
from microdollar._facts import NOTHING, Facts
from microdollar._guard import is_foreign, report, warn_once
from microdollar._lines import LineParser, ListParser
from microdollar._skim import SMALL, Document, TextTooLargeError
from microdollar._sse import SSEParser, plain_data
from microdollar.providers import Endpoint

__all__ = ["Body"]

_MAX_NAMELESS_EVENTS = 16
"""Events parsed in search of the response's id before only those that matter are."""

_BLANK = b" \t\r\n\xef\xbb\xbf"

_EVENT_END = b"\n\n"
"""What always ends an event, though another may end without it."""


class _Reader(Protocol):
    """What is made of the decoded bytes."""

    facts: Facts
    characters: int

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class Body:
    """One response body. Feed it the bytes as received, then end it.

    Whatever goes wrong in here ends the reading, not the response: `facts` stays as it is, and
    the usage of the call is then partial or missing.
    """

    def __init__(self, endpoint: Endpoint, content_type: str, content_encoding: str) -> None:
        self._complete_at_end = endpoint.complete_at_end
        self._given_up = False
        self._decode: Decode | None = None
        self._reader = _reader(endpoint, content_type.lower())
        if content_encoding:
            try:
                self._decode = decoder(content_encoding)
            except UnknownEncodingError as error:
                self._give_up(error)

    @property
    def facts(self) -> Facts:
        """What is known so far; of a JSON body nothing before its end."""
        return self._reader.facts

    def results(self) -> list[Facts]:
        """The results of a batch that have passed since this was last asked."""
        return self._reader.take() if isinstance(self._reader, _ResultReader) else []

    def feed(self, chunk: bytes) -> None:
        """Observe the next bytes."""
        if self._given_up:
            return
        try:
            self._reader.feed(chunk if self._decode is None else self._decode(chunk))
        except Exception as error:
            self._give_up(error)

    def end(self, *, in_order: bool) -> None:
        """The body is over; `in_order` tells the server's end of it from ours."""
        if self._given_up:
            return
        try:
            self._reader.end()
        except Exception as error:
            self._give_up(error)
        facts = self.facts
        if in_order and self._complete_at_end and facts.usage:
            facts = replace(facts, complete=True)
        if self._reader.characters and facts.usage.output is None:
            facts = replace(facts, text_characters=self._reader.characters)
        self._reader.facts = facts

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        if is_foreign(error):
            raise error
        if isinstance(error, UnknownEncodingError):
            warn_once("encoding", "a response had a content encoding that cannot be read")
        elif isinstance(error, TextTooLargeError):
            warn_once("size", "a response was too large to look for its usage")
        elif not isinstance(error, ValueError | RecursionError):
            report("reading a response", error)


def _reader(endpoint: Endpoint, content_type: str) -> _Reader:
    """By what the response says it is: a request for a stream may be answered without one."""
    if endpoint.results:
        return _ResultReader(endpoint)
    if endpoint.fold is not None:
        kind = content_type.partition(";")[0].rstrip()
        if kind == "text/event-stream":
            return _SSEReader(endpoint)
        if kind in _STREAMS:
            return _EventReader(endpoint, _STREAMS[kind](endpoint.names))
    return _JSONReader(endpoint)


class _Parser(Protocol):
    def feed(self, chunk: bytes) -> Iterator[bytes]: ...


_STREAMS: "dict[str, type[LineParser | EventStreamParser]]" = {
    "application/x-ndjson": LineParser,
    "application/ndjson": LineParser,
    "application/jsonl": LineParser,
    "application/jsonlines": LineParser,
    "application/stream+json": LineParser,
    "application/vnd.amazon.eventstream": EventStreamParser,
}


class _EventReader:
    """Folds the events that matter into the facts."""

    def __init__(self, endpoint: Endpoint, parser: _Parser) -> None:
        self.facts = NOTHING
        self.characters = 0
        self._endpoint = endpoint
        self._parser = parser
        self._read = 0

    def feed(self, data: bytes) -> None:
        for event in self._parser.feed(data):
            if self._is_unnamed() or self._endpoint.matters.search(event):
                self._event(event)
            self._count(event)

    def end(self) -> None:
        """A line without its end counts, as JSON; an event does not."""
        if isinstance(self._parser, LineParser):
            self._event(self._parser.end())

    def _is_unnamed(self) -> bool:
        """Whether the next event has to be read because it may say the response's id."""
        return self.facts.response_id is None and self._read < _MAX_NAMELESS_EVENTS

    def _event(self, data: bytes) -> None:
        self._read += 1
        if not data.startswith(b"{"):
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            if is_foreign(error):
                raise
            return
        if self._endpoint.fold is not None and isinstance(event, dict):
            self.facts = self._endpoint.fold(self.facts, event)

    def _count(self, events: bytes) -> None:
        """Count the characters of the answer's text, in case nobody reports its tokens."""
        if self._endpoint.text is not None:
            self.characters += _length(self._endpoint.text.findall(events))


class _SSEReader(_EventReader):
    """Searches many events at once, and takes apart only those in which something is found."""

    _parser: SSEParser

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, SSEParser(endpoint.names))
        self._begun = b""  # an event whose end has not come yet

    def feed(self, data: bytes) -> None:
        data = self._begun + data
        ended, end, begun = data.rpartition(_EVENT_END)
        if len(begun) > SMALL:
            ended, end, begun = data, b"", b""
        run, self._begun = ended + end, begun
        if not run:
            return
        if self._parser.passes(run):
            self._search(run)
        else:
            super().feed(run)

    def end(self) -> None:
        super().feed(self._begun)

    def _search(self, run: bytes) -> None:
        event = self._next(run, 0)
        while event is not None:
            self._event(event[1])
            event = self._next(run, event.end())
        self._count(run)

    def _next(self, run: bytes, start: int) -> re.Match[bytes] | None:
        """The data of the next event that has to be read."""
        if self._is_unnamed():
            return plain_data(run, start)
        found = self._endpoint.matters.search(run, start)
        return None if found is None else plain_data(run, found.start())


def _length(texts: list[bytes]) -> int:
    """The characters of the insides of JSON strings."""
    together = b"".join(texts)
    if together.isascii() and b"\\" not in together:
        return len(together)
    return sum(map(_unescaped_length, texts))


def _unescaped_length(text: bytes) -> int:
    if b"\\" not in text:
        return len(text.decode(errors="replace"))
    try:
        return len(json.loads(b'"%b"' % text, strict=False))
    except ValueError:
        return 0


class _JSONReader(_EventReader):
    """Collects a JSON body, and reads it at its end; a list as the stream of events it is."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, ListParser(endpoint.names))
        self._text = Document(endpoint.names, whole_body=True)
        self._first = b""

    def feed(self, data: bytes) -> None:
        if not self._first:
            data = data.lstrip(_BLANK)
            self._first = data[:1]
        if self._first == b"{":
            self._text.feed(data)
        elif self._first == b"[" and self._endpoint.fold is not None:
            super().feed(data)

    def end(self) -> None:
        text = self._text.take()
        body = json.loads(text) if text else None
        if isinstance(body, dict):
            self.facts = self._endpoint.read(body)


class _ResultReader:
    """Reads the results of a batch, line by line. The response itself is no call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.facts = NOTHING
        self.characters = 0
        self._endpoint = endpoint
        self._parser = LineParser(endpoint.names)
        self._results: list[Facts] = []

    def feed(self, data: bytes) -> None:
        for line in self._parser.feed(data):
            self._line(line)

    def end(self) -> None:
        self._line(self._parser.end())

    def take(self) -> list[Facts]:
        results, self._results = self._results, []
        return results

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            return
        try:
            result = json.loads(line)
        except ValueError as error:
            if is_foreign(error):
                raise
            return
        facts = self._endpoint.read(result)
        if facts.usage or facts.additional:
            self._results.append(facts)
