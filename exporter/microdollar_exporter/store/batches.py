# SPDX-License-Identifier: Apache-2.0
"""Arrow tables of what is appended, column by column."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from microdollar_exporter.entry import Entry
from microdollar_exporter.evidence import Evidence

__all__ = ["ledger_batch", "price_rows_batch", "spans_batch"]

_TEXT = pa.string()
_TIME = pa.timestamp("us")
_TEXT_MAP = pa.map_(_TEXT, _TEXT)
_COUNT_MAP = pa.map_(_TEXT, pa.int64())

_SPANS = pa.schema(
    {
        "trace_id": _TEXT,
        "span_id": _TEXT,
        "parent_span_id": _TEXT,
        "started_at": _TIME,
        "ended_at": _TIME,
        "service": _TEXT,
        "environment": _TEXT,
        "scope": _TEXT,
        "scope_version": _TEXT,
        "rule": _TEXT,
        "status": _TEXT,
        "boot_id": _TEXT,
        "call_sequence": pa.int64(),
        "attributes": _TEXT_MAP,
        "usage": _COUNT_MAP,
    }
)

_LEDGER_TYPES = {
    "started_at": _TIME,
    "tags": _TEXT_MAP,
    "units": _COUNT_MAP,
    "cost": pa.decimal128(18, 6),
}
_LEDGER = pa.schema(
    [
        (name, _LEDGER_TYPES.get(name, pa.int64() if "int" in str(kind) else _TEXT))
        for name, kind in Entry.__annotations__.items()
    ]
)

_PRICE_ROWS = pa.schema(
    {
        "price_row": _TEXT,
        "provider": _TEXT,
        "model": _TEXT,
        "context": _TEXT,
        "effective_from": _TIME,
        "effective_to": _TIME,
        "time_of_day_from": pa.time64("us"),
        "time_of_day_to": pa.time64("us"),
        "over_input_tokens": pa.int64(),
        "rates": pa.map_(_TEXT, pa.decimal128(38, 18)),
    }
)


def spans_batch(evidence: Sequence[Evidence]) -> pa.Table:
    """The `spans` columns of a batch, without `received_at`, which the store sets."""
    columns = {
        name: [getattr(item, name) for item in evidence]
        for name in _SPANS.names
        if name not in ("attributes", "usage")
    }
    columns["attributes"] = [_pairs(item.attributes) for item in evidence]
    columns["usage"] = [_pairs(item.usage) for item in evidence]
    return pa.Table.from_pydict(columns, schema=_SPANS)


def ledger_batch(entries: Sequence[Entry]) -> pa.Table:
    """The `ledger` columns of a batch, without `recorded_at`, which the store sets."""
    columns: dict[str, list[Any]] = dict(
        zip(Entry._fields, map(list, zip(*entries, strict=True)), strict=True)
    )
    columns["tags"] = [_pairs(tags) for tags in columns["tags"]]
    columns["units"] = [_pairs(units) for units in columns["units"]]
    return pa.Table.from_pydict(columns, schema=_LEDGER)


def price_rows_batch(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The `price_row` columns of a book, without `book_id`; rates come as decimal text."""
    columns = {name: [row[name] for row in rows] for name in _PRICE_ROWS.names}
    columns["rates"] = [
        [(name, Decimal(rate)) for name, rate in rates.items()] for rates in columns["rates"]
    ]
    return pa.Table.from_pydict(columns, schema=_PRICE_ROWS)


def _pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(mapping.items())
