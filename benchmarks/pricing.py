# SPDX-License-Identifier: Apache-2.0
"""What it takes to price a call, beside genai-prices' own calculator; and that the costs are right.

    python -m benchmarks.pricing [--calls N] [--rounds N] [--cases N] [--seed N]

First the calls of a mix of 20 models are priced by the engine and by `calc_price`, in turns, on one
core: CPU time, with the `Usage` that the calculator needs built for each call. That both say the
same of every call is checked first. Then random calls of every model of the data, at random times
and in random contexts, are priced by the engine, by rational arithmetic and by the calculator. The
first two must be equal; how often the third differs is counted by cause.
"""

import argparse
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

import genai_prices

from benchmarks.receivers import CheckFailed
from microdollar_exporter.price import Engine
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.usage import UsageRow
from tests.exporter.price.cases import Mismatch, compare
from tests.exporter.price.rows import at, row

__all__ = ["OURS", "PEER", "Call", "measure", "mix"]

OURS: Final = "Engine.price"
PEER: Final = "calc_price"

_MIX: Final = (
    *(("openai", name) for name in ("gpt-6-sol", "gpt-6.1-sol", "gpt-6-luna", "gpt-5-mini")),
    *(("openai", name) for name in ("gpt-5-nano", "gpt-4.1", "gpt-4o-mini", "o4-mini")),
    *(("anthropic", name) for name in ("claude-opus-5-5", "claude-sonnet-4-5")),
    *(("anthropic", name) for name in ("claude-haiku-4-5", "claude-fable-5-2")),
    *(("google", name) for name in ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-3.8-flash")),
    *(("mistral", "mistral-large-4"), ("x-ai", "grok-4.5"), ("groq", "llama-3.3-70b-versatile")),
    *(("cohere", "command-a"), ("openai", "text-embedding-3-small")),
)
_SINCE, _UNTIL = at("2026-10-20"), at("2026-11-21")
_INPUT: Final = ("input_uncached", "cache_read", "cache_write_5m")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Call(NamedTuple):
    """One call, as the engine takes it and as the calculator does."""

    row: UsageRow
    usage: dict[str, int]
    provider: str
    model: str
    moment: datetime
    context: dict[str, str]


def main() -> None:
    """Measure, compare and print; the status is 1 when a cost is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=5_000, help="in a round; default: 5,000")
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--cases", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--seed", type=int, default=20261121, help="default: 20261121")
    asked = parser.parse_args()
    try:
        found = measure(mix(asked.calls, asked.seed), asked.rounds)
        for name, took in found.items():
            middle = statistics.median(took)
            print(f"{name:14} {middle:7.2f} µs a call  ({min(took):.2f} to {max(took):.2f})")
        ratios = [t / o for o, t in zip(found[OURS], found[PEER], strict=True)]
        print(f"{PEER} takes {statistics.median(ratios):.0f} x as long", flush=True)
        print(f"\n{asked.cases:,} random cases of seed {asked.seed}, all equal to the exact cost:")
        for verdict, count in compare(import_genai_prices(), asked.cases, asked.seed).most_common():
            print(f"{count:10,}  {verdict}")
    except (CheckFailed, Mismatch) as error:
        sys.exit(str(error))


def mix(calls: int, seed: int) -> list[Call]:
    """So many calls of 20 models over a month: most plain, some cached, with tools, in batch."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    return [_call(drawn, *drawn.choice(_MIX)) for _ in range(calls)]


def _call(drawn: random.Random, provider: str, model: str) -> Call:
    kind = drawn.random()
    counts = {"input_uncached": drawn.randrange(100, 20_000)}
    facts: dict[str, Any] = {}
    context: dict[str, str] = {}
    if "embedding" in model:
        facts["operation"] = "embeddings"
    else:
        counts["output"] = drawn.randrange(1, 4_000)
        if kind < 0.4:
            counts["cache_read"] = drawn.randrange(100, 50_000)
        if kind < 0.2 and provider == "anthropic":
            counts["cache_write_5m"] = drawn.randrange(100, 9_000)
        if 0.3 < kind < 0.6 and provider in ("openai", "google"):
            counts["reasoning"] = drawn.randrange(1, counts["output"] + 1)
        if kind > 0.95:
            facts["service_tier"], context["processing"] = "batch", "batch"
    searches = drawn.randrange(1, 4) if 0.9 < kind < 0.93 and provider == "anthropic" else 0
    began = drawn.randrange(_SINCE, _UNTIL)
    usage = {
        "input_tokens": sum(n for name, n in counts.items() if name in _INPUT),
        "output_tokens": counts.get("output", 0),
        "cache_read_tokens": counts.get("cache_read", 0),
        "cache_write_tokens": counts.get("cache_write_5m", 0),
        "output_reasoning_tokens": counts.get("reasoning", 0),
        "web_searches": searches,
    }
    units = {"units": {"web_search": searches}} if searches else {}
    return Call(
        row(provider, model, started_at=began, **counts, **facts, **units),
        {name: count for name, count in usage.items() if count},
        provider,
        model,
        _EPOCH + timedelta(microseconds=began),
        context,
    )


def measure(calls: list[Call], rounds: int) -> dict[str, list[float]]:
    """The microseconds of CPU time that each takes for a call, round by round.

    Raises:
        CheckFailed: they do not agree on what a call costs.
    """
    price = Engine(import_genai_prices()).price
    for call in calls:
        cost, theirs = price(call.row).cost, _calculate(call)
        if cost != round(Fraction(theirs) * 10**12):
            raise CheckFailed(f"{call} costs {cost} picodollars, and {theirs} USD by {PEER}")
    rows = [call.row for call in calls]
    found: dict[str, list[float]] = {OURS: [], PEER: []}
    for _ in range(rounds):
        found[OURS].append(_time(price, rows))
        found[PEER].append(_time(_calculate, calls))
    return found


def _time(function: Callable[[Any], object], things: Sequence[object]) -> float:
    gc.collect()
    gc.disable()
    try:
        begun = time.process_time()
        for thing in things:
            function(thing)
        return (time.process_time() - begun) * 10**6 / len(things)
    finally:
        gc.enable()


def _calculate(call: Call) -> Decimal:
    return genai_prices.calc_price(
        genai_prices.Usage(**call.usage),
        call.model,
        provider_id=call.provider,
        genai_request_timestamp=call.moment,
        price_context=call.context,
    ).total_price


if __name__ == "__main__":
    main()
