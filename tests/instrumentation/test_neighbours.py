# SPDX-License-Identifier: Apache-2.0
"""Others in the same process: event loops, threads, interpreters, wrappers, transports, proxies."""

import asyncio
import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import ModuleType
from typing import Any

import aiohttp
import anyio
import boto3
import httpx
import httpx2
import pytest
import requests
import trio
import wrapt
from botocore.config import Config

import microdollar
from microdollar import customer
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.test_samples import check

STREAM = "openai.chat.stream.sse"
BODY = {"model": "gpt-5.6-sol", "stream": True}


def chat(fake: FakeProvider) -> str:
    return fake.url("openai") + "/v1/chat/completions"


# -- event loops ---------------------------------------------------------------------------------


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    return lambda function: anyio.run(function, backend=request.param)


def test_under_any_event_loop(
    http: ModuleType, meter: Meter, fake: FakeProvider, run: Callable[..., Any]
) -> None:
    async def call() -> bytes:
        async with (
            http.AsyncClient() as client,
            client.stream("POST", chat(fake), json=BODY) as response,
        ):
            return b"".join([chunk async for chunk in response.aiter_bytes()])

    fake.queue("openai", replace(sample(STREAM), chunk=99))
    assert run(call) == sample(STREAM).body
    check(STREAM, meter.attributes())


def test_cancelled_in_the_middle_of_a_stream(
    http: ModuleType, meter: Meter, fake: FakeProvider, run: Callable[..., Any]
) -> None:
    async def call() -> None:
        with anyio.CancelScope() as scope:
            async with (
                http.AsyncClient() as client,
                client.stream("POST", chat(fake), json=BODY) as response,
            ):
                async for _ in response.aiter_raw():
                    scope.cancel()
        assert scope.cancelled_caught

    fake.queue("openai", replace(sample(STREAM), hang_after=700))
    run(call)
    assert meter.attributes()["microdollar.usage.source"] == "missing"


def test_tasks_of_any_event_loop_keep_their_customers(
    http: ModuleType, meter: Meter, fake: FakeProvider, run: Callable[..., Any]
) -> None:
    async def one(name: str) -> None:
        with customer(name):
            async with http.AsyncClient() as client:
                await client.post(chat(fake), json={"model": name})

    async def call() -> None:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(one, name)

    names = [f"c{number}" for number in range(5)]
    fake.queue("openai", *[sample("openai.chat.json")] * len(names))
    run(call)
    for span in meter.spans():
        attributes = span.attributes or {}
        assert attributes["microdollar.customer.id"] == attributes["gen_ai.request.model"]


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio's, of what is left
def test_a_stream_that_trio_leaves_open_is_ended(meter: Meter, fake: FakeProvider) -> None:
    async def call() -> None:
        client = httpx.AsyncClient()
        response = await client.send(
            client.build_request("POST", chat(fake), json=BODY), stream=True
        )
        async for _ in response.aiter_raw():
            break
        await response.aclose()
        await client.aclose()

    fake.queue("openai", replace(sample(STREAM), chunk=99))
    trio.run(call)
    assert meter.attributes()["microdollar.usage.source"] == "missing"


# -- threads and interpreters --------------------------------------------------------------------


def test_threads_of_all_libraries_at_once(meter: Meter, fake: FakeProvider) -> None:
    """Each call is one span with its thread's customer, and its number is its own."""

    async def by_aiohttp(name: str) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(chat(fake), json={"model": name}) as response,
        ):
            await response.read()

    def call(number: int) -> None:
        name = f"c{number}"
        with customer(name):
            if number % 3 == 0:
                requests.post(chat(fake), json={"model": name}, timeout=9)
            elif number % 3 == 1:
                httpx.post(chat(fake), json={"model": name})
            else:
                asyncio.run(by_aiohttp(name))

    calls = 24
    fake.queue("openai", *[sample("openai.chat.json")] * calls)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(calls)))
    seen = [span.attributes or {} for span in meter.spans()]
    assert all(each["microdollar.customer.id"] == each["gen_ai.request.model"] for each in seen)
    assert len({each["microdollar.customer.id"] for each in seen}) == calls
    assert len({each["microdollar.call.sequence"] for each in seen}) == calls


