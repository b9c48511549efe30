# SPDX-License-Identifier: Apache-2.0
"""`Client.send` and `AsyncClient.send`, metered.

Every request of httpx and httpx2 passes here, whichever transport carries it: each retry of an SDK
is a send of its own, a redirect is not.
"""

import functools
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from microdollar import (
    _baggage,
    _customer,
    _exporter,
    _headers,
    _include_usage,
    _pipeline,
    _stream,
    _transmit,
)
from microdollar._asked import read_asked
from microdollar._call import Call, Request
from microdollar._customer import Attribution
from microdollar._guard import guarded
from microdollar._include_usage import Extra

__all__ = ["begin", "metered", "metered_async", "private_from"]

_PORTS = {"https": 443, "http": 80}


def metered(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Client.send`, metered."""

    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sending = _prepare(self, request)
        if sending is None:
            return original(self, request, *args, **kwargs)
        try:
            response = original(self, request, *args, **kwargs)
        except BaseException as error:
            sending.failed(error)
            raise
        sending.arrived(response)
        return response

    return send


def metered_async(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`AsyncClient.send`, metered."""

    @functools.wraps(original)
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sending = _prepare(self, request)
        if sending is None:
            return await original(self, request, *args, **kwargs)
        try:
            response = await original(self, request, *args, **kwargs)
        except BaseException as error:
            sending.failed(error)
            raise
        sending.arrived(response)
        return response

    return send


def private_from(url: Any) -> Collection[bytes] | None:
    """The headers that a provider at a URL is not sent; None if the meter knows none there.

    A host that was declared may be a gateway, to which other people's headers may mean something.
    """
    pipeline = _pipeline.current()
    host, port = url.host, _port(url)
    if pipeline is None or pipeline.provider(host, port) is None:
        return None
    hosts = pipeline.settings.hosts
    declared = (host, port) in hosts or (host, None) in hosts
    return _headers.PRIVATE if declared else pipeline.identity.private


def _port(url: Any) -> int | None:
    port: int | None = url.port
    return _PORTS.get(url.scheme) if port is None else port


@guarded
def begin(request: Any) -> Call | None:
    """Start the call that a request of another library is; None if it is none."""
    begun = _begin(request)
    return None if begun is None else begun[0]


@guarded
def _prepare(client: Any, request: Any) -> "_Sending | None":
    begun = None if client.is_closed else _begin(request)
    if begun is None:
        return None
    call, said = begun
    return _Sending(request, call, said, _include_usage.ask(request, call.request))


def _begin(request: Any) -> tuple[Call, Attribution] | None:
    """The call that a request is, and what it says itself of whom it is for.

    None also where a transport makes the request, to carry one whose call has begun.
    """
    pipeline = _pipeline.current()
    if pipeline is None or _exporter.exporting.get() or _baggage.withheld():
        return None
    url = request.url
    port = _port(url)
    provider = pipeline.provider(url.host, port)
    if provider is None:
        return None
    found = provider.match(request.method, url.path)
    if found is None:
        return None
    endpoint, model = found
    asked = read_asked(request)
    said = pipeline.identity.of(request.headers, asked.tags)
    call = Call(
        Request(
            provider=provider,
            endpoint=endpoint,
            model=model or asked.model,
            stream=endpoint.streams or asked.stream,
            max_output=asked.max_output,
            server_address=url.host,
            server_port=port,
            may_ask=asked.stream and pipeline.settings.include_usage,
        ),
        _customer.joined(_customer.current(), said),
        pipeline,
    )
    return call, said


class _Sending:
    """One send, from before it leaves until its response's head is here."""

    __slots__ = ("_call", "_extra", "_outer", "_request", "_said")

    def __init__(self, request: Any, call: Call, said: Attribution, extra: Extra | None) -> None:
        self._request = request
        self._call = call
        self._said = said
        self._extra = extra
        self._outer = _transmit.sending.get()
        _transmit.sending.set(self)

    @guarded
    def claim(self, request: Any, taken: dict[str, str]) -> None:
        """Headers that an event hook may have added. A redirect is another request."""
        if request is self._request:
            added = self._call.identity.headers({name.lower(): taken[name] for name in taken})
            said = _customer.joined(added, self._said)
            self._call.attribution = _customer.joined(_customer.current(), said)

    @guarded
    def arrived(self, response: Any) -> None:
        """Observe the body: the whole of it if it is here, else as it comes."""
        _transmit.sending.set(self._outer)
        call = self._call
        try:
            headers = response.headers
            content = _content(response)
            encoding = headers.get("content-encoding", "") if content is None else ""
            call.respond(response.status_code, headers.get("content-type", ""), encoding)
            call.read_head(headers)
            if content is None:
                response.stream = _stream.observed(response.stream, call)
            else:
                call.observe_whole(content)
        except Exception:
            call.finish()  # a call that cannot be observed is still a call
            raise
        finally:
            if self._extra is not None:
                self._extra.give_back()
                self._extra.keep_from(response)

    @guarded
    def failed(self, error: BaseException) -> None:
        """There is no response, and the app is about to see why."""
        _transmit.sending.set(self._outer)
        if self._extra is not None:
            self._extra.give_back()
        self._call.fail(error)


def _content(response: Any) -> bytes | None:
    """The decoded body, if it has been read."""
    try:
        content: bytes = response.content
    except RuntimeError:
        return None
    return content
