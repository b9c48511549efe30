# SPDX-License-Identifier: Apache-2.0
"""Take what is private off each request at the last moment, when it goes to its transport.

Not at `Client.send`: event hooks, authentication and redirects come after that. The app gets its
request back as it was, since it may look at it or send it again.
"""

import functools
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from microdollar import _baggage, _headers
from microdollar._guard import guarded

__all__ = ["Claimant", "sending", "stripped", "stripped_async"]


class Claimant(Protocol):
    """Whoever wants to know what the headers of a request said."""

    def claim(self, request: Any, taken: dict[str, str]) -> None:
        """These headers were taken off `request`. Never raises."""


sending: ContextVar[Claimant | None] = ContextVar("microdollar_sending", default=None)
"""The send that is under way in this context."""


def _no_provider(url: Any) -> bool:  # noqa: ARG001
    return False


is_provider: Callable[[Any], bool] = _no_provider
"""Whether a URL is a model provider's. While nothing is metered, no provider is known."""


def stripped(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Client._send_single_request` without private headers."""

    @functools.wraps(original)
    def send_single_request(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        without = _without(request)
        try:
            return original(self, request, *args, **kwargs)
        finally:
            if without is not None:
                without.give_back()

    return send_single_request


def stripped_async(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`AsyncClient._send_single_request` without private headers."""

    @functools.wraps(original)
    async def send_single_request(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        without = _without(request)
        try:
            return await original(self, request, *args, **kwargs)
        finally:
            if without is not None:
                without.give_back()

    return send_single_request


@guarded
def _without(request: Any) -> "_Without | None":
    private = is_provider(request.url)
    names = _headers.names(request.headers, _headers.PRIVATE if private else _headers.OURS)
    return _Without(request, names, private=private) if names or private else None


class _Without:
    """A request that lacks its private headers, and into which none are injected."""

    __slots__ = ("_request", "_taken", "_withheld")

    def __init__(self, request: Any, names: Sequence[str], *, private: bool) -> None:
        self._request = request
        self._withheld = _baggage.withhold() if private else None
        self._taken = _headers.take(request.headers, names) if names else {}
        claimant = sending.get()
        if claimant is not None and names:
            claimant.claim(request, self._taken)

    def give_back(self) -> None:
        """Give the app its request back as it was. Never raises."""
        if self._withheld is not None:
            _restore_baggage(self._withheld)
        if self._taken:
            _restore_headers(self._request.headers, self._taken)


_restore_baggage = guarded(_baggage.restore)
_restore_headers = guarded(_headers.restore)
