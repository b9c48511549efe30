# SPDX-License-Identifier: Apache-2.0
"""Random calls of every model of the source, and what the source's calculator says of each."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

import genai_prices
from genai_prices import types as source
from genai_prices.data import providers

from microdollar_exporter.price import Book, Engine, Price
from microdollar_exporter.usage import UsageRow

from .oracle import Oracle
from .rows import at, row

__all__ = ["EQUAL", "Mismatch", "compare"]

EQUAL: Final = "equal"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = at("2025-04-01"), at("2027-03-01")
_HOUR: Final = 3_600_000_000
_TIERS: Final = ("batch", "priority", "flex", "fast", "turbo")
_SIZES: Final = (10, 5_000, 250_000, 10**9)
_UNITS: Final = {
    "web_search": "web_searches",
    "file_search": "storage_searches",
    "code_execution": "code_executions",
    "audio_seconds": "audio_seconds",
    "pages": "input_document_pages",
    "characters": "input_characters",
    "messages": "input_text_messages",
}
_DATED_PEAKS: Final = {"deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro"}


class Mismatch(Exception):
    """A cost is not the exact one, or not the calculator's for a reason that is known."""


class _Models:
    """The source's models, with the moments and sizes at which their prices change."""

    def __init__(self, book: Book) -> None:
        self.all = [(provider, model) for provider in providers for model in provider.models]
        self.edges: dict[tuple[str, str], set[int]] = {}
        self.sizes: dict[tuple[str, str], set[int]] = {}
        for price in book.rows:
            key = (price.provider, price.model)
            edges = {price.effective_from, price.effective_to} - {None}
            self.edges.setdefault(key, set()).update(edge for edge in edges if edge is not None)
            if price.over_input_tokens:
                self.sizes.setdefault(key, set()).add(price.over_input_tokens)
        self.residues = {(p.id, m.id) for p, m in self.all if _has_residues(m)}


def compare(book: Book, cases: int, seed: int) -> Counter[str]:
    """Price so many random calls; how many are the calculator's, and the causes of the others.

    Raises:
        Mismatch: a cost is not that of rational arithmetic, or differs without a known cause.
    """
    engine, oracle, models = Engine(book), Oracle(book), _Models(book)
    rng = random.Random(seed)  # noqa: S311 - no secret
    found: Counter[str] = Counter()
    for provider, model, call in _calls(models, rng, cases):
        price = engine.price(call)
        exact = oracle.cost(call)
        if (price.cost, price.list_cost) != (exact, exact):
            raise Mismatch(f"{call} costs {exact} and not {price} (seed {seed})")
        theirs = _calculated(provider, model, call)
        found[_verdict(models, provider, call, price, theirs)] += 1
    return found


def _calls(
    models: _Models, rng: random.Random, cases: int
) -> Iterator[tuple[source.Provider, source.ModelInfo, UsageRow]]:
    for _ in range(cases):
        provider, model = rng.choice(models.all)
        key = (provider.id, model.id)
        facts: dict[str, Any] = {}
        if rng.random() < 0.4:
            facts["service_tier"] = rng.choice(_TIERS)
        if rng.random() < 0.1:
            facts["speed"] = "fast"
        if rng.random() < 0.05:
            facts["inference_geo"] = "us"
        usage = _usage(rng, sorted(models.sizes.get(key, ())))
        moment = _moment(rng, sorted(models.edges.get(key, ())))
        yield provider, model, row(provider.id, model.id, started_at=moment, **facts, **usage)


def _moment(rng: random.Random, edges: list[int]) -> int:
    """Any moment, a full hour, or one at which a price changes; of the last two, or just before."""
    kind = rng.random()
    if edges and kind < 0.3:
        return rng.choice(edges) - rng.randrange(2)
    moment = rng.randrange(_FIRST, _LAST)
    return moment - moment % _HOUR - rng.randrange(2) if kind < 0.5 else moment


