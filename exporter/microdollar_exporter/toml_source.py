# SPDX-License-Identifier: Apache-2.0
"""TOML files that people write: exact values, and of each its line for what is said against it.

`tomllib` does the parsing. It does not tell where a value stood, so the valid text is walked once
more for the lines of its keys and tables.
"""

import bisect
import datetime as dt
import difflib
import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn, Self

from microdollar_exporter.errors import UsageError

__all__ = ["Key", "Scientific", "Table", "lines_of", "parse", "read"]

Key = tuple[str | int, ...]
"""Where a value is in a document: names of keys, and positions within arrays."""

_MOST_DIGITS = 30


def read(path: Path) -> "Table":
    """The document in a file, as its outermost table.

    Raises:
        UsageError: it cannot be read, or is no TOML; the message says where.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8: save the file in that encoding") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> "Table":
    """The document in a text, as its outermost table; `name` says in errors which file it is.

    Raises:
        UsageError: it is no TOML; the message says where.
    """
    try:
        values = tomllib.loads(text, parse_float=_exact)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: a value is too long or nested too deeply: {error}") from error
    return Table(_File(name, lines_of(text)), (), values)


class Scientific(Decimal):
    """A number that is written with an exponent."""


def _exact(text: str) -> Decimal:
    try:
        return Scientific(text) if "e" in text.lower() else Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits: refused like an infinity
        return Decimal("NaN")


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    lines: Mapping[Key, int]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a document, which reads its keys by type and says what is wrong with them.

    The readers return None, or `default`, for a key that is not there, and raise `UsageError` for
    a value that they do not take. Its message begins with the file and the line, and names the
    key, the value and what may stand there.
    """

    file: _File
    key: Key
    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    @property
    def line(self) -> int:
        """The line of the table's head."""
        return self.file.lines.get(self.key, 1)

    def line_of(self, name: str) -> int:
        """The line of a key, or of the table when it has no such key."""
        return self.file.lines.get((*self.key, name), self.line)

    @property
    def head(self) -> str:
        """The table as it is written: `[[rate]]`, `[providers]`, `rate.when`."""
        names = [part for part in self.key if isinstance(part, str)]
        if not names:
            return "the file"
        if isinstance(self.key[-1], int):
            return f"[[{'.'.join(names)}]]"
        return f"[{names[0]}]" if len(self.key) == 1 else ".".join(names)

    def refuse(self, name: str, way_out: str) -> NoReturn:
        """Raise against a key's value; `way_out` says what to write instead.

        Raises:
            UsageError: always.
        """
        said = f"is {_shown(self.values[name])}" if name in self.values else "is missing"
        self._raise(self.line_of(name), f"{name} of {self.head} {said}: {way_out}")

    def refuse_whole(self, complaint: str) -> NoReturn:
        """Raise against the table as a whole.

        Raises:
            UsageError: always.
        """
        self._raise(self.line, f"{self.head} {complaint}")

    def _raise(self, line: int, complaint: str) -> NoReturn:
        raise UsageError(f"{self.file.name}:{line}: {complaint}")

    def only(self, known: Collection[str]) -> None:
        """Refuse any key that is not among the known ones, with the nearest of them."""
        for name in self.values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                meant = f"do you mean {near[0]}? " if near else ""
                self._raise(
                    self.line_of(name),
                    f"{name} is not known in {self.head}: {meant}choose from {', '.join(known)}",
                )

    def text(self, name: str, default: Any = None) -> Any:
        """A text that is not empty."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.refuse(name, "write a text in quotes")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """One text, or an array of different ones that is not empty."""
        value = self.values.get(name)
        if value is None:
            return None
        many = value if isinstance(value, list) else [value]
        if not many or not all(isinstance(one, str) and one.strip() for one in many):
            self.refuse(name, "write a text in quotes, or several in brackets")
        if len(set(many)) < len(many):
            self.refuse(name, "write each text once")
        return tuple(many)

    def choice(self, name: str, words: Sequence[str], default: Any = None) -> Any:
        """One of a few words."""
        value = self.values.get(name)
        if value is None:
            return default
        if value not in words:
            self.refuse(name, f"choose from {', '.join(words)}")
        return value

    def number(self, name: str, way_out: str = "write a number like 0.25") -> Decimal | None:
        """A finite decimal number, exactly as it is written, of at most 30 digits."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.refuse(name, _unquoted(value, way_out))
        number = Decimal(value)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int):  # that of an infinity is a letter
            self.refuse(name, way_out)
        if max(len(number.as_tuple().digits), abs(exponent)) > _MOST_DIGITS:
            self.refuse(name, f"write at most {_MOST_DIGITS} digits")
        return number

    def whole(self, name: str, way_out: str = "write a whole number like 1000") -> int | None:
        """A whole number, not below zero."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.refuse(name, _unquoted(value, way_out))
        if len(str(value)) > _MOST_DIGITS:
            self.refuse(name, f"write at most {_MOST_DIGITS} digits")
        return value

    def instant(self, name: str) -> dt.datetime | None:
        """A moment, UTC without a zone; a day stands for its beginning in UTC."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dt.date):
            self.refuse(name, "write a day like 2026-10-01 or a time like 2026-10-01T00:00:00Z")
        if not isinstance(value, dt.datetime):
            return dt.datetime(value.year, value.month, value.day)
        if value.tzinfo is None:
            return value
        try:
            return value.astimezone(dt.UTC).replace(tzinfo=None)
        except OverflowError:
            self.refuse(name, "write a time between the years 1 and 9999")

    def table(self, name: str) -> Self | None:
        """A table inside this one."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, f"write a table: {name} = {{ … }}")
        return type(self)(self.file, (*self.key, name), value)

    def tables(self, name: str) -> list[Self]:
        """An array of tables inside this one, as `[[name]]` makes it; none when it is absent."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.refuse(name, f"write a table under [[{name}]]")
        return [
            type(self)(self.file, (*self.key, name, position), one)
            for position, one in enumerate(value)
        ]


