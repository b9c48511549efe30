# SPDX-License-Identifier: Apache-2.0
"""Our headers reach nobody, and the app's baggage reaches everybody but providers."""

import asyncio
from collections.abc import Iterator
from types import ModuleType

import pytest
from opentelemetry import baggage, context
from opentelemetry.instrumentation import httpx as otel_httpx
from opentelemetry.propagate import inject

import microdollar
from microdollar import customer
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation.conftest import Meter

OURS = {
    "X-Microdollar-Customer": "acme",
    "x-microdollar-user": "u1",
    "X-MICRODOLLAR-TAGS": "feature=assistant, team = blue,broken,=x",
}
PRIVATE = {name.lower() for name in OURS} | {"baggage"}


def left(fake: FakeProvider) -> set[str]:
    """What arrived of what is private, over all requests."""
    return {name.lower() for request in fake.received for name, _ in request.headers} & PRIVATE


@pytest.fixture
def in_baggage() -> Iterator[None]:
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    yield
    context.detach(token)


def test_headers_say_for_whom(
    http: ModuleType, meter: Meter, fake: FakeProvider, warnings_logged: list[str]
) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    with http.Client() as client:
        headers = {**OURS, "baggage": "tenant=acme", "X-Other": "stays"}
        client.post(fake.url("openai") + "/v1/chat/completions", json={}, headers=headers)
    attributes = meter.attributes()
    assert attributes["microdollar.customer.id"] == "acme"
    assert attributes["microdollar.user.id"] == "u1"
    assert attributes["microdollar.tag.feature"] == "assistant"
    assert attributes["microdollar.tag.team"] == "blue"
    assert not left(fake)
    assert fake.received[0].header("x-other") == "stays"
    assert warnings_logged == [
        "microdollar: tag left out: empty",
        "microdollar: tag name left out: empty",
    ]


def test_any_path_of_a_provider_is_kept_clean(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    with http.Client(headers=OURS) as client:
        client.get(fake.url("openai") + "/v1/models")
        client.post(fake.url("anthropic") + "/v1/messages/count_tokens", json={})
    assert len(fake.received) == 2
    assert not left(fake)
    assert meter.spans() == ()


def test_a_host_that_is_no_provider_is_sent_baggage_and_not_our_headers(
    http: ModuleType, meter: Meter
) -> None:
    headers = {**OURS, "baggage": "tenant=acme"}
    with FakeProvider() as undeclared, http.Client() as client:
        request = client.build_request("POST", undeclared.url("openai") + "/x", headers=headers)
        client.send(request)
        assert left(undeclared) == {"baggage"}
    assert request.headers["x-microdollar-customer"] == "acme"
    assert meter.spans() == ()


def test_a_request_can_be_sent_again(http: ModuleType, meter: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", sample("openai.chat.json"), sample("openai.chat.json"))
    with http.Client() as client:
        url = fake.url("openai") + "/v1/chat/completions"
        request = client.build_request("POST", url, json={}, headers=OURS)
        request.headers["Baggage"] = "tenant=acme"
        before = sorted(request.headers.raw)
        for _ in range(2):
            client.send(request)
            assert sorted(request.headers.raw) == before
    customers = [(span.attributes or {})["microdollar.customer.id"] for span in meter.spans()]
    assert customers == ["acme", "acme"]
    assert not left(fake)


def test_the_block_decides_and_the_header_fills_in(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    with http.Client() as client, customer("acme", feature="chat"):
        url = fake.url("openai") + "/v1/chat/completions"
        client.post(url, json={}, headers={"X-Microdollar-User": "u7"})
    attributes = meter.attributes()
    assert attributes["microdollar.customer.id"] == "acme"
    assert attributes["microdollar.user.id"] == "u7"
    assert attributes["microdollar.tag.feature"] == "chat"


@pytest.mark.usefixtures("in_baggage")
@pytest.mark.parametrize("ours_first", [True, False])
def test_baggage_injected_below_us_is_withheld(
    running: FakeProvider,
    fake: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    ours_first: bool,
) -> None:
    """OpenTelemetry's own instrumentation injects in the transport, whichever came first."""
    import httpx2

    instrumentor = otel_httpx.HTTPX2ClientInstrumentor()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", running.hosts.rpartition(",")[0])
    starts = [microdollar.instrument, instrumentor.instrument]
    for start in starts if ours_first else reversed(starts):
        start()
    try:
        with httpx2.Client() as client:
            client.get(fake.url("openai") + "/v1/models")

            async def call() -> None:
                async with httpx2.AsyncClient() as other:
                    await other.get(fake.url("anthropic") + "/v1/models")

            asyncio.run(call())
            assert not left(fake)
            # Gemini is not declared here, so to us it is any host.
            client.get(fake.url("gemini") + "/v1beta/models", headers=OURS)
            assert left(fake) == {"baggage"}
    finally:
        instrumentor.uninstrument()
        microdollar.uninstrument()


@pytest.mark.usefixtures("in_baggage", "meter")
def test_baggage_is_only_withheld_during_a_send() -> None:
    carrier: dict[str, str] = {}
    inject(carrier)
    assert carrier["baggage"] == "tenant=acme"
