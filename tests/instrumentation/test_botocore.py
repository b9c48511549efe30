# SPDX-License-Identifier: Apache-2.0
"""boto3's calls to Bedrock are metered, and boto3 gives the app the same."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    ResponseStreamingError,
)

import microdollar
from microdollar import customer
from tests.fakes.provider import FakeProvider, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import ENTRIES
from tests.instrumentation.test_samples import asked, check

PROMPT: Any = [{"role": "user", "content": [{"text": "hi"}]}]
CONVERSE, STREAM = "bedrock.converse.json", "bedrock.converse-stream.frames.json"
INVOKE, INVOKE_STREAM = (
    "bedrock.invoke.titan-embed.json",
    "bedrock-anthropic.invoke-stream.frames.json",
)


@pytest.fixture
def meter(meter: Meter, running: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """The fake is Bedrock."""
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", f"127.0.0.1:{running.port('openai')}=bedrock")
    microdollar.instrument()
    return meter


def bedrock(url: str, attempts: int = 1) -> Any:
    return boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
    )


@pytest.fixture
def client(meter: Meter, fake: FakeProvider) -> Iterator[Any]:
    client = bedrock(fake.url("openai"))
    yield client
    client.close()


CALLS: dict[str, Callable[[Any, str], Any]] = {
    CONVERSE: lambda c, model: c.converse(modelId=model, messages=PROMPT),
    STREAM: lambda c, model: list(c.converse_stream(modelId=model, messages=PROMPT)["stream"]),
    INVOKE: lambda c, model: json.load(c.invoke_model(modelId=model, body=b'{"a":1}')["body"]),
    INVOKE_STREAM: lambda c, model: list(
        c.invoke_model_with_response_stream(modelId=model, body="{}")["body"]
    ),
}


def model(name: str) -> str:
    """What the sample's path addresses; escaped in the request, and not in the span."""
    return str(asked(ENTRIES[name]))


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("name", CALLS)
def test_an_operation_gives_the_expected_usage(
    client: Any, meter: Meter, fake: FakeProvider, name: str, chunk: int | None
) -> None:
    reply = replace(sample(name), chunk=chunk)
    fake.queue("openai", reply, reply)
    with customer("acme"):
        seen = CALLS[name](client, model(name))
    attributes = meter.attributes()
    check(name, attributes)
    assert attributes["microdollar.customer.id"] == "acme"
    microdollar.uninstrument()
    unmetered = CALLS[name](client, model(name))
    assert without_clock(seen) == without_clock(unmetered)


def without_clock(seen: Any) -> Any:
    if isinstance(seen, dict):
        seen.get("ResponseMetadata", {}).get("HTTPHeaders", {}).pop("date", None)
    return seen


READS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda body: body.read(),
    "pieces": lambda body: b"".join(body.iter_chunks(5)),
    "lines": lambda body: b"\n".join(body.iter_lines()) + b"\n",
    "readinto": lambda body: bytes(into(body)),
    "readlines": lambda body: b"".join(body.readlines()),
}


def into(body: Any) -> bytearray:
    read, buffer = bytearray(), bytearray(16)
    while size := body.readinto(buffer):
        read += buffer[:size]
    return read


@pytest.mark.parametrize("way", READS)
def test_however_the_app_reads_the_body(
    client: Any, meter: Meter, fake: FakeProvider, way: str
) -> None:
    fake.queue("openai", sample(INVOKE))
    body = client.invoke_model(modelId=model(INVOKE), body=b"{}")["body"]
    assert READS[way](body) == sample(INVOKE).body
    check(INVOKE, meter.attributes())


