# SPDX-License-Identifier: Apache-2.0
"""How many bytes of disk a call takes, evidence and ledger together, and which columns take them.

    python -m benchmarks.disk [--calls N] [--columns] [--db FILE]

With `--db` nothing is sent: the file, which no process may have open, is looked at as it is.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.receivers import CheckFailed, microdollar
from benchmarks.sender import send
from benchmarks.traffic import generate

__all__ = ["Footprint", "footprint", "measure"]

PER_REQUEST = 512


@dataclass(frozen=True)
class Footprint:
    """A closed ledger's file: its calls, its bytes, and how many of those are free for later.

    `columns` has the bytes of each column, by table and name; `compressions` how they are stored.
    """

    calls: int
    file_bytes: int
    free_bytes: int
    columns: Mapping[tuple[str, str], int]
    compressions: Mapping[tuple[str, str], frozenset[str]]

    @property
    def bytes_per_call(self) -> float:
        """The whole file by its calls."""
        return self.file_bytes / self.calls


def main() -> None:
    """Measure and print; the status is 1 when something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--columns", action="store_true", help="show each column")
    parser.add_argument("--db", type=Path, help="a ledger that is there already")
    asked = parser.parse_args()
    try:
        found = footprint(asked.db) if asked.db else measure(asked.calls)
    except CheckFailed as error:
        sys.exit(str(error))
    show(found, columns=asked.columns)


def measure(calls: int) -> Footprint:
    """Send so many calls to a fresh ledger and look at its file once the exporter has closed it.

    Raises:
        CheckFailed: the ledger did not hold exactly what was sent.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traffic = generate(folder / "traffic", spans=calls, per_request=PER_REQUEST)
        with microdollar(folder) as receiver:
            send(receiver.port, traffic.path)
            receiver.check(traffic)
        return footprint(folder / "meter.duckdb")


def footprint(db: Path) -> Footprint:
    """What a closed ledger's file is made of."""
    columns: Counter[tuple[str, str]] = Counter()
    compressions: dict[tuple[str, str], set[str]] = {}
    with duckdb.connect(str(db), read_only=True) as con:
        [(calls,)] = con.execute("SELECT sum(calls) FROM ledger").fetchall()
        [(block, free)] = con.execute(
            "SELECT block_size, block_size * free_blocks FROM pragma_database_size()"
        ).fetchall()
        segments = []
        for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            for column, compression, *place, more in con.execute(
                "SELECT column_name, compression, block_id, block_offset, additional_block_ids "
                f"FROM pragma_storage_info('{table}') WHERE block_id >= 0"
            ).fetchall():
                segments.append((*place, (table, column)))
                columns[table, column] += block * len(more)
                compressions.setdefault((table, column), set()).add(compression)
    # Segments share blocks; each goes on to the next one's beginning, or to the end of its block.
    segments.sort()
    ends = [*segments[1:], (None, 0, None)]
    for (number, offset, column), (following, end, _) in zip(segments, ends, strict=True):
        columns[column] += (end if following == number else block) - offset
    return Footprint(
        calls=int(calls),
        file_bytes=db.stat().st_size,
        free_bytes=free,
        columns=columns,
        compressions={name: frozenset(kinds) for name, kinds in compressions.items()},
    )


def show(found: Footprint, *, columns: bool) -> None:
    """Print the bytes per call, and on demand those of each column."""
    calls = found.calls
    print(
        f"\n{calls:,} calls in {found.file_bytes / 1e6:,.1f} MB: {found.bytes_per_call:.1f} bytes "
        f"a call, {found.free_bytes / calls:.1f} of them free for later"
    )
    if not columns:
        return
    for (table, column), size in sorted(found.columns.items(), key=lambda item: -item[1]):
        kinds = ", ".join(sorted(found.compressions[table, column]))
        print(f"{size / calls:10.2f}  {table}.{column}  ({kinds})")
    print(f"{sum(found.columns.values()) / calls:10.2f}  in all columns")


if __name__ == "__main__":
    main()
