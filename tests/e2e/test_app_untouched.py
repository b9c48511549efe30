# SPDX-License-Identifier: Apache-2.0
"""What the app does is what it would do without us."""

from pathlib import Path

import pytest

from tests.e2e.answers import numbered_chat
from tests.e2e.instrumented import app_environment, run_app
from tests.fakes.exporter import Exporter
from tests.fakes.provider import FakeProvider


@pytest.mark.parametrize(
    ("sampler", "own_spans"), [("always_off", 0), ("parentbased_always_off", 0), ("always_on", 5)]
)
def test_all_calls_are_metered_and_the_app_s_own_sampling_is_unchanged(
    tmp_path: Path, sampler: str, own_spans: int
) -> None:
    """The app's own spans are those of its HTTP client; unsampled, none is exported."""
    with FakeProvider() as fake, Exporter(tmp_path / "meter.duckdb") as exporter:
        fake.respond("openai", numbered_chat())
        environment = app_environment(fake, f"http://127.0.0.1:{exporter.http_port}")
        environment["OTEL_TRACES_SAMPLER"] = sampler
        app = run_app("many.py", "5", environment=environment)
        assert (app.returncode, app.stderr) == (0, "")
        found = exporter.status()
    assert found["spans_stored"] == 5
    assert found["spans_ignored"] == own_spans
    assert all(request.header("traceparent") for request in fake.received)


def test_with_nothing_listening_the_app_answers_the_same_and_ends_the_same(
    tmp_path: Path,
) -> None:
    """Its output, its exit status and what it sends to the provider."""
    seen = []
    for instrumented in (False, True):
        with FakeProvider() as fake:
            fake.respond("openai", numbered_chat())
            # Port 9 is discard: nothing listens there.
            environment = app_environment(fake, "http://127.0.0.1:9")
            environment["OTEL_TRACES_EXPORTER"] = "none"
            app = run_app("many.py", "20", environment=environment, instrumented=instrumented)
            requests = sorted(request.body for request in fake.received)
        seen.append((app.returncode, sorted(app.stdout.split()), requests))
    assert seen[0] == seen[1]
    assert seen[0][0] == 0