def test_a_stream_that_is_left_ends_its_call(client: Any, meter: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", replace(sample(STREAM), chunk=100))
    stream = client.converse_stream(modelId=model(STREAM), messages=PROMPT)["stream"]
    next(iter(stream))
    stream.close()
    attributes = meter.attributes()
    assert attributes["microdollar.usage.source"] == "missing"
    assert "error.type" not in attributes


def test_a_stream_that_breaks_says_so(client: Any, meter: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", replace(sample(INVOKE), headers={}, chunk=9, cut_after=30))
    body = client.invoke_model(modelId=model(INVOKE), body=b"{}")["body"]
    with pytest.raises(ResponseStreamingError):
        body.read()
    attributes = meter.attributes()
    assert attributes["error.type"] == "urllib3.exceptions.ProtocolError"
    assert attributes["microdollar.usage.source"] == "missing"


HEADS: list[tuple[dict[str, str], dict[str, int]]] = [
    ({}, {}),
    ({"input": "12", "output": "5"}, {"input_tokens": 12, "output_tokens": 5}),
    (
        {"input": "12", "output": "5", "cache-read-input": "3", "cache-write-input": "0"},
        {
            "input_tokens": 15,
            "output_tokens": 5,
            "cache_read.input_tokens": 3,
            "cache_write.input_tokens": 0,
        },
    ),
    ({"input": "-1", "output": "9" * 5000}, {}),
]


@pytest.mark.parametrize(("counts", "expected"), HEADS)
def test_counts_in_the_headers_stand_in_for_a_body_without(
    client: Any, meter: Meter, fake: FakeProvider, counts: dict[str, str], expected: dict[str, int]
) -> None:
    headers = {f"X-Amzn-Bedrock-{name}-Token-Count": text for name, text in counts.items()}
    fake.queue("openai", Reply(headers=headers, body=b'{"outputs":[{"text":"hi"}]}'))
    client.invoke_model(modelId="mistral.mistral-7b-instruct-v0:2", body=b"{}")["body"].read()
    attributes = meter.attributes()
    start = "gen_ai.usage."
    usage = {k.removeprefix(start): v for k, v in attributes.items() if k.startswith(start)}
    assert usage == expected
    source = "provider" if expected else "missing"
    assert attributes["microdollar.usage.source"] == source


def test_counts_in_the_body_come_before_those_in_the_headers(
    client: Any, meter: Meter, fake: FakeProvider
) -> None:
    headers = {"X-Amzn-Bedrock-Input-Token-Count": "999"}
    fake.queue("openai", replace(sample(INVOKE), headers=headers))
    client.invoke_model(modelId=model(INVOKE), body=b"{}")["body"].read()
    check(INVOKE, meter.attributes())


def test_each_attempt_is_a_call(meter: Meter, fake: FakeProvider) -> None:
    busy = Reply(status=503, headers={"content-type": "application/json"}, body=b"{}")
    fake.queue("openai", busy, sample(CONVERSE))
    client = bedrock(fake.url("openai"), attempts=2)
    answer = client.converse(modelId=model(CONVERSE), messages=PROMPT)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    first, second = (span.attributes or {} for span in meter.spans())
    assert first["microdollar.usage.source"] == "none"
    assert first["error.type"] == "503"
    assert second["microdollar.usage.source"] == "provider"
    client.close()


def test_a_refused_connection_was_no_request(
    meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", "127.0.0.1:1=bedrock")
    microdollar.instrument()
    client = bedrock("http://127.0.0.1:1")
    with pytest.raises(EndpointConnectionError):
        client.converse(modelId="m", messages=PROMPT)
    attributes = meter.attributes()
    assert attributes["error.type"] == "botocore.exceptions.EndpointConnectionError"
    assert attributes["microdollar.usage.source"] == "none"
    client.close()


def test_an_error_of_the_service_is_no_usage(client: Any, meter: Meter, fake: FakeProvider) -> None:
    headers = {"content-type": "application/json", "x-amzn-errortype": "ThrottlingException"}
    fake.queue("openai", Reply(status=429, headers=headers, body=b'{"message":"slow down"}'))
    with pytest.raises(ClientError):
        client.converse(modelId="m", messages=PROMPT)
    attributes = meter.attributes()
    assert attributes["microdollar.usage.source"] == "none"
    assert attributes["error.type"] == "429"


def test_request_metadata_names_the_customer(client: Any, meter: Meter, fake: FakeProvider) -> None:
    fake.queue("openai", sample(CONVERSE), sample(INVOKE))
    client.converse(modelId=model(CONVERSE), messages=PROMPT, requestMetadata={"customer": "acme"})
    assert meter.attributes()["microdollar.customer.id"] == "acme"
    client.invoke_model(
        modelId=model(INVOKE), body=b"{}", requestMetadata=json.dumps({"customer": "globex"})
    )["body"].read()
    assert meter.attributes()["microdollar.customer.id"] == "globex"


def test_our_headers_are_read_not_signed_and_not_sent(
    client: Any, meter: Meter, fake: FakeProvider
) -> None:
    def add(request: Any, **_: Any) -> None:
        request.headers["X-Microdollar-Customer"] = "acme"

    fake.queue("openai", sample(CONVERSE))
    client.meta.events.register("before-sign.bedrock-runtime", add)
    client.converse(modelId=model(CONVERSE), messages=PROMPT)
    assert meter.attributes()["microdollar.customer.id"] == "acme"
    (request,) = fake.received
    assert request.header("x-microdollar-customer") is None
    assert "microdollar" not in str(request.header("authorization"))


def test_other_services_are_none_of_our_business(meter: Meter, fake: FakeProvider) -> None:
    fake.queue("gemini", Reply(headers={"content-type": "application/json"}, body=b"{}"))
    client = boto3.client(
        "dynamodb",
        region_name="eu-west-1",
        endpoint_url=fake.url("gemini"),
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    client.list_tables()
    assert meter.spans() == ()
    client.close()
