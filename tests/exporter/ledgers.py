# SPDX-License-Identifier: Apache-2.0
"""A small ledger to ask: seven calls of three customers, one of them seen by another emitter."""

import atexit
import functools
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from microdollar_exporter.book import Bookkeeper, Pricer
from microdollar_exporter.entry import Entry
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.price import Price
from microdollar_exporter.reduce import Reduced, reduce
from microdollar_exporter.store import Booking, Known, Store
from microdollar_exporter.usage import UsageRow
from tests.fakes.otlp import STARTED_AT, call, request

DAY = 86_400_000_000


def price(row: UsageRow) -> Price:
    """2.000001 microdollars for an output token; `nebula-1` has no price."""
    if row.response_model == "nebula-1":
        return Price(None, None, "unpriced_model", None, "no price")
    if row.usage.output is None:
        return Price(None, None, "bad_usage", None, "usage not reported")
    cost = row.usage.output * 2_000_001
    return Price(cost, cost, "priced", "r", None)


entries = Bookkeeper(price)
"""Books at these prices."""


def reduced(*requests: ExportTraceServiceRequest) -> Reduced:
    """What becomes of requests, as if they were one."""
    merged = ExportTraceServiceRequest()
    for made in requests:
        merged.MergeFrom(made)
    return reduce(merged.SerializeToString())


def evidence_of(*requests: ExportTraceServiceRequest) -> list[Evidence]:
    """The evidence in requests."""
    return list(reduced(*requests).evidence)


def booked(evidence: Sequence[Evidence], price: Pricer) -> list[Entry]:
    """The entries that a real ledger makes of evidence."""
    made: list[Entry] = []
    keeper = Bookkeeper(price)

    def book(new: Sequence[Evidence], known: Known) -> Booking:
        booking = keeper(new, known)
        made.extend(booking.entries)
        return booking

    scratch = _scratch()
    # What was there before would be related to a call with the same response.
    scratch.cursor().execute("DELETE FROM span; DELETE FROM ledger")
    scratch.append(evidence, book)
    return made


@functools.cache
def _scratch() -> Store:
    """One ledger for all that only want to see entries."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    store = Store(Path(folder.name) / "meter.duckdb")
    atexit.register(store.close)
    return store


CALLS = request(
    call("acme", microdollar__tag__feature="chat", microdollar__user__id="u1"),
    call("acme", microdollar__tag__feature="search", started_at=STARTED_AT + DAY),
    call("acme", microdollar__tag__feature="chat", gen_ai__usage__output_tokens=7),
    call("globex", gen_ai__response__model="nebula-1"),
    call(
        "globex",
        gen_ai__usage__input_tokens=None,
        gen_ai__usage__cache_read__input_tokens=None,
        gen_ai__usage__output_tokens=None,
        microdollar__usage__source="missing",
    ),
    call(None, started_at=STARTED_AT + DAY - 1),
)
OTHERS = request(call(started_at=STARTED_AT + 3_600_000_000), scope="com.anthropic.sdk.python")


class InTime(Store):
    """A ledger that is written within a day of its calls, whenever the tests run."""

    def _clock(self) -> datetime:
        begun = datetime.fromtimestamp((STARTED_AT + DAY) / 1e6 - 1, UTC).replace(tzinfo=None)
        self._recorded_at = max(self._recorded_at + timedelta(microseconds=1), begun)
        return self._recorded_at


def filled(folder: Path) -> Path:
    """A file at rest with six calls, and one that another emitter saw."""
    path = folder / "meter.duckdb"
    store = InTime(path)
    store.append(evidence_of(CALLS, OTHERS), entries)
    store.close()
    return path
