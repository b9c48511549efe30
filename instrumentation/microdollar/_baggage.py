# SPDX-License-Identifier: Apache-2.0
"""Keep the app's baggage, which may name customers, from being sent to model providers.

HTTP instrumentation injects baggage below `Client.send`, so removing the header before the send is
not enough. Clearing the context instead would also change the app's own spans.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator

from microdollar._guard import guarded

__all__ = [
    "W3CBaggagePropagator",
    "restore",
    "withheld",
    "withhold",
    "withholding",
    "withholding_header",
]

_withheld: ContextVar[bool] = ContextVar("microdollar_baggage_withheld", default=False)


def withhold() -> bool:
    """Inject no baggage into requests from now on. Returns what held before, for `restore`."""
    before = _withheld.get()
    _withheld.set(True)
    return before


def withheld() -> bool:
    """Whether a request to a provider is just being handed to its transport in this context."""
    return _withheld.get()


def restore(before: bool | None) -> None:
    """Undo a `withhold`; also from another context, in which there is nothing to undo.

    That is why no token is kept: resetting one raises there.
    """
    _withheld.set(bool(before))


def withholding(inject: Callable[..., None]) -> Callable[..., None]:
    """`W3CBaggagePropagator.inject` that obeys `withhold`."""

    @functools.wraps(inject)
    def inject_unless_withheld(*args: Any, **kwargs: Any) -> None:
        if not _withheld.get():
            inject(*args, **kwargs)

    return inject_unless_withheld


def withholding_header(putheader: Callable[..., None]) -> Callable[..., None]:
    """`http.client.HTTPConnection.putheader` that obeys `withhold`.

    Sentry adds `baggage` there, below every library that is built on it.
    """

    @functools.wraps(putheader)
    def putheader_unless_withheld(self: Any, header: Any, *values: Any) -> None:
        if not (_withheld.get() and _is_baggage(header)):
            putheader(self, header, *values)

    return putheader_unless_withheld


@guarded
def _is_baggage(header: str | bytes) -> bool:
    return header.lower() in ("baggage", b"baggage")
