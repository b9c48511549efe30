# SPDX-License-Identifier: Apache-2.0
"""A ledger entry: one signed row of the `ledger` table."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from microdollar_exporter.evidence import Identity

__all__ = ["CORRECTION", "REVERSAL", "USAGE", "Entry", "Standing", "reversal"]

USAGE: Final = "usage"
REVERSAL: Final = "reversal"
CORRECTION: Final = "correction"


class Entry(NamedTuple):
    """The columns of the `ledger` table, but for those the store fills: its id and its moment.

    `position` numbers the rows of one call from 0; `revision` counts how often this row had been
    booked and reversed before. `started_at` is microseconds since 1970 UTC, `cost` microdollars
    (None when unknown), and `list_cost` what it was before adjustments. `price_note` says why the
    entry is not `priced`, naming every bucket concerned. `rule` is the dialect rule that read the
    span, `price_book` the book that priced it. The bucket columns are those of `Usage`; None means
    not reported. `reverses` is the id of the entry that a reversal takes back, `decision` that of
    the operator's decision that called for the entry, and `assigned_by` that of the one by which
    the call is its customer's, or nobody's: None where the spans themselves say whose it is.
    """

    kind: str
    started_at: int
    trace_id: str
    span_id: str
    position: int
    revision: int
    customer_id: str | None
    user_id: str | None
    tags: Mapping[str, str]
    service: str | None
    environment: str | None
    provider: str | None
    operation: str | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    service_tier: str | None
    calls: int
    input_uncached: int | None
    cache_read: int | None
    cache_write_5m: int | None
    cache_write_1h: int | None
    cache_write: int | None
    input_tool: int | None
    output: int | None
    reasoning: int | None
    audio_in: int | None
    audio_out: int | None
    image_in: int | None
    image_out: int | None
    units: Mapping[str, int]
    usage_source: str
    rule: str
    cost: Decimal | None
    list_cost: Decimal | None
    price_status: str
    price_note: str | None
    price_row: str | None
    price_book: str | None
    reverses: str | None
    decision: str | None
    reason: str
    assigned_by: str | None = None

    @property
    def identity(self) -> Identity:
        """The span whose call the entry books."""
        return self.trace_id, self.span_id, self.started_at


class Standing(NamedTuple):
    """An entry that is in the books and has not been reversed, with the id the store gave it."""

    entry_id: str
    entry: Entry


_SIGNED: Final = (
    *("calls", "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h"),
    *("cache_write", "input_tool", "output", "reasoning", "audio_in", "audio_out"),
    *("image_in", "image_out", "cost", "list_cost"),
)
"""The columns that are summed, beside `units`."""


def reversal(standing: Standing, reason: str) -> Entry:
    """The entry that takes another back: the same with every sum negated."""
    entry = standing.entry
    sums = {name: getattr(entry, name) for name in _SIGNED}
    negated: dict[str, Any] = {
        name: None if value is None else -value for name, value in sums.items()
    }
    return entry._replace(
        kind=REVERSAL,
        units={name: -count for name, count in entry.units.items()},
        reverses=standing.entry_id,
        reason=reason,
        **negated,
    )
