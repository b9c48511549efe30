# SPDX-License-Identifier: Apache-2.0
"""A fault at any line of ours that runs inside the app's call is not felt by the app.

Each scenario is run once to learn which lines of the package it executes, and then once per line
with an exception raised at that very line. What the app observes has to be the same every time.
"""

import asyncio
import gc
import importlib
import linecache
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest

import microdollar
from microdollar import _baggage, _call, _customer, _guard, _headers, _transmit, customer
from tests.fakes.provider import sample
from tests.instrumentation.conftest import Meter

PACKAGE = str(Path(microdollar.__file__).parent)
CHAT = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-5.6-sol", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
SSE = {"content-type": "text/event-stream"}
EVENTS = sample("openai.chat.stream.sse").body
HEADERS = {"X-Microdollar-User": "u1", "X-Microdollar-Tags": "a=b", "baggage": "c=d"}

Line = tuple[str, int]


class InjectedError(ValueError):
    """The fault."""


def _raise() -> None:
    raise InjectedError


inject: Any = FunctionType(
    _raise.__code__, {"InjectedError": InjectedError, "__name__": "microdollar._made_up"}, "inject"
)
"""Raises as code of ours does: where a fault comes from decides whether it is swallowed."""


def traced(scenario: Callable[[], Any], at: Callable[[Line, FrameType], object]) -> Any:
    """Run a scenario, and call `at` before each line of ours."""

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            at((frame.f_code.co_filename, frame.f_lineno), frame)
        return local

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    gc.disable()  # what a collection would end has to end in the same place every time
    sys.settrace(trace)
    try:
        return scenario()
    finally:
        sys.settrace(before)
        gc.enable()


# What only hands the app's own call on. It holds no work of ours that could fail: each line calls
# the original, calls something that is guarded, or looks at a name.
GLUE = {
    "microdollar._guard.call",
    "microdollar._send.send",
    "microdollar._transmit.send_single_request",
    "microdollar._stream.__iter__",
    "microdollar._stream.__aiter__",
    "microdollar._stream.close",
    "microdollar._stream.aclose",
    "microdollar._transmit.give_back",
    "microdollar._customer.__call__",
    "microdollar._customer.__enter__",
    "microdollar._customer.__exit__",
    "microdollar._customer.__init__",
    "microdollar._customer.customer",
    "microdollar._customer.wrapper",
}


def is_work(line: Line, frame: FrameType) -> bool:
    code: CodeType = frame.f_code
    place = f"{frame.f_globals['__name__']}.{code.co_name}"
    return place not in GLUE and linecache.getline(*line).strip() != "try:"


def transport(http: ModuleType, answer: Callable[[Any], Any]) -> Any:
    return http.MockTransport(answer)


