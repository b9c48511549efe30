# SPDX-License-Identifier: Apache-2.0
"""Arrow tables of what is appended, column by column."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from microdollar_exporter.batch import NO_NUMBER, Batch
from microdollar_exporter.batch import TEXT as _TEXT
from microdollar_exporter.batch import TIME as _TIME
from microdollar_exporter.entry import Entry
from microdollar_exporter.evidence import Profile

__all__ = [
    "ledger_batch",
    "ledger_table",
    "numbered",
    "price_rows_batch",
    "profiles_batch",
    "spans_batch",
]

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
    "list_cost": pa.decimal128(18, 6),
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
        "weekdays": _TEXT,
        "over_input_tokens": pa.int64(),
        "rates": pa.map_(_TEXT, pa.decimal128(38, 18)),
        "layer": _TEXT,
        "reason": _TEXT,
        "base_row": _TEXT,
        "multiplier": pa.decimal128(38, 18),
        "unit_multiplier": pa.decimal128(38, 18),
    }
)


def spans_batch(evidence: Batch, profile_ids: Mapping[Profile, int]) -> pa.Table:
    """The `span` columns of a batch, without `received_at`, which the store sets."""
    numbers = np.array([profile_ids[profile] for profile in evidence.distinct_profiles], np.int64)
    sequences = np.frombuffer(evidence.call_sequences, np.int64)
    details = pa.array(evidence.detail_offsets, pa.int32()), evidence.detail_values
    usage = pa.array(evidence.usage_offsets, pa.int32()), pa.array(evidence.usage_values)
    return pa.table(
        {
            "trace_id": evidence.trace_id_texts,
            "span_id": evidence.span_id_texts,
            "parent_span_id": evidence.parent_span_id_texts,
            "started_at": pa.array(evidence.starts).cast(_TIME),
            "ended_at": pa.array(evidence.ends).cast(_TIME),
            "profile_id": pa.array(numbers[evidence.profile_of]),
            "boot_id": pa.array(evidence.boot_ids, _TEXT),
            "call_sequence": pa.array(sequences, mask=sequences == NO_NUMBER),
            "response_id": pa.array(evidence.response_ids, _TEXT),
            "details": pa.ListArray.from_arrays(*details),
            "usage": pa.ListArray.from_arrays(*usage),
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
        elif name in ("cost", "list_cost"):
            arrays[name] = pa.array(columns[name], _LEDGER_TYPES[name])
        else:
            arrays[name] = pa.array(columns[name], pa.int64() if "int" in str(kind) else _TEXT)
    return pa.table(arrays)


def ledger_table(entries: Sequence[Entry], table: pa.Table | None) -> pa.Table | None:
    """Entries and a table of further ones as one; None when there are none at all."""
    if not entries:
        return table
    one_by_one = ledger_batch(entries)
    if table is None:
        return one_by_one
    return pa.concat_tables([table, one_by_one], promote_options="default")


def numbered(batch: pa.Table) -> pa.Table:
    """The batch with one more column, `position`, from 0."""
    return batch.append_column("position", pa.array(np.arange(batch.num_rows)))


def price_rows_batch(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The `price_row` columns of a book, without `book_id`; rates come as decimal text."""
    columns = {name: [row[name] for row in rows] for name in _PRICE_ROWS.names}
    columns["rates"] = [
        [(name, Decimal(rate)) for name, rate in rates.items()] for rates in columns["rates"]
    ]
    for name in ("multiplier", "unit_multiplier"):
        columns[name] = [said and Decimal(said) for said in columns[name]]
    return pa.Table.from_pydict(columns, schema=_PRICE_ROWS)


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
