# SPDX-License-Identifier: Apache-2.0
"""The act `archive-part`: record that a part of the evidence lies sealed in a file."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from microdollar_exporter.errors import ActFailed, UsageError
from microdollar_exporter.operate.arguments import known_only, text_of
from microdollar_exporter.store import Store

__all__ = ["archive_part"]

_NAMES = ("day", "file", "folder", "rows", "bytes", "sha256", "received_after", "received_until")


def archive_part(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Record a part, which begins where the last one of its `day` has ended.

    It is what was received after `received_after` (null at the beginning) and until
    `received_until`: `rows` spans, in the `file` of the day's folder in `folder`.

    Raises:
        ActFailed: the ledger is not as it was when the part was sealed.
    """
    known_only(arguments, _NAMES)
    day = _time_of(arguments, "day").date()
    until = _time_of(arguments, "received_until")
    after = None
    if arguments.get("received_after") is not None:
        after = _time_of(arguments, "received_after")
    rows, size = _count_of(arguments, "rows"), _count_of(arguments, "bytes")
    with store.change() as change:
        con = change.con
        last = "SELECT max(received_until) FROM archive_part WHERE day = ?"
        if con.execute(last, [day]).fetchall() != [(after,)]:
            raise ActFailed(f"another part of {day} was sealed meanwhile: run it again")
        [(there,)] = con.execute(
            """
            SELECT count(*) FROM span
            WHERE started_at >= CAST($day AS TIMESTAMP)
            AND started_at < CAST($day AS TIMESTAMP) + INTERVAL 1 DAY
            AND received_at <= $until AND ($after IS NULL OR received_at > $after)""",
            {"day": day, "after": after, "until": until},
        ).fetchall()
        if there != rows:
            raise ActFailed(f"evidence of {day} was removed while it was sealed: run it again")
        con.execute(
            "INSERT INTO archive_part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *(day, text_of(arguments, "file"), text_of(arguments, "folder", 4096)),
                *(rows, size, text_of(arguments, "sha256"), after, until, change.at),
            ],
        )
    return {"rows": rows}


def _time_of(arguments: Mapping[str, Any], name: str) -> datetime:
    value = arguments.get(name)
    try:
        return datetime.fromisoformat(str(value))
    except ValueError as error:
        raise UsageError(f"{name} is {value!r}: write an ISO time") from error


def _count_of(arguments: Mapping[str, Any], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or value < 0:
        raise UsageError(f"{name} is {value!r}: write a number")
    return value
