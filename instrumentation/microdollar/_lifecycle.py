# SPDX-License-Identifier: Apache-2.0
"""Start and stop the meter from code. The heavy parts load when they are first needed."""

import sys
import threading

__all__ = ["flush", "instrument", "uninstrument"]

_lock = threading.Lock()


def instrument() -> None:
    """Start metering. Does nothing when metering already runs or is switched off."""
    from microdollar.instrumentor import MicrodollarInstrumentor  # noqa: PLC0415

    instrumentor = MicrodollarInstrumentor()
    with _lock:
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True)


def uninstrument() -> None:
    """Stop metering and restore what was patched. What is already metered is still sent."""
    from microdollar.instrumentor import MicrodollarInstrumentor  # noqa: PLC0415

    instrumentor = MicrodollarInstrumentor()
    with _lock:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


def flush(timeout: float = 10.0) -> bool:
    """Send the spans of all calls that have ended.

    Args:
        timeout: Seconds to wait at most.

    Returns:
        Whether everything was delivered in time.
    """
    pipeline = sys.modules.get("microdollar._pipeline")
    return True if pipeline is None else bool(pipeline.flush(timeout))