def _usage(rng: random.Random, thresholds: list[int]) -> dict[str, Any]:
    """Counts that can be true, most of the time; what is 0 is sometimes not reported."""
    size = rng.choice(_SIZES)

    def some(share: float = 0.5) -> int:
        return rng.randrange(size) if rng.random() < share else 0

    usage = dict.fromkeys(("input_uncached", "cache_read", "output"), 0)
    usage["input_uncached"], text, usage["cache_read"] = some(0.9), some(0.9), some()
    if rng.random() < 0.3:
        usage |= {"cache_write_5m": some(), "cache_write_1h": some(), "cache_write": some(0.2)}
        usage["input_tool"] = some(0.2)
    elif rng.random() < 0.3:
        room = usage["input_uncached"] + usage["cache_read"]
        usage["audio_in"] = rng.randint(0, room)
        usage["image_in"] = rng.randint(0, room - usage["audio_in"])
    parts = {name: some(0.3) for name in ("reasoning", "audio_out", "image_out")}
    usage["output"] = text + sum(parts.values())
    usage |= {name: count for name, count in parts.items() if count}
    if thresholds and rng.random() < 0.3 and not usage.get("audio_in", usage.get("image_in")):
        others = ("cache_read", "cache_write_5m", "cache_write_1h", "cache_write", "input_tool")
        rest = sum(usage.get(name, 0) for name in others)
        usage["input_uncached"] = max(0, rng.choice(thresholds) + rng.randrange(2) - rest)
    in_media = usage.get("audio_in", 0) + usage.get("image_in", 0)
    usage = {
        name: count
        for name, count in usage.items()
        if count or (name == "input_uncached" and in_media) or rng.random() < 0.8
    }
    if rng.random() < 0.01:
        usage[rng.choice(["output", "cache_read", "reasoning"])] = rng.choice([-1, 10**12])
    units = {name: rng.randrange(9_999) for name in _UNITS if rng.random() < 0.03}
    return usage | {"units": units}


def _calculated(
    provider: source.Provider, model: source.ModelInfo, call: UsageRow
) -> Fraction | None:
    """What the calculator says, in US dollars; None when it refuses the usage."""
    usage = call.usage
    written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0) + (usage.cache_write or 0)
    whole = sum(count or 0 for count in usage[:2]) + written + (usage.input_tool or 0)
    counts = {
        "input_tokens": whole,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.audio_in,
        "input_image_tokens": usage.image_in,
        "output_tokens": usage.output,
        "output_reasoning_tokens": usage.reasoning,
        "output_audio_tokens": usage.audio_out,
        "output_image_tokens": usage.image_out,
        **{_UNITS[unit]: count for unit, count in usage.units.items()},
    }
    context = {"speed": call.speed} if call.speed else {}
    if call.service_tier == "batch":
        context["processing"] = "batch"
    elif call.service_tier:
        context["service_tier"] = call.service_tier
    try:
        with localcontext(prec=60):
            said = model.calc_price(
                genai_prices.Usage(**{name: count for name, count in counts.items() if count}),
                provider,
                genai_request_timestamp=_EPOCH + timedelta(microseconds=call.started_at),
                price_context=context,
            )
    except ValueError:
        return None
    return Fraction(said.total_price)


def _verdict(
    models: _Models,
    provider: source.Provider,
    call: UsageRow,
    price: Price,
    theirs: Fraction | None,
) -> str:
    """Equal, or why not.

    Raises:
        Mismatch: there is no known reason.
    """
    model = call.response_model or ""
    media = bool(call.usage.audio_in or call.usage.image_in)
    if theirs is None:
        if price.status == "bad_usage":
            return "a usage that cannot be true: neither has a cost"
        if call.usage.reasoning and call.usage.output is None:
            return "reasoning without the output it is part of: the calculator refuses it"
        if media and call.usage.cache_read:
            return "audio or images that may be cached or not: the calculator refuses them"
    elif price.cost is None:
        if price.status == "bad_usage":
            return "a usage that cannot be true or was not reported: no cost, there some or 0"
        if theirs == 0:
            return "no price for it: no cost, there 0"
    elif price.cost == round(theirs * 10**12):
        return EQUAL
    elif media and call.usage.cache_read:
        return "audio or images that may be cached or not: taken as uncached, there as cached"
    elif (provider.id, model) in models.residues:
        return "the source's price is the residue of a float: the book rounds it"
    elif provider.id == "deepseek" and model in _DATED_PEAKS:
        return "peak hours of DeepSeek: the calculator knows neither dates nor weekdays of them"
    elif call.service_tier and call.speed:
        return "two facts without a rate together: the calculator takes the first it lists"
    raise Mismatch(f"{call} costs {price}; the calculator says {theirs}")


def _has_residues(model: source.ModelInfo) -> bool:
    dated = model.prices if isinstance(model.prices, list) else []
    prices = [one.prices for one in dated] if dated else [model.prices]
    prices += [variant.prices for variant in model.price_variants or ()]
    values = [value for price in prices for value in vars(price).values()]
    return any(isinstance(v, Decimal) and len(v.as_tuple().digits) > 12 for v in values)
