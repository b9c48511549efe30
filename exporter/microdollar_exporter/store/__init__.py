# SPDX-License-Identifier: Apache-2.0
"""The DuckDB store, behind two verbs: append a batch, and query.

It knows nothing of OTLP or prices.
"""

from microdollar_exporter.store.store import Appended, Store
from microdollar_exporter.store.writer import Writer

__all__ = ["Appended", "Store", "Writer"]
