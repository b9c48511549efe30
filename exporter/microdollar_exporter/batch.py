# SPDX-License-Identifier: Apache-2.0
"""Many spans side by side: what a request brings, what a commit stores, column by column.

Between the wire and the file nearly every span is handled in columns. Those that need a closer look
are taken out one by one: a batch is also a sequence of `Evidence`.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final, Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from microdollar_exporter.evidence import Evidence, Identity, Profile

__all__ = ["NO_NUMBER", "NO_SPAN", "TEXT", "TIME", "Batch", "Integers"]

NO_SPAN: Final = bytes(8)
NO_NUMBER: Final = -(2**63)

TEXT: Final = pa.string()
TIME: Final = pa.timestamp("us")

Integers = npt.NDArray[np.int64]


class Batch(Sequence[Evidence]):
    """Spans in columns, in the same order in each.

    Ids stand one behind the other, 16 bytes for a trace and 8 for a span, `NO_SPAN` for no parent.
    Times are microseconds since 1970 UTC; `NO_NUMBER` stands for a call without a sequence number.
    `details` and `usage` hold the values alone, one span's after the other's: the profile of each
    has their names. It is filled first and asked afterwards: what is derived is derived once.
    """

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.trace_ids = bytearray()
        self.span_ids = bytearray()
        self.parent_span_ids = bytearray()
        self.started_at = array("q")
        self.ended_at = array("q")
        self.response_ids: list[str | None] = []
        self.boot_ids: list[str | None] = []
        self.call_sequences = array("q")
        self.details: list[str] = []
        self.usage = array("q")

    @classmethod
    def of(cls, evidence: Sequence[Evidence]) -> Self:
        """The same spans in columns; a batch is what it is."""
        if isinstance(evidence, cls):
            return evidence
        batch = cls()
        for item in evidence:
            batch.profiles.append(item.profile)
            batch.trace_ids += bytes.fromhex(item.trace_id)
            batch.span_ids += bytes.fromhex(item.span_id)
            # Files of version 1 were not strict about the ids of parents.
            parent = bytes.fromhex(item.parent_span_id or "")
            batch.parent_span_ids += parent if len(parent) == len(NO_SPAN) else NO_SPAN
            batch.started_at.append(item.started_at)
            batch.ended_at.append(item.ended_at)
            batch.response_ids.append(item.response_id)
            batch.boot_ids.append(item.boot_id)
            number = item.call_sequence
            batch.call_sequences.append(NO_NUMBER if number is None else number)
            batch.details += item.details.values()
            batch.usage.extend(item.usage.values())
        return batch

    @classmethod
    def joined(cls, batches: Sequence[Self]) -> Self:
        """The spans of several batches in turn."""
        if len(batches) == 1:
            return batches[0]
        whole = cls()
        for name, column in vars(whole).items():
            for batch in batches:
                column.extend(getattr(batch, name))
        return whole

    def only(self, positions: Sequence[int]) -> "Batch":
        """The spans at these positions, which ascend."""
        if len(positions) == len(self):
            return self
        part = Batch()
        details, usage = self._bounds
        for at in positions:
            part.profiles.append(self.profiles[at])
            part.trace_ids += self.trace_ids[16 * at : 16 * at + 16]
            part.span_ids += self.span_ids[8 * at : 8 * at + 8]
            part.parent_span_ids += self.parent_span_ids[8 * at : 8 * at + 8]
            part.started_at.append(self.started_at[at])
            part.ended_at.append(self.ended_at[at])
            part.response_ids.append(self.response_ids[at])
            part.boot_ids.append(self.boot_ids[at])
            part.call_sequences.append(self.call_sequences[at])
            part.details += self.details[details[at] : details[at + 1]]
            part.usage += self.usage[usage[at] : usage[at + 1]]
        return part

    def without(self, positions: Iterable[int]) -> "Batch":
        """The spans at all other positions."""
        gone = frozenset(positions)
        if not gone:
            return self
        return self.only([position for position in range(len(self)) if position not in gone])

    def __len__(self) -> int:
        return len(self.profiles)

    @overload
    def __getitem__(self, index: int) -> Evidence: ...
    @overload
    def __getitem__(self, index: slice) -> "Batch": ...
    def __getitem__(self, index: int | slice) -> "Evidence | Batch":
        if isinstance(index, slice):
            return self.only(range(*index.indices(len(self))))
        at = range(len(self))[index]
        profile = self.profiles[at]
        parent = self.parent_span_ids[8 * at : 8 * at + 8]
        number = self.call_sequences[at]
        details, usage = self._bounds
        texts = self.details[details[at] : details[at + 1]]
        counts = self.usage[usage[at] : usage[at + 1]]
        return Evidence(
            profile,
            self.trace_ids[16 * at : 16 * at + 16].hex(),
            self.span_ids[8 * at : 8 * at + 8].hex(),
            None if parent == NO_SPAN else parent.hex(),
            self.started_at[at],
            self.ended_at[at],
            self.response_ids[at],
            self.boot_ids[at],
            None if number == NO_NUMBER else number,
            dict(zip(profile.detail_names, texts, strict=True)),
            dict(zip(profile.usage_names, counts, strict=True)),
        )

    def __iter__(self) -> Iterator[Evidence]:
        return map(self.__getitem__, range(len(self)))

    @cached_property
    def distinct_profiles(self) -> dict[Profile, int]:
        """Every profile once, with its place in this order: what `profile_of` numbers."""
        return {profile: place for place, profile in enumerate(dict.fromkeys(self.profiles))}

    @cached_property
    def profile_of(self) -> Integers:
        """The place of each span's profile among the distinct ones."""
        places = map(self.distinct_profiles.__getitem__, self.profiles)
        return np.fromiter(places, np.int64, len(self))

    @cached_property
    def first_of_profile(self) -> Integers:
        """Where the first span with each of the distinct profiles stands."""
        _, firsts = np.unique(self.profile_of, return_index=True)
        return firsts

    @cached_property
    def direct(self) -> npt.NDArray[np.bool_]:
        """Whether each span's profile is `direct`."""
        return np.array([p.direct for p in self.distinct_profiles], np.bool_)[self.profile_of]

    @cached_property
    def starts(self) -> Integers:
        """`started_at` as an array."""
        return np.frombuffer(self.started_at, np.int64)

    @cached_property
    def ends(self) -> Integers:
        """`ended_at` as an array."""
        return np.frombuffer(self.ended_at, np.int64)

    def first_positions(self) -> list[int]:
        """Where each span stands first: known by trace, id and start, it may be there again."""
        ids = np.frombuffer(self.span_ids, np.int64).tolist()
        if len(set(ids)) == len(ids):
            return list(range(len(ids)))
        traces = [bytes(self.trace_ids[at : at + 16]) for at in range(0, len(self.trace_ids), 16)]
        first: dict[tuple[bytes, int, int], int] = {}
        for position, identity in enumerate(zip(traces, ids, self.started_at, strict=True)):
            first.setdefault(identity, position)
        return list(first.values())

    def contradictions(self) -> int:
        """How many spans say something else than the first with their trace, id and start."""
        first: dict[Identity, Evidence] = {}
        return sum(
            not item.says_the_same_as(first.setdefault(item.identity, item)) for item in self
        )

    @cached_property
    def trace_id_texts(self) -> pa.Array:
        """The trace ids as hexadecimal text."""
        return _hexadecimal(self.trace_ids, 16)

    @cached_property
    def span_id_texts(self) -> pa.Array:
        """The span ids as hexadecimal text."""
        return _hexadecimal(self.span_ids, 8)

    @cached_property
    def parent_span_id_texts(self) -> pa.Array:
        """The ids of the parents as hexadecimal text, null where there is none."""
        there = np.frombuffer(self.parent_span_ids, np.int64) != 0
        return _hexadecimal(self.parent_span_ids, 8, there)

    @cached_property
    def detail_offsets(self) -> Integers:
        """Where each span's values begin in `details`; one more at the end."""
        return self._offsets([len(profile.detail_names) for profile in self.distinct_profiles])

    @cached_property
    def usage_offsets(self) -> Integers:
        """Where each span's values begin in `usage`; one more at the end."""
        return self._offsets([len(profile.usage_names) for profile in self.distinct_profiles])

    @cached_property
    def _bounds(self) -> tuple[list[int], list[int]]:
        return self.detail_offsets.tolist(), self.usage_offsets.tolist()

    @cached_property
    def detail_values(self) -> pa.Array:
        """`details` as an array."""
        return pa.array(self.details, TEXT)

    @cached_property
    def usage_values(self) -> Integers:
        """`usage` as an array."""
        return np.frombuffer(self.usage, np.int64)

    def _offsets(self, lengths: Sequence[int]) -> Integers:
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.array(lengths, np.int64)[self.profile_of], out=offsets[1:])
        return offsets


def _hexadecimal(ids: bytearray, width: int, there: Integers | None = None) -> pa.Array:
    """Ids of one width as text; of all at once, because one by one is slow."""
    text = ids.hex().encode()
    offsets = np.arange(0, len(text) + 1, 2 * width, dtype=np.int32)
    present = None if there is None else pa.py_buffer(np.packbits(there, bitorder="little"))
    buffers = pa.py_buffer(offsets), pa.py_buffer(text)
    return pa.StringArray.from_buffers(len(offsets) - 1, *buffers, present)
