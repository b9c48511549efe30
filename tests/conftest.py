# SPDX-License-Identifier: Apache-2.0
"""What every test starts from: an environment that says nothing of telemetry or providers."""

import atexit
import os
from collections.abc import Callable

import pytest

_CLEARED = ("OTEL_", "MICRODOLLAR_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Have something said at the end of the run: how much was tried, and by which seed."""
    return pytestconfig.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say it."""
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)


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
