# SPDX-License-Identifier: Apache-2.0
"""Every error the exporter raises on purpose.

MicrodollarError
├── MalformedRequest      an export request that is not OTLP; sending it again cannot help
├── Busy                  too much is waiting to be written; send it again later
├── StoreError            the ledger cannot be opened, read or written
│   ├── StoreUnavailable  it cannot be written just now; send it again later
│   └── StoreLocked       another process holds the file
├── QueryRefused          a query that is not one plain SELECT
├── QueryFailed           a query that DuckDB could not answer
└── UsageError            a wrong option or argument of a command or a Python call
"""

__all__ = [
    "Busy",
    "MalformedRequest",
    "MicrodollarError",
    "QueryFailed",
    "QueryRefused",
    "StoreError",
    "StoreLocked",
    "StoreUnavailable",
    "UsageError",
]


class MicrodollarError(Exception):
    """The base of every error below."""


class MalformedRequest(MicrodollarError):
    """An export request that is not OTLP; sending it again cannot help."""


class Busy(MicrodollarError):
    """Too much is waiting to be written; the sender should try again later."""


class StoreError(MicrodollarError):
    """The ledger cannot be opened, read or written."""


class StoreUnavailable(StoreError):
    """The ledger cannot be written just now; the sender should try again later."""


class StoreLocked(StoreError):
    """Another process holds the file, and it offers no way to ask it."""


class QueryRefused(MicrodollarError):
    """A query that is not one plain SELECT over the ledger."""


class QueryFailed(MicrodollarError):
    """A query that DuckDB could not answer: a wrong name, a time limit, too little memory."""


class UsageError(MicrodollarError):
    """A wrong option or argument; the message names it, its value and what is accepted."""
