# SPDX-License-Identifier: Apache-2.0
"""Every error the exporter raises on purpose.

MicrodollarError
├── MalformedRequest      an export request that is not OTLP; sending it again cannot help
│   ├── BrokenOff         its sender left before it had arrived
│   ├── TooLarge          it is over the size limit
│   └── Unsupported       it is in a form or an encoding that is not read
├── Busy                  too much is under way; send it again later
│   ├── RateLimited       this sender sends more than it may; send it again later
│   └── TooSlow           the request did not arrive in time; send it again later
├── Unauthenticated       no token, or one that is not known
├── Forbidden             a known token that may not do this
├── TokensUnreadable      the token file cannot be read, so nobody can be told apart
├── StoreError            the ledger cannot be opened, read or written
│   ├── StoreUnavailable  it cannot be written just now; send it again later
│   └── StoreLocked       another process holds the file
├── QueryRefused          a query that is not one plain SELECT
├── QueryFailed           a query that DuckDB could not answer
├── ActFailed             an operator's act that could not be done
└── UsageError            a wrong option or argument of a command or a Python call
"""

__all__ = [
    "ActFailed",
    "BrokenOff",
    "Busy",
    "Forbidden",
    "MalformedRequest",
    "MicrodollarError",
    "QueryFailed",
    "QueryRefused",
    "RateLimited",
    "StoreError",
    "StoreLocked",
    "StoreUnavailable",
    "TokensUnreadable",
    "TooLarge",
    "TooSlow",
    "Unauthenticated",
    "Unsupported",
    "UsageError",
]


class MicrodollarError(Exception):
    """The base of every error below."""


class MalformedRequest(MicrodollarError):
    """An export request that is not OTLP; sending it again cannot help."""


class BrokenOff(MalformedRequest):
    """An export request whose sender left before it had arrived."""


class TooLarge(MalformedRequest):
    """An export request over the size limit, as it came or once it is unpacked."""


class Unsupported(MalformedRequest):
    """An export request in a form or an encoding that is not read."""


class Busy(MicrodollarError):
    """Too much is under way; the sender should try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Busy):
    """This sender sends more than it may; it should try again after `retry_after` seconds."""


class TooSlow(Busy):
    """A request that did not arrive in time; the sender should try again."""


class Unauthenticated(MicrodollarError):
    """No token, or one that is unknown, revoked or past its time."""


class Forbidden(MicrodollarError):
    """A known token whose scopes do not allow this."""


class TokensUnreadable(MicrodollarError):
    """The token file cannot be read: nobody is let in, and senders should try again later."""


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


class ActFailed(MicrodollarError):
    """An operator's act that could not be done; the message says what of it was done."""


class UsageError(MicrodollarError):
    """A wrong option or argument; the message names it, its value and what is accepted."""
