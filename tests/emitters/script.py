# SPDX-License-Identifier: Apache-2.0
"""The sample app as a script that knows nothing of telemetry: each call once.

Runs in the apps' environment, as `opentelemetry-instrument python -m tests.emitters.script`.
"""

from tests.emitters.calls import CALLS, apart

__all__: list[str] = []

if __name__ == "__main__":
    apart(list(CALLS))
