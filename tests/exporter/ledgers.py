# SPDX-License-Identifier: Apache-2.0
"""A small ledger to ask: six calls of three customers, and a span of another emitter."""

from collections.abc import Sequence
from pathlib import Path

from microdollar_exporter.book import book
from microdollar_exporter.entry import Entry
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.price import Price
from microdollar_exporter.reduce import reduce
from microdollar_exporter.store import Store
from microdollar_exporter.usage import UsageRow
from tests.fakes.otlp import STARTED_AT, call, request

DAY = 86_400_000_000


def price(row: UsageRow) -> Price:
    """2.000001 microdollars for an output token; `nebula-1` has no price."""
    if row.response_model == "nebula-1":
        return Price(cost=None, status="unpriced_model", price_row=None, note="no price")
    if row.usage.output is None:
        return Price(cost=None, status="bad_usage", price_row=None, note="usage not reported")
    return Price(cost=row.usage.output * 2_000_001, status="priced", price_row="r", note=None)


def entries(evidence: Sequence[Evidence]) -> list[Entry]:
    """Book at these prices."""
    return book(evidence, price)


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
OTHERS = request(call(), scope="com.anthropic.sdk.python")


def filled(folder: Path) -> Path:
    """A file at rest with six calls and a span of another emitter."""
    path = folder / "meter.duckdb"
    store = Store(path)
    store.append([*reduce(CALLS).evidence, *reduce(OTHERS).evidence], entries)
    store.close()
    return path
