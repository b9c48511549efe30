# SPDX-License-Identifier: Apache-2.0
"""Files of sealed evidence: Parquet that anything can read, and the manifest of each day's.

A file holds the columns of `spans`, and before them `customer_id`, the customer that the span
itself names by our own attribute, by which it is sorted. Times are UTC microseconds.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from microdollar_exporter.errors import StoreError
from microdollar_exporter.evidence import RESOURCE
from microdollar_exporter.operate.files import new_file, sha256
from microdollar_semconv import attributes as md

__all__ = ["SEALED", "DayManifest", "SealedFile", "described", "write_parquet"]

_CUSTOMER: Final = f"""coalesce(details['{md.CUSTOMER_ID}'],
    attributes['{RESOURCE}{md.CUSTOMER_ID}'])"""
SEALED: Final = f"""
    SELECT {_CUSTOMER} AS customer_id,
        trace_id, span_id, parent_span_id, started_at, ended_at, received_at,
        service, environment, scope, scope_version, kind, status, rule, role, direct,
        boot_id, call_sequence, response_id, attributes, details, usage
    FROM spans"""
"""What is sealed of spans."""

_USAGE: Final = pa.list_(
    pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.int64())])
)
_ROW_GROUP: Final = 122_880


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """What a file has to hold: `sums` of its usage by the names that the emitters gave it.

    Its spans were received after `received_after` (None is the beginning) and until
    `received_until`, UTC.
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    received_after: str | None
    received_until: str
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayManifest:
    """What lies in the folder of a day."""

    day: str
    files: tuple[SealedFile, ...] = ()

    @staticmethod
    def folder(archive: Path, day: date) -> Path:
        """The folder of a day, under a name that readers take for a column."""
        return archive / f"day={day.isoformat()}"

    @classmethod
    def read(cls, archive: Path, day: date) -> Self:
        """The manifest of a day; without files when there is none.

        Raises:
            StoreError: it cannot be read.
        """
        path = cls.folder(archive, day) / _MANIFEST
        try:
            said = json.loads(path.read_text("utf-8"))
            return cls(day=said["day"], files=tuple(SealedFile(**file) for file in said["files"]))
        except FileNotFoundError:
            return cls(day=day.isoformat())
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"cannot read {path}: {error}") from error

    def write(self, archive: Path) -> None:
        """Write it to the folder of its day."""
        path = self.folder(archive, date.fromisoformat(self.day)) / _MANIFEST
        with new_file(path, replace=True) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


_MANIFEST: Final = "_manifest.json"
"""Readers of folders leave out what begins like this."""


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write rows to a file: the same rows give the same bytes."""
    # However the answer was cut into batches on the way.
    pq.write_table(
        table.combine_chunks(), path, compression="zstd", row_group_size=_ROW_GROUP, version="2.6"
    )


def described(path: Path) -> dict[str, Any]:
    """What a file holds, read back from it: `rows`, `bytes`, `sha256` and `sums`.

    Raises:
        StoreError: it is not there, or not such a file.
    """
    sums: Counter[str] = Counter()
    try:
        with pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            for batch in file.iter_batches(columns=["usage"]):
                usage = batch.column("usage").cast(_USAGE).flatten()
                # Wider than any sum of counts.
                counts = usage.field(1).cast(pa.decimal128(38, 0))
                counted = pa.table({"name": usage.field(0), "count": counts})
                for row in counted.group_by("name").aggregate([("count", "sum")]).to_pylist():
                    sums[row["name"]] += int(row["count_sum"])
        size = path.stat().st_size
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return {"rows": rows, "bytes": size, "sha256": sha256(path), "sums": dict(sorted(sums.items()))}
