# SPDX-License-Identifier: Apache-2.0
"""What a request asks for: the model, a stream, and how much at most. Nothing else is read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from microdollar._guard import is_foreign
from microdollar._identity import BODY_TAGS
from microdollar._json import members
from microdollar._text import label

__all__ = ["MEMBERS", "Asked", "read_asked"]

_MAX_REQUEST = 64 * 2**20
"""Bytes of a request body beyond which it is not searched."""

_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")

_LARGE_TAGS = tuple(name for name in BODY_TAGS if name != "user")
"""In a large body `user` is not looked for: it is the role of each message too."""

MEMBERS = frozenset(("model", "stream", "n", *_LIMITS, *BODY_TAGS))
"""All of a request's body that is ever looked at."""


class Asked(NamedTuple):
    """What is known of a request.

    `max_output` are the most tokens an answer may have; `tags` the members that may say whom the
    request is made for.
    """

    model: str | None = None
    stream: bool = False
    max_output: int | None = None
    tags: Mapping[str, Any] = MappingProxyType({})


def read_asked(request: Any) -> Asked:
    """Read a request of httpx or httpx2 whose body is in memory: JSON, or a form with files."""
    try:
        content: bytes = request.content
    except RuntimeError:  # the body is itself a stream
        return _of_form(getattr(request.stream, "fields", ()))
    if not content.startswith(b"{") or len(content) > _MAX_REQUEST:
        return Asked()
    try:
        body = members(content, "model", "stream", "n", *_LIMITS, *_LARGE_TAGS)
    except (ValueError, RecursionError) as error:
        if is_foreign(error):
            raise
        return Asked()
    tags = {name: body[name] for name in BODY_TAGS if name in body}
    return Asked(label(body.get("model")), body.get("stream") is True, _limit(body), tags)


def _limit(body: Mapping[str, Any]) -> int | None:
    choices = body.get("n", 1)
    if choices != 1:  # the limit is that of each choice
        return None
    limits = (body.get(name) for name in _LIMITS)
    return next((limit for limit in limits if type(limit) is int and limit > 0), None)


def _of_form(fields: Any) -> Asked:
    """The fields of a multipart body; those with files have no plain value."""
    values = {
        str(getattr(field, "name", "")): getattr(field, "value", None)
        for field in (fields if isinstance(fields, list | tuple) else ())
    }
    model, stream = values.get("model"), values.get("stream")
    if isinstance(model, bytes):
        model = model.decode(errors="replace")
    return Asked(label(model), str(stream).lower() == "true")
