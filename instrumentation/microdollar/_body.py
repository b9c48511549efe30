# SPDX-License-Identifier: Apache-2.0
"""Follow a response body as it passes, and keep nothing of it but the facts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from microdollar._decode import Decode, UnknownEncodingError, decoder
from microdollar._eventstream import EventStreamParser
from microdollar._facts import Facts
from microdollar._guard import is_foreign, report, warn_once
from microdollar._lines import LineParser, ListParser
from microdollar._skim import Document, TextTooLargeError
from microdollar._sse import SSEParser
from microdollar.providers import Endpoint

__all__ = ["Body"]

_MAX_NAMELESS_EVENTS = 16
"""Events parsed in search of the response's id before only those that matter are."""

_BLANK = b" \t\r\n\xef\xbb\xbf"


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
        complete = self.facts.complete
        if in_order and self._complete_at_end and self.facts.usage:
            complete = True
        self._reader.facts = replace(
            self.facts, complete=complete, text_characters=self._reader.characters
        )

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
        for kind, parser in _STREAMS.items():
            if content_type.startswith(kind):
                return _EventReader(endpoint, parser(endpoint.names))
    return _JSONReader(endpoint)


class _Parser(Protocol):
    def feed(self, chunk: bytes) -> Iterator[bytes]: ...


_STREAMS: "dict[str, type[SSEParser | LineParser | EventStreamParser]]" = {
    "text/event-stream": SSEParser,
    "application/x-ndjson": LineParser,
    "application/ndjson": LineParser,
    "application/jsonl": LineParser,
    "application/stream+json": LineParser,
    "application/vnd.amazon.eventstream": EventStreamParser,
}


class _EventReader:
    """Folds the events that matter into the facts."""

    def __init__(self, endpoint: Endpoint, parser: _Parser) -> None:
        self.facts = Facts()
        self.characters = 0
        self._endpoint = endpoint
        self._parser = parser
        self._nameless = 0

    def feed(self, data: bytes) -> None:
        for event in self._parser.feed(data):
            if self._endpoint.matters.search(event) or self._unnamed():
                self._event(event)
            if self._endpoint.text is not None and self.facts.usage.output is None:
                self.characters += sum(map(_length, self._endpoint.text.findall(event)))

    def end(self) -> None:
        """A line without its end counts, as JSON; an event does not."""
        if isinstance(self._parser, LineParser):
            self._event(self._parser.end())

    def _unnamed(self) -> bool:
        self._nameless += 1
        return self._nameless <= _MAX_NAMELESS_EVENTS and self.facts.response_id is None

    def _event(self, data: bytes) -> None:
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


def _length(text: bytes) -> int:
    """The characters of the inside of a JSON string."""
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
        self.facts = Facts()
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
