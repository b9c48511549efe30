# SPDX-License-Identifier: Apache-2.0
"""Strings that are safe as attribute values: short, printable, and encodable as UTF-8."""

import re

__all__ = ["UNSAFE", "label"]

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators, and lone surrogates, which UTF-8 cannot carry."""


def label(value: object, limit: int = 256) -> str | None:
    """`value` if it is a string worth an attribute, cut to `limit` characters; else None."""
    if not isinstance(value, str) or not value or not _is_safe(value):
        return None
    return value[:limit]


def _is_safe(text: str) -> bool:
    return (text.isascii() and text.isprintable()) or UNSAFE.search(text) is None
