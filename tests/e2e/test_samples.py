# SPDX-License-Identifier: Apache-2.0
"""Every sample of the metered operations, from the wire to the ledger."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from microdollar_exporter import connect
from tests.e2e.instrumented import app_environment, run_app
from tests.fakes.exporter import Exporter
from tests.fakes.provider import PROVIDERS, FakeProvider, Provider, Received, Reply, sample
from tests.fakes.replies import SAMPLES

OPERATIONS = {"chat", "text_completion", "responses", "responses.compact", "embeddings"} | {
    "messages",
    "generate_content",
}
FAKES: dict[str, Provider] = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}
EXPECTED = {
    entry["file"]: entry
    for entry in json.loads((SAMPLES / "expected.json").read_bytes())
    if entry["provider"] in FAKES and entry["operation"] in OPERATIONS and entry["billable"]
}
WAYS = [
    (client, way) for client in ("httpx", "httpx2") for way in ("whole", "streamed", "cut", "async")
]
COLUMNS = {
    "input_uncached": "input_uncached",
    "cache_read": "cache_read",
    "cache_write_5m": "cache_write_5m",
    "cache_write_1h": "cache_write_1h",
    "cache_write_other": "cache_write",
    "input_tool": "input_tool",
    "output_total": "output",
    "reasoning": "reasoning",
    "audio_in": "audio_in",
    "audio_out": "audio_out",
    "image_in": "image_in",
    "image_out": "image_out",
    "requests": "units",
}
Row = dict[str, Any]


def answer(request: Received) -> Reply:
    """The sample that the request names, cut as it asks."""
    chunk = request.header("x-chunk")
    reply = sample(request.header("x-sample") or "")
    return replace(reply, chunk=int(chunk)) if chunk else reply


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Row]]]:
    """The ledger after all samples have been replayed in all ways, by customer."""
    db = tmp_path_factory.mktemp("samples") / "meter.duckdb"
    with FakeProvider() as fake, Exporter(db) as exporter:
        for name in PROVIDERS:
            fake.respond(name, answer)
        lines = []
        for entry in EXPECTED.values():
            url = urlsplit(entry["request"]["url"])
            query = f"?{url.query}" if url.query else ""
            lines.append(
                {
                    "sample": entry["file"],
                    "url": fake.url(FAKES[entry["provider"]]) + url.path + query,
                    "body": entry["request"]["body"],
                }
            )
        app = run_app(
            "replay.py",
            environment=app_environment(fake, f"http://127.0.0.1:{exporter.http_port}"),
            stdin="\n".join(map(json.dumps, lines)),
        )
        assert (app.returncode, app.stdout, app.stderr) == (0, "", "")
        connection = connect(db)
        rows = connection.sql("SELECT * FROM ledger ORDER BY calls DESC").to_pylist(
            maps_as_pydicts="strict"
        )
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["customer_id"]].append(row)
    yield found


@pytest.mark.parametrize(("client", "way"), WAYS, ids=lambda value: value)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_lands_in_the_ledger_with_exactly_its_buckets(
    ledger: dict[str, list[Row]], name: str, client: str, way: str
) -> None:
    """Row by row and model by model; None where the payload does not say."""
    expected = EXPECTED[name]
    rows = ledger[f"{name}|{client}|{way}"]
    found = {
        row["response_model"] or row["request_model"]: {
            ours: row[column] for ours, column in COLUMNS.items()
        }
        for row in rows
    }
    assert found == {
        row["model"]: {ours: row[ours] for ours in COLUMNS} for row in expected["rows"]
    }
    assert sum(row["calls"] for row in rows) == 1
    assert {row["response_id"] for row in rows} == {expected["response_id"]}
    assert {row["user_id"] for row in rows} == {"u1"}
    assert all(row["tags"] == {"feature": way} for row in rows)
    own = rows[0]
    assert own["service_tier"] == expected["price_facts"].get("service_tier")


def test_nothing_else_is_booked(ledger: dict[str, list[Row]]) -> None:
    """One call for each way of asking for each sample."""
    assert set(ledger) == {f"{name}|{c}|{w}" for name in EXPECTED for c, w in WAYS}
    assert len(EXPECTED) >= 18
