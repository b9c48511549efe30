# SPDX-License-Identifier: Apache-2.0
"""`microdollar` by itself is light: what it installs, and what starting it loads."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

HEAVY_DISTRIBUTIONS = {
    "duckdb",
    "fastapi",
    "genai-prices",
    "grpcio",
    "httpx",
    "httpx2",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "starlette",
    "uvicorn",
}
"""Not one of these may come with an install of `microdollar` alone."""

HEAVY_MODULES = {
    "google.protobuf",
    "httpx",
    "httpx2",
    "microdollar._pipeline",
    "multiprocessing",
    "opentelemetry.exporter",
    "opentelemetry.proto",
    "opentelemetry.sdk.trace",
    "requests",
    "urllib3",
}
"""Loaded only once the app itself loads an HTTP client, or later."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an environment with `microdollar` and its dependencies says of itself."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is needed to build an environment of its own")
    code = """
import importlib.metadata, importlib.util, json, sys
import microdollar
imported = sorted(sys.modules)
microdollar.instrument()
print(json.dumps({
    "distributions": sorted(d.name.lower() for d in importlib.metadata.distributions()),
    "found": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
    "imported": imported,
    "instrumented": sorted(sys.modules),
    "flushed": microdollar.flush(0),
}))
"""
    only = ["--frozen", "--isolated", "--no-default-groups", "--package", "microdollar"]
    names = [name.replace("-", "_") for name in sorted(HEAVY_DISTRIBUTIONS)] + ["grpc"]
    names.remove("grpcio")
    done = subprocess.run(
        [uv, "run", "--project", str(ROOT), *only, "python", "-c", code, *names],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_nothing_of_the_server_is_installed(alone: dict[str, Any]) -> None:
    assert "microdollar" in alone["distributions"]
    assert "opentelemetry-exporter-otlp-proto-http" in alone["distributions"]
    assert not HEAVY_DISTRIBUTIONS & set(alone["distributions"])


def test_nothing_of_the_server_can_be_imported(alone: dict[str, Any]) -> None:
    assert alone["found"] == []


@pytest.mark.parametrize("after", ["imported", "instrumented"])
def test_starting_loads_nothing_heavy(alone: dict[str, Any], after: str) -> None:
    assert "microdollar" in alone[after]
    assert not HEAVY_MODULES & set(alone[after])
    assert alone["flushed"] is True
