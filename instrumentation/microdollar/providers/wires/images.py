# SPDX-License-Identifier: Apache-2.0
"""Images as OpenAI's gpt-image models report them. The model is only in the request."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from microdollar._facts import Facts, Usage
from microdollar._text import label
from microdollar.providers._endpoint import Endpoint
from microdollar.providers._wire import error_type, part
from microdollar.providers.wires import responses

__all__ = ["IMAGES"]


def _usage(wire: Mapping[str, Any]) -> Usage:
    used = responses.usage(wire)
    if used.image_out is None and "output_tokens_details" not in wire:
        return replace(used, image_out=used.output)  # they draw and do nothing else
    return used


def _read(body: Mapping[str, Any]) -> Facts:
    used = _usage(part(body, "usage"))
    vector = part(body, "svg_usage")
    model, drawn = label(vector.get("model")), responses.usage(vector)
    return Facts(
        model=label(body.get("model")),
        error_type=error_type(body.get("error")),
        usage=used,
        additional=((model or "svg", drawn),) if drawn else (),
        complete=bool(used),
    )


def _fold(facts: Facts, event: Mapping[str, Any]) -> Facts:
    now = _read(event)
    return now if now.usage else replace(facts, error_type=now.error_type or facts.error_type)


IMAGES = Endpoint(
    operation="image_generation",
    path=re.compile(r"/images/(?:generations|edits|variations)/?$"),
    read=_read,
    fold=_fold,
    matters=re.compile(rb'"usage"\s*:\s*\{|"error"\s*:'),
    names=frozenset({b"error"}),
    exact="tokens of image models that report them",
    cut="nothing",
    silent="DALL·E, which is billed by quality, size and number",
)
