# SPDX-License-Identifier: Apache-2.0
"""The host of the sample apps."""

import os
from collections.abc import Iterator

import pytest

from tests.emitters.environment import EmittersUnavailable
from tests.emitters.running import Apps


@pytest.fixture(scope="session")
def apps() -> Iterator[Apps]:
    """Runs apps. Without their environment the test is skipped, and with CI=true it fails."""
    try:
        with Apps() as running:
            yield running
    except EmittersUnavailable as reason:
        message = f"NOT TESTED, BECAUSE THE EMITTERS ARE NOT INSTALLED: {reason}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(message)
        pytest.skip(message)
