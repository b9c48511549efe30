# SPDX-License-Identifier: Apache-2.0
"""Follow a response body as it passes, and keep nothing of it but the facts."""

import json
import zlib
from dataclasses import replace

from microdollar._decode import Decode, UnknownEncodingError, decoder
from microdollar._facts import Facts
from microdollar._guard import is_foreign, report, warn_once
from microdollar._json import members
from microdollar._sse import EventTooLargeError, SSEParser
from microdollar.providers import Endpoint

__all__ = ["Body"]

MAX_BUFFER = 32 * 2**20
"""Bytes of one event, or of one JSON body, beyond which it is given up."""

_MAX_NAMELESS_EVENTS = 16
"""Events parsed in search of the response's id before only those that matter are."""

_BLANK = b" \t\r\n"


class Body:
    """One response body. Feed it the bytes as received, then end it.

    Whatever goes wrong in here ends the reading, not the response: `facts` stays as it is, and
    the usage of the call is then partial or missing.
    """

    def __init__(self, endpoint: Endpoint, content_type: str, content_encoding: str) -> None:
        self._complete_at_end = endpoint.complete_at_end
        self._given_up = False
        self._decode: Decode | None = None
        self._reader: _EventReader | _JSONReader
        if endpoint.fold is not None and content_type.lower().startswith("text/event-stream"):
            self._reader = _EventReader(endpoint)
        else:
            self._reader = _JSONReader(endpoint)
        if content_encoding:
            try:
                self._decode = decoder(content_encoding)
            except UnknownEncodingError as error:
                self._give_up(error)

    @property
    def facts(self) -> Facts:
        """What is known so far; of a JSON body nothing before its end."""
        return self._reader.facts

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
        if in_order and self._complete_at_end and self.facts.usage:
            self._reader.facts = replace(self.facts, complete=True)

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        if is_foreign(error):
            raise error
        if isinstance(error, UnknownEncodingError):
            warn_once("encoding", "a response had a content encoding that cannot be read")
        elif isinstance(error, EventTooLargeError):
            warn_once("size", "a response was too large to look for its usage")
        elif not isinstance(error, ValueError | RecursionError | zlib.error):
            report("reading a response", error)


class _EventReader:
    """Folds the events that matter into the facts."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.facts = Facts()
        self._endpoint = endpoint
        self._parser = SSEParser(MAX_BUFFER)
        self._nameless = 0

    def feed(self, data: bytes) -> None:
        for event in self._parser.feed(data):
            if self._endpoint.matters.search(event) or self._unnamed():
                self._event(event)

    def end(self) -> None:
        """An event without its end does not count."""

    def _unnamed(self) -> bool:
        self._nameless += 1
        return self.facts.response_id is None and self._nameless <= _MAX_NAMELESS_EVENTS

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


class _JSONReader:
    """Collects a JSON body, and reads it at its end."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.facts = Facts()
        self._endpoint = endpoint
        self._parts: list[bytes] = []
        self._size = 0
        self._other = False

    def feed(self, data: bytes) -> None:
        if not self._parts:
            data = data.lstrip(_BLANK)
            self._other = self._other or (bool(data) and data[:1] not in b"{[")
        if self._other or not data:
            return
        self._size += len(data)
        if self._size > MAX_BUFFER:
            self._parts.clear()
            raise EventTooLargeError
        self._parts.append(data)

    def end(self) -> None:
        text = b"".join(self._parts)
        self._parts.clear()
        if text.startswith(b"["):
            self._array(text.decode(errors="replace"))
        elif text:
            names = self._endpoint.members
            self.facts = self._endpoint.read(members(text, *names) if names else json.loads(text))

    def _array(self, text: str) -> None:
        """A stream sent as one array of its events, which may be cut off."""
        if self._endpoint.fold is None:
            return
        decode = json.JSONDecoder().raw_decode
        position = text.find("{")
        while position >= 0:
            event, position = decode(text, position)
            self.facts = self._endpoint.fold(self.facts, event)
            position = text.find("{", position)
