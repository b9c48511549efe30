# SPDX-License-Identifier: Apache-2.0
"""`HTTPAdapter.send` of requests, metered.

Not `Session.send`: that follows redirects and asks its hooks, while each `send` of an adapter is
one request that leaves. `requests.Session` sends all of them through adapters.
"""

import functools
from collections.abc import Callable
from typing import Any

from microdollar import _transmit, _urllib3
from microdollar._guard import guarded
from microdollar._views import Headers, View, url_of

__all__ = ["metered"]


def metered(original: Callable[..., Any]) -> Callable[..., Any]:
    """`HTTPAdapter.send`, metered."""

    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        departure = _depart(request)
        if departure is None:
            return original(self, request, *args, **kwargs)
        try:
            response = original(self, request, *args, **kwargs)
        except BaseException as error:
            departure.failed(_reason(error) or error)
            raise
        finally:
            departure.give_back()
        if departure.call is not None:
            _urllib3.observe(response.raw, departure.call, response.status_code, response.headers)
        return response

    return send


@guarded
def _depart(request: Any) -> _transmit.Departure:
    headers = Headers(request.headers)
    return _transmit.Departure(View(request.method, url_of(request.url), headers, request.body))


@guarded
def _reason(error: BaseException) -> BaseException | None:
    """What urllib3 gave up for: it tells a refused connection from one that broke."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return reason if isinstance(reason, BaseException) else None
