# SPDX-License-Identifier: Apache-2.0
"""The life of one metered call: it starts, is observed, and ends exactly once as a span."""

import os
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from microdollar import _boot
from microdollar._body import Body
from microdollar._customer import Attribution
from microdollar._facts import (
    NOTHING,
    Facts,
    Usage,
    additional_usage,
    estimate_attributes,
    usage_attributes,
)
from microdollar._guard import guarded, is_foreign, report
from microdollar._identity import Identity
from microdollar._pipeline import Pipeline
from microdollar.providers import Endpoint, Provider
from microdollar_semconv import attributes, gen_ai

__all__ = ["Call", "Request", "any_open", "finish_all"]

_NOT_SENT: Final = frozenset(
    {
        # httpx and httpx2
        *("ConnectError", "ConnectTimeout", "LocalProtocolError", "PoolTimeout", "ProxyError"),
        "UnsupportedProtocol",
        # urllib3, below requests; botocore
        *("NewConnectionError", "ConnectTimeoutError"),
        *("EndpointConnectionError", "ProxyConnectionError"),
        # aiohttp
        *("ClientConnectorError", "ConnectionTimeoutError", "InvalidURL"),
    }
)
"""Exceptions of HTTP libraries after which no request can have reached the provider."""

_ERROR_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""What an error type may look like; anything else in its place might quote the error."""

_GATHERING: Final = 4 * 2**10
"""Bytes of a body that are gathered before they are read, so that the reading is done once per
so many bytes, and not once per chunk."""

_UNSET: Final = Status(StatusCode.UNSET)

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
    max_output: int | None = None
    may_ask: bool = False
    """The app has asked for a stream, and the settings allow to ask for its usage."""


class Call:
    """One physical call. Every method is safe to use from any thread and never raises.

    Attributes:
        attribution: Whom the call is made for; may be set until the call ends.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_boot",
        "_error_type",
        "_first_chunk",
        "_gathered",
        "_head_usage",
        "_once",
        "_parent",
        "_pipeline",
        "_request",
        "_sent",
        "_sequence",
        "_started",
        "_started_at",
        "_status",
        "attribution",
    )

    def __init__(self, request: Request, attribution: Attribution, pipeline: Pipeline) -> None:
        self.attribution = attribution
        self._request = request
        self._pipeline = pipeline
        self._body: Body | None = None
        self._gathered = bytearray()
        self._head_usage: Usage | None = None
        self._status: int | None = None
        self._error_type: str | None = None
        self._sent = True
        self._first_chunk: float | None = None
        self._once = threading.Lock()
        self._boot = _boot.current()
        # A file of results is no call: those it tells of are numbered as they come.
        self._sequence = 0 if request.endpoint.results else self._boot.next_call()
        self._parent = _parent()
        self._started_at = time.time_ns()
        self._started = time.perf_counter_ns()
        _open[id(self)] = self

    @property
    def request(self) -> Request:
        """What was known of it before it left."""
        return self._request

    @property
    def identity(self) -> Identity:
        """What reads whom a request says it is for."""
        return self._pipeline.identity

    @guarded
    def read_head(self, headers: Any) -> None:
        """The response's headers, in which some providers count what its body does not."""
        read = self._request.endpoint.read_head
        if read is not None:
            self._head_usage = read(headers)

    @guarded
    def respond(self, status: int, content_type: str, content_encoding: str) -> None:
        """The response's head has arrived."""
        self._status = status
        self._body = Body(self._request.endpoint, content_type, content_encoding)

    def observe(self, chunk: bytes) -> None:
        """The next bytes of the body. Called for each chunk, so that its work is put off."""
        try:
            gathered = self._gathered
            if self._first_chunk is None:
                self._first_chunk = (time.perf_counter_ns() - self._started) / 1e9
            gathered += chunk
            if len(gathered) >= _GATHERING:
                self._read_gathered()
        except Exception as error:
            if is_foreign(error):
                raise
            report("Call.observe", error)

    def observe_whole(self, content: bytes) -> None:
        """The whole body at once, already decoded."""
        self._read(content)
        self.finish(in_order=True)

    def _read_gathered(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        if gathered:
            self._read(bytes(gathered))

    @guarded
    def _read(self, data: bytes) -> None:
        if self._body is not None:
            self._body.feed(data)
            if self._request.endpoint.results:
                self._report_results(self._body)

    @guarded
    def fail(self, error: BaseException) -> None:
        """The call ends with an exception, which the app is about to see."""
        if not self._ends():
            return
        try:
            kind = type(error)
            self._error_type = kind.__qualname__
            if kind.__module__ != "builtins":
                self._error_type = f"{kind.__module__}.{kind.__qualname__}"
            self._sent = all(parent.__name__ not in _NOT_SENT for parent in kind.__mro__)
            if self._status is None:
                # An event hook of the app may raise for the status before the response gets here.
                self._status = _status(error)
        finally:
            self._end(in_order=False)

    @guarded
    def finish(self, *, in_order: bool = False) -> None:
        """The call ends. Only the first time counts; `in_order` says that the body was whole."""
        if self._ends():
            self._end(in_order=in_order)

    def _ends(self) -> bool:
        """Whether this is the first end of the call, in the process that has begun it."""
        if not self._once.acquire(blocking=False):
            return False
        _open.pop(id(self), None)
        # After a fork the call goes on in the parent, which reports it.
        return self._boot.pid == os.getpid()

    def _end(self, *, in_order: bool) -> None:
        facts = NOTHING
        try:
            if self._body is not None:
                self._read_gathered()
                self._body.end(in_order=in_order)
                if self._request.endpoint.results:
                    self._report_results(self._body)
                facts = self._body.facts
                if self._head_usage and not facts.usage:
                    facts = replace(facts, usage=self._head_usage, complete=True)
        finally:
            self._body = None
            if not self._request.endpoint.results:
                self._report(facts)

    def _report_results(self, body: Body) -> None:
        """Each result of a batch was a call, of which nothing else is known."""
        for facts in body.results():
            self._sequence = self._boot.next_call()
            self._report(facts)

    def _report(self, facts: Facts) -> None:
        self._pipeline.queue.put(_Ended(self, facts, self._sequence))

    def span(self, ended: "_Ended") -> ReadableSpan:
        """The span, if need be without what cannot be said of the call. Never raises.

        Made as it is: a tracer would take several times as long.
        """
        error: str | None = None
        values: dict[str, AttributeValue] = {}
        try:
            error = self._error(ended.facts)
            values = self._attributes(ended, error)
        except Exception as fault:
            report("Call.span", fault)
        operation, model = self._request.endpoint.operation, self._request.model
        return ReadableSpan(
            name=operation if model is None else f"{operation} {model}",
            context=ended.context,
            parent=self._parent,
            resource=self._pipeline.resource(),
            attributes=values,
            kind=SpanKind.CLIENT,
            status=_UNSET if error is None else Status(StatusCode.ERROR),
            start_time=self._started_at,
            end_time=ended.time,
            instrumentation_scope=self._pipeline.scope,
        )

    def _error(self, facts: Facts) -> str | None:
        if self._status is not None and self._status >= 400:
            return str(self._status)
        error = self._error_type or facts.error_type
        return error if error is None or _ERROR_TYPE.fullmatch(error) else "_OTHER"

    def _attributes(self, ended: "_Ended", error: str | None) -> dict[str, AttributeValue]:
        facts = ended.facts
        request, who = self._request, self.attribution
        values: dict[str, AttributeValue | None] = {
            gen_ai.OPERATION_NAME: request.endpoint.operation,
            gen_ai.PROVIDER_NAME: request.provider.name,
            gen_ai.REQUEST_MODEL: request.model,
            gen_ai.REQUEST_STREAM: request.stream or None,
            gen_ai.OPENAI_API_TYPE: request.endpoint.api_type,
            gen_ai.SERVER_ADDRESS: request.server_address,
            gen_ai.SERVER_PORT: request.server_port,
            attributes.CUSTOMER_ID: who.customer,
            attributes.USER_ID: who.user,
            attributes.BOOT_ID: self._boot.id,
            attributes.CALL_SEQUENCE: ended.sequence,
            gen_ai.RESPONSE_ID: facts.response_id,
            gen_ai.RESPONSE_MODEL: facts.model,
            gen_ai.RESPONSE_FINISH_REASONS: facts.finish_reasons or None,
            gen_ai.HTTP_RESPONSE_STATUS_CODE: self._status,
            request.provider.tier_attribute: facts.service_tier,
            attributes.RESPONSE_SPEED: facts.speed,
            attributes.RESPONSE_INFERENCE_GEO: facts.inference_geo,
            attributes.USAGE_ADDITIONAL: additional_usage(facts.additional),
            attributes.USAGE_SOURCE: self._usage_source(facts),
            attributes.BOOT_DROPPED_CALLS: ended.dropped_calls,
            gen_ai.RESPONSE_TIME_TO_FIRST_CHUNK: self._first_chunk if request.stream else None,
            gen_ai.ERROR_TYPE: error,
            **usage_attributes(facts.usage),
            **estimate_attributes(facts, request.max_output),
        }
        for name, value in who.tags.items():
            values[attributes.TAG_PREFIX + name] = value
        return {name: value for name, value in values.items() if value is not None}

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


class _Ended:
    """A call as it was when it ended, whose span is made when it is exported."""

    __slots__ = ("_call", "_span", "context", "dropped_calls", "facts", "sequence", "time")

    def __init__(self, call: Call, facts: Facts, sequence: int) -> None:
        self._call = call
        self._span: ReadableSpan | None = None
        self.facts = facts
        self.sequence = sequence
        self.dropped_calls = call._boot.dropped_calls
        self.context = call._pipeline.ids(call._parent)
        self.time = call._started_at + time.perf_counter_ns() - call._started

    def span(self) -> ReadableSpan:
        """The same however often it is exported."""
        if self._span is None:
            self._span = self._call.span(self)
        return self._span


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def finish_all() -> None:
    """End the calls that are still open when the process ends."""
    for call in list(_open.values()):
        call.finish()


def any_open() -> bool:
    """Whether a call has begun and not ended."""
    return bool(_open)


def _parent() -> SpanContext | None:
    """The ids of the app's current span, and nothing else of the app's."""
    own = trace.get_current_span().get_span_context()
    if not own.is_valid:
        return None
    return SpanContext(own.trace_id, own.span_id, own.is_remote, own.trace_flags)
