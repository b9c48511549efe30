# SPDX-License-Identifier: Apache-2.0
"""What the tests of the benchmarks share."""

from tests.e2e.conftest import otelcol

__all__ = ["otelcol"]