def _unquoted(value: Any, way_out: str) -> str:
    return f"{way_out}, without quotes" if isinstance(value, str) else way_out


def _shown(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    if isinstance(value, Decimal | int):
        text = f"{value}"
        return text if len(text) <= 2 * _MOST_DIGITS else f"{text[:_MOST_DIGITS]}…"
    return str(value.isoformat())


def lines_of(text: str) -> dict[Key, int]:
    """The line, from 1, on which each key and table of a valid document begins."""
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_NAME = re.compile(r"""[ \t]*(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')[ \t]*""")
# A multi-line text may end in five quotes, of which the first two belong to it.
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|' r"'''.*?'{3,5}(?!')|" r""""(?:[^"\\]|\\.)*"|'[^']*'""",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}#\n]+")


class _Walk:
    """Goes over a valid document once and notes where its keys are."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Key, int] = {}
        self._text = text
        self._at = 0
        self._ends = [at for at, letter in enumerate(text) if letter == "\n"]
        self._lengths: dict[Key, int] = {}

    def document(self) -> None:
        table: Key = ()
        self._pass(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._head()
            else:
                self._pair(table)
            self._pass(_BLANK)

    def _head(self) -> Key:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        begun = self._at
        self._at += brackets
        *outer, last = self._names()
        self._at += brackets
        key: Key = ()
        for name in outer:
            self._note((*key, name), begun)  # its own head, which is better, may come later
            key = self._newest((*key, name))
        key = (*key, last)
        if brackets == 2:
            self._lengths[key] = self._lengths.get(key, 0) + 1
            self._note(key, begun)
            key = self._newest(key)
        self.lines.pop(key, None)
        self._note(key, begun)
        return key

    def _newest(self, key: Key) -> Key:
        """A name of an array of tables stands for the last of them."""
        length = self._lengths.get(key)
        return key if length is None else (*key, length - 1)

    def _pair(self, table: Key) -> None:
        begun = self._at
        key = table
        for name in self._names():
            key = (*key, name)
            self._note(key, begun)
        self._at += 1  # the equals sign
        self._value(key)

    def _names(self) -> list[str]:
        """A key with its dots, unquoted as `tomllib` does it."""
        begun = self._at
        self._pass(_NAME)
        while self._text[self._at] == ".":
            self._at += 1
            self._pass(_NAME)
        names = []
        inner: Any = tomllib.loads(f"{self._text[begun : self._at]} = 0")
        while isinstance(inner, dict):
            ((name, inner),) = inner.items()
            names.append(name)
        return names

    def _value(self, key: Key) -> None:
        self._pass(_BLANK)
        first = self._text[self._at]
        if first in "\"'":
            self._pass(_TEXT)
        elif first == "[":
            self._array(key)
        elif first == "{":
            self._inline_table(key)
        else:
            self._pass(_BARE)

    def _array(self, key: Key) -> None:
        self._at += 1
        position = 0
        while self._next() != "]":
            self._note((*key, position), self._at)
            self._value((*key, position))
            position += 1
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, key: Key) -> None:
        self._at += 1
        while self._next() != "}":
            self._pair(key)
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _next(self) -> str:
        self._pass(_BLANK)
        return self._text[self._at]

    def _pass(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _note(self, key: Key, at: int) -> None:
        self.lines.setdefault(key, bisect.bisect_left(self._ends, at) + 1)
