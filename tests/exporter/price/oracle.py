# SPDX-License-Identifier: Apache-2.0
"""What a call costs, in rational numbers: written from what a price row means, not for speed.

A usage is split into leaves that have nothing in common, each with the rates it may have, the
closest first: its own, or that of what it is a part of.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.usage import BUCKETS, PARTS, Usage, UsageRow

__all__ = ["Oracle", "exact_cost"]

_USD: Final = 10**18
_DAY: Final = 86_400 * 10**6
_SAME_UNIT: Final = {"code_execution": "code_interpreter", "web_search_requests": "web_search"}
_AT_LEAST_10_SECONDS: Final = {"whisper-large-v3", "whisper-large-v3-turbo"}


class Oracle:
    """Costs of calls that name a provider and a model of one book by their ids."""

    def __init__(self, book: Book) -> None:
        self._rows: dict[tuple[str, str], list[PriceRow]] = {}
        for row in book.rows:
            self._rows.setdefault((row.provider, row.model), []).append(row)

    def cost(self, call: UsageRow) -> int | None:
        """In picodollars, rounded half-even; None where it cannot be known."""
        usage = call.usage
        if _cannot_be_true(usage) or _is_not_reported(usage):
            return None
        row = self._row(call)
        if row is None:
            return None
        exact, left_out = exact_cost(row, call)
        rounded = round(exact * 10**12)
        return None if left_out and rounded == 0 else rounded

    def _row(self, call: UsageRow) -> PriceRow | None:
        """The row that holds at the call's moment, for its facts, and its size.

        Of the facts it has the most that the book has together at that moment, the tier first;
        the standard one where it has none of them then.
        """
        of_model = self._rows.get((call.provider or "", call.response_model or ""), [])
        now = [row for row in of_model if _holds(row, call.started_at)]
        tier = call.service_tier or ""
        asked = {"batch": "processing=batch"}.get(tier, f"service_tier={tier}")
        for context in (f"{asked},speed={call.speed}", asked, f"speed={call.speed}", "std"):
            if rows := [row for row in now if row.context == context]:
                hours = [row for row in rows if row.time_of_day]
                reached = [
                    row
                    for row in hours or rows
                    if not row.over_input_tokens or _all_input(call.usage) > row.over_input_tokens
                ]
                return max(reached, key=lambda row: row.over_input_tokens)
        return None


def exact_cost(row: PriceRow, call: UsageRow) -> tuple[Fraction, bool]:
    """US dollars by one row, and whether something has no price in it."""
    total, left_out = Fraction(0), False
    for count, names in _leaves(call.usage):
        rate = next((row.rates[name] for name in names if name in row.rates), None)
        if rate is None:
            left_out |= count > 0
        else:
            total += Fraction(count * rate, _USD)
    counts = {"requests": call.calls} if "requests" in row.unit_rates else {}
    for unit, count in call.usage.units.items():
        name = _SAME_UNIT.get(unit, unit)
        counts[name] = counts.get(name, 0) + count
    for counted, count in counts.items():
        if not count or (row.provider, counted) == ("anthropic", "web_fetch"):
            continue
        unit, quantity = counted, Fraction(count)
        if unit == "audio_seconds":
            if row.provider == "groq" and row.model in _AT_LEAST_10_SECONDS:
                quantity = max(quantity, Fraction(10))
            unit, quantity = "audio_hours", quantity / 3600
        if unit in row.unit_rates:
            total += quantity * Fraction(row.unit_rates[unit], _USD)
        else:
            left_out = True
    return total, left_out


def _leaves(usage: Usage) -> Iterable[tuple[int, tuple[str, ...]]]:
    """Counts that add up to the usage, and the names of their rates.

    Audio and image input is outside the cache as far as it fits there, audio first.
    """
    some = _counts(usage)
    uncached = some["input_uncached"]
    audio = min(some["audio_in"], uncached)
    image = min(some["image_in"], uncached - audio)
    audio_read = some["audio_in"] - audio
    image_read = some["image_in"] - image
    read = some["cache_read"] - audio_read - image_read
    parts = (some["reasoning"], some["audio_out"], some["image_out"])
    yield uncached - audio - image, ("input_uncached",)
    yield audio, ("audio_in", "input_uncached")
    yield image, ("image_in", "input_uncached")
    yield read, ("cache_read", "input_uncached")
    yield audio_read, ("audio_cache_read", "cache_read", "input_uncached")
    yield image_read, ("image_cache_read", "cache_read", "input_uncached")
    yield some["cache_write_5m"], ("cache_write_5m", "cache_write", "input_uncached")
    yield some["cache_write_1h"], ("cache_write_1h", "cache_write", "input_uncached")
    yield some["cache_write"], ("cache_write", "input_uncached")
    yield some["input_tool"], ("input_tool", "input_uncached")
    yield some["output"] - sum(parts), ("output",)
    yield parts[0], ("reasoning", "output")
    yield parts[1], ("audio_out", "output")
    yield parts[2], ("image_out", "output")


def _counts(usage: Usage) -> dict[str, int]:
    """The tokens by name; what is not reported counts as none."""
    return {name: getattr(usage, name) or 0 for name in (*BUCKETS, *PARTS)}


def _holds(row: PriceRow, moment: int) -> bool:
    if row.effective_from is not None and moment < row.effective_from:
        return False
    if row.effective_to is not None and moment >= row.effective_to:
        return False
    if row.time_of_day is None:
        return True
    start, end = row.time_of_day
    # 1970 began on a Thursday.
    weekday = (moment // _DAY + 3) % 7
    return start <= moment % _DAY < end and (row.weekdays is None or weekday in row.weekdays)


def _all_input(usage: Usage) -> int:
    counts = _counts(usage)
    return sum(counts[name] for name in BUCKETS if name != "output")


def _is_not_reported(usage: Usage) -> bool:
    return all(getattr(usage, name) is None for name in BUCKETS) and not any(usage.units.values())


def _cannot_be_true(usage: Usage) -> bool:
    if any(count < 0 for count in (*_counts(usage).values(), *usage.units.values())):
        return True
    outside: bool = usage.output is not None and (
        (usage.reasoning or 0) > usage.output
        or (usage.audio_out or 0) + (usage.image_out or 0) > usage.output
    )
    media = (usage.audio_in or 0) + (usage.image_in or 0)
    return outside or (usage.input_uncached is not None and media > _all_input(usage))