def interpreted(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_an_app_in_a_subinterpreter_is_metered() -> None:
    """As under mod_wsgi: the main interpreter runs the server, another one the app."""
    pytest.importorskip("_testcapi")
    code = '''
        import _testcapi

        app = """if True:
            import microdollar
            from microdollar import _exporter
            from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
            exporter = InMemorySpanExporter()
            _exporter.load = lambda settings: exporter
            microdollar.instrument()
            import httpx
            answer = {"id": "r1", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
            transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
            with httpx.Client(transport=transport) as client, microdollar.customer("acme"):
                client.post("https://api.openai.com/v1/chat/completions", json={"model": "m"})
            assert microdollar.flush(10)
            (span,) = exporter.get_finished_spans()
            print(span.attributes["microdollar.customer.id"], flush=True)
            microdollar.uninstrument()
        """
        print(_testcapi.run_in_subinterp(app))
    '''
    assert interpreted(code) == "acme\n0"


# -- wrappers ------------------------------------------------------------------------------------


def test_wrappers_in_the_manner_of_ddtrace_may_come_and_go_in_any_order(
    http: ModuleType, fake: FakeProvider, meter: Meter
) -> None:
    """One below ours and one above: all of them see each call, and ours is one span."""
    seen: list[str] = []

    def tracing(name: str) -> Any:
        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            seen.append(name)
            return wrapped(*args, **kwargs)

        return wrapper

    microdollar.uninstrument()
    original = http.Client.__dict__["send"]
    wrapt.wrap_function_wrapper(http, "Client.send", tracing("below"))
    below = http.Client.__dict__["send"]
    microdollar.instrument()
    wrapt.wrap_function_wrapper(http, "Client.send", tracing("above"))
    fake.queue("openai", *[sample("openai.chat.json")] * 3)
    with http.Client() as client:
        client.post(chat(fake), json={"model": "m"})
        assert seen == ["above", "below"]
        assert meter.span()
        http.Client.send = http.Client.__dict__["send"].__wrapped__  # the one above goes first
        client.post(chat(fake), json={"model": "m"})
        assert meter.span()
        microdollar.uninstrument()
        assert http.Client.__dict__["send"] is below
        client.post(chat(fake), json={"model": "m"})
        assert meter.spans() == ()
    http.Client.send = original


@pytest.mark.parametrize("first", ["sentry", "microdollar"])
def test_beside_sentry_nothing_is_lost_doubled_or_leaked(fake: FakeProvider, first: str) -> None:
    """Its SDK wraps the clients, adds `baggage` to what they send, and reports on its own."""
    fake.queue("openai", *[sample("openai.chat.json")] * 3)
    code = f"""
        import asyncio, os
        os.environ["MICRODOLLAR_HOSTS"] = {fake.hosts!r}
        import aiohttp, httpx, requests, sentry_sdk
        from sentry_sdk.integrations.aiohttp import AioHttpIntegration
        from sentry_sdk.integrations.httpx import HttpxIntegration
        import microdollar
        from microdollar import _exporter
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter = InMemorySpanExporter()
        _exporter.load = lambda settings: exporter
        events = []
        def sentry():
            sentry_sdk.init(
                "http://key@127.0.0.1:1/1",
                traces_sample_rate=1.0,
                shutdown_timeout=0,
                auto_enabling_integrations=False,  # which import every SDK
                integrations=[HttpxIntegration(), AioHttpIntegration()],
                before_send_transaction=lambda event, hint: events.append(event),
            )
        starts = [sentry, microdollar.instrument]
        for start in starts if {first!r} == "sentry" else reversed(starts):
            start()
        async def ask():
            async with aiohttp.ClientSession() as session:
                async with session.post({chat(fake)!r}, json={{"model": "m"}}) as response:
                    return (await response.json())["model"]
        with sentry_sdk.start_transaction(name="t"), microdollar.customer("acme"):
            with httpx.Client() as client:
                print(client.post({chat(fake)!r}, json={{"model": "m"}}).json()["model"])
            print(requests.post({chat(fake)!r}, json={{"model": "m"}}).json()["model"])
            print(asyncio.run(ask()))
        assert microdollar.flush(10)
        spans = exporter.get_finished_spans()
        print([span.attributes["microdollar.customer.id"] for span in spans])
        print(len(events), sum(span["op"] == "http.client" for span in events[0]["spans"]))
        microdollar.uninstrument()
    """
    *models, customers, events = interpreted(code).splitlines()
    assert len(set(models)) == 1
    assert customers == "['acme', 'acme', 'acme']"
    assert events == "1 3"
    for request in fake.received:
        assert request.header("baggage") is None
        assert request.header("sentry-trace") is not None  # it names no customer


# -- transports and proxies ----------------------------------------------------------------------


def test_a_transport_that_is_itself_a_client_carries_one_call(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    """Some retry, cache or route with another client below, of this library or another."""

    class ByAnother(http.BaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            sent = {"content": request.read(), "headers": request.headers.raw}
            with other.Client() as below:
                response = below.request(request.method, str(request.url), **sent)
            return http.Response(response.status_code, content=response.content)

    class ByRequests(http.BaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            answer = requests.post(str(request.url), data=request.read(), timeout=9)
            return http.Response(answer.status_code, content=answer.content)

    other = importlib.import_module({"httpx": "httpx2", "httpx2": "httpx"}[http.__name__])
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    for transport in (ByAnother(), ByRequests()):
        with http.Client(transport=transport) as client:
            client.post(chat(fake), json={"model": "m"})
        assert meter.attributes()["microdollar.usage.source"] == "provider"


def test_a_router_behind_an_unknown_host_is_metered_where_it_goes(
    meter: Meter, fake: FakeProvider
) -> None:
    class Router(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = requests.post(chat(fake), data=request.read(), timeout=9)
            return httpx.Response(answer.status_code, content=answer.content)

    fake.queue("openai", sample("openai.chat.json"))
    with httpx.Client(transport=Router()) as client:
        client.post("https://router.example/v1/chat/completions", json={"model": "m"})
    assert meter.attributes()["server.address"] == "127.0.0.1"


API = "http://api.openai.com/v1/chat/completions"
BEDROCK = "http://bedrock-runtime.eu-west-1.amazonaws.com"


def by_httpx(library: Any) -> Callable[[str], Any]:
    def call(proxy: str) -> None:
        with library.Client(proxy=proxy) as client:
            client.post(API, json={"model": "m"})

    return call


def by_requests(proxy: str) -> None:
    requests.post(API, json={"model": "m"}, proxies={"http": proxy}, timeout=9)


def by_aiohttp(proxy: str) -> None:
    async def call() -> None:
        async with (
            aiohttp.ClientSession(proxy=proxy) as session,
            session.post(API, json={"model": "m"}) as response,
        ):
            await response.read()

    asyncio.run(call())


def by_botocore(proxy: str) -> None:
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=BEDROCK,
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(proxies={"http": proxy}),
    )
    client.invoke_model(modelId="m", body=b"{}")["body"].read()
    client.close()


PROXIED = {
    "httpx": by_httpx(httpx),
    "httpx2": by_httpx(httpx2),
    "requests": by_requests,
    "aiohttp": by_aiohttp,
    "botocore": by_botocore,
}


@pytest.fixture
def no_declared_hosts(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    microdollar.uninstrument()
    monkeypatch.delenv("MICRODOLLAR_HOSTS")
    microdollar.instrument()
    yield


@pytest.mark.usefixtures("no_declared_hosts")
@pytest.mark.parametrize("library", PROXIED)
def test_through_a_proxy_the_provider_is_the_one_behind_it(
    meter: Meter, fake: FakeProvider, library: str
) -> None:
    fake.queue("gemini", sample("openai.chat.json"))
    PROXIED[library](fake.url("gemini"))
    attributes = meter.attributes()
    host = BEDROCK if library == "botocore" else API.partition("/v1")[0]
    assert fake.received[0].path.startswith(host)
    assert f"http://{attributes['server.address']}" == host
    assert attributes["microdollar.usage.source"] == "provider"
