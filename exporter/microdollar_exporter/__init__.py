# SPDX-License-Identifier: Apache-2.0
"""Microdollar's exporter: an OTLP server that keeps a per-customer ledger, and its answers.

`report` gives a pandas DataFrame and `connect` read-only SQL, both on the file of a running
exporter as well as on one that is at rest.
"""

from typing import TYPE_CHECKING, Any

from microdollar_exporter.ask.connect import Connection, connect

if TYPE_CHECKING:
    from microdollar_exporter.ask.report import report

__all__ = ["Connection", "connect", "report"]


def __getattr__(name: str) -> Any:
    """Load `report` when it is asked for: a server and most commands have no use for pandas."""
    if name == "report":
        from microdollar_exporter.ask.report import report  # noqa: PLC0415

        return report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
