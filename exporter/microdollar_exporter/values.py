# SPDX-License-Identifier: Apache-2.0
"""How the value of an attribute is read: strictly by type, short, on one line, never content."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = [
    "MAX_COUNT",
    "MAX_NAME",
    "MAX_NAMED",
    "MAX_TEXT",
    "Reader",
    "count",
    "json_counts",
    "plain",
    "python_counts",
    "text",
    "texts",
    "usage_rows",
]

MAX_TEXT: Final = 256
MAX_NAMED: Final = 16
"""How many tags, how many units, and how many further models one span may have."""
MAX_NAME: Final = 64
MAX_COUNT: Final = 2**53
"""The greatest count: beyond it a double, as some emitters send, is not exact."""

_MAX_JSON: Final = 16_384
_MAX_DEPTH: Final = 3
_MAX_MEMBERS: Final = 64

Reader = Callable[[AnyValue], str | int | Mapping[str, int] | None]
"""Reads a value; None when it is of another type, too long or not safe to keep.

A mapping holds several counts of one attribute, by names to append to its own with a dot.
"""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DECIMAL = re.compile(r"\d{1,16}", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_PYTHON_ITEM = re.compile(r"'([a-z0-9_]{1,64})': (\d{1,16}|None)", re.ASCII)
_PYTHON_DICT = re.compile(rf"\{{({_PYTHON_ITEM.pattern}(, {_PYTHON_ITEM.pattern})*)?\}}", re.ASCII)


def plain(value: str, longest: int = MAX_TEXT) -> str | None:
    """A short text of one line that UTF-8 can hold, or None when it is not one."""
    return value if 0 < len(value) <= longest and not _UNSAFE.search(value) else None


def text(value: AnyValue) -> str | None:
    """A short single-line text; flags and numbers as OTel writes them; anything else is refused."""
    match value.WhichOneof("value"):
        case "string_value":
            return plain(value.string_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return repr(value.double_value)
        case _:
            return None


def texts(value: AnyValue) -> str | None:
    """A list of short words joined with commas, whether it came as an array, as JSON or joined."""
    match value.WhichOneof("value"):
        case "array_value":
            words = [text(item) for item in value.array_value.values]
        case "string_value" if value.string_value.startswith("["):
            listed = _json(value.string_value)
            if not isinstance(listed, list):
                return None
            words = [plain(item) if isinstance(item, str) else None for item in listed]
        case _:
            return text(value)
    joined = ",".join(word for word in words if word is not None)
    return joined if 0 < len(joined) <= MAX_TEXT else None


def count(value: AnyValue) -> int | None:
    """A count that a double could hold exactly.

    An integer, a double without a fraction, or decimal digits in a string (Spring AI, Codex).
    """
    match value.WhichOneof("value"):
        case "int_value":
            number = value.int_value
        case "double_value" if value.double_value.is_integer():
            number = int(value.double_value)
        case "string_value" if _DECIMAL.fullmatch(value.string_value):
            number = int(value.string_value)
        case _:
            return None
    return number if 0 <= number <= MAX_COUNT else None


def json_counts(value: AnyValue) -> Mapping[str, int] | None:
    """The counts of a JSON object, and of the objects inside it by names with dots (Langfuse).

    Members that are no numbers (a null, a model's name) and costs are passed over. A number that
    is no count makes the whole unreadable: what was left out might be money.
    """
    members = _json(value.string_value)
    if not isinstance(members, dict):
        return None
    counts: dict[str, int] = {}
    for name, member in _flat(members, _MAX_DEPTH):
        if name is None or len(counts) >= _MAX_MEMBERS:
            return None
        if member is None or isinstance(member, str | bool | list):
            continue
        number = int(member) if type(member) is float and member.is_integer() else member
        if not _is_count(number):
            return None
        counts[name] = number
    return counts or None


def python_counts(value: AnyValue) -> Mapping[str, int] | None:
    """The counts of a flat dictionary as Python prints it (LangSmith); a None is passed over."""
    printed = value.string_value
    if len(printed) > _MAX_JSON or not _PYTHON_DICT.fullmatch(printed):
        return None
    items = _PYTHON_ITEM.findall(printed)
    counts = {name: int(digits) for name, digits in items if digits != "None"}
    return counts if all(_is_count(number) for number in counts.values()) else None


def usage_rows(value: AnyValue) -> str | None:
    """`microdollar.usage.additional`, rebuilt from the members that its definition names.

    All of it or nothing: a row left out would be money left out.
    """
    rows = _json(value.string_value)
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_NAMED:
        return None
    kept = []
    for row in rows:
        name = row.get("model") if isinstance(row, dict) else None
        model = plain(name) if isinstance(name, str) else None
        if model is None:
            return None
        counts = {key: row[key] for key in (*BUCKETS, *PARTS) if row.get(key) is not None}
        if not counts or not all(_is_count(number) for number in counts.values()):
            return None
        kept.append({"model": model, **counts})
    return json.dumps(kept, separators=(",", ":"))


def _json(written: str) -> Any:
    """What a JSON text of bearable length holds; None when it is not one."""
    if not 0 < len(written) <= _MAX_JSON:
        return None
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return None


def _flat(members: Mapping[str, Any], depth: int) -> Iterator[tuple[str | None, Any]]:
    """The members of an object and of those inside it, without costs; None is an unusable name."""
    for key, member in members.items():
        if "cost" in key:
            continue
        name = key if _WORD.fullmatch(key) else None
        if not isinstance(member, dict):
            yield name, member
        elif name is None or depth == 1:
            yield None, None
        else:
            for inner, deeper in _flat(member, depth - 1):
                yield inner and f"{name}.{inner}", deeper


def _is_count(number: object) -> bool:
    return type(number) is int and 0 <= number <= MAX_COUNT
