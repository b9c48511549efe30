# SPDX-License-Identifier: Apache-2.0
"""Book the ordinary calls of a batch by columns.

Nearly all calls are alike: seen by our own instrumentation at a provider's host, counted whole,
priced by tokens times rates. Their entries are worked out in arrays, all at once. Whatever is out
of the ordinary in any way is left to be booked one by one, which is what defines the answer: for
every call that is booked here, both ways give the same entry.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from microdollar_exporter.customer import Customers
from microdollar_exporter.entry import USAGE
from microdollar_exporter.evidence import Evidence, Profile
from microdollar_exporter.money import MAX_PICODOLLARS
from microdollar_exporter.normalise import normalise
from microdollar_exporter.price import Flat
from microdollar_exporter.usage import BUCKETS, UsageRow
from microdollar_semconv import UNASSIGNED
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["Bulk", "Flattener"]

Flattener = Callable[[UsageRow], Flat | None]
"""Gives the flat price of calls like a row; `price.Engine.flat` is one."""

_Counts = npt.NDArray[np.int64]

_COUNTS: Final = (
    ga.USAGE_INPUT_TOKENS,
    ga.USAGE_OUTPUT_TOKENS,
    ga.USAGE_CACHE_READ_INPUT_TOKENS,
    ga.USAGE_CACHE_WRITE_INPUT_TOKENS,
    md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS,
    md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS,
    md.USAGE_TOOL_INPUT_TOKENS,
    ga.USAGE_REASONING_OUTPUT_TOKENS,
    ga.USAGE_AUDIO_INPUT_TOKENS,
    ga.USAGE_AUDIO_OUTPUT_TOKENS,
    ga.USAGE_IMAGE_INPUT_TOKENS,
    ga.USAGE_IMAGE_OUTPUT_TOKENS,
)
"""The counts that an ordinary call may report; those of audio and images have to be zero."""
_INPUT: Final = frozenset({ga.USAGE_INPUT_TOKENS})
_INPUT_AND_OUTPUT: Final = frozenset({ga.USAGE_INPUT_TOKENS, ga.USAGE_OUTPUT_TOKENS})
_DETAILS: Final = frozenset({md.CUSTOMER_ID, md.USER_ID, ga.RESPONSE_TIME_TO_FIRST_CHUNK})
_FEWEST: Final = 32
"""Fewer calls than this are booked one by one: arrays would cost more than they save."""
_MAX_FACTOR: Final = 2**28
"""Counts and rates below this multiply and add up within 64 bits."""
_MAX_OUTLINES: Final = 10_000
_FOREVER: Final = 2**62


class _Outline(NamedTuple):
    """What the entries of all calls with one profile have in common."""

    row: UsageRow
    tags: Mapping[str, str]
    customer_id: str | None
    reason: str


class Bulk:
    """Books ordinary calls."""

    def __init__(
        self,
        flatten: Flattener,
        price_book: str | None,
        customers: Customers,
        tags: Callable[[Profile], Mapping[str, str]],
    ) -> None:
        self._flatten = flatten
        self._price_book = price_book
        self._customers = customers
        self._tags = tags
        self._outlines: dict[Profile, _Outline | None] = {}

    def book(self, calls: Sequence[Evidence]) -> tuple[pa.Table | None, Sequence[Evidence]]:
        """The entries of ordinary calls, as a table of the `ledger`, and the calls left over."""
        if len(calls) < _FEWEST:
            return None, calls
        knows_user = self._customers.knows_user
        outlined = [None if knows_user(call) else self._outline(call) for call in calls]
        ordinary = [call for call, outline in zip(calls, outlined, strict=True) if outline]
        if len(ordinary) < _FEWEST:
            return None, calls
        left = [call for call, outline in zip(calls, outlined, strict=True) if not outline]
        group = _Group(ordinary, [outline for outline in outlined if outline], self._flatten)
        kept = np.flatnonzero(group.exact)
        left += [ordinary[position] for position in np.flatnonzero(~group.exact).tolist()]
        if not len(kept):
            return None, calls
        return group.entries(kept, self._price_book), left

    def _outline(self, call: Evidence) -> _Outline | None:
        """What holds for all calls with this one's profile; None where they are not ordinary."""
        profile = call.profile
        if profile in self._outlines:
            return self._outlines[profile]
        if len(self._outlines) >= _MAX_OUTLINES:
            self._outlines.clear()
        made = self._outlines[profile] = self._make_outline(call)
        return made

    def _make_outline(self, call: Evidence) -> _Outline | None:
        profile = call.profile
        counted = set(profile.usage_names)
        embeds = profile.attributes.get(ga.OPERATION_NAME) == "embeddings"
        ordinary = (
            profile.direct
            and profile.attributes.get(md.USAGE_SOURCE) == md.USAGE_SOURCE_PROVIDER
            and counted.issuperset(_INPUT if embeds else _INPUT_AND_OUTPUT)
            and counted.issubset(_COUNTS)
            and _DETAILS.issuperset(profile.detail_names)
        )
        # Other attributes name customers by decisions that change with time.
        if not ordinary or not self._customers.keys.isdisjoint(profile.attributes):
            return None
        [row] = normalise(call)
        named = self._customers.named(call._replace(details={}))
        reason = f"call; {named.note}" if named.note else "call"
        return _Outline(row, self._tags(profile), named.customer_id, reason)


