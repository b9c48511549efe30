# SPDX-License-Identifier: Apache-2.0
"""Put sealed evidence back among the spans of a file."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from microdollar_exporter.errors import StoreError
from microdollar_exporter.operate.files import sha256
from microdollar_exporter.operate.parquet import DayManifest
from microdollar_exporter.store.registered import registered

__all__ = ["ArchivePart", "archive_days", "parts_of", "put_back"]

_SHARED = (
    *("service", "environment", "scope", "scope_version", "kind", "status"),
    *("rule", "role", "direct", "attributes"),
)
_OWN = (
    *("trace_id", "span_id", "parent_span_id", "started_at", "ended_at", "received_at"),
    *("boot_id", "call_sequence", "response_id"),
)


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """What the ledger knows of a file of sealed evidence."""

    day: date
    file: str
    folder: str
    rows: int
    sha256: str

    def path(self, archive: Path | None = None) -> Path:
        """Where it lies: in the folder it was sealed to, unless the archive is elsewhere now."""
        return DayManifest.folder(archive or Path(self.folder), self.day) / self.file

    def read(self, archive: Path | None = None) -> pa.Table:
        """Its spans.

        Raises:
            StoreError: it is not there, or not what was sealed.
        """
        path = self.path(archive)
        try:
            if sha256(path) != self.sha256:
                raise StoreError(f"{path} is not what was sealed: its SHA-256 is another")
            return pq.read_table(path, partitioning=None)
        except FileNotFoundError as error:
            raise StoreError(
                f"there is no {path}: bring it back, or say with --archive where it lies"
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot read {path}: {error}") from error


def archive_days(con: duckdb.DuckDBPyConnection) -> list[date]:
    """The days of which something is sealed."""
    rows = con.execute("SELECT DISTINCT day FROM archive_part ORDER BY day").fetchall()
    return [day for (day,) in rows]


def parts_of(con: duckdb.DuckDBPyConnection, day: date) -> list[ArchivePart]:
    """The parts of a day, the first sealed one first."""
    rows = con.execute(
        """SELECT day, file, folder, rows, sha256 FROM archive_part
        WHERE day = ? ORDER BY received_until""",
        [day],
    ).fetchall()
    return [ArchivePart(*row) for row in rows]


def put_back(con: duckdb.DuckDBPyConnection, sealed: pa.Table) -> int:
    """Insert those of the sealed spans that the file does not have; returns how many."""
    same = " AND ".join(f"p.{name} IS NOT DISTINCT FROM s.{name}" for name in _SHARED)
    same += """ AND p.detail_names = map_keys(s.details) AND p.usage_names = map_keys(s.usage)"""
    names = ", ".join(_SHARED)
    with registered(con, "sealed", sealed):
        con.execute(f"""
            INSERT INTO profile BY NAME
            WITH unmet AS (
                SELECT DISTINCT {names}, map_keys(details) AS detail_names,
                    map_keys(usage) AS usage_names
                FROM sealed s WHERE NOT EXISTS (FROM profile p WHERE {same})
            ), numbered AS (
                SELECT *, row_number() OVER () + coalesce(last, 0) AS profile_id
                FROM unmet, (SELECT max(profile_id) AS last FROM profile)
            )
            SELECT * EXCLUDE (last), concat('sealed, ', profile_id) AS fingerprint
            FROM numbered""")
        [(added,)] = con.execute(f"""
            INSERT INTO span BY NAME
            WITH shared AS (
                SELECT min(profile_id) AS profile_id, {names}, detail_names, usage_names
                FROM profile GROUP BY ALL
            )
            SELECT {", ".join(f"s.{name}" for name in _OWN)}, p.profile_id,
                map_values(s.details) AS details, map_values(s.usage) AS usage
            FROM (
                FROM sealed ANTI JOIN span USING (trace_id, span_id, started_at)
            ) s JOIN shared p ON {same}
            ORDER BY s.received_at, s.started_at""").fetchall()
    return int(added)
