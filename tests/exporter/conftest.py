# SPDX-License-Identifier: Apache-2.0
"""A running exporter for the tests that ask it from outside."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.exporter import Exporter


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """A fresh exporter on a fresh file."""
    with Exporter(tmp_path / "meter.duckdb") as running:
        yield running
