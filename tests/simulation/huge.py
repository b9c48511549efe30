# SPDX-License-Identifier: Apache-2.0
"""A trace of very many spans, put through the reducer, the bookkeeper and the store.

`python -m tests.simulation.huge KIND COUNT FILE` does so in a process of its own, and prints what
the books then say and the most memory that it took, as JSON.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.reduce import Reducer
from microdollar_exporter.store import Store
from tests.fakes.otlp import STARTED_AT
from tests.simulation import reports as by
from tests.simulation.exporter import flat, price
from tests.simulation.reports import SECOND, Emitter, Report, Tokens, request_of

__all__ = ["TOKENS"]

TOKENS: Final = Tokens(900, 100, 50)
"""Of every call."""
BATCH: Final = 8192
"""Spans of one request: what a Collector sends at most."""
TRACE: Final = bytes(15) + b"\1"
ROOT: Final = bytes(7) + b"\1"
_SPACING: Final = 1000
_SPAN_ID, _ANSWER = b"SPAN-ID!", "chatcmpl-" + "f" * 24


def requests(emitter: Emitter, count: int) -> Iterator[bytes]:
    """Export requests of `count` calls beneath one span; made from one, since each is like it."""
    one = Report(
        name="",
        emitter=emitter,
        process="shop",
        trace_id=TRACE,
        span_id=_SPAN_ID,
        parent=ROOT,
        started_at=STARTED_AT,
        ended_at=STARTED_AT + SECOND,
        model="gpt-6-luna",
        tokens=TOKENS,
        response_id=_ANSWER,
        customer=None,
    )
    request = ExportTraceServiceRequest.FromString(request_of(one))
    scope_spans = request.resource_spans[0].scope_spans[0]
    span = scope_spans.spans.pop().SerializeToString()
    times = [(t * 1000).to_bytes(8, "little") for t in (one.started_at, one.ended_at)]
    for first in range(0, count, BATCH):
        spans = []
        for number in range(first, min(first + BATCH, count)):
            made = span.replace(_SPAN_ID, (number + 2).to_bytes(8, "big"))
            made = made.replace(_ANSWER.encode(), b"chatcmpl-%024x" % (number * 0x9E3779B97F4A7C15))
            for moment in times:
                later = int.from_bytes(moment, "little") + number * _SPACING * 1000
                made = made.replace(moment, later.to_bytes(8, "little"))
            spans.append(b"\x12" + _varint(len(made)) + made)
        scope = scope_spans.SerializeToString() + b"".join(spans)
        del request.resource_spans[0].scope_spans[:]
        of_resource = request.resource_spans[0].SerializeToString()
        of_resource += b"\x12" + _varint(len(scope)) + scope
        yield b"\x0a" + _varint(len(of_resource)) + of_resource


def root(customer: str, count: int) -> bytes:
    """The agent around them all, which ends last, repeats their sums and says whom it was for."""
    report = Report(
        name="",
        emitter=replace(by.LOOP),
        process="shop",
        trace_id=TRACE,
        span_id=ROOT,
        parent=None,
        started_at=STARTED_AT - SECOND,
        ended_at=STARTED_AT + count * _SPACING + 2 * SECOND,
        model="gpt-6-luna",
        tokens=Tokens(*(tokens * count for tokens in TOKENS)),
        response_id=None,
        customer=customer,
    )
    return request_of(report)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _main(kind: str, count: int, db: Path) -> None:
    reducer, keeper, store = Reducer(), Bookkeeper(price, flat, "book"), Store(db)
    bodies = list(requests(by.OURS, count)) if kind == "ours" else []
    if kind == "others":
        bodies = [*requests(by.OTEL, count), root("acme", count)]
    for body in bodies:
        store.append(reducer.reduce(body).evidence, keeper)
        store.checkpoint()
    said = (
        store.cursor()
        .execute(
            """SELECT customer_id, count(*), sum(calls)::BIGINT, sum(input_uncached)::BIGINT,
            sum(cache_read)::BIGINT, sum(output)::BIGINT, sum(cost)::VARCHAR,
            count(DISTINCT span_id) FILTER (calls > 0)
        FROM ledger GROUP BY ALL ORDER BY ALL"""
        )
        .fetchall()
    )
    store.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"said": said, "kib": usage.ru_maxrss}))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
