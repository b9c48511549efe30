# SPDX-License-Identifier: Apache-2.0
"""A secret in every place content can be is found in none of ours."""

import re
import time
from dataclasses import replace
from pathlib import Path

from microdollar_exporter import connect
from tests.collector.running import RunningCollector
from tests.e2e.instrumented import app_environment, run_app
from tests.fakes.exporter import Exporter
from tests.fakes.provider import FakeProvider, Provider, Reply, error, sample

CANARY = "canary-3f9c1b"
CALLS = 8


def with_canary(name: str) -> Reply:
    """A sample whose answer is the canary: its text, a call of a tool, and a header."""
    reply = sample(name)
    secret = CANARY.encode()
    text = re.compile(rb'("(?:content|text)":\s*)"[^"]*"')
    called = b'"tool_calls":[{"type":"function","function":{"name":"f","arguments":"%s"}}]' % secret
    body, count = text.subn(rb'\1"%s",%s' % (secret, called), reply.body)
    assert count
    return replace(reply, body=body, headers={**reply.headers, "x-canary": CANARY})


def refused(provider: Provider) -> Reply:
    """An error that quotes the prompt."""
    return error(provider, 400, f"cannot answer: {CANARY}")


def test_a_canary_is_in_no_file_no_log_and_no_row(otelcol: Path, tmp_path: Path) -> None:
    """Nor in the Collector's queue. What the app itself sends is looked at in its own tests."""
    db = tmp_path / "meter.duckdb"
    exporter = Exporter(db)
    collector = RunningCollector(
        otelcol, folder=tmp_path, backend=f"127.0.0.1:{exporter.grpc_port}"
    )
    with FakeProvider() as fake, collector:
        fake.queue("openai", with_canary("openai.chat.json"))
        fake.queue("openai", with_canary("openai.chat.stream.sse"), refused("openai"))
        fake.queue("anthropic", with_canary("anthropic.messages.json"))
        fake.queue("anthropic", with_canary("anthropic.messages.stream.sse"), refused("anthropic"))
        fake.queue("gemini", with_canary("gemini.generate.json"), refused("gemini"))
        app = run_app(
            "canary.py", CANARY, environment=app_environment(fake, collector.http_endpoint)
        )
        assert app.returncode == 0, app.stderr
        assert sum(CANARY.encode() in request.body for request in fake.received) == CALLS

        deadline = time.monotonic() + 60
        calls = 0
        while calls < CALLS and time.monotonic() < deadline:
            connection = connect(db)
            # The sum: a call of which the SDK's own span tells first is booked anew for ours.
            booked = connection.sql("SELECT coalesce(sum(calls), 0)::BIGINT AS n FROM ledger")
            calls = booked.to_pylist()[0]["n"]
            time.sleep(0.2)
        assert calls == CALLS
        connection = connect(db)
        rows = [
            connection.sql(f"SELECT * FROM {table}").to_pylist() for table in ("spans", "ledger")
        ]
    # Killed, so that the write-ahead log stays behind and is looked at as well.
    exporter.kill()

    found = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert {"meter.duckdb", "meter.duckdb.wal", "collector.log"} <= set(found)
    found |= {
        "rows": repr(rows).encode(),
        "exporter's log": exporter.log.encode(),
        "app's output": (app.stdout + app.stderr).encode(),
    }
    secret = re.compile(CANARY.encode())
    assert [name for name, content in found.items() if secret.search(content)] == []
