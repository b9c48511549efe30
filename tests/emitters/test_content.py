# SPDX-License-Identifier: Apache-2.0
"""Content that emitters send is kept nowhere, though each of them is asked to send it."""

from pathlib import Path

import pytest

from microdollar_exporter import connect
from microdollar_exporter.reduce import reduce
from tests.emitters.expected import EMITTERS
from tests.emitters.record import RECORDINGS, recorded
from tests.emitters.running import Apps, decoded
from tests.emitters.test_alone import FRAMEWORKS
from tests.fakes.exporter import Exporter

SECRET = b"canary-4711"
"""What the prompts of all sample apps say."""

SILENT = {"openai-v2", "litellm", "litellm-experimental", "semantic-kernel", "botocore"}
"""Recordings that hold no content: their packages send it as logs, or not at all."""


@pytest.fixture(scope="module")
def requests(apps: Apps) -> dict[str, list[bytes]]:
    """What every emitter sends when content is let in."""
    sent = {
        emitter: apps.run(emitter, [emitter], apart=list(kinds), content=True)
        for emitter, kinds in EMITTERS.items()
    }
    sent |= {name: apps.run(name, framework=name, content=True) for name in FRAMEWORKS}
    return sent | {name: recorded(name) for name in RECORDINGS}


def test_all_emitters_but_ours_send_content(requests: dict[str, list[bytes]]) -> None:
    """Otherwise the tests below would prove nothing."""
    holding = {name for name, bodies in requests.items() if any(SECRET in body for body in bodies)}
    assert requests.keys() - holding == {"microdollar", *SILENT}


def test_no_evidence_holds_content(requests: dict[str, list[bytes]]) -> None:
    for bodies in requests.values():
        kept = [reduce(body) for body in bodies]
        profiles = [one.profile for reduced in kept for one in reduced.evidence]
        assert profiles
        assert SECRET.decode() not in repr((kept, profiles))


def test_no_row_no_file_and_no_log_holds_content(
    requests: dict[str, list[bytes]], tmp_path: Path
) -> None:
    with Exporter(tmp_path / "meter.duckdb") as exporter:
        for bodies in requests.values():
            exporter.export(decoded(bodies))
        connection = connect(exporter.db)
        for table in ("spans", "ledger"):
            rows = connection.sql(f"SELECT * FROM {table}").to_pylist()
            assert rows
            assert SECRET.decode() not in repr(rows)
    assert SECRET.decode() not in exporter.log
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or SECRET not in file.read_bytes()
