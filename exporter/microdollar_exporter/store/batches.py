# SPDX-License-Identifier: Apache-2.0
"""Arrow tables of what is appended, column by column."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from microdollar_exporter.entry import Entry
from microdollar_exporter.evidence import Evidence, Profile

__all__ = ["ledger_batch", "price_rows_batch", "profiles_batch", "spans_batch"]

_TEXT = pa.string()
_TIME = pa.timestamp("us")
_TEXT_MAP = pa.map_(_TEXT, _TEXT)
_COUNT_MAP = pa.map_(_TEXT, pa.int64())

_PROFILE_TEXTS = (
    *("service", "environment", "scope", "scope_version", "kind", "status"),
    *("rule", "role"),
)

_LEDGER_TYPES = {
    "started_at": _TIME,
    "tags": _TEXT_MAP,
    "units": _COUNT_MAP,
    "cost": pa.decimal128(18, 6),
}

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


def spans_batch(evidence: Sequence[Evidence], profile_ids: Mapping[Profile, int]) -> pa.Table:
    """The `span` columns of a batch, without `received_at`, which the store sets."""
    columns: Mapping[str, Sequence[Any]] = dict(
        zip(Evidence._fields, zip(*evidence, strict=True), strict=True)
    )
    return pa.table(
        {
            "trace_id": pa.array(columns["trace_id"], _TEXT),
            "span_id": pa.array(columns["span_id"], _TEXT),
            "parent_span_id": pa.array(columns["parent_span_id"], _TEXT),
            "started_at": pa.array(columns["started_at"], pa.int64()).cast(_TIME),
            "ended_at": pa.array(columns["ended_at"], pa.int64()).cast(_TIME),
            "profile_id": pa.array([profile_ids[p] for p in columns["profile"]], pa.int64()),
            "boot_id": pa.array(columns["boot_id"], _TEXT),
            "call_sequence": pa.array(columns["call_sequence"], pa.int64()),
            "response_id": pa.array(columns["response_id"], _TEXT),
            "details": _lists(columns["details"], _TEXT),
            "usage": _lists(columns["usage"], pa.int64()),
        }
    )


def profiles_batch(profiles: Mapping[Profile, tuple[int, str]]) -> pa.Table:
    """The `profile` table's columns; with each profile come its id and its fingerprint."""
    arrays = {
        "profile_id": pa.array([number for number, _ in profiles.values()], pa.int64()),
        "fingerprint": pa.array([fingerprint for _, fingerprint in profiles.values()], _TEXT),
        "direct": pa.array([profile.direct for profile in profiles], pa.bool_()),
        "attributes": _maps([profile.attributes for profile in profiles], _TEXT),
        "detail_names": pa.array([p.detail_names for p in profiles], pa.list_(_TEXT)),
        "usage_names": pa.array([p.usage_names for p in profiles], pa.list_(_TEXT)),
    }
    for name in _PROFILE_TEXTS:
        arrays[name] = pa.array([getattr(profile, name) for profile in profiles], _TEXT)
    return pa.table(arrays)


def ledger_batch(entries: Sequence[Entry]) -> pa.Table:
    """The `ledger` columns of a batch, without those the store sets."""
    columns = dict(zip(Entry._fields, zip(*entries, strict=True), strict=True))
    arrays = {}
    for name, kind in Entry.__annotations__.items():
        if name in ("tags", "units"):
            arrays[name] = _maps(columns[name], _LEDGER_TYPES[name].item_type)
        elif name == "started_at":
            arrays[name] = pa.array(columns[name], pa.int64()).cast(_TIME)
        elif name == "cost":
            arrays[name] = pa.array(columns[name], _LEDGER_TYPES[name])
        else:
            arrays[name] = pa.array(columns[name], pa.int64() if "int" in str(kind) else _TEXT)
    return pa.table(arrays)


def price_rows_batch(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The `price_row` columns of a book, without `book_id`; rates come as decimal text."""
    columns = {name: [row[name] for row in rows] for name in _PRICE_ROWS.names}
    columns["rates"] = [
        [(name, Decimal(rate)) for name, rate in rates.items()] for rates in columns["rates"]
    ]
    return pa.Table.from_pydict(columns, schema=_PRICE_ROWS)


def _lists(mappings: Iterable[Mapping[str, Any]], items: pa.DataType) -> pa.Array:
    """The values of mappings, whose names the profile has."""
    offsets = [0]
    values: list[Any] = []
    for mapping in mappings:
        if mapping:
            values += mapping.values()
        offsets.append(len(values))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, items))


def _maps(mappings: Iterable[Mapping[str, Any]], items: pa.DataType) -> pa.Array:
    offsets = [0]
    names: list[str] = []
    values: list[Any] = []
    for mapping in mappings:
        if mapping:
            names.extend(mapping)
            values.extend(mapping.values())
        offsets.append(len(names))
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(names, _TEXT), pa.array(values, items)
    )
