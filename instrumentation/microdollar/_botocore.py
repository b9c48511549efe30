# SPDX-License-Identifier: Apache-2.0
"""`URLLib3Session.send` of botocore, metered: each attempt of boto3, after it is signed."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from microdollar import _transmit, _urllib3
from microdollar._guard import guarded
from microdollar._views import Headers, View, text_of, url_of

if TYPE_CHECKING:
    from microdollar._call import Call

__all__ = ["metered"]


def metered(original: Callable[..., Any]) -> Callable[..., Any]:
    """`URLLib3Session.send`, metered."""

    @functools.wraps(original)
    def send(self: Any, request: Any) -> Any:
        departure = _depart(request)
        if departure is None:
            return original(self, request)
        try:
            response = original(self, request)
        except BaseException as error:
            departure.failed(error)
            raise
        finally:
            departure.give_back()
        if departure.call is not None:
            _arrived(departure.call, response, whole=not request.stream_output)
        return response

    return send


@guarded
def _depart(request: Any) -> _transmit.Departure:
    headers = Headers(request.headers)
    return _transmit.Departure(View(request.method, url_of(request.url), headers, request.body))


@guarded
def _arrived(call: "Call", response: Any, *, whole: bool) -> None:
    if not whole:
        _urllib3.observe(response.raw, call, response.status_code, response.headers)
        return
    try:
        headers = response.headers
        kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
        call.respond(response.status_code, text_of(kind), text_of(encoding))
        call.read_head(headers)
        call.observe_whole(response.content)
    except Exception:
        call.finish()  # a call that cannot be observed is still a call
        raise
