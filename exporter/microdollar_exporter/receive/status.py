# SPDX-License-Identifier: Apache-2.0
"""The error law: which answer makes a sender keep its data, and which makes it drop them.

OTLP senders retry `UNAVAILABLE`, and `RESOURCE_EXHAUSTED` only with a RetryInfo. On any other
code they drop the data, `INTERNAL` and `UNKNOWN` included: so whatever is not the request's own
fault is answered as unavailable. Source: the OTLP specification, "Failures".
"""

from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from microdollar_exporter.errors import Busy, MalformedRequest, StoreUnavailable

__all__ = ["Refusal", "refusal"]

_RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """How to refuse an export: the gRPC code, the HTTP status, and when to send again."""

    code: grpc.StatusCode
    http_status: int
    message: str
    retry_after: int | None

    def details(self) -> bytes:
        """The `grpc-status-details-bin` trailer, which carries the RetryInfo."""
        status = Status(code=self.code.value[0], message=self.message)
        if self.retry_after is not None:
            packed = Any()
            packed.Pack(RetryInfo(retry_delay=Duration(seconds=self.retry_after)))
            status.details.append(packed)
        return bytes(status.SerializeToString())


def refusal(error: Exception) -> Refusal:
    """The refusal that an error calls for. Its message holds nothing of the request's content."""
    match error:
        case MalformedRequest():
            return Refusal(grpc.StatusCode.INVALID_ARGUMENT, 400, str(error), None)
        case Busy():
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, str(error), _RETRY_SECONDS)
        case StoreUnavailable():
            message = "the ledger cannot be written just now; the exporter's log says why"
            return Refusal(grpc.StatusCode.UNAVAILABLE, 503, message, _RETRY_SECONDS)
        case _:
            message = "a fault in the exporter; its log says more"
            return Refusal(grpc.StatusCode.UNAVAILABLE, 503, message, _RETRY_SECONDS)
