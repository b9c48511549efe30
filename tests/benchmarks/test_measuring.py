# SPDX-License-Identifier: Apache-2.0
"""The benchmarks measure what they say, checked at sizes at which the figures say nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import duckdb
import pytest

from benchmarks import disk, ingest, latency
from benchmarks.history import DAYS, fill
from benchmarks.receivers import CheckFailed, check_ledger, collector, microdollar
from benchmarks.sender import _on_schedule, send
from benchmarks.server import Figure
from benchmarks.traffic import Traffic, generate

CALLS, PER_REQUEST = 1_000, 100


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    """Calls of some weeks ago, so that a history after them ends before now."""
    path = tmp_path_factory.mktemp("traffic") / "traffic"
    start = time.time() - (DAYS + 1) * 86_400
    return generate(path, spans=CALLS, per_request=PER_REQUEST, start=start)


@pytest.fixture(scope="module")
def ledger(traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of the traffic, some of which came twice."""
    folder = tmp_path_factory.mktemp("ledger")
    with microdollar(folder) as receiver:
        sent = send(receiver.port, traffic.path, warm_up=2, twice=True)
        assert len(sent.latencies) == traffic.requests - 2 + 1
        receiver.check(traffic)
    return folder / "meter.duckdb"


@pytest.mark.parametrize("change", ["one call more", "one token more", "one picodollar more"])
def test_a_ledger_that_differs_by_one_gives_no_figure(
    change: str, traffic: Traffic, ledger: Path
) -> None:
    model, sums = next(iter(traffic.sums.items()))
    match change:
        case "one call more":
            other = replace(traffic, requests=traffic.requests + 1)
        case "one token more":
            other = replace(traffic, sums={model: replace(sums, output=sums.output + 1)})
        case _:
            other = replace(traffic, sums={model: replace(sums, cost=sums.cost + 1)})
    check_ledger(ledger, traffic, datetime.min)
    with pytest.raises(CheckFailed):
        check_ledger(ledger, other, datetime.min)


@pytest.mark.parametrize("form", ["json", "proto"])
def test_a_collector_s_file_with_a_request_missing_gives_no_figure(
    form: Literal["json", "proto"], traffic: Traffic, tmp_path: Path, otelcol: Path
) -> None:
    with collector(form)(tmp_path) as receiver:
        send(receiver.port, traffic.path)
        receiver.check(traffic)
        with pytest.raises(CheckFailed, match=f"{CALLS} spans of {CALLS + PER_REQUEST}"):
            receiver.check(replace(traffic, requests=traffic.requests + 1))


def test_both_receivers_are_measured_with_the_same_traffic(otelcol: Path) -> None:
    found = ingest.measure(PER_REQUEST, spans=CALLS, rounds=1)
    assert list(found) == [ingest.OURS, ingest.PEER, ingest.PROTOBUF_PEER]
    for [run] in found.values():
        assert min(run.rate, run.cpu, run.sender_cpu, run.peak_memory) > 0


def test_exports_leave_when_they_are_due_and_not_when_there_is_time() -> None:
    """Whatever an export waits for before it is sent is part of what it waited."""
    with ThreadPoolExecutor(1) as pool:
        due = _on_schedule(pool, lambda place, due: due, [(0, 0)] * 5, rate=1e6)
    begun = due[0]
    assert due == [begun + number / 1e6 for number in range(5)]


def test_every_export_of_the_load_is_in_its_percentiles(otelcol: Path) -> None:
    found = latency.measure(2_000, seconds=0.5)
    for waited in found.values():
        assert len(waited.waited) == 2_000 * 0.5 / latency.PER_REQUEST
        assert waited.percentile(0) == min(waited.waited)
        assert waited.percentile(100) == max(waited.waited)


def test_history_repeats_calls_with_ids_and_times_of_their_own(
    traffic: Traffic, ledger: Path, tmp_path: Path
) -> None:
    """A ledger filled so takes in and finds again what is sent to it, as any other."""
    db = tmp_path / "meter.duckdb"
    db.write_bytes(ledger.read_bytes())
    fill(db, 3 * CALLS - 1)
    with duckdb.connect(str(db), read_only=True) as con:
        assert con.execute("""
            SELECT count(*), count(DISTINCT spans.span_id), count(DISTINCT boot_id),
                min(length(spans.trace_id)), max(length(spans.trace_id))
            FROM spans JOIN ledger USING (trace_id, span_id, started_at)""").fetchall() == [
            (3 * CALLS, 3 * CALLS, 3 * traffic.requests, 32, 32)
        ]
        assert con.execute("""
            SELECT count(DISTINCT response_id) = count(response_id), sum(cost) = 3 * sum(cost)
                FILTER (rowid < 1000), min(length(response_id)), max(length(response_id))
            FROM ledger""").fetchall() == [(True, True, 23, 55)]
        [(first, last)] = con.execute(
            "SELECT min(started_at), max(started_at) FROM spans"
        ).fetchall()
    assert timedelta(days=DAYS / 2) < last - first <= timedelta(days=DAYS)
    more = generate(tmp_path / "more", spans=CALLS, per_request=PER_REQUEST, seed=2)
    ingest.run_on(microdollar(tmp_path), more, twice=True)


def test_the_columns_add_up_to_the_file(ledger: Path) -> None:
    """But for the blocks that hold the file's own structure."""
    found = disk.footprint(ledger)
    assert found.calls == CALLS
    assert found.file_bytes == ledger.stat().st_size
    used = found.file_bytes - found.free_bytes
    assert 0.5 * used < sum(found.columns.values()) <= used
    assert {"span.trace_id", "ledger.cost"} <= {".".join(name) for name in found.columns}


def test_a_figure_says_what_is_wanted_and_whether_it_is_met() -> None:
    rows = [
        Figure("rate", 50_000, "spans/s", at_least=50_000).row(),
        Figure("rate", 49_999, "spans/s", at_least=50_000).row(),
        Figure("size", 200, "bytes", at_most=200).row(),
        Figure("size", 200.1, "bytes", at_most=200).row(),
        Figure("memory", 1.04, "times").row(),
    ]
    assert [" ".join(row.split()) for row in rows] == [
        "rate 50,000 spans/s ≥ 50,000 met",
        "rate 49,999 spans/s ≥ 50,000 missed",
        "size 200.0 bytes ≤ 200 met",
        "size 200.1 bytes ≤ 200 missed",
        "memory 1.04 times",
    ]
