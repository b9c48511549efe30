# SPDX-License-Identifier: Apache-2.0
"""What the entries of ordinary calls have in common, by the profile of the call, in columns.

Hundreds of thousands of calls share a few thousand profiles. What follows from a profile alone is
worked out once and numbered; a batch of calls then takes it from arrays.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from microdollar_exporter.batch import TEXT, Batch, Integers
from microdollar_exporter.customer import Customers
from microdollar_exporter.evidence import Evidence, Profile
from microdollar_exporter.normalise import normalise
from microdollar_exporter.price import Flat
from microdollar_exporter.usage import BUCKETS, UsageRow
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["COUNTS", "DETAILS", "FOREVER", "Flattener", "Outlines"]

Flattener = Callable[[UsageRow], Flat | None]
"""Gives the flat price of calls like a row; `price.Engine.flat` is one."""

COUNTS: Final = (
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
"""The counts that an ordinary call may report."""
DETAILS: Final = (md.CUSTOMER_ID, md.USER_ID, ga.RESPONSE_TIME_TO_FIRST_CHUNK)
"""The details that an ordinary call may have."""
FOREVER: Final = 2**62
"""Later than any call, and more tokens than any has."""

_INPUT: Final = frozenset({ga.USAGE_INPUT_TOKENS})
_INPUT_AND_OUTPUT: Final = frozenset({ga.USAGE_INPUT_TOKENS, ga.USAGE_OUTPUT_TOKENS})
_MAX_OUTLINES: Final = 10_000
_NOT_ORDINARY: Final = -1
_UNKNOWN: Final = -1
_ABSENT: Final = -1


class _Outline(NamedTuple):
    """What the entries of all calls with one profile have in common."""

    profile: Profile
    row: UsageRow
    tags: Mapping[str, str]
    customer_id: str | None
    reason: str


_TEXTS: Final[Mapping[str, Callable[[_Outline], str | None]]] = {
    "service": lambda outline: outline.profile.service,
    "environment": lambda outline: outline.profile.environment,
    "rule": lambda outline: outline.profile.rule,
    "provider": lambda outline: outline.row.provider,
    "operation": lambda outline: outline.row.operation,
    "request_model": lambda outline: outline.row.request_model,
    "response_model": lambda outline: outline.row.response_model,
    "service_tier": lambda outline: outline.row.service_tier,
    "customer_id": lambda outline: outline.customer_id,
    "reason": lambda outline: outline.reason,
}


class Outlines:
    """Numbers the profiles of ordinary calls; by these numbers go the rows of all its arrays.

    `texts` and `tags` are columns of the ledger; `customer_id` and `reason` among them are those of
    calls that name no customer. `count_places` and `detail_places` say where each of `COUNTS` and
    `DETAILS` stands among the values of a call, -1 where it does not. `rates` are picodollars per
    token in the order of `BUCKETS`, -1 where unknown, and `list_rates` the same before adjustments;
    they hold for calls that began in [`since`, `until`) with at most `most_input` tokens of input,
    and `price_rows` are where they come from. `adjusted` is whether any two of the rates differ.
    """

    def __init__(
        self,
        flatten: Flattener,
        customers: Customers,
        tags: Callable[[Profile], Mapping[str, str]],
    ) -> None:
        self._flatten = flatten
        self._customers = customers
        self._tags = tags
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[Profile, int] = {}
        self._rows: list[UsageRow] = []
        self.texts = {name: pa.array([], TEXT) for name in _TEXTS}
        self.tags: pa.Array = pa.array([], pa.map_(TEXT, TEXT))
        self.count_places = np.empty((0, len(COUNTS)), np.int64)
        self.detail_places = np.empty((0, len(DETAILS)), np.int64)
        self.price_rows: list[str | None] = []
        self.rates = self.list_rates = np.empty((0, len(BUCKETS)), np.int64)
        self.adjusted = False
        self.since = self.until = self.most_input = np.empty(0, np.int64)

    def numbers(self, calls: Batch) -> Integers:
        """The number of each distinct profile of these calls; -1 where they are not ordinary."""
        profiles = calls.distinct_profiles
        if not profiles.keys() <= self._numbers.keys():
            self._learn(calls)
        places = map(self._numbers.__getitem__, profiles)
        numbers = np.fromiter(places, np.int64, len(profiles))
        self._price(numbers, calls)
        return numbers

    def _learn(self, calls: Batch) -> None:
        if len(self._numbers) + len(calls.distinct_profiles) > _MAX_OUTLINES:
            self._forget()
        new: list[_Outline] = []
        for profile, first in zip(calls.distinct_profiles, calls.first_of_profile, strict=True):
            if profile not in self._numbers:
                outline = self._outline(calls[first])
                if outline is not None:
                    self._numbers[profile] = len(self._rows) + len(new)
                    new.append(outline)
                else:
                    self._numbers[profile] = _NOT_ORDINARY
        if new:
            self._add(new)

    def _outline(self, call: Evidence) -> _Outline | None:
        """What holds for all calls with the profile of this one; None if they are not ordinary."""
        profile = call.profile
        counted = set(profile.usage_names)
        embeds = profile.attributes.get(ga.OPERATION_NAME) == "embeddings"
        ordinary = (
            profile.direct
            and profile.attributes.get(md.USAGE_SOURCE) == md.USAGE_SOURCE_PROVIDER
            and counted.issuperset(_INPUT if embeds else _INPUT_AND_OUTPUT)
            and counted.issubset(COUNTS)
            and set(profile.detail_names).issubset(DETAILS)
        )
        # Other attributes name customers by decisions that change with time.
        said = (*profile.attributes, *profile.detail_names)
        if not ordinary or not self._customers.keys.isdisjoint(said):
            return None
        [row] = normalise(call)
        named = self._customers.named(call._replace(details={}))
        reason = f"call; {named.note}" if named.note else "call"
        return _Outline(profile, row, self._tags(profile), named.customer_id, reason)

    def _add(self, new: Sequence[_Outline]) -> None:
        self._rows += [outline.row for outline in new]
        for name, of in _TEXTS.items():
            texts = pa.array([of(outline) for outline in new], TEXT)
            self.texts[name] = pa.concat_arrays([self.texts[name], texts])
        tags = pa.array([list(outline.tags.items()) for outline in new], self.tags.type)
        self.tags = pa.concat_arrays([self.tags, tags])
        counted = [_places(COUNTS, outline.profile.usage_names) for outline in new]
        detailed = [_places(DETAILS, outline.profile.detail_names) for outline in new]
        self.count_places = np.concatenate((self.count_places, np.array(counted)))
        self.detail_places = np.concatenate((self.detail_places, np.array(detailed)))
        # No price yet: a time at which no call began.
        self.price_rows += [None] * len(new)
        unpriced = np.full((len(new), len(BUCKETS)), _UNKNOWN)
        self.rates = np.concatenate((self.rates, unpriced))
        self.list_rates = np.concatenate((self.list_rates, unpriced))
        self.since = _longer(self.since, len(new), FOREVER)
        self.until = _longer(self.until, len(new), -FOREVER)
        self.most_input = _longer(self.most_input, len(new), -1)

    def _price(self, numbers: Integers, calls: Batch) -> None:
        """Have the prices in force when the first of the calls with each profile began."""
        if not self._rows:
            return
        starts = calls.starts[calls.first_of_profile]
        in_force = (self.since[numbers] <= starts) & (starts < self.until[numbers])
        stale = (numbers != _NOT_ORDINARY) & ~in_force
        for place in np.flatnonzero(stale).tolist():
            number = int(numbers[place])
            flat = self._flatten(self._rows[number]._replace(started_at=int(starts[place])))
            if flat is not None:
                self.price_rows[number] = flat.price_row
                self.rates[number] = _known(flat.rates)
                self.list_rates[number] = _known(flat.list_rates)
                self.adjusted = self.adjusted or flat.rates != flat.list_rates
                self.since[number] = -FOREVER if flat.since is None else flat.since
                self.until[number] = FOREVER if flat.until is None else flat.until
                self.most_input[number] = FOREVER if flat.most_input is None else flat.most_input


def _longer(column: Integers, by: int, value: int) -> Integers:
    return np.concatenate((column, np.full(by, value)))


def _known(rates: Sequence[int | None]) -> list[int]:
    # What is beyond any sensible rate would not fit, and is not exact in arrays anyway.
    return [_UNKNOWN if rate is None or rate >= FOREVER else rate for rate in rates]


def _places(names: Sequence[str], layout: Sequence[str]) -> list[int]:
    """Where each name stands in a layout, -1 where it does not."""
    return [layout.index(name) if name in layout else _ABSENT for name in names]
