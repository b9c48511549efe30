# SPDX-License-Identifier: Apache-2.0
"""An exporter that starts and stops hears its supervisor, also before it has the file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from microdollar_exporter.ask.connect import Card


def started(db: Path) -> subprocess.Popen[str]:
    """An exporter in a process of its own, whose log can be read line by line."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "microdollar_exporter", "serve", "--db", str(db)),
            *("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read the log up to a line that holds this."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_while_it_waits_for_the_file(tmp_path: Path, number: int) -> None:
    """It leaves at once and in order, instead of failing once its patience is over."""
    db = tmp_path / "meter.duckdb"
    with duckdb.connect(str(db)):
        process = started(db)
        wait_for(process, "waiting: ")
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest == ""
    assert not Card.path(db).exists()


def test_it_starts_once_the_file_is_free(tmp_path: Path) -> None:
    """A supervisor starts the next one while the last one still writes."""
    db = tmp_path / "meter.duckdb"
    with duckdb.connect(str(db)):
        process = started(db)
        wait_for(process, "waiting: ")
    wait_for(process, "OTLP/HTTP and queries on ")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
