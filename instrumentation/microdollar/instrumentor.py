# SPDX-License-Identifier: Apache-2.0
"""The entry point through which `opentelemetry-instrument` starts the meter."""

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from microdollar import _hooks
from microdollar._guard import guarded

__all__ = ["MicrodollarInstrumentor"]


class MicrodollarInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Meters the HTTP libraries of `_hooks.LIBRARIES`, whichever the app imports.

    It depends on none of them, and never raises: an exception here would end auto-instrumentation
    for every other package of the app too.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """No library has to be installed."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:  # noqa: ARG002
        guarded(_hooks.install)()

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002
        guarded(_hooks.remove)()
