# SPDX-License-Identifier: Apache-2.0
"""The attribute names that Microdollar writes and reads.

`attributes` holds the names we own, generated from the registry; `gen_ai` the names that
OpenTelemetry owns.
"""

from microdollar_semconv import attributes, gen_ai

__all__ = ["SCOPE_NAME", "UNASSIGNED", "attributes", "gen_ai"]

SCOPE_NAME = "microdollar"
"""The instrumentation scope of the spans that Microdollar itself emits."""

UNASSIGNED = "unassigned"
"""What reports call the calls made for no known customer; no customer can have this id."""
