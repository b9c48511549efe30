# SPDX-License-Identifier: Apache-2.0
"""Evidence as other emitters' spans become it."""

from collections.abc import Mapping

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter.evidence import Evidence
from microdollar_exporter.normalise import normalise
from microdollar_exporter.reduce import reduce
from microdollar_exporter.usage import UsageRow
from tests.fakes.otlp import Value, request, span

__all__ = ["CLIENT", "INTERNAL", "emitted", "row"]

CLIENT = Span.SPAN_KIND_CLIENT
INTERNAL = Span.SPAN_KIND_INTERNAL


def emitted(
    scope: str,
    attributes: Mapping[str, Value],
    *,
    version: str = "",
    name: str = "chat gpt-6-luna",
    kind: "Span.SpanKind.ValueType" = CLIENT,
    failed: bool = False,
) -> Evidence:
    """The evidence of one span in this scope."""
    sent = span(attributes, name=name, kind=kind, failed=failed)
    body = request(sent, scope=scope, scope_version=version).SerializeToString()
    (evidence,) = reduce(body).evidence
    return evidence


def row(
    scope: str, attributes: Mapping[str, Value], *, version: str = "", failed: bool = False
) -> UsageRow:
    """The one usage row of a span in this scope."""
    (found,) = normalise(emitted(scope, attributes, version=version, failed=failed))
    return found
