# SPDX-License-Identifier: Apache-2.0
"""What every test starts from: an environment that says nothing of telemetry or providers."""

import atexit
import os

import pytest

_CLEARED = ("OTEL_", "MICRODOLLAR_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine decides what a test sees."""
    for name in list(os.environ):
        if name.startswith(_CLEARED):
            monkeypatch.delenv(name)


def pytest_unconfigure() -> None:
    """Let the summary be the last word.

    Hypothesis keeps modules alive until the interpreter ends, and DuckDB's bindings then list
    every object of theirs on stderr.
    """
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
