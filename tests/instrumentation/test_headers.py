# SPDX-License-Identifier: Apache-2.0
"""Our headers reach nobody, and the app's baggage reaches everybody but providers."""

import asyncio
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anthropic
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation import httpx as otel_httpx
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider

import microdollar
from microdollar import customer
from tests.fakes.provider import FakeProvider, Reply, sample
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


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_redirect_carries_nothing_private_either(
    meter: Meter, fake: FakeProvider, library: str
) -> None:
    """From any host to a provider and back; each is sent what it may have."""
    http = pytest.importorskip(library)
    headers = {**OURS, "baggage": "tenant=acme"}
    with FakeProvider() as other, http.Client(follow_redirects=True) as client:
        back, forth = other.url("openai") + "/end", fake.url("openai") + "/v1/middle"
        other.queue("openai", Reply(307, {"location": forth}), Reply(200))
        fake.queue("openai", Reply(307, {"location": back}))
        response = client.post(other.url("openai") + "/start", headers=headers, json={})
        assert response.status_code == 200
        assert [request.path for request in other.received] == ["/start", "/end"]
        assert left(other) == {"baggage"}
    assert not left(fake)
    assert [step.request.headers["baggage"] for step in response.history] == ["tenant=acme"] * 2


def test_headers_that_an_event_hook_adds_count_and_stay(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    def name_the_customer(request: Any) -> None:
        request.headers.update({**OURS, "baggage": "tenant=acme"})

    async def call() -> None:
        async def name_it(request: Any) -> None:
            name_the_customer(request)

        async with http.AsyncClient(event_hooks={"request": [name_it]}) as client:
            await client.post(url, json={})

    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    url = fake.url("openai") + "/v1/chat/completions"
    with http.Client(event_hooks={"request": [name_the_customer]}) as client:
        client.post(url, json={})
    asyncio.run(call())
    customers = [(span.attributes or {}).get("microdollar.customer.id") for span in meter.spans()]
    assert customers == ["acme", "acme"]
    assert not left(fake)


def test_a_request_made_inside_an_event_hook_does_not_name_the_customer_of_another(
    http: ModuleType, meter: Meter, fake: FakeProvider
) -> None:
    def fetch_a_token(request: Any) -> None:
        with http.Client() as other:
            other.get(fake.url("openai") + "/v1/models", headers=OURS)

    fake.queue("openai", Reply(200), sample("openai.chat.json"))
    with http.Client(event_hooks={"request": [fetch_a_token]}) as client:
        client.post(fake.url("openai") + "/v1/chat/completions", json={})
    assert "microdollar.customer.id" not in meter.attributes()


@pytest.mark.usefixtures("in_baggage")
def test_what_the_anthropic_sdk_injects_itself_does_not_leave(
    meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It propagates the app's whole context, once a tracer provider is there."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    fake.queue("anthropic", sample("anthropic.messages.json"))
    with anthropic.Anthropic(base_url=fake.url("anthropic"), api_key="none") as client:
        client.messages.create(
            model="claude-opus-5-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert fake.received[0].header("traceparent") is not None
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


ALIASES = {"X-Tenant-Id": "acme", "x-user-id": "u1", "X-Title": "app", "x-account": "a1"}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.openai.com/v1/chat/completions", {"x-title"}),
        ("https://api.openai.com/v1/models", {"x-title"}),
        ("https://gateway.example/v1/chat/completions", {name.lower() for name in ALIASES}),
        ("https://elsewhere.example/", {name.lower() for name in ALIASES}),
    ],
)
def test_the_headers_that_others_use_do_not_reach_a_providers_own_host(
    http: ModuleType, meter: Meter, monkeypatch: pytest.MonkeyPatch, url: str, kept: set[str]
) -> None:
    """A gateway may need them; and what means something to a provider is left, whoever reads it."""

    def answer(request: Any) -> Any:
        arrived.update(name.lower() for name in ALIASES if name in request.headers)
        return http.Response(200, json={})

    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", "gateway.example=openai")
    monkeypatch.setenv("MICRODOLLAR_CUSTOMER_HEADERS", "x-tenant-id,x-title,x-account")
    microdollar.instrument()
    arrived: set[str] = set()
    with http.Client(transport=http.MockTransport(answer)) as client:
        request = client.build_request("POST", url, json={"model": "m"}, headers=ALIASES)
        before = sorted(request.headers.raw)
        client.send(request)
    assert arrived == kept
    assert sorted(request.headers.raw) == before
    for span in meter.spans():
        assert (span.attributes or {})["microdollar.customer.id"] == "acme"
        assert (span.attributes or {})["microdollar.user.id"] == "u1"


def test_a_header_that_others_use_counts_when_a_hook_adds_it(
    http: ModuleType, meter: Meter
) -> None:
    transport = http.MockTransport(lambda _: http.Response(200, json={}))
    hooks = {"request": [lambda request: request.headers.update({"x-tenant-id": "acme"})]}
    with http.Client(transport=transport, event_hooks=hooks) as client:
        client.post("https://api.openai.com/v1/chat/completions", json={"model": "m"})
    assert meter.attributes()["microdollar.customer.id"] == "acme"


@pytest.mark.usefixtures("in_baggage", "meter")
def test_baggage_is_only_withheld_during_a_send() -> None:
    carrier: dict[str, str] = {}
    inject(carrier)
    assert carrier["baggage"] == "tenant=acme"


@pytest.mark.usefixtures("meter")
def test_aws_signatures_do_not_cover_what_does_not_leave() -> None:
    """The SDK signs before the request is sent, and AWS refuses one whose signed headers lack."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    def signed() -> str:
        headers = {**OURS, "baggage": "tenant=acme", "x-tenant-id": "acme", "x-other": "1"}
        request = AWSRequest("POST", "https://bedrock.example/", headers=headers)
        SigV4Auth(Credentials("a", "b"), "bedrock", "eu-west-1").add_auth(request)
        return str(request.headers["Authorization"]).split("SignedHeaders=")[1].split(",")[0]

    assert signed() == "host;x-amz-date;x-other"
    microdollar.uninstrument()
    assert "x-microdollar-customer" in signed()
