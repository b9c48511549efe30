# SPDX-License-Identifier: Apache-2.0
"""What an operator does to a ledger, other than asking: every act is recorded in it."""

from collections.abc import Callable, Mapping
from typing import Any

from microdollar_exporter.operate.archived import (
    archive_remove,
    archive_return,
    archive_return_part,
)
from microdollar_exporter.operate.assign import assign, unassign
from microdollar_exporter.operate.close import close_period
from microdollar_exporter.operate.erase import erase
from microdollar_exporter.operate.hold import hold
from microdollar_exporter.operate.parts import archive_part
from microdollar_exporter.operate.prices import USE_PRICES, use_prices
from microdollar_exporter.operate.reprice import reprice
from microdollar_exporter.operate.retain import retain
from microdollar_exporter.operate.users import map_users
from microdollar_exporter.store import Store

__all__ = ["ACTS", "Act"]

Act = Callable[[Store, Mapping[str, Any]], dict[str, Any]]
"""Does something to an open ledger and says what it did; arguments and answer are plain JSON.

It runs on the one thread that writes, between two commits. It raises a `MicrodollarError` when it
cannot be done: `UsageError` for a wrong argument.
"""

ACTS: Mapping[str, Act] = {
    "archive-part": archive_part,
    "archive-remove": archive_remove,
    "archive-return": archive_return,
    "archive-return-part": archive_return_part,
    "assign": assign,
    "close-period": close_period,
    "erase": erase,
    "hold": hold,
    "map-users": map_users,
    "reprice": reprice,
    "retain": retain,
    "unassign": unassign,
    USE_PRICES: use_prices,
}
"""The acts by the names under which `POST /v1/acts/{name}` and `perform` find them."""
