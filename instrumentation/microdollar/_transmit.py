# SPDX-License-Identifier: Apache-2.0
"""Take what is private off each request at the last moment, when it goes to its transport.

Not at `Client.send`: event hooks, authentication and redirects come after that. The app gets its
request back as it was, since it may look at it or send it again.
"""

import functools
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from microdollar import _baggage, _headers
from microdollar._guard import guarded

if TYPE_CHECKING:
    from microdollar._call import Call

__all__ = ["Claimant", "Departure", "Without", "sending", "stripped", "stripped_async", "without"]


class Claimant(Protocol):
    """Whoever wants to know what the headers of a request said."""

    def claim(self, request: Any, taken: dict[str, str]) -> None:
        """These headers were taken off `request`. Never raises."""


sending: ContextVar[Claimant | None] = ContextVar("microdollar_sending", default=None)
"""The send that is under way in this context."""


def _no_provider(url: Any) -> Collection[bytes] | None:  # noqa: ARG001
    return None


private_from: Callable[[Any], Collection[bytes] | None] = _no_provider
"""The headers that a model provider at a URL is not sent; None where there is no provider. While
nothing is metered, none is known."""


def _no_call(request: Any) -> "Call | None":  # noqa: ARG001
    return None


begin: "Callable[[Any], Call | None]" = _no_call
"""Starts the call that a request of another library than httpx is. While nothing is metered, none
is started."""


def stripped(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Client._send_single_request` without private headers."""

    @functools.wraps(original)
    def send_single_request(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        without_private = without(request)
        try:
            return original(self, request, *args, **kwargs)
        finally:
            if without_private is not None:
                without_private.give_back()

    return send_single_request


def stripped_async(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`AsyncClient._send_single_request` without private headers."""

    @functools.wraps(original)
    async def send_single_request(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        without_private = without(request)
        try:
            return await original(self, request, *args, **kwargs)
        finally:
            if without_private is not None:
                without_private.give_back()

    return send_single_request


@guarded
def without(request: Any) -> "Without | None":
    """Take off a request what is private; None if there is nothing to keep from anybody."""
    private = private_from(request.url)
    names = _headers.names(request.headers, _headers.OURS if private is None else private)
    provider = private is not None
    return Without(request, names, provider=provider) if names or provider else None


class Without:
    """A request that lacks its private headers, and into which none are injected."""

    __slots__ = ("_request", "_taken", "_withheld")

    def __init__(self, request: Any, names: Sequence[str], *, provider: bool) -> None:
        self._request = request
        self._taken = _headers.take(request.headers, names) if names else {}
        claimant = sending.get()
        if claimant is not None and names:
            claimant.claim(request, self._taken)
        self._withheld = _baggage.withhold() if provider else None

    def give_back(self) -> None:
        """Give the app its request back as it was. Never raises."""
        if self._withheld is not None:
            _restore_baggage(self._withheld)
        if self._taken:
            _restore_headers(self._request.headers, self._taken)


_restore_baggage = guarded(_baggage.restore)
_restore_headers = guarded(_headers.restore)


class Departure:
    """One physical request of another library than httpx, until its response's head is here."""

    __slots__ = ("_without", "call")

    def __init__(self, request: Any) -> None:
        self.call = begin(request)
        self._without = without(request)

    def failed(self, error: BaseException) -> None:
        """There is no response, and the app is about to see why."""
        if self.call is not None:
            self.call.fail(error)

    def give_back(self) -> None:
        """Give the app its request back as it was. Never raises."""
        if self._without is not None:
            self._without.give_back()
