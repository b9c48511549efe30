# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share."""

import os
from pathlib import Path

import pytest

from tests.collector.obtain import CollectorUnavailable, obtain


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """A real Collector. Where none can be had the test is skipped, and with CI=true it fails."""
    try:
        return obtain()
    except CollectorUnavailable as reason:
        message = f"NOT TESTED, BECAUSE THERE IS NO OPENTELEMETRY COLLECTOR: {reason}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(message)
        pytest.skip(message)
