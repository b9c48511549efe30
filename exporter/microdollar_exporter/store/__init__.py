# SPDX-License-Identifier: Apache-2.0
"""The DuckDB store, behind two verbs: append a batch, and query.

It knows nothing of OTLP or prices.
"""

from microdollar_exporter.store.decisions import Change, Decision
from microdollar_exporter.store.known import WINDOW, Known
from microdollar_exporter.store.spells import spells
from microdollar_exporter.store.store import ENTRY_ID, Appended, Booker, Booking, Store
from microdollar_exporter.store.writer import Tally, Writer

__all__ = [
    "ENTRY_ID",
    "WINDOW",
    "Appended",
    "Booker",
    "Booking",
    "Change",
    "Decision",
    "Known",
    "Store",
    "Tally",
    "Writer",
    "spells",
]
