# SPDX-License-Identifier: Apache-2.0
"""What is billed by the piece: one name for each unit, whatever an emitter calls it."""

from types import MappingProxyType
from typing import Final

__all__ = ["UNITS", "spellings", "unit_name"]

UNITS: Final = (
    *("web_search", "file_search", "x_search", "code_interpreter", "search_units", "requests"),
    *("pages", "annotated_pages", "messages", "characters", "audio_hours"),
)
"""The units that books of list prices have. Others can come in, and have a rate in overrides."""

_OTHER_NAMES: Final = MappingProxyType(
    {
        "code_execution": "code_interpreter",
        "file_search_calls": "file_search",
        "google_search": "web_search",
        "num_search_queries": "web_search",
        "pages_processed": "pages",
        "search_queries": "web_search",
        "web_search_requests": "web_search",
    }
)


def unit_name(reported: str) -> str:
    """What a book calls a unit that somebody reported."""
    return _OTHER_NAMES.get(reported, reported)


def spellings(unit: str) -> tuple[str, ...]:
    """All the names under which a unit may have been reported, its own first."""
    return (unit, *(name for name, of in _OTHER_NAMES.items() if of == unit))
