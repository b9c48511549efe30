# SPDX-License-Identifier: Apache-2.0
"""A model's name without what its hosts add: to see that two spans speak of the same model."""

import re

__all__ = ["plain_model"]

_MAKER = re.compile(r"(?:[a-z]{2,6}(?:-gov)?\.)?(anthropic|amazon|meta|mistral|cohere|ai21)\.")
_BEDROCK_VERSION = re.compile(r"(?:-v\d+)?(?::\d+)?$", re.ASCII)
_VERSION = re.compile(
    r"(?:@(?:\d{8}|latest|default)|-latest|-20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))$",
    re.ASCII,
)


def plain_model(name: str | None) -> str | None:
    """A model's name in lower case, without provider, region, date and version.

    `us.anthropic.claude-sonnet-5-5-20260701-v1:0` and `anthropic/claude-sonnet-5-5` are both
    `claude-sonnet-5-5`. Only for comparing: two dates of one model may have two prices.
    """
    if not name:
        return None
    plain = name.strip().lower().rpartition("/")[2]
    if made := _MAKER.match(plain):
        plain = _BEDROCK_VERSION.sub("", plain[made.end() :], count=1)
    return _VERSION.sub("", plain) or plain or None
