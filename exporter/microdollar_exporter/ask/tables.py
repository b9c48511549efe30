# SPDX-License-Identifier: Apache-2.0
"""Tables for people: figures stand right, and no name is so long that it hides the others."""

from collections.abc import Sequence
from typing import Final

import tabulate

__all__ = ["cut", "table"]

# Two blanks on either side of every header would push a report off most screens.
tabulate.MIN_PADDING = 0

_MOST: Final = 48
"""How many letters of a name are shown."""
_END: Final = 16
"""How many of them are its last ones, in which long names often differ."""


def table(
    body: Sequence[Sequence[str]], headers: Sequence[str], figures: Sequence[bool] | None = None
) -> str:
    """Rows below their headers; `figures` says which columns are numbers, none unless said.

    It does not end with a line break. Wide letters take up two places, as terminals show them.
    """
    align = ["right" if figure else "left" for figure in figures or [False] * len(headers)]
    return tabulate.tabulate(body, headers, "simple", disable_numparse=True, colalign=align)


def cut(name: str) -> str:
    """A name as a table shows it: without its middle, where it is very long."""
    if len(name) <= _MOST:
        return name
    return f"{name[: _MOST - _END - 1]}…{name[-_END:]}"
