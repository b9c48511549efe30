# SPDX-License-Identifier: Apache-2.0
"""A running exporter, and ledgers to ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from microdollar_exporter import Connection, connect
from tests.exporter.ledgers import filled
from tests.fakes.exporter import Exporter


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """A fresh exporter on a fresh file."""
    with Exporter(tmp_path / "meter.duckdb") as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of a test's own."""
    return filled(tmp_path)


@pytest.fixture(scope="module", params=["file", "exporter"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The same ledger, once at rest and once in the hands of an exporter; for reading only."""
    path = filled(tmp_path_factory.mktemp("asked"))
    if request.param == "file":
        yield path
    else:
        with Exporter(path):
            yield path


@pytest.fixture
def connection(asked: Path) -> Connection:
    """A connection to it."""
    return connect(asked)
