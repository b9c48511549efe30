# SPDX-License-Identifier: Apache-2.0
"""Take a few members out of JSON, without parsing megabytes of it on the app's thread."""

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["members"]

SMALL = 64 * 2**10
"""Bytes up to which a text is simply parsed, and which one member may take in a larger one."""

_COLON = re.compile(rb"\s*:\s*")
_decode = json.JSONDecoder().raw_decode


def members(content: bytes, *names: str) -> Mapping[str, Any]:
    """The members of a JSON object: those called `names` of a large one, all of a small one.

    In a large text a name counts as the member's when it occurs once as a key. A key that occurs
    twice may be a nested one, and then the whole text is parsed after all.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    found: dict[str, Any] | None = None
    if len(content) > SMALL:
        found = _found(content, names)
    if found is None:
        found = json.loads(content)
    return found if isinstance(found, dict) else {}


def _found(content: bytes, names: tuple[str, ...]) -> dict[str, Any] | None:
    found = {}
    for name in names:
        key = f'"{name}"'.encode()
        start = content.find(key)
        if start < 0:
            continue
        end = start + len(key)
        colon = _COLON.match(content, end)
        # Behind a backslash the quotation mark belongs to a text.
        if colon is None or content[start - 1 : start] == b"\\" or content.find(key, end) >= 0:
            return None
        value = content[colon.end() : colon.end() + SMALL].decode(errors="replace")
        try:
            found[name] = _decode(value)[0]
        except ValueError:
            return None
    return found
