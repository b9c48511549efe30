# SPDX-License-Identifier: Apache-2.0
"""The facts of a request, beside its tokens, that can select another rate."""

from typing import Final

from microdollar_exporter.price.book import STANDARD
from microdollar_exporter.usage import UsageRow

__all__ = ["FACTS", "facts", "facts_of"]

FACTS: Final = (
    *("processing", "service_tier", "speed", "inference_geo"),
    *("region", "route", "search_type"),
)
"""The names of facts. The last three are on no span: an alias can say them."""

_STANDARD_TIERS: Final = {
    "auto",
    "default",
    "on_demand",
    "standard",
    "standard_only",
}
_STANDARD_SPEED: Final = "standard"
_UNCONFINED: Final = {"global", "not_available"}


def facts(row: UsageRow) -> tuple[str, ...]:
    """What a call asks for that may have a price of its own; nothing for an ordinary one.

    A service tier of `batch`, as Anthropic and Groq say it, is the book's `processing=batch`.
    Any other word that is not the standard one is passed on as it is: the book knows it or not.
    A place that a call is confined to is one: providers charge for residency.
    """
    asked = []
    if tier := _word(row.service_tier):
        if tier == "batch":
            asked.append("processing=batch")
        elif tier not in _STANDARD_TIERS:
            asked.append(f"service_tier={tier}")
    if (speed := _word(row.speed)) and speed != _STANDARD_SPEED:
        asked.append(f"speed={speed}")
    if (geo := _word(row.inference_geo)) and geo not in _UNCONFINED:
        asked.append(f"inference_geo={geo}")
    return tuple(asked)


def facts_of(context: str) -> frozenset[str]:
    """The facts that a context of the book is made of; none for the standard one."""
    return frozenset() if context == STANDARD else frozenset(context.split(","))


def _word(text: str | None) -> str:
    return text.strip().lower() if text else ""
