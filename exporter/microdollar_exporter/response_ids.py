# SPDX-License-Identifier: Apache-2.0
"""The provider's own id of a response, under what a gateway wraps it in."""

import base64
from typing import Final

from microdollar_exporter.values import plain

__all__ = ["true_response_id"]

_LITELLM: Final = "resp_bGl0ZWxsbTp"
"""`resp_` and the base64 of `litellm:`."""
_LITELLM_ID: Final = ";response_id:"


def true_response_id(text: str) -> str:
    """The provider's id, which LiteLLM wraps if it is one of the Responses API.

    Source: litellm `responses/utils.py`, `_build_responses_api_response_id`.
    """
    if not text.startswith(_LITELLM):
        return text
    try:
        wrapped = base64.b64decode(text.removeprefix("resp_"), validate=True).decode()
    except ValueError:
        return text
    return plain(wrapped.partition(_LITELLM_ID)[2]) or text
