# SPDX-License-Identifier: Apache-2.0
"""Requests of other HTTP libraries, as those of httpx look.

What the meter reads of a request is the same whichever library sends it, so each library only has
to say where it keeps what.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from microdollar._asked import MEMBERS

__all__ = ["URL", "Field", "Headers", "MultiHeaders", "View", "json_members", "text_of", "url_of"]

_FORM_HEAD = 64 * 2**10
"""Bytes at the start of a form in which its plain fields are looked for, ahead of the files."""


class URL(NamedTuple):
    """The parts of a URL that say whose it is; the path without percent signs."""

    scheme: str
    host: str
    port: int | None
    path: str


def url_of(text: str) -> URL:
    """The parts of an absolute URL.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text)
    return URL(parts.scheme, parts.hostname or "", parts.port, unquote(parts.path))


class Headers:
    """The headers of a request, in a mapping that does not care for their case."""

    def __init__(self, mapping: Any) -> None:
        self._mapping = mapping

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they are written."""
        return [(_bytes(name), _bytes(value)) for name, value in self._mapping.items()]

    def __contains__(self, name: str) -> bool:
        return name in self._mapping

    def __getitem__(self, name: str) -> str:
        return text_of(self._mapping[name])

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a header; `default` if there is none."""
        value = self._mapping.get(name)
        return default if value is None else text_of(value)

    def pop(self, name: str) -> Any:
        """Remove a header."""
        return self._mapping.pop(name)

    def update(self, taken: Mapping[str, Any]) -> None:
        """Give back what was removed."""
        self._mapping.update(taken)


class MultiHeaders(Headers):
    """Headers in a mapping that may hold one name several times."""

    def pop(self, name: str) -> Any:
        """Remove all headers of a name."""
        return self._mapping.popall(name)

    def update(self, taken: Mapping[str, Any]) -> None:
        """Give back what was removed."""
        for name, values in taken.items():
            for value in values:
                self._mapping.add(name, value)


class Field(NamedTuple):
    """A plain field of a form."""

    name: str
    value: str


class View:
    """A request. `body` is what the library was given to send, of any type."""

    def __init__(self, method: str, url: Any, headers: Headers, body: Any) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self._body = body

    @property
    def content(self) -> bytes:
        """The body, if it is JSON in memory.

        Raises:
            RuntimeError: it is a form, or read only while it is sent.
        """
        body = self._body
        if isinstance(body, str):
            return body.encode(errors="replace")
        if body is None or (isinstance(body, bytes | bytearray) and not body.startswith(b"--")):
            return bytes(body or b"")
        raise RuntimeError

    @property
    def stream(self) -> "View":
        """Where httpx keeps the fields of a form."""
        return self

    @cached_property
    def fields(self) -> list[Field]:
        """The plain fields of a form."""
        if isinstance(self._body, bytes | bytearray):
            return list(_form_fields(bytes(self._body[:_FORM_HEAD])))
        return self._body if isinstance(self._body, list) else []


def json_members(body: Any) -> bytes:
    """JSON of what the meter reads of an object that is still to be written as JSON."""
    if not isinstance(body, Mapping):
        return b""
    asked = {name: value for name, value in body.items() if name in MEMBERS}
    return json.dumps(asked, default=str).encode()


_NAME = re.compile(rb'content-disposition:[^\r\n]*?[; ]name="([^"\r\n]*)"([^\r\n]*)', re.IGNORECASE)


def _form_fields(head: bytes) -> Iterator[Field]:
    boundary, _, rest = head.partition(b"\r\n")
    *parts, _ = rest.split(b"\r\n" + boundary)
    for part in parts:
        described, _, value = part.partition(b"\r\n\r\n")
        found = _NAME.search(described)
        if found is not None and b"filename" not in found[2]:
            yield Field(found[1].decode(errors="replace"), value.decode(errors="replace"))


def text_of(value: Any) -> str:
    """A name or value of a header, which some libraries keep as bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
