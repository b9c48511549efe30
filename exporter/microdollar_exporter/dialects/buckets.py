# SPDX-License-Identifier: Apache-2.0
"""From the counts of a span to disjoint buckets, and what had to be put right on the way.

On the wire counts nest: output includes reasoning, and input includes what was read from and
written to a cache, or does not, as the emitter's dialect says. Where the counts contradict the
dialect they are believed; where nothing tells, the smaller reading is taken and both are noted.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from microdollar_exporter.dialects.conventions import Cache, Output
from microdollar_exporter.dialects.dialect import Dialect
from microdollar_exporter.dialects.reading import Reading
from microdollar_exporter.usage import Usage

__all__ = ["disjoint", "extra"]

_NO_UNITS: Mapping[str, int] = MappingProxyType({})

_Get = Callable[[str | None], int | None]


def disjoint(
    counts: Mapping[str, int],
    reading: Reading,
    dialect: Dialect,
    cache: Cache,
    notes: list[str],
) -> Usage:
    """The usage that counts stand for, read so that no token is in two buckets.

    `cache` is what the dialect says of the input of this provider. What had to be put right is
    appended to `notes`.
    """
    get: _Get = counts.get  # type: ignore[assignment]
    uncached = get(reading.input)
    cache_read = get(reading.cache_read)
    other_writes = get(reading.cache_write)
    write_5m = get(reading.cache_write_5m)
    write_1h = get(reading.cache_write_1h)
    tool = get(reading.tool_input)
    output = get(reading.output)
    reasoning = get(reading.reasoning)

    dated_writes = (write_5m or 0) + (write_1h or 0)
    written = max(other_writes or 0, dated_writes)
    parts = (cache_read or 0) + written + (tool or 0)
    if uncached is not None and parts and cache is not Cache.EXCLUDED:
        if uncached < parts or cache is not Cache.DEFINED:
            proof = _proof_of_exclusion(uncached, parts, output, get(reading.total), dialect)
            uncached = _uncached(uncached, parts, proof, cache, notes)
        else:
            uncached -= parts
    if reading.more_input:
        uncached = (uncached or 0) + sum([counts[name] for name in reading.more_input])
    if reading.more_output:
        output = (output or 0) + sum([counts[name] for name in reading.more_output])
    if dialect.output is Output.WITHOUT_THOUGHTS and output is not None:
        output, reasoning = _with_thoughts(output, reasoning, get, reading, notes)
    if other_writes is not None and dated_writes:
        # LangChain says zero where it tells every write by its lifetime.
        all_dated = other_writes == 0 and cache is not Cache.DEFINED
        other_writes -= dated_writes
        if other_writes < 0 and not all_dated:
            notes.append(f"5 m and 1 h cache writes exceed all writes by {-other_writes} tokens")
        other_writes = max(other_writes, 0)
    if reading.twice:
        _compare(counts, reading, notes)
    return Usage(
        uncached,
        cache_read,
        write_5m,
        write_1h,
        other_writes,
        tool,
        output,
        reasoning,
        get(reading.audio_in),
        get(reading.audio_out),
        get(reading.image_in),
        get(reading.image_out),
        {unit: counts[name] for name, unit in reading.units} if reading.units else _NO_UNITS,
    )


def extra(counts: Mapping[str, int], reading: Reading) -> Usage | None:
    """Tokens that were billed beside those of the call itself (compaction); None without any."""
    get: _Get = counts.get  # type: ignore[assignment]
    more = Usage(input_uncached=get(reading.extra_input), output=get(reading.extra_output))
    return more if more.input_uncached or more.output else None


def _uncached(whole: int, parts: int, proof: str | None, cache: Cache, notes: list[str]) -> int:
    """How much of an input count was neither cached nor put in by a tool.

    `proof` says why the count cannot include its parts, if it cannot.
    """
    rest = whole - parts
    if cache is Cache.DEFINED:
        notes.append(f"cache and tool input exceed the input by {-rest} tokens")
        return 0
    if proof:
        if cache is not Cache.UNKNOWN:
            notes.append(f"input of {whole} tokens read as without the cache: {proof}")
        return whole
    if cache is Cache.ASSUMED:
        notes.append(
            f"input of {whole} tokens assumed to include {parts} of the cache; "
            f"if it does not, {whole} instead of {rest} were uncached"
        )
    elif cache is Cache.UNKNOWN:
        notes.append(
            f"ambiguous: input of {whole} tokens may include {parts} of the cache or not; "
            f"{rest} taken as uncached, else {whole}"
        )
    return rest


def _proof_of_exclusion(
    whole: int, parts: int, output: int | None, total: int | None, dialect: Dialect
) -> str | None:
    """Why the input cannot include its cached parts; None when it can.

    That the total is input and output without the cache proves nothing: some emitters compute it.
    """
    if parts > whole:
        return f"the cache has {parts - whole} more"
    if dialect.total_proves and total == whole + parts + (output or 0):
        return f"the total of {total} adds it"
    return None


def _with_thoughts(
    output: int, reasoning: int | None, get: _Get, reading: Reading, notes: list[str]
) -> tuple[int, int | None]:
    """Output and reasoning of a Gemini answer whose output count leaves its thoughts out."""
    total = get(reading.total)
    if total is None:
        notes.append("the output may lack the tokens of thoughts: no total is reported")
        return output, reasoning
    thoughts = total - (get(reading.input) or 0) - output
    if thoughts < 0:
        notes.append(f"input and output exceed the total by {-thoughts} tokens")
        return output, reasoning
    if thoughts == 0:
        return output, reasoning
    notes.append(
        f"output raised by {thoughts} tokens of the total that are neither input nor output: "
        "thoughts, or prompts of tools"
    )
    return output + thoughts, thoughts


def _compare(counts: Mapping[str, int], reading: Reading, notes: list[str]) -> None:
    """Note where two names of one count disagree."""
    for name, other in reading.twice:
        if counts[name] != counts[other]:
            notes.append(f"{name} of {counts[name]} taken, {other} says {counts[other]}")
