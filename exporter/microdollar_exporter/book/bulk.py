# SPDX-License-Identifier: Apache-2.0
"""Book the ordinary calls of a batch by columns.

Nearly all calls are alike: seen by our own instrumentation at a provider's host, counted whole,
priced by tokens times rates. Their entries are worked out in arrays, all at once. Whatever is out
of the ordinary in any way is left to be booked one by one, which is what defines the answer: for
every call that is booked here, both ways give the same entry.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from microdollar_exporter.batch import TEXT, TIME, Batch, Integers
from microdollar_exporter.book.outlines import COUNTS, DETAILS, Flattener, Outlines
from microdollar_exporter.customer import NOBODY, Customers
from microdollar_exporter.entry import USAGE
from microdollar_exporter.evidence import Profile
from microdollar_exporter.usage import BUCKETS
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["Bulk"]

_FEWEST: Final = 32
"""Fewer calls than this are booked one by one: arrays would cost more than they save."""
_NOBODY: Final = pa.array(NOBODY, TEXT)
_MAX_FACTOR: Final = 2**28
"""Counts and rates below this multiply and add up within 64 bits, and to less than the ledger
holds."""


class Bulk:
    """Books ordinary calls."""

    def __init__(
        self,
        flatten: Flattener,
        price_book: str | None,
        customers: Customers,
        tags: Callable[[Profile], Mapping[str, str]],
    ) -> None:
        self._price_book = price_book
        self._users = customers.users
        self._outlines = Outlines(flatten, customers, tags)

    def book(self, calls: Batch) -> tuple[pa.Table | None, Batch]:
        """The entries of ordinary calls, as a table of the `ledger`, and the calls left over."""
        if len(calls) < _FEWEST:
            return None, calls
        numbers = self._outlines.numbers(calls)[calls.profile_of]
        if (numbers < 0).all():
            return None, calls
        group = _Group(calls, numbers, self._outlines, self._users)
        kept = np.flatnonzero(group.exact)
        if len(kept) < _FEWEST:
            return None, calls
        left = np.flatnonzero(~group.exact)
        return group.entries(kept, self._price_book), calls.only(left.tolist())


class _Group:
    """Calls side by side. `exact` marks those whose entries the arrays have right.

    Of the others, whose outline has no number, the arrays hold something or other.
    """

    def __init__(
        self, calls: Batch, numbers: Integers, outlines: Outlines, users: Collection[str]
    ) -> None:
        self._calls = calls
        self._of = numbers
        self._outlines = outlines
        self.exact: npt.NDArray[np.bool_] = numbers >= 0
        self._user_id = self._detail(md.USER_ID)
        if users:
            decided = pc.is_in(self._user_id, pa.array(users, TEXT))
            self.exact &= ~decided.to_numpy(zero_copy_only=False)
        self._sort_into_buckets()
        self._charge()

    def _sort_into_buckets(self) -> None:
        """Disjoint buckets, as `normalise` makes them of the counts of a conforming span."""
        places = self._outlines.count_places[self._of]
        self._reported = places >= 0
        counts = _taken(self._calls.usage_values, self._calls.usage_offsets, places)
        whole, output, read, write, write_5m, write_1h, tool, reasoning, *parts = counts
        written = np.maximum(write, write_5m + write_1h)
        uncached = whole - read - written - tool
        # `cache_write` not reported leaves nothing to take the two lifetimes from.
        reports_writes = self._reported[:, COUNTS.index(ga.USAGE_CACHE_WRITE_INPUT_TOKENS)]
        other_writes = np.where(reports_writes, write - write_5m - write_1h, 0)
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
        self._input = whole
        self.exact &= (uncached >= 0) & (other_writes >= 0) & (reasoning <= output)
        for tokens in (whole, output, read, write, write_5m, write_1h, tool):
            self.exact &= tokens < _MAX_FACTOR
        for part in parts:
            self.exact &= part == 0

    def _charge(self) -> None:
        """The cost of each call in picodollars, and whether the flat price holds for it."""
        outlines, of, started = self._outlines, self._of, self._calls.starts
        self.exact &= (outlines.since[of] <= started) & (started < outlines.until[of])
        self.exact &= self._input <= outlines.most_input[of]
        self._cost = self._sum(outlines.rates)
        self._list_cost = self._cost
        if outlines.adjusted:
            self._list_cost = self._sum(outlines.list_rates)

    def _sum(self, rates: Integers) -> Integers:
        """Tokens times rates, in picodollars."""
        cost = np.zeros(len(self._of), np.int64)
        for bucket, of_bucket in zip(BUCKETS, rates[self._of].T, strict=True):
            count = self._buckets[bucket]
            self.exact &= (count == 0) | ((of_bucket >= 0) & (of_bucket < _MAX_FACTOR))
            cost += count * of_bucket
        return cost

    def entries(self, kept: Integers, price_book: str | None) -> pa.Table:
        """The ledger's columns for the calls at these positions."""
        calls, outlines = self._calls, self._outlines
        of, positions = pa.array(self._of[kept]), pa.array(kept)
        columns = {name: values.take(of) for name, values in outlines.texts.items()}
        columns["tags"] = outlines.tags.take(of)
        columns["price_row"] = pa.array(outlines.price_rows, TEXT).take(of)
        always: dict[str, str | None] = {"kind": USAGE, "usage_source": md.USAGE_SOURCE_PROVIDER}
        always |= {"price_status": "priced", "price_book": price_book}
        for name, value in always.items():
            columns[name] = pa.repeat(pa.scalar(value, TEXT), len(kept))
        for name, number in (("position", 0), ("revision", 0), ("calls", 1)):
            columns[name] = pa.repeat(pa.scalar(number, pa.int64()), len(kept))
        columns["units"] = pa.repeat(pa.scalar([], pa.map_(TEXT, pa.int64())), len(kept))
        for name, count in _REPORTED_AS.items():
            absent = ~self._reported[kept, COUNTS.index(count)]
            columns[name] = pa.array(self._buckets[name][kept], mask=absent)
        columns["trace_id"] = calls.trace_id_texts.take(positions)
        columns["span_id"] = calls.span_id_texts.take(positions)
        columns["started_at"] = pa.array(calls.starts[kept]).cast(TIME)
        columns["response_id"] = pa.array(calls.response_ids, TEXT).take(positions)
        columns["user_id"] = self._user_id.take(positions)
        named = self._detail(md.CUSTOMER_ID).take(positions)
        own = pc.if_else(pc.is_in(named, _NOBODY), pa.scalar(None, TEXT), named)
        columns["customer_id"] = pc.coalesce(own, columns["customer_id"])
        columns["reason"] = pc.if_else(own.is_null(), columns["reason"], "call")
        columns["cost"] = _microdollars(self._cost[kept])
        columns["list_cost"] = _microdollars(self._list_cost[kept])
        return pa.table(columns)

    def _detail(self, name: str) -> pa.Array:
        """What each ordinary call says under a name of `DETAILS`, null where it says nothing."""
        place = self._outlines.detail_places[self._of, DETAILS.index(name)]
        positions = self._calls.detail_offsets[:-1] + place
        # The places of a call that is not ordinary are another's, and may lie beyond the end.
        absent = (place < 0) | (self._of < 0)
        return self._calls.detail_values.take(pa.array(positions, mask=absent))


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


def _taken(values: Integers, offsets: Integers, places: Integers) -> Integers:
    """A row of values for each column of places: that of each call, 0 where it has no place."""
    # Of a call whose places are another's, something within bounds is taken.
    positions = np.minimum(offsets[:-1, np.newaxis] + places, len(values) - 1)
    return np.where(places < 0, 0, values[positions]).T


def _microdollars(picodollars: Integers) -> pa.Array:
    """Picodollars as decimals of microdollars: the same digits with the point six places left."""
    digits = pa.array(picodollars).cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(pa.decimal128(18, 6), len(digits), [None, digits.buffers()[1]])
