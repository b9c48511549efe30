# SPDX-License-Identifier: Apache-2.0
"""A price row compiled to what a usage costs: integers only, rounded once.

What an exact answer would need and the row does not have is named in the note:

* A bucket without a rate of its own takes that of its nearest priced ancestor. That is exact for
  tool input (input), 5-minute cache writes (the plain write rate *is* the 5-minute one) and
  reasoning and images (their whole). It is an assumption, hence `fallback`, for cache reads and
  writes at the input rate, 1-hour writes at the 5-minute rate, writes of unknown lifetime where
  the model sells more than one, and audio at the text rate.
* Audio and image input may be partly cached, and a usage does not say how much. They are taken
  as uncached as far as they fit. The cost is exact when nothing else is possible or when it makes
  no difference, else `fallback`.
* What has no rate at all, or was not reported, is left out: `partial`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from operator import attrgetter, itemgetter
from typing import Final, Literal, NamedTuple

from microdollar_exporter.price.book import PriceRow
from microdollar_exporter.price.units import unit_name
from microdollar_exporter.usage import BUCKETS, PARTS, Usage, UsageRow
from microdollar_semconv import attributes as md

__all__ = ["Price", "Status", "Tariff", "contradiction", "input_tokens"]

Status = Literal[
    "priced", "free", "partial", "fallback", "unpriced_model", "unpriced_provider", "bad_usage"
]
"""How far a cost can be trusted. `free` is by decision only; `partial` leaves something out;
`fallback` took a rate that may not be the right one; the last three have no cost."""

_FREE_UNITS: Final = {("anthropic", "web_fetch")}
"""Units that a provider documents as free of charge. All others need a price."""

_DURATIONS: Final = {"audio_seconds": "audio_hours"}
"""Units counted in seconds, and the hourly rate that prices them."""

_MINIMUM_SECONDS: Final = {
    ("groq", "whisper-large-v3"): 10,
    ("groq", "whisper-large-v3-turbo"): 10,
}
"""Shortest audio a model bills. The source has this in its calculator, not in its data."""

_DOUBTFUL_FEES: Final = {
    "perplexity": "request fee is the highest the book lists, it depends on search context size"
}

_CUT_SHORT: Final = md.USAGE_SOURCE_PROVIDER_PARTIAL
_EMBEDDINGS: Final = "embeddings"
_OUTPUT_PARTS: Final = ("reasoning", "audio_out", "image_out")
_bucket_counts: Callable[[Usage], tuple[int | None, ...]] = itemgetter(slice(len(BUCKETS)))
"""The counts in the order of `BUCKETS`, which are the first fields of a usage."""
_input_counts: Callable[[Usage], tuple[int | None, ...]] = itemgetter(
    slice(Usage._fields.index("output"))
)
"""The counts of all buckets before output: all that is input."""
_part_counts = attrgetter(*PARTS)
_others = itemgetter(slice(Usage._fields.index("reasoning") + 1, None))
"""The fields of a usage after reasoning: of other media, and units."""
_PICO: Final = 10**6
"""Rates of 10⁻¹⁸ USD in one picodollar."""
_PICO_RATE: Final = Fraction(_PICO)

_LONG_CACHES: Final = frozenset({"azure", "openai"})
_FREE: Final = "free by the operator's decision"
_UNKNOWN_DAYS: Final = "rate for a time of day, of which the book knows no dates or weekdays"
_UNKNOWN_HOLIDAYS: Final = "rate for a time of day, of which the book knows no public holidays"

_Rates = tuple[int | None, ...]
_PlainRates = tuple[int, int | None, int | None, int]


class Price(NamedTuple):
    """The answer for one usage row.

    `cost` is in picodollars (10⁻¹² USD), None when it is not known: never 0 for that.
    `list_cost` is the same before an operator's adjustments. `price_row` is the id of the row
    applied. `note` says why the status is not `priced`, naming every bucket concerned; None when
    it is.
    """

    cost: int | None
    list_cost: int | None
    status: Status
    price_row: str | None
    note: str | None


_make_price: Final = partial(tuple.__new__, Price)
"""Makes a price of a tuple of its fields in a third of the time that naming them takes."""


def input_tokens(usage: Usage) -> int:
    """All input tokens, cached ones included: what the threshold of a tier is compared with."""
    return sum(filter(None, _input_counts(usage)))


def contradiction(usage: Usage) -> str | None:
    """Why a usage cannot be true: a negative count, or a part larger than its whole."""
    for count in (*_bucket_counts(usage), *_part_counts(usage), *usage.units.values()):
        if count is not None and count < 0:
            return _negative(usage)
    if usage.output is not None:
        if usage.reasoning is not None and usage.reasoning > usage.output:
            return f"reasoning {usage.reasoning} exceeds output {usage.output}"
        audio, image = usage.audio_out or 0, usage.image_out or 0
        if audio + image > usage.output:
            return f"audio_out {audio} and image_out {image} exceed output {usage.output}"
    if usage.input_uncached is not None:
        audio, image, whole = usage.audio_in or 0, usage.image_in or 0, input_tokens(usage)
        if audio + image > whole:
            return f"audio_in {audio} and image_in {image} exceed input {whole}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """One price row, ready to charge usage. Rates are in 10⁻¹⁸ USD per token or unit.

    `rates` are in the order of `BUCKETS`, None where the rate is not known to be right;
    `assumed` then holds the nearest one and what is assumed, or nothing. `own` are the row's
    rates as they stand. `provider` and `model` are whose rules of billing apply. `doubts` hold
    for every usage. `free` is why nothing is charged at all.
    `adjusted` is what the list cost is multiplied by: that of tokens, and that of units.
    `plain_rates` are those of uncached input, cache reads, 5-minute writes and output in
    picodollars, where an ordinary usage costs nothing but tokens times rates.
    """

    price_row: str
    provider: str
    model: str
    rates: tuple[int | None, ...]
    assumed: Mapping[str, tuple[int, str]]
    own: Mapping[str, int]
    unit_rates: Mapping[str, int]
    doubts: tuple[str, ...]
    prices_reasoning: bool
    has_request_fee: bool
    free: str | None = None
    adjusted: tuple[Fraction, Fraction] | None = None
    plain_rates: _PlainRates | None = field(init=False)

    def __post_init__(self) -> None:
        flat = None if self.adjusted else self.flat_rates()
        object.__setattr__(self, "plain_rates", flat and _plain_rates(flat[0]))

    @classmethod
    def of(cls, row: PriceRow) -> "Tariff":
        """Compile a price row: decide the rate of each bucket."""
        own, origin = row.rates, row.billed_as
        exact = {name: own[name] for name in BUCKETS if name in own}
        assumed: dict[str, tuple[int, str]] = {}
        if "cache_write" in own:
            write = own["cache_write"]
            exact.setdefault("cache_write_5m", write)
            if "cache_write_1h" not in own:
                assumed["cache_write_1h"] = (write, "1-hour cache write at the 5-minute rate")
            # Claude has two lifetimes at two prices wherever it is sold, listed or not.
            if "cache_write_1h" in own or "claude" in origin.model.lower():
                del exact["cache_write"]
                why = "cache write of unknown lifetime at the 5-minute rate"
                assumed["cache_write"] = (write, why)
            # A cache kept for hours costs twice the input rate there, which the source leaves out.
            elif origin.provider in _LONG_CACHES and origin.is_listed:
                del exact["cache_write"]
                why = "cache write of unknown lifetime at the shortest one's rate"
                assumed["cache_write"] = (write, why)
        if "input_uncached" in own:
            exact.setdefault("input_tool", own["input_uncached"])
            for name in ("cache_read", "cache_write_5m", "cache_write_1h", "cache_write"):
                if name not in exact and name not in assumed:
                    assumed[name] = (own["input_uncached"], f"{name} at the input rate")
        doubts = []
        if row.time_of_day and origin.is_listed:
            doubts.append(_UNKNOWN_DAYS if row.weekdays is None else _UNKNOWN_HOLIDAYS)
        if own.get("video_out", own.get("output")) != own.get("output"):
            doubts.append("video output has a rate of its own and is not told apart")
        return cls(
            price_row=row.price_row,
            provider=origin.provider,
            model=origin.model,
            rates=tuple(exact.get(name) for name in BUCKETS),
            assumed=assumed,
            own=own,
            unit_rates=row.unit_rates,
            doubts=tuple(doubts),
            prices_reasoning="reasoning" in own,
            has_request_fee="requests" in row.unit_rates,
            free=(row.reason or _FREE) if row.layer == "free" else None,
            adjusted=(row.multiplier, row.unit_multiplier) if row.adjustments else None,
        )

    def flat_rates(self) -> tuple[_Rates, _Rates] | None:
        """The adjusted rates and the list rates in picodollars, if nothing else decides a cost.

        Both are in the order of `BUCKETS`, None for one that is not known to be right. There is
        nothing at all when a call is free or has a fee, when reasoning has a rate of its own, when
        the tariff is in doubt, or when a rate is not a whole number of picodollars.
        """
        if self.doubts or self.prices_reasoning or self.has_request_fee or self.free is not None:
            return None
        multiplier = self.adjusted[0] if self.adjusted else 1
        charged = [None if rate is None else rate * multiplier / _PICO_RATE for rate in self.rates]
        listed = [None if rate is None else rate / _PICO_RATE for rate in self.rates]
        if any(rate is not None and rate.denominator != 1 for rate in (*charged, *listed)):
            return None
        return _whole(charged), _whole(listed)

    def charge(self, row: UsageRow, doubts: tuple[str, ...] = ()) -> Price:
        """The price of a usage by this row alone.

        `doubts` say why this row may not be the right one; with any, an otherwise exact price is
        a `fallback`. Rounded once, half-even, to the picodollar.
        """
        usage = row.usage
        if self.plain_rates is not None and not doubts and row.source != _CUT_SHORT:
            cost = _plain_cost(usage, self.plain_rates)
            if cost is not None:
                return _make_price((cost, cost, "priced", self.price_row, None))
        if self.free is not None:
            return self._free(usage, doubts)
        tokens = fees = hourly = 0
        unpriced: list[str] = []
        caveats: list[str] = [*doubts, *self.doubts]
        unsure = False
        for count, rate in zip(_bucket_counts(usage), self.rates, strict=True):
            if count:
                if count < 0:
                    return _bad_usage(usage)
                if rate is None:
                    unsure = True
                else:
                    tokens += count * rate
        if unsure:
            tokens += self._assume(usage, unpriced, caveats)
        output, reasoning = usage.output, usage.reasoning
        if (
            # Reasoning at the output rate is charged already.
            (reasoning and (self.prices_reasoning or not 0 < reasoning <= (output or 0)))
            or any(_others(usage))
            or self.has_request_fee
        ):
            if contradiction(usage):
                return _bad_usage(usage)
            tokens += self._output_parts(usage, caveats) + self._input_parts(usage, caveats)
            fees, hourly = self._units(row, unpriced, caveats)
        if hourly:
            listed = _round_half_even((tokens + fees) * 3600 + hourly, 3600 * _PICO)
        else:
            listed, rest = divmod(tokens + fees, _PICO)
            if rest:
                listed = _round_half_even(tokens + fees, _PICO)
        cost = listed
        if self.adjusted is not None:
            of_tokens, of_units = self.adjusted
            exact = tokens * of_tokens + (fees + Fraction(hourly, 3600)) * of_units
            cost = _round_half_even(exact.numerator, exact.denominator * _PICO)

        gaps: list[str] = []
        if unpriced:
            gaps = [f"{name} has no price" for name in unpriced]
            if not listed:
                return Price(None, None, "unpriced_model", None, "; ".join(gaps))
        if output is None or usage.input_uncached is None:
            gaps += self._unreported(row)
        if row.source == _CUT_SHORT:
            gaps.append("the call ended before its usage was complete")
        if gaps:
            return Price(cost, listed, "partial", self.price_row, "; ".join([*gaps, *caveats]))
        if caveats:
            return Price(cost, listed, "fallback", self.price_row, "; ".join(caveats))
        return Price(cost, listed, "priced", self.price_row, None)

    def _assume(self, usage: Usage, unpriced: list[str], caveats: list[str]) -> int:
        """What the buckets cost of which no rate is known to be right, as far as one is near."""
        cost = 0
        for bucket, count, rate in zip(BUCKETS, _bucket_counts(usage), self.rates, strict=True):
            if count and rate is None:
                if bucket in self.assumed:
                    nearest, why = self.assumed[bucket]
                    cost += count * nearest
                    caveats.append(why)
                else:
                    unpriced.append(bucket)
        return cost

    def _free(self, usage: Usage, doubts: tuple[str, ...]) -> Price:
        if contradiction(usage):
            return _bad_usage(usage)
        if doubts:
            return Price(0, 0, "fallback", self.price_row, "; ".join(doubts))
        return Price(0, 0, "free", self.price_row, self.free)

    def _output_parts(self, usage: Usage, caveats: list[str]) -> int:
        """What parts of the output cost more (or less) than the output rate already charged."""
        base = self.own.get("output")
        if usage.output is None or base is None:
            return 0
        if usage.audio_out and "audio_out" not in self.own:
            caveats.append("audio_out at the output rate")
        counts = (usage.reasoning, usage.audio_out, usage.image_out)
        return sum(
            count * (self.own[name] - base)
            for name, count in zip(_OUTPUT_PARTS, counts, strict=True)
            if count and name in self.own
        )

    def _input_parts(self, usage: Usage, caveats: list[str]) -> int:
        """What audio and image input costs beyond the bucket rates already charged.

        A part of `count` tokens has between `count - cached` and `uncached` tokens outside the
        cache; where these differ, so may the cost.
        """
        base = self.own.get("input_uncached")
        if usage.input_uncached is None or base is None:
            return 0
        if usage.audio_in and "audio_in" not in self.own:
            caveats.append("audio_in at the input rate")
        cached = _cached(usage)
        uncached = usage.input_uncached + (usage.input_tool or 0)
        room = uncached
        read = self.own.get("cache_read", base)
        extra = 0
        for name, read_name in (("audio_in", "audio_cache_read"), ("image_in", "image_cache_read")):
            count = getattr(usage, name)
            if not count:
                continue
            outside = min(count, room)
            room -= outside
            dearer = self.own.get(name, base) - base
            dearer_read = self.own.get(read_name, read) - read
            extra += outside * dearer + (count - outside) * dearer_read
            certain = max(0, count - cached) == min(count, uncached)
            if dearer != dearer_read and not certain:
                caveats.append(f"{name} taken as uncached, part of it may be cached")
        return extra

    def _units(self, row: UsageRow, unpriced: list[str], caveats: list[str]) -> tuple[int, int]:
        """The cost of units, in 10⁻¹⁸ USD, and of durations, in 10⁻¹⁸ USD times 3600."""
        counts: dict[str, int] = {}
        for unit, count in row.usage.units.items():
            name = unit_name(unit)
            counts[name] = counts.get(name, 0) + count
        if "requests" in self.unit_rates:
            # A fee per request falls due once a call, counted or not.
            counts.setdefault("requests", row.calls)
            if counts["requests"] and self.provider in _DOUBTFUL_FEES:
                caveats.append(_DOUBTFUL_FEES[self.provider])
        fees = hourly = 0
        for unit, count in counts.items():
            if not count or (self.provider, unit) in _FREE_UNITS:
                continue
            rate = self.unit_rates.get(_DURATIONS.get(unit, unit))
            if rate is None:
                unpriced.append(unit)
            elif unit in _DURATIONS:
                hourly += rate * max(count, _MINIMUM_SECONDS.get((self.provider, self.model), 0))
            else:
                fees += rate * count
        return fees, hourly

    def _unreported(self, row: UsageRow) -> list[str]:
        """The buckets that the call must have used and nobody reported.

        Nobody reports tokens where none are billed: pages, searches, seconds.
        """
        usage = row.usage
        tokens_billed = "input_uncached" in self.own or "output" in self.own
        if not tokens_billed and all(getattr(usage, name) is None for name in BUCKETS):
            return []
        missing = []
        if usage.input_uncached is None:
            missing.append("input_uncached not reported")
        if usage.output is None and row.operation != _EMBEDDINGS:
            missing.append("output not reported")
        return missing


def _plain_rates(rates: _Rates) -> _PlainRates | None:
    """Those of these rates that an ordinary usage needs, if it can be charged by them."""
    named = dict(zip(BUCKETS, rates, strict=True))
    uncached, output = named["input_uncached"], named["output"]
    if uncached is None or output is None:
        return None
    return uncached, named["cache_read"], named["cache_write_5m"], output


def _plain_cost(usage: Usage, rates: _PlainRates) -> int | None:
    """The cost of an ordinary usage: reported, true, of text, at most cached for 5 minutes.

    None for any other, and where a rate is missing. Most usages are ordinary, hence no loop here:
    it would take three times as long.
    """
    uncached, read, write_5m, write_1h, write, tool, output, reasoning, *others = usage
    if uncached is None or output is None or uncached < 0 or output < 0:
        return None
    if write_1h or write or tool or any(others):
        return None
    if reasoning and not 0 < reasoning <= output:
        return None
    of_input, of_read, of_write, of_output = rates
    cost = uncached * of_input + output * of_output
    if read:
        if of_read is None or read < 0:
            return None
        cost += read * of_read
    if write_5m:
        if of_write is None or write_5m < 0:
            return None
        cost += write_5m * of_write
    return cost


def _whole(rates: Sequence[Fraction | None]) -> _Rates:
    return tuple(None if rate is None else int(rate) for rate in rates)


def _negative(usage: Usage) -> str:
    counts = {name: getattr(usage, name) for name in (*BUCKETS, *PARTS)} | dict(usage.units)
    return ", ".join(f"{name} {n} is negative" for name, n in counts.items() if n and n < 0)


def _bad_usage(usage: Usage) -> Price:
    return Price(None, None, "bad_usage", None, contradiction(usage))


def _cached(usage: Usage) -> int:
    return (
        (usage.cache_read or 0)
        + (usage.cache_write_5m or 0)
        + (usage.cache_write_1h or 0)
        + (usage.cache_write or 0)
    )


def _round_half_even(number: int, unit: int) -> int:
    """How many units are in a number of any sign, to the nearest, half to even."""
    whole, rest = divmod(number, unit)
    if rest * 2 > unit or (rest * 2 == unit and whole & 1):
        whole += 1
    return whole