class _Group:
    """Ordinary calls side by side. `exact` marks those whose entries the arrays have right."""

    def __init__(
        self, calls: Sequence[Evidence], outlines: Sequence[_Outline], flatten: Flattener
    ) -> None:
        self._calls = calls
        numbers: dict[Profile, int] = {}
        self._first: list[int] = []
        for position, call in enumerate(calls):
            if call.profile not in numbers:
                numbers[call.profile] = len(numbers)
                self._first.append(position)
        self._of = np.array([numbers[call.profile] for call in calls], np.int32)
        self._profiles = list(numbers)
        self._outlines = [outlines[position] for position in self._first]
        self._flats = [
            flatten(outlines[position].row._replace(started_at=calls[position].started_at))
            for position in self._first
        ]
        self._reported = np.array(
            [[name in profile.usage_names for name in _COUNTS] for profile in self._profiles]
        )
        self._sort_into_buckets()
        self._charge()

    def _sort_into_buckets(self) -> None:
        """Disjoint buckets, as `normalise` makes them of the counts of a conforming span."""
        counts = self._counts()
        whole, output, read, write, write_5m, write_1h, tool, reasoning, *parts = counts
        written = np.maximum(write, write_5m + write_1h)
        uncached = whole - read - written - tool
        other_writes = write - write_5m - write_1h
        self._buckets = {
            "input_uncached": uncached,
            "cache_read": read,
            "cache_write_5m": write_5m,
            "cache_write_1h": write_1h,
            "cache_write": other_writes,
            "input_tool": tool,
            "output": output,
            "reasoning": reasoning,
            **dict(zip(_PARTS, parts, strict=True)),
        }
        # `cache_write` not reported leaves nothing to take the two lifetimes from.
        other_writes[
            ~self._reported[self._of, _COUNTS.index(ga.USAGE_CACHE_WRITE_INPUT_TOKENS)]
        ] = 0
        self._input = whole
        self.exact = (uncached >= 0) & (other_writes >= 0) & (reasoning <= output)
        for tokens in (whole, output, read, write, write_5m, write_1h, tool):
            self.exact &= tokens < _MAX_FACTOR
        for part in parts:
            self.exact &= part == 0

    def _counts(self) -> tuple[_Counts, ...]:
        """The reported counts, a column each in the order of `_COUNTS`; 0 where not reported."""
        counts = np.zeros((len(_COUNTS), len(self._calls)), np.int64)
        layouts: dict[tuple[str, ...], list[int]] = {}
        for number, profile in enumerate(self._profiles):
            layouts.setdefault(profile.usage_names, []).append(number)
        for names, numbers in layouts.items():
            if len(layouts) == 1:
                rows = np.arange(len(self._calls))
                calls = list(self._calls)
            else:
                rows = np.flatnonzero(np.isin(self._of, numbers))
                calls = [self._calls[row] for row in rows.tolist()]
            values = np.array([tuple(call.usage.values()) for call in calls], np.int64)
            for column, name in enumerate(names):
                counts[_COUNTS.index(name), rows] = values[:, column]
        return tuple(counts)

    def _charge(self) -> None:
        """The cost of each call in picodollars, and whether the flat price holds for it."""
        none = Flat((None,) * len(BUCKETS), "", None, None, -1)
        flats = [flat or none for flat in self._flats]
        self._price_rows = [flat.price_row for flat in flats]
        since = np.array([-_FOREVER if f.since is None else f.since for f in flats])
        until = np.array([_FOREVER if f.until is None else f.until for f in flats])
        most = np.array([_FOREVER if f.most_input is None else f.most_input for f in flats])
        rates = np.array([[-1 if r is None else r for r in flat.rates] for flat in flats])
        most[(rates >= _MAX_FACTOR).any(axis=1)] = -1
        started = np.array([call.started_at for call in self._calls])
        of = self._of
        self.exact &= (since[of] <= started) & (started < until[of]) & (self._input <= most[of])
        cost = np.zeros(len(self._calls), np.int64)
        for column, bucket in enumerate(BUCKETS):
            count, rate = self._buckets[bucket], rates[of, column]
            self.exact &= (count == 0) | (rate >= 0)
            cost += count * rate
        self.exact &= cost <= MAX_PICODOLLARS
        self._cost = cost
        self._started = started

    def entries(self, kept: npt.NDArray[np.int64], price_book: str | None) -> pa.Table:
        """The ledger's columns for the calls at these positions."""
        calls = [self._calls[position] for position in kept.tolist()]
        of = pa.array(self._of[kept])
        rows = [outline.row for outline in self._outlines]
        shared: dict[str, tuple[Sequence[Any], pa.DataType]] = {
            "tags": ([list(o.tags.items()) for o in self._outlines], pa.map_(_TEXT, _TEXT)),
            "service": ([profile.service for profile in self._profiles], _TEXT),
            "environment": ([profile.environment for profile in self._profiles], _TEXT),
            "rule": ([profile.rule for profile in self._profiles], _TEXT),
            "provider": ([row.provider for row in rows], _TEXT),
            "operation": ([row.operation for row in rows], _TEXT),
            "request_model": ([row.request_model for row in rows], _TEXT),
            "response_model": ([row.response_model for row in rows], _TEXT),
            "service_tier": ([row.service_tier for row in rows], _TEXT),
            "price_row": (self._price_rows, _TEXT),
            "of_process": ([outline.customer_id for outline in self._outlines], _TEXT),
            "unless_named": ([outline.reason for outline in self._outlines], _TEXT),
        }
        columns = {name: pa.array(values, kind).take(of) for name, (values, kind) in shared.items()}
        always: dict[str, str | None] = {"kind": USAGE, "usage_source": md.USAGE_SOURCE_PROVIDER}
        always |= {"price_status": "priced", "price_book": price_book}
        for name, value in always.items():
            columns[name] = pa.repeat(pa.scalar(value, _TEXT), len(calls))
        for name, number in (("position", 0), ("revision", 0), ("calls", 1)):
            columns[name] = pa.repeat(pa.scalar(number, pa.int64()), len(calls))
        columns["units"] = pa.repeat(pa.scalar([], pa.map_(_TEXT, pa.int64())), len(calls))
        for name, count_name in _REPORTED_AS.items():
            absent = ~self._reported[self._of[kept], _COUNTS.index(count_name)]
            columns[name] = pa.array(self._buckets[name][kept], mask=absent)
        columns["trace_id"] = pa.array([call.trace_id for call in calls], _TEXT)
        columns["span_id"] = pa.array([call.span_id for call in calls], _TEXT)
        columns["started_at"] = pa.array(self._started[kept]).cast(pa.timestamp("us"))
        columns["response_id"] = pa.array([call.response_id for call in calls], _TEXT)
        columns["user_id"] = pa.array([call.details.get(md.USER_ID) for call in calls], _TEXT)
        named = [call.details.get(md.CUSTOMER_ID) for call in calls]
        if UNASSIGNED in named:
            named = [None if name == UNASSIGNED else name for name in named]
        own = pa.array(named, _TEXT)
        columns["customer_id"] = pc.coalesce(own, columns.pop("of_process"))
        columns["reason"] = pc.if_else(own.is_null(), columns.pop("unless_named"), "call")
        columns["cost"] = _microdollars(self._cost[kept])
        return pa.table(columns)


