# SPDX-License-Identifier: Apache-2.0
"""Read evidence back from a file, many spans at a time."""

import duckdb

from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store.profiles import read_profiles

__all__ = ["EvidenceReader"]

_OWN = """
    profile_id, trace_id, span_id, parent_span_id, epoch_us(started_at), epoch_us(ended_at),
    response_id, boot_id, call_sequence, details, usage"""


class EvidenceReader:
    """Reads tables of the form of `span`; the profiles are read once."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._profiles = read_profiles(con)

    def read(self, table: str, condition: str = "true") -> list[Evidence]:
        """The spans of a table that meet a condition, by their start; none without a profile."""
        profiles = self._profiles
        found = self._con.sql(
            f"SELECT {_OWN} FROM {table} WHERE {condition} ORDER BY started_at"  # noqa: S608 - our words
        ).to_arrow_table()
        columns = [column.to_pylist() for column in found.columns]
        return [
            Evidence._make(
                [
                    profile := profiles[number],
                    *own,
                    dict(zip(profile.detail_names, details, strict=True)),
                    dict(zip(profile.usage_names, usage, strict=True)),
                ]
            )
            for number, *own, details, usage in zip(*columns, strict=True)
            if number in profiles
        ]