class Bytes:
    """A body in pieces, for either library and either kind."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces, self.error, self.closed = pieces, error, 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def streamed(http: ModuleType, error: Exception | None = None) -> Any:
    pieces = [EVENTS[start : start + 200] for start in range(0, len(EVENTS), 200)]
    kind = type("Pieces", (Bytes, http.SyncByteStream, http.AsyncByteStream), {})
    return kind(*pieces, error=error)


def view(response: Any, *more: Any) -> tuple[Any, ...]:
    """What an app can see of a finished response.

    The headers that are taken off the request may be missing after a fault.
    """
    names = {name.lower() for name, _ in response.request.headers.raw}
    return (
        response.status_code,
        sorted(response.headers.raw),
        sorted(names - _headers.PRIVATE),
        response.num_bytes_downloaded,
        response.is_closed,
        response.is_stream_consumed,
        *more,
    )


def whole(http: ModuleType) -> Any:
    body = sample("openai.chat.json").body
    answer = transport(http, lambda _: http.Response(200, content=body))
    with http.Client(transport=answer) as client, customer("acme", user="u", feature="f"):
        response = client.post(CHAT, json=BODY, headers=HEADERS)
    return view(response, response.content)


def stream(http: ModuleType) -> Any:
    answer = transport(http, lambda _: http.Response(200, headers=SSE, stream=streamed(http)))
    with (
        http.Client(transport=answer) as client,
        client.stream("POST", CHAT, json=BODY, headers=HEADERS) as response,
    ):
        chunks = list(response.iter_raw())
    return view(response, chunks)


def closed_early(http: ModuleType) -> Any:
    body = streamed(http)
    answer = transport(http, lambda _: http.Response(200, headers=SSE, stream=body))
    with (
        http.Client(transport=answer) as client,
        client.stream("POST", CHAT, json=BODY) as response,
    ):
        first = next(response.iter_raw())
    return view(response, first, body.closed)


def broken_off(http: ModuleType) -> Any:
    body = streamed(http, http.ReadError("made-up"))
    answer = transport(http, lambda _: http.Response(200, headers=SSE, stream=body))
    chunks: list[bytes] = []
    with (
        http.Client(transport=answer) as client,
        client.stream("POST", CHAT, json=BODY) as response,
    ):
        try:
            for chunk in response.iter_raw():
                chunks.append(chunk)
        except http.ReadError as error:
            return view(response, chunks, error is body.error)


def refused(http: ModuleType) -> Any:
    def refuse(request: Any) -> Any:
        raise failure

    failure = http.ConnectError("made-up")
    with http.Client(transport=transport(http, refuse)) as client:
        try:
            client.post(CHAT, json=BODY, headers=HEADERS)
        except http.ConnectError as error:
            return error is failure


def redirected(http: ModuleType) -> Any:
    def answer(request: Any) -> Any:
        if request.url.host == "gateway.example":
            return http.Response(307, headers={"location": CHAT})
        return http.Response(200, json={"usage": {"prompt_tokens": 3}})

    hooks = {"request": [lambda request: request.headers.update(HEADERS)]}
    with http.Client(
        transport=transport(http, answer), follow_redirects=True, event_hooks=hooks
    ) as client:
        response = client.post("https://gateway.example/v1/chat/completions", json=BODY)
        again = client.post(CHAT, json=BODY)
    return view(response, response.content, len(response.history), again.content)


def asynchronous(http: ModuleType) -> Any:
    async def call() -> Any:
        answer = transport(http, lambda _: http.Response(200, headers=SSE, stream=streamed(http)))
        async with (
            http.AsyncClient(transport=answer) as client,
            client.stream("POST", CHAT, json=BODY, headers=HEADERS) as response,
        ):
            chunks = [chunk async for chunk in response.aiter_raw()]
        return view(response, chunks)

    return asyncio.run(call())


def decorated(http: ModuleType) -> Any:
    @customer("acme", user="u")
    def function() -> int:
        return 1

    @customer("acme", feature="f")
    def generator() -> Iterator[int]:
        yield 1
        with customer("acme"):
            yield 2

    @customer("acme")
    async def coroutine() -> int:
        return 3

    @customer("acme")
    async def async_generator() -> AsyncIterator[int]:
        yield 4

    async def collect() -> list[int]:
        return [await coroutine(), *[item async for item in async_generator()]]

    return function(), list(generator()), asyncio.run(collect())


SCENARIOS = [
    whole,
    stream,
    closed_early,
    broken_off,
    refused,
    redirected,
    asynchronous,
    decorated,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_a_fault_at_any_line_is_not_felt(
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    warnings_logged: list[str],
    scenario: Callable[[ModuleType], Any],
    library: str,
) -> None:
    http = importlib.import_module(library)
    monkeypatch.setattr(_guard, "reraise", False)
    expected = scenario(http)
    lines: dict[Line, bool] = {}
    traced(lambda: scenario(http), lambda line, frame: lines.setdefault(line, is_work(line, frame)))
    work = [line for line, wanted in lines.items() if wanted]
    assert len(work) > 20
    meter.spans()
    felt: list[str] = []
    for line in work:
        reached = False

        def fail(here: Line, _: FrameType, line: Line = line) -> None:
            nonlocal reached
            if here == line:
                reached = True
                inject()

        try:
            seen = traced(lambda: scenario(http), fail)
        except BaseException as error:  # whatever it is, the app has felt it
            seen = error
        if seen != expected:
            felt.append(f"{Path(line[0]).name}:{line[1]}: {linecache.getline(*line).strip()}")
        # Whether the worker has to be woken or started depends on what it does.
        assert reached or line[0].endswith("_queue.py"), line
        _call.finish_all()
        _call._open.clear()
        _transmit.sending.set(None)
        _customer._top.set(None)
        _baggage.restore(False)
    assert not felt, "\n".join(felt)
    microdollar.flush(10)
    assert len(warnings_logged) == len(set(warnings_logged))