_TEXT = pa.string()

_PARTS: Final = ("audio_in", "audio_out", "image_in", "image_out")

_REPORTED_AS: Final = {
    "input_uncached": ga.USAGE_INPUT_TOKENS,
    "cache_read": ga.USAGE_CACHE_READ_INPUT_TOKENS,
    "cache_write_5m": md.USAGE_CACHE_WRITE_5M_INPUT_TOKENS,
    "cache_write_1h": md.USAGE_CACHE_WRITE_1H_INPUT_TOKENS,
    "cache_write": ga.USAGE_CACHE_WRITE_INPUT_TOKENS,
    "input_tool": md.USAGE_TOOL_INPUT_TOKENS,
    "output": ga.USAGE_OUTPUT_TOKENS,
    "reasoning": ga.USAGE_REASONING_OUTPUT_TOKENS,
    "audio_in": ga.USAGE_AUDIO_INPUT_TOKENS,
    "audio_out": ga.USAGE_AUDIO_OUTPUT_TOKENS,
    "image_in": ga.USAGE_IMAGE_INPUT_TOKENS,
    "image_out": ga.USAGE_IMAGE_OUTPUT_TOKENS,
}
"""The count whose absence leaves a column of the ledger unknown."""


def _microdollars(picodollars: _Counts) -> pa.Array:
    """Picodollars as decimals of microdollars: the same digits with the point six places left."""
    digits = pa.array(picodollars).cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(pa.decimal128(18, 6), len(digits), [None, digits.buffers()[1]])
