# SPDX-License-Identifier: Apache-2.0
"""The act `hold`: let another process copy the file of a running exporter, which goes on writing.

While it lasts the exporter writes commits to its write-ahead log only. The file and the part of
the log that is there now are then a copy of the ledger as of this moment.
"""

from collections.abc import Mapping
from typing import Any

from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.figures import rows
from microdollar_exporter.store import Store

__all__ = ["HOLD_SECONDS", "hold"]

HOLD_SECONDS = 30.0
"""How long a copier asks for at a time; it asks again while it copies."""
_LONGEST_SECONDS = 300.0


def hold(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put checkpoints off for `seconds`; says how long the log is, and how many rows there are."""
    seconds = arguments.get("seconds")
    if not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_SECONDS:
        raise UsageError(f"seconds is {seconds!r}: give at most {_LONGEST_SECONDS:.0f}")
    store.hold_still(seconds)
    cursor = store.cursor()
    try:
        return {"wal_bytes": store.wal_bytes, "rows": rows(cursor)}
    finally:
        cursor.close()
