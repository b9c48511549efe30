# SPDX-License-Identifier: Apache-2.0
"""The exporter dies in the middle of the work, and the books are right all the same."""

import time
from collections import Counter
from pathlib import Path

from microdollar_exporter import connect
from tests.collector.running import RunningCollector
from tests.e2e.answers import INPUT, OUTPUT, numbered_chat
from tests.e2e.instrumented import app_environment, started_app
from tests.fakes.exporter import Exporter
from tests.fakes.ports import free_ports
from tests.fakes.provider import FakeProvider

CALLS = 300
KILL_AFTER = (40, 120, 200)


def response_ids(db: Path) -> list[str]:
    """The response id of every entry."""
    connection = connect(db)
    rows = connection.sql("SELECT response_id FROM ledger").to_pylist()
    return [row["response_id"] for row in rows]


def test_every_call_is_there_exactly_once_after_the_exporter_was_killed_three_times(
    otelcol: Path, tmp_path: Path
) -> None:
    """The Collector delivers again what was not acknowledged, and the exporter knows it."""
    db = tmp_path / "meter.duckdb"
    [port] = free_ports(1)
    exporter = Exporter(db, grpc_port=port)
    answered: list[str] = []
    collector = RunningCollector(otelcol, folder=tmp_path, backend=f"127.0.0.1:{port}")
    with FakeProvider() as fake, collector:
        fake.respond("openai", numbered_chat())
        environment = app_environment(fake, collector.http_endpoint)
        # Short turns, so that there are many exports to kill in the middle of.
        environment["OTEL_BSP_SCHEDULE_DELAY"] = "50"
        with started_app("many.py", str(CALLS), environment=environment) as app:
            assert app.stdout is not None
            for line in app.stdout:
                answered.append(line.strip())
                if len(answered) in KILL_AFTER:
                    exporter.kill()
                    exporter = Exporter(db, grpc_port=port)
            assert app.wait(60) == 0
        assert len(answered) == len(set(answered)) == CALLS

        deadline = time.monotonic() + 90
        while len(response_ids(db)) < CALLS and time.monotonic() < deadline:
            time.sleep(0.5)
        with exporter:
            assert Counter(response_ids(db)) == Counter(answered)
            connection = connect(db)
            [total] = connection.sql(
                """SELECT sum(calls)::BIGINT AS calls, sum(input_uncached)::BIGINT AS input,
                          sum(output)::BIGINT AS output, count(customer_id) AS assigned
                   FROM ledger"""
            ).to_pylist()
    assert total == {
        "calls": CALLS,
        "input": CALLS * INPUT,
        "output": CALLS * OUTPUT,
        "assigned": CALLS * 4 // 5,
    }
