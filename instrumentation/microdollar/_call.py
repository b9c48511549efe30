# SPDX-License-Identifier: Apache-2.0
"""The life of one metered call: it starts, is observed, and ends exactly once as a span."""

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from microdollar import _boot
from microdollar._body import Body
from microdollar._customer import Attribution
from microdollar._facts import Facts, additional_usage, usage_attributes
from microdollar._guard import guarded
from microdollar._pipeline import Pipeline
from microdollar.providers import Endpoint, Provider
from microdollar_semconv import attributes, gen_ai

__all__ = ["Call", "Request", "any_open", "finish_all"]

_NOT_SENT: Final = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
    }
)
"""Exceptions of httpx and httpx2 after which no request can have reached the provider."""

_ERROR_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""What an error type may look like; anything else in its place might quote the error."""

_open: "dict[int, Call]" = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is known of a call before it leaves."""

    provider: Provider
    endpoint: Endpoint
    model: str | None
    stream: bool
    server_address: str
    server_port: int | None
    attribution: Attribution


class Call:
    """One physical call. Every method is safe to use from any thread and never raises."""

    def __init__(self, request: Request, pipeline: Pipeline) -> None:
        self._request = request
        self._body: Body | None = None
        self._status: int | None = None
        self._error_type: str | None = None
        self._sent = True
        self._first_chunk: float | None = None
        self._boot = _boot.current()
        self._once = threading.Lock()
        endpoint, model = request.endpoint, request.model
        self._span = pipeline.tracer().start_span(
            endpoint.operation if model is None else f"{endpoint.operation} {model}",
            context=_parent(),
            kind=SpanKind.CLIENT,
            attributes=_request_attributes(request)
            | {
                attributes.BOOT_ID: self._boot.id,
                attributes.CALL_SEQUENCE: self._boot.next_call(),
            },
        )
        self._started = time.perf_counter()
        _open[id(self)] = self

    @guarded
    def respond(self, status: int, content_type: str, content_encoding: str) -> None:
        """The response's head has arrived."""
        self._status = status
        self._body = Body(self._request.endpoint, content_type, content_encoding)

    @guarded
    def observe(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        if self._first_chunk is None:
            self._first_chunk = time.perf_counter() - self._started
        if self._body is not None:
            self._body.feed(chunk)

    @guarded
    def observe_whole(self, content: bytes) -> None:
        """The whole body at once, already decoded."""
        try:
            if self._body is not None:
                self._body.feed(content)
        finally:
            self.finish(in_order=True)

    @guarded
    def fail(self, error: BaseException) -> None:
        """The call ends with an exception, which the app is about to see."""
        kind = type(error)
        self._error_type = kind.__qualname__
        if kind.__module__ != "builtins":
            self._error_type = f"{kind.__module__}.{kind.__qualname__}"
        self._sent = all(parent.__name__ not in _NOT_SENT for parent in kind.__mro__)
        if self._status is None:
            # An event hook of the app may raise for the status before the response gets here.
            self._status = _status(error)
        self.finish()

    @guarded
    def finish(self, *, in_order: bool = False) -> None:
        """The call ends. Only the first time counts; `in_order` says that the body was whole."""
        if not self._once.acquire(blocking=False):
            return
        _open.pop(id(self), None)
        # After a fork the call goes on in the parent, which reports it.
        if self._boot.pid != os.getpid():
            return
        try:
            if self._body is not None:
                self._body.end(in_order=in_order)
            self._describe(self._body.facts if self._body is not None else Facts())
        finally:
            self._span.end()
            self._body = None

    def _describe(self, facts: Facts) -> None:
        span, error = self._span, self._error_type or facts.error_type
        if self._status is not None and self._status >= 400:
            error = str(self._status)
        values: dict[str, AttributeValue | None] = {
            gen_ai.RESPONSE_ID: facts.response_id,
            gen_ai.RESPONSE_MODEL: facts.model,
            gen_ai.RESPONSE_FINISH_REASONS: facts.finish_reasons or None,
            gen_ai.HTTP_RESPONSE_STATUS_CODE: self._status,
            self._request.provider.tier_attribute: facts.service_tier,
            attributes.RESPONSE_SPEED: facts.speed,
            attributes.RESPONSE_INFERENCE_GEO: facts.inference_geo,
            attributes.USAGE_ADDITIONAL: additional_usage(facts.additional),
            attributes.USAGE_SOURCE: self._usage_source(facts),
            attributes.BOOT_DROPPED_CALLS: self._boot.dropped_calls,
            **usage_attributes(facts.usage),
        }
        if self._request.stream:
            values[gen_ai.RESPONSE_TIME_TO_FIRST_CHUNK] = self._first_chunk
        if error is not None:
            values[gen_ai.ERROR_TYPE] = error if _ERROR_TYPE.fullmatch(error) else "_OTHER"
            span.set_status(Status(StatusCode.ERROR))
        span.set_attributes({name: value for name, value in values.items() if value is not None})

    def _usage_source(self, facts: Facts) -> str:
        if facts.usage or facts.additional:
            return (
                attributes.USAGE_SOURCE_PROVIDER
                if facts.complete
                else attributes.USAGE_SOURCE_PROVIDER_PARTIAL
            )
        refused = self._status is not None and self._status >= 300
        if refused or not self._sent:
            return attributes.USAGE_SOURCE_NONE
        return attributes.USAGE_SOURCE_MISSING


def _status(error: BaseException) -> int | None:
    try:
        status = error.response.status_code  # type: ignore[attr-defined]
    except Exception:
        return None
    return status if isinstance(status, int) else None


def finish_all() -> None:
    """End the calls that are still open when the process ends."""
    for call in list(_open.values()):
        call.finish()


def any_open() -> bool:
    """Whether a call has begun and not ended."""
    return bool(_open)


def _parent() -> Context:
    """A context with the ids of the app's current span, and nothing else of the app's."""
    own = trace.get_current_span().get_span_context()
    if not own.is_valid:
        return Context()
    ids = trace.SpanContext(own.trace_id, own.span_id, own.is_remote, own.trace_flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(ids), Context())


def _request_attributes(request: Request) -> dict[str, AttributeValue]:
    who = request.attribution
    values: Mapping[str, AttributeValue | None] = {
        gen_ai.OPERATION_NAME: request.endpoint.operation,
        gen_ai.PROVIDER_NAME: request.provider.name,
        gen_ai.REQUEST_MODEL: request.model,
        gen_ai.REQUEST_STREAM: request.stream or None,
        gen_ai.OPENAI_API_TYPE: request.endpoint.api_type,
        gen_ai.SERVER_ADDRESS: request.server_address,
        gen_ai.SERVER_PORT: request.server_port,
        attributes.CUSTOMER_ID: who.customer,
        attributes.USER_ID: who.user,
        **{attributes.TAG_PREFIX + name: value for name, value in who.tags.items()},
    }
    return {name: value for name, value in values.items() if value is not None}
