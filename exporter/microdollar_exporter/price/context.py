# SPDX-License-Identifier: Apache-2.0
"""The facts of a request, beside its tokens, that can select another rate."""

from typing import Final

from microdollar_exporter.usage import UsageRow

__all__ = ["doubtful_geo", "facts"]

_STANDARD_TIERS: Final = {
    "auto",
    "default",
    "on_demand",
    "standard",
    "standard_only",
}
_STANDARD_SPEED: Final = "standard"
_UNPRICED_GEO: Final = {"global", "not_available"}


def facts(row: UsageRow) -> tuple[str, ...]:
    """The contexts of the book that a call asks for; empty for the standard one.

    A service tier of `batch`, as Anthropic and Groq say it, is the book's `processing=batch`.
    Any other word that is not the standard one is passed on as it is: the book knows it or not.
    """
    asked = []
    if tier := _word(row.service_tier):
        if tier == "batch":
            asked.append("processing=batch")
        elif tier not in _STANDARD_TIERS:
            asked.append(f"service_tier={tier}")
    if (speed := _word(row.speed)) and speed != _STANDARD_SPEED:
        asked.append(f"speed={speed}")
    return tuple(asked)


def doubtful_geo(row: UsageRow) -> str | None:
    """The place a call was confined to, when that may cost more than the book knows.

    Providers charge for residency (Anthropic 1.1 times for `us`); no price row says how much.
    """
    geo = _word(row.inference_geo)
    return geo if geo and geo not in _UNPRICED_GEO else None


def _word(text: str | None) -> str:
    return text.strip().lower() if text else ""
