# SPDX-License-Identifier: Apache-2.0
"""The error law: which answer makes a sender keep its data, and which makes it drop them.

OTLP senders retry `UNAVAILABLE`, and `RESOURCE_EXHAUSTED` only with a RetryInfo; over HTTP they
retry 429 and 503. On nearly any other code they drop the data, `INTERNAL` and `UNKNOWN` included:
so whatever is not the request's own fault is answered as unavailable. Source: the OTLP
specification, "Failures".
"""

from dataclasses import dataclass

import grpc
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from microdollar_exporter.errors import (
    BrokenOff,
    Busy,
    Forbidden,
    MalformedRequest,
    RateLimited,
    StoreUnavailable,
    TokensUnreadable,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unsupported,
)

__all__ = ["Refusal", "refusal"]

_RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """How to refuse an export: the gRPC code, the HTTP status, and when to send again.

    `reason` is the word it is counted under. `message` holds nothing of the request's content.
    `retry_after` is in seconds; None tells the sender to drop the data.
    """

    reason: str
    code: grpc.StatusCode
    http_status: int
    message: str
    retry_after: int | None = None

    def details(self) -> bytes:
        """A `google.rpc.Status`: the body over HTTP, the `grpc-status-details-bin` over gRPC."""
        return bytes(self._status().SerializeToString())

    def json(self) -> str:
        """The same for a sender that writes JSON."""
        return json_format.MessageToJson(self._status(), indent=None)

    def _status(self) -> Status:
        status = Status(code=self.code.value[0], message=self.message)
        if self.retry_after is not None:
            packed = Any()
            packed.Pack(RetryInfo(retry_delay=Duration(seconds=self.retry_after)))
            status.details.append(packed)
        return status


def refusal(error: Exception) -> Refusal:
    """The refusal that an error calls for."""
    said = str(error)
    match error:
        case TooLarge():
            return Refusal("too_large", grpc.StatusCode.INVALID_ARGUMENT, 413, said)
        case Unsupported():
            return Refusal("unsupported", grpc.StatusCode.INVALID_ARGUMENT, 415, said)
        case BrokenOff():
            return Refusal("broken_off", grpc.StatusCode.INVALID_ARGUMENT, 400, said)
        case MalformedRequest():
            return Refusal("malformed", grpc.StatusCode.INVALID_ARGUMENT, 400, said)
        case Unauthenticated():
            return Refusal("unauthenticated", grpc.StatusCode.UNAUTHENTICATED, 401, said)
        case Forbidden():
            return Refusal("forbidden", grpc.StatusCode.PERMISSION_DENIED, 403, said)
        case RateLimited():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal("rate_limited", code, 429, said, error.retry_after)
        case TooSlow():
            code = grpc.StatusCode.UNAVAILABLE
            return Refusal("too_slow", code, 503, said, error.retry_after)
        case Busy():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal("busy", code, 429, said, error.retry_after)
        case TokensUnreadable():
            return _unavailable("tokens_unreadable", "tokens cannot be checked just now")
        case StoreUnavailable():
            return _unavailable("store_unavailable", "the ledger cannot be written just now")
        case _:
            return _unavailable("fault", "a fault in the exporter")


def _unavailable(reason: str, message: str) -> Refusal:
    return Refusal(
        reason,
        grpc.StatusCode.UNAVAILABLE,
        503,
        f"{message}; the exporter's log says more",
        _RETRY_SECONDS,
    )
