# SPDX-License-Identifier: Apache-2.0
"""Put sealed evidence back among the spans of a file."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
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
_PROFILE = (*_SHARED, "detail_names", "usage_names")
_SAME = " AND ".join(f"p.{name} IS NOT DISTINCT FROM k.{name}" for name in _PROFILE)
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
    """Insert those of the sealed spans that were removed from the file; returns how many.

    The file knows by an entry or by `archived_span` of every span that lies in the archive only.
    What it knows nothing of was erased, and stays so.
    """
    shared = f"{', '.join(_SHARED)}, map_keys(details), map_keys(usage)"
    names = ", ".join(_PROFILE)
    times = pc.min_max(sealed["started_at"]).as_py()
    within = f"started_at BETWEEN TIMESTAMP '{times['min']}' AND TIMESTAMP '{times['max']}'"
    with registered(con, "sealed", sealed):
        con.execute(f"""
            CREATE TEMP TABLE back AS
            SELECT *, md5(CAST(ROW({shared}) AS VARCHAR)) AS kind_of FROM sealed
            ANTI JOIN span USING (trace_id, span_id, started_at)
            SEMI JOIN (
                SELECT trace_id, span_id, started_at FROM ledger WHERE {within}
                UNION ALL
                SELECT trace_id, span_id, started_at FROM archived_span WHERE {within}
            ) USING (trace_id, span_id, started_at)""")
    # What many spans share is looked up once for all of them.
    con.execute(f"""
        CREATE TEMP TABLE kinds AS
        SELECT kind_of, {", ".join(f"first({name}) AS {name}" for name in _SHARED)},
            first(map_keys(details)) AS detail_names, first(map_keys(usage)) AS usage_names
        FROM back GROUP BY kind_of""")
    con.execute(f"""
        INSERT INTO profile BY NAME
        WITH unmet AS (
            SELECT {names} FROM kinds k WHERE NOT EXISTS (FROM profile p WHERE {_SAME})
        ), numbered AS (
            SELECT *, row_number() OVER () + coalesce(last, 0) AS profile_id
            FROM unmet, (SELECT max(profile_id) AS last FROM profile)
        )
        SELECT * EXCLUDE (last), concat('sealed, ', profile_id) AS fingerprint FROM numbered""")
    [(added,)] = con.execute(f"""
        INSERT INTO span BY NAME
        WITH known AS (
            SELECT kind_of, min(profile_id) AS profile_id
            FROM kinds k JOIN profile p ON {_SAME} GROUP BY kind_of
        )
        SELECT {", ".join(_OWN)}, profile_id,
            map_values(details) AS details, map_values(usage) AS usage
        FROM back JOIN known USING (kind_of) ORDER BY received_at, started_at""").fetchall()
    con.execute("DROP TABLE back")
    con.execute("DROP TABLE kinds")
    return int(added)
