# SPDX-License-Identifier: Apache-2.0
"""A fault at any line of ours inside a call of requests, botocore or aiohttp is not felt either."""

import asyncio
import io
import linecache
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import botocore.httpsession
import pytest
import requests
import urllib3
from botocore.awsrequest import AWSRequest
from requests.adapters import HTTPAdapter

import microdollar
from microdollar import _baggage, _call, _customer, _guard, _headers
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation import test_faults
from tests.instrumentation.conftest import Meter
from tests.instrumentation.test_faults import BODY, CHAT, EVENTS, HEADERS, SSE, Line, inject, traced

GLUE = {
    *("microdollar._requests.send", "microdollar._botocore.send", "microdollar._aiohttp.send"),
    *("microdollar._aiohttp._request", "microdollar._aiohttp.feed_data"),
    *("microdollar._aiohttp.feed_eof", "microdollar._aiohttp.set_exception"),
    *(f"microdollar._urllib3.{name}" for name in ("read", "read1", "read_chunked", "stream")),
    *("microdollar._urllib3.close", "microdollar._transmit.failed"),
}
"""What only hands the app's own call on, as in `test_faults`."""


ASKED: Any = BODY


class Pool:
    """Answers with events, or refuses, in the place of a connection pool of urllib3."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses

    def urlopen(self, **request: Any) -> urllib3.HTTPResponse:
        if self.refuses:
            raise urllib3.exceptions.ProtocolError("made-up")
        headers = {**SSE, "content-length": str(len(EVENTS))}
        return urllib3.HTTPResponse(
            io.BytesIO(EVENTS), headers=headers, status=200, preload_content=False
        )

    def connection_from_url(self, url: str) -> "Pool":
        return self


class Adapter(HTTPAdapter):
    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return self.pool


def by_requests(_: FakeProvider) -> Any:
    with requests.Session() as session:
        session.mount("https://", Adapter(Pool()))
        response = session.post(CHAT, json=ASKED, headers=HEADERS, stream=True)
        names = {name.lower().encode() for name in response.request.headers}
        seen = list(response.iter_content(200))
        closed = session.post(CHAT, json=ASKED, stream=True)
        closed.close()
        return response.status_code, sorted(names - _headers.PRIVATE), seen, closed.raw.closed


def by_requests_in_vain(_: FakeProvider) -> Any:
    with requests.Session() as session:
        session.mount("https://", Adapter(Pool(refuses=True)))
        try:
            session.post(CHAT, json=ASKED)
        except requests.exceptions.ConnectionError as error:
            return type(error), str(error)


def by_botocore(_: FakeProvider) -> Any:
    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/"
    session: Any = botocore.httpsession.URLLib3Session()
    session._get_connection_manager = lambda *_: Pool()
    seen = []
    for operation, streams in (("converse-stream", True), ("converse", False)):
        request = AWSRequest("POST", url + operation, HEADERS, b"{}", stream_output=streams)
        response = session.send(request.prepare())
        seen.append((response.status_code, response.content, response.headers["content-type"]))
    return seen


def by_aiohttp(fake: FakeProvider) -> Any:
    async def call() -> Any:
        async with aiohttp.ClientSession() as session:
            url = fake.url("openai") + "/v1/chat/completions"
            async with session.post(url, json=ASKED, headers=HEADERS) as response:
                names = {name.lower().encode() for name in response.request_info.headers}
                seen = [line async for line in response.content]
            async with session.post(url, json=ASKED) as left:
                first = await left.content.readexactly(9)
        return response.status, sorted(names - _headers.PRIVATE), seen, first

    reply = replace(sample("openai.chat.stream.sse"), chunk=600)
    fake.queue("openai", reply, reply)
    return asyncio.run(call())


@pytest.fixture
def swallowing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_guard, "reraise", False)
    monkeypatch.setattr(test_faults, "GLUE", test_faults.GLUE | GLUE)
    yield


@pytest.mark.usefixtures("swallowing")
@pytest.mark.parametrize(
    "scenario",
    [by_requests, by_requests_in_vain, by_botocore, by_aiohttp],
    ids=lambda scenario: scenario.__name__,
)
def test_a_fault_at_any_line_is_not_felt(
    meter: Meter, fake: FakeProvider, scenario: Callable[[FakeProvider], Any]
) -> None:
    expected = scenario(fake)
    lines: dict[Line, bool] = {}

    def note(line: Line, frame: FrameType) -> None:
        lines.setdefault(line, test_faults.is_work(line, frame))

    traced(lambda: scenario(fake), note)
    # What all calls have in common has its faults in `test_faults`.
    ours = {"_views.py", "_urllib3.py", "_requests.py", "_botocore.py", "_aiohttp.py"}
    work = [
        line
        for line, wanted in lines.items()
        if wanted and Path(line[0]).name in ours | {"_transmit.py"}
    ]
    assert len(work) > 10
    felt = []
    for line in work:
        reached = False

        def fail(here: Line, _: FrameType, line: Line = line) -> None:
            nonlocal reached
            if here == line:
                reached = True
                inject()

        try:
            seen = traced(lambda: scenario(fake), fail)
        except BaseException as error:  # whatever it is, the app has felt it
            seen = error
        if seen != expected:
            felt.append(
                f"{Path(line[0]).name}:{line[1]}: {linecache.getline(*line).strip()} {seen}"
            )
        # How much of a body has arrived when the app leaves it is up to the network.
        assert reached or scenario is by_aiohttp, line
        _call.finish_all()
        _call._open.clear()
        _customer._top.set(None)
        _baggage.restore(False)
    assert not felt, "\n".join(felt)
    microdollar.flush(10)
