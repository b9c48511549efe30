# SPDX-License-Identifier: Apache-2.0
"""`Client.send` and `AsyncClient.send`, metered.

Every request of httpx and httpx2 passes here, whichever transport carries it: each retry of an SDK
is a send of its own, a redirect is not.
"""

import functools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from microdollar import _baggage, _customer, _headers, _pipeline, _stream
from microdollar._call import Call, Request
from microdollar._guard import guarded, is_foreign
from microdollar._json import members
from microdollar._pipeline import Pipeline
from microdollar._text import label
from microdollar.providers import Provider, provider_of

__all__ = ["metered", "metered_async"]

_MAX_REQUEST = 64 * 2**20
"""Bytes of a request body beyond which it is not searched for its model."""


def metered(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Client.send`, metered."""

    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sending = _prepare(self, request)
        if sending is None:
            return original(self, request, *args, **kwargs)
        with sending:
            response = original(self, request, *args, **kwargs)
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
        with sending:
            response = await original(self, request, *args, **kwargs)
            sending.arrived(response)
            return response

    return send


@guarded
def _prepare(client: Any, request: Any) -> "_Sending | None":
    pipeline = _pipeline.current()
    if pipeline is None or client.is_closed:
        return None
    url = request.url
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    provider = provider_of(url.host, port, pipeline.settings.hosts)
    if provider is None and not any(name in request.headers for name in _headers.OURS):
        return None
    return _Sending(pipeline, provider, request, port)


class _Sending:
    """One send, from before it leaves until its response's head is here.

    To a provider's host it may be a call; to any other it is only rid of our headers.
    """

    def __init__(
        self, pipeline: Pipeline, provider: Provider | None, request: Any, port: int | None
    ) -> None:
        self._request = request
        self._private = provider is not None
        names = _headers.PRIVATE if self._private else _headers.OURS
        self._taken = _headers.take(request.headers, names)
        self._withheld: bool | None = None
        self._call: Call | None = None
        if provider is not None and is_instrumentation_enabled():
            self._call = self._begin(pipeline, provider, port)

    @guarded
    def _begin(self, pipeline: Pipeline, provider: Provider, port: int | None) -> Call | None:
        request = self._request
        found = provider.match(request.method, request.url.path)
        if found is None:
            return None
        endpoint, model = found
        stream = endpoint.streams
        if model is None:
            model, stream = _body_facts(request)
        block = _customer.current()
        return Call(
            Request(
                provider=provider,
                endpoint=endpoint,
                model=model,
                stream=stream,
                server_address=request.url.host,
                server_port=port,
                attribution=_customer.joined(block, _headers.read(self._taken)),
            ),
            pipeline,
        )

    @guarded
    def arrived(self, response: Any) -> None:
        """Observe the body: the whole of it if it is here, else as it comes."""
        call = self._call
        if call is None:
            return
        try:
            headers = response.headers
            content = _content(response)
            encoding = headers.get("content-encoding", "") if content is None else ""
            call.respond(response.status_code, headers.get("content-type", ""), encoding)
            if content is None:
                response.stream = _stream.observed(response.stream, call)
            else:
                call.observe_whole(content)
        except Exception:
            call.finish()  # a call that cannot be observed is still a call
            raise

    def __enter__(self) -> Self:
        if self._private:
            self._withheld = guarded(_baggage.withhold)()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        guarded(_headers.restore)(self._request.headers, self._taken)
        if exc is not None and self._call is not None:
            self._call.fail(exc)
        if self._private:
            guarded(_baggage.restore)(self._withheld)


def _body_facts(request: Any) -> tuple[str | None, bool]:
    """The model and the wish for a stream, from a JSON request body that is in memory."""
    try:
        content = request.content
    except RuntimeError:  # the body is itself a stream
        return None, False
    if not content.startswith(b"{") or len(content) > _MAX_REQUEST:
        return None, False
    try:
        body = members(content, "model", "stream")
    except (ValueError, RecursionError) as error:
        if is_foreign(error):
            raise
        return None, False
    return label(body.get("model")), body.get("stream") is True


def _content(response: Any) -> bytes | None:
    """The decoded body, if it has been read."""
    try:
        content: bytes = response.content
    except RuntimeError:
        return None
    return content
