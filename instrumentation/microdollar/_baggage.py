# SPDX-License-Identifier: Apache-2.0
"""Keep the app's baggage, which may name customers, from being sent to model providers.

HTTP instrumentation injects baggage below `Client.send`, so removing the header before the send is
not enough. Clearing the context instead would also change the app's own spans.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator

__all__ = ["W3CBaggagePropagator", "withheld", "withholding"]

_withheld: ContextVar[bool] = ContextVar("microdollar_baggage_withheld", default=False)


@contextmanager
def withheld() -> Iterator[None]:
    """No baggage is injected into requests that are sent inside this block."""
    token = _withheld.set(True)
    try:
        yield
    finally:
        _withheld.reset(token)


def withholding(inject: Callable[..., None]) -> Callable[..., None]:
    """`W3CBaggagePropagator.inject` that obeys `withheld`."""

    @functools.wraps(inject)
    def inject_unless_withheld(*args: Any, **kwargs: Any) -> None:
        if not _withheld.get():
            inject(*args, **kwargs)

    return inject_unless_withheld
