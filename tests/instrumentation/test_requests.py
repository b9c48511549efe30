# SPDX-License-Identifier: Apache-2.0
"""`requests` is metered as httpx is: every sample, read in every way, and the app sees the same."""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

import microdollar
from microdollar import customer
from tests.fakes.provider import FakeProvider, Reply, sample
from tests.instrumentation.conftest import Meter
from tests.instrumentation.expected import CALLS, DECLARED, ENTRIES, NOT_CALLS
from tests.instrumentation.test_samples import check

CHAT = "https://api.openai.com/v1/chat/completions"
STREAM = "openai.chat.stream.sse"


class Rerouted(HTTPAdapter):
    """Connects to the fake, whatever host a request is for."""

    def __init__(self, fake: FakeProvider) -> None:
        self.url = fake.url("openai")
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return self.poolmanager.connection_from_url(self.url)


@pytest.fixture
def session(meter: Meter, fake: FakeProvider) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("https://", Rerouted(fake))
        session.mount("http://10.0.0.5", Rerouted(fake))
        session.mount("http://litellm.internal", Rerouted(fake))
        session.mount("http://localhost:11434", Rerouted(fake))
        yield session


@pytest.fixture
def declared(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts of self-hosted samples are declared; all others are known."""
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_HOSTS", DECLARED)
    microdollar.instrument()


def send(session: requests.Session, name: str, **options: Any) -> requests.Response:
    entry = ENTRIES[name]["request"]
    return session.request(entry["method"], entry["url"], json=entry["body"] or None, **options)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("name", CALLS)
def test_a_sample_gives_the_expected_usage(
    session: requests.Session, meter: Meter, fake: FakeProvider, name: str
) -> None:
    reply = sample(name)
    fake.queue("openai", reply, replace(reply, chunk=7, encoding="gzip"))
    assert send(session, name).content == reply.body
    check(name, meter.attributes())
    with send(session, name, stream=True) as response:
        assert b"".join(response.iter_content(11)) == reply.body
        check(name, meter.attributes())


@pytest.mark.parametrize("name", NOT_CALLS)
def test_counting_and_reading_again_are_not_calls(
    session: requests.Session, meter: Meter, fake: FakeProvider, name: str
) -> None:
    fake.queue("openai", sample(name))
    send(session, name)
    assert meter.spans() == ()


def into(raw: Any) -> bytes:
    buffer = bytearray(64)
    return bytes(buffer[: raw.readinto(buffer)])


def copied(raw: Any) -> bytes:
    target = io.BytesIO()
    shutil.copyfileobj(raw, target)
    return target.getvalue()


WAYS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda raw: raw.read(),
    "read all": lambda raw: raw.read(-1),
    "read in pieces": lambda raw: b"".join(iter(lambda: raw.read(10), b"")),
    "read decoded": lambda raw: raw.read(decode_content=True),
    "read1": lambda raw: b"".join(iter(raw.read1, b"")),
    "readinto": lambda raw: b"".join(iter(lambda: into(raw), b"")),
    "lines": lambda raw: b"".join(raw.readlines()),
    "iterate": b"".join,
    "stream": lambda raw: b"".join(raw.stream()),
    "data": lambda raw: raw.data,
    "copy": copied,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [STREAM, "openai.chat.json"])
def test_however_the_app_reads_the_body(
    session: requests.Session, meter: Meter, fake: FakeProvider, name: str, way: str
) -> None:
    fake.queue("openai", sample(name))
    raw = send(session, name, stream=True).raw
    assert WAYS[way](raw) == sample(name).body
    check(name, meter.attributes())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_every_encoding_that_urllib3_decodes(
    session: requests.Session, meter: Meter, fake: FakeProvider, encoding: Any
) -> None:
    fake.queue("openai", replace(sample(STREAM), encoding=encoding, chunk=100))
    assert send(session, STREAM).content == sample(STREAM).body
    check(STREAM, meter.attributes())


def test_a_compressed_body_that_the_app_reads_as_it_is(
    session: requests.Session, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", replace(sample(STREAM), encoding="gzip"))
    raw = send(session, STREAM, stream=True).raw
    assert raw.read().startswith(b"\x1f\x8b")
    check(STREAM, meter.attributes())


def test_a_method_that_outlives_its_response_still_reads(
    session: requests.Session, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    read = send(session, "openai.chat.json", stream=True).raw.read
    assert read() == sample("openai.chat.json").body
    check("openai.chat.json", meter.attributes())


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_a_stream_that_is_left_ends_its_call(
    session: requests.Session, meter: Meter, fake: FakeProvider, leave: str
) -> None:
    fake.queue("openai", replace(sample(STREAM), chunk=100))
    response = send(session, STREAM, stream=True)
    next(response.iter_content(1))
    if leave == "close":
        response.close()
    del response
    attributes = meter.attributes()
    assert attributes["microdollar.usage.source"] == "missing"
    assert "error.type" not in attributes


def test_a_stream_that_breaks_says_so(
    session: requests.Session, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", replace(sample(STREAM), cut_after=900))
    response = send(session, STREAM, stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(response.iter_content(100))
    attributes = meter.attributes()
    assert attributes["error.type"] == "urllib3.exceptions.ProtocolError"
    assert attributes["microdollar.usage.source"] == "missing"


def test_a_refused_connection_was_no_request(meter: Meter, fake: FakeProvider) -> None:
    nowhere = Rerouted(fake)
    nowhere.url = "http://127.0.0.1:1"
    with requests.Session() as session, pytest.raises(requests.exceptions.ConnectionError):
        session.mount("https://", nowhere)
        session.post(CHAT, json={"model": "m"})
    attributes = meter.attributes()
    assert attributes["error.type"] == "urllib3.exceptions.NewConnectionError"
    assert attributes["microdollar.usage.source"] == "none"


def test_each_attempt_is_a_call_and_each_hop_too(
    session: requests.Session, meter: Meter, fake: FakeProvider
) -> None:
    again = Reply(status=307, headers={"location": CHAT})
    fake.queue("openai", again, sample("openai.chat.json"))
    assert session.post(CHAT, json={"model": "m"}).status_code == 200
    first, second = (span.attributes or {} for span in meter.spans())
    assert first["microdollar.usage.source"] == "none"
    assert second["microdollar.usage.source"] == "provider"


def test_the_customer_comes_from_block_and_headers_which_stay_here(
    session: requests.Session, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", *[sample("openai.chat.json")] * 2)
    headers = {"X-Microdollar-Customer": "acme", "baggage": "tenant=acme", "x-user-id": "u1"}
    response = session.post(CHAT, json={"model": "m"}, headers=headers)
    attributes = meter.attributes()
    assert attributes["microdollar.customer.id"] == "acme"
    assert attributes["microdollar.user.id"] == "u1"
    assert fake.received[0].header("x-microdollar-customer") is None
    assert fake.received[0].header("baggage") is None
    assert response.request.headers["x-microdollar-customer"] == "acme"
    assert response.request.headers["baggage"] == "tenant=acme"
    with customer("globex"):
        session.post(CHAT, json={"model": "m"})
    assert meter.attributes()["microdollar.customer.id"] == "globex"


def test_our_headers_leave_for_no_host_and_baggage_for_others(
    meter: Meter, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_ENABLED", "false")
    microdollar.instrument()
    fake.queue("openai", sample("openai.chat.json"))
    headers = {"X-Microdollar-Customer": "acme", "baggage": "tenant=acme"}
    with requests.Session() as session:
        session.post(fake.url("openai") + "/v1/chat/completions", json={}, headers=headers)
    assert fake.received[0].header("x-microdollar-customer") is None
    assert fake.received[0].header("baggage") == "tenant=acme"
    assert meter.spans() == ()


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"model": "m", "user": "u1"}},
        {"data": '{"model": "m", "user": "u1"}'},
        {"data": {"model": "m"}, "files": {"file": ("a.wav", b"RIFF" * 99_999)}},
        {"data": {"model": "m"}, "files": {"model": ("model", b"other")}},
    ],
    ids=["json", "text", "form", "file named as a field"],
)
def test_the_model_is_read_from_json_and_forms(
    session: requests.Session, meter: Meter, fake: FakeProvider, body: dict[str, Any]
) -> None:
    fake.queue("openai", sample("openai.transcription.tokens.json"))
    session.post("https://api.openai.com/v1/audio/transcriptions", **body)
    assert meter.attributes()["gen_ai.request.model"] == "m"


@pytest.mark.parametrize("body", [iter([b'{"model":"m"}']), io.BytesIO(b'{"model":"m"}')])
def test_a_body_that_is_read_while_it_is_sent_is_left_alone(
    session: requests.Session, meter: Meter, fake: FakeProvider, body: Any
) -> None:
    fake.queue("openai", sample("openai.chat.json"))
    session.post(CHAT, data=body)
    assert fake.received[0].json == {"model": "m"}
    assert meter.span().name == "chat"


def test_the_response_is_of_its_own_type(
    session: requests.Session, meter: Meter, fake: FakeProvider
) -> None:
    fake.queue("openai", sample(STREAM))
    raw = send(session, STREAM, stream=True).raw
    assert isinstance(raw, urllib3.HTTPResponse)
    assert repr(type(raw)) == repr(urllib3.HTTPResponse)
    raw.close()
    assert meter.span()
