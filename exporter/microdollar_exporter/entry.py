# SPDX-License-Identifier: Apache-2.0
"""A ledger entry: one signed row of the `ledger` table."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

__all__ = ["KIND_USAGE", "Entry"]

KIND_USAGE = "usage"


class Entry(NamedTuple):
    """The columns of the `ledger` table in their order, but for `recorded_at`: the store's clock.

    `entry_id` is a pure function of kind, trace, span, start and the row's position in the call.
    `started_at` is microseconds since 1970 UTC, `cost` microdollars (None when unknown). The
    bucket columns are those of `Usage`; None means not reported.
    """

    entry_id: str
    kind: str
    started_at: int
    trace_id: str
    span_id: str
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
    cost: Decimal | None
    price_status: str
    price_row: str | None
    reason: str
