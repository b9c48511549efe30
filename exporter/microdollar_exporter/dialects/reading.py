# SPDX-License-Identifier: Apache-2.0
"""Which of the counts on a span stands for what: found out once for all spans with the same names.

One family of names is read, completely. What another family says of the same call may mean
something else by the same word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from microdollar_exporter.dialects.conventions import Cache
from microdollar_exporter.dialects.usage_names import KNOWN, Family, names_of

__all__ = ["Reading", "read"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """The name to read each count by; None where the span has none of its names.

    `reported` is false where no token and no unit is. `cache` is set where the names themselves
    tell what the input includes. `twice` are pairs of names for one count, the first of which is
    read. `not_understood` are names that no table knows.
    """

    input: str | None
    output: str | None
    cache_read: str | None
    cache_write: str | None
    cache_write_5m: str | None
    cache_write_1h: str | None
    tool_input: str | None
    reasoning: str | None
    audio_in: str | None
    audio_out: str | None
    image_in: str | None
    image_out: str | None
    total: str | None
    extra_input: str | None
    extra_output: str | None
    more_input: tuple[str, ...]
    more_output: tuple[str, ...]
    units: tuple[tuple[str, str], ...]
    twice: tuple[tuple[str, str], ...]
    not_understood: tuple[str, ...]
    cache: Cache | None
    reported: bool
    splits_cache: bool


_SINGLE: Final = (
    *("input", "output", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h"),
    *("tool_input", "reasoning", "audio_in", "audio_out", "image_in", "image_out", "total"),
    *("extra_input", "extra_output"),
)
_CACHE: Final = ("cache_read", "cache_write", "cache_write_5m", "cache_write_1h")


def read(families: Sequence[Family], names: Sequence[str]) -> Reading:
    """How to read the counts of spans that have exactly these names."""
    family = _family(families, names)
    found: dict[str, str | None] = {}
    twice: list[tuple[str, str]] = []
    for field in _SINGLE:
        first, *others = [name for name in getattr(family, field) if name in names] or [None]
        found[field] = first
        twice += [(first, other) for other in others]
    units = [(name, unit) for name, unit in family.units.items() if name in names]
    prefix = family.units_prefix
    if prefix is not None:
        units += [(name, name.removeprefix(prefix)) for name in names if name.startswith(prefix)]
    return Reading(
        **found,
        more_input=tuple(name for name in family.more_input if name in names),
        more_output=tuple(name for name in family.more_output if name in names),
        units=tuple(units),
        twice=tuple(twice),
        not_understood=tuple(
            name
            for name in names
            if name not in KNOWN and not (prefix is not None and name.startswith(prefix))
        ),
        cache=family.cache,
        reported=bool(units) or any(found[field] for field in _SINGLE if field != "total"),
        splits_cache=any(found[field] for field in _CACHE),
    )


def _family(families: Sequence[Family], names: Sequence[str]) -> Family:
    """The first family whose input or output is named; else the first of which anything is."""
    meant = [one for one in families if not one.told_by or any(n in names for n in one.told_by)]
    for family in meant:
        if any(name in names for name in (*family.input, *family.output)):
            return family
    for family in meant:
        if not names_of(family).isdisjoint(names):
            return family
    return meant[0]
