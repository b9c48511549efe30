# SPDX-License-Identifier: Apache-2.0
"""What every test starts from: an environment that says nothing of telemetry or providers."""

import atexit
import os
from collections.abc import Callable
from functools import partial

import pytest

_CLEARED = ("OTEL_", "MICRODOLLAR_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")

_SAID = "said"


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Have something said at the end of the run: how much was tried, and by which seed."""
    return partial(record_property, _SAID)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it, in whatever process it was found out."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, line in report.user_properties:
                if name == _SAID and report.when == "call":
                    terminalreporter.write_line(str(line))


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
