# SPDX-License-Identifier: Apache-2.0
"""Results of batches: each is a call when it is downloaded, and nothing else that is got is."""

import json
import threading
from types import ModuleType
from typing import Any

import pytest

import microdollar
from microdollar import _boot
from tests.instrumentation.conftest import Meter

URLS = {
    "openai": "https://api.openai.com/v1/files/file-1/content",
    "anthropic": "https://api.anthropic.com/v1/messages/batches/b-1/results",
}


def line(kind: str, number: int) -> bytes:
    usage: dict[str, Any]
    if kind == "openai":
        usage = {"prompt_tokens": number, "completion_tokens": 1}
        body = {"id": f"c-{number}", "model": f"m-{number % 2}", "usage": usage}
        result: dict[str, Any] = {"response": {"status_code": 200, "body": body}}
    else:
        usage = {"input_tokens": number, "output_tokens": 1, "service_tier": "batch"}
        message = {"id": f"c-{number}", "model": f"m-{number % 2}", "usage": usage}
        result = {"result": {"type": "succeeded", "message": message}}
    return json.dumps(result).encode()


def get(http: ModuleType, url: str, content: bytes, *, status: int = 200, stream: bool) -> bytes:
    def reply(_: Any) -> Any:
        chunks = (content[start : start + 100] for start in range(0, len(content), 100))
        headers = {"content-type": "application/octet-stream"}
        return http.Response(status, headers=headers, content=chunks if stream else content)

    with http.Client(transport=http.MockTransport(reply)) as client:
        return bytes(client.get(url).content)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", URLS)
def test_each_result_is_a_call_of_its_own(
    http: ModuleType, meter: Meter, kind: str, stream: bool
) -> None:
    content = b"\n".join([line(kind, 1), b'{"error":{}}', b"", b"no json", line(kind, 2), b"{"])
    assert get(http, URLS[kind], content, stream=stream) == content
    spans = meter.spans()
    said = [dict(span.attributes or {}) for span in spans]
    assert [each["gen_ai.response.id"] for each in said] == ["c-1", "c-2"]
    assert [each["gen_ai.response.model"] for each in said] == ["m-1", "m-0"]
    assert [each["gen_ai.usage.input_tokens"] for each in said] == [1, 2]
    assert {each["microdollar.usage.source"] for each in said} == {"provider"}
    assert len({span.context.span_id for span in spans if span.context}) == 2
    first, second = (int(str(each["microdollar.call.sequence"])) for each in said)
    assert second == first + 1
    tier = "openai" if kind == "openai" else "microdollar"
    assert {each[f"{tier}.response.service_tier"] for each in said} == {"batch"}


@pytest.mark.parametrize("kind", URLS)
def test_of_thousands_of_results_none_is_lost(http: ModuleType, meter: Meter, kind: str) -> None:
    count = 2_000
    content = b"".join(line(kind, number) + b"\n" for number in range(count))
    get(http, URLS[kind], content, stream=True)
    spans = meter.spans()
    assert len(spans) == count
    total = sum(int(str((span.attributes or {})["gen_ai.usage.input_tokens"])) for span in spans)
    assert total == count * (count - 1) // 2


@pytest.mark.parametrize("kind", URLS)
def test_what_the_queue_cannot_hold_of_a_file_is_counted(
    http: ModuleType,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    warnings_logged: list[str],
    kind: str,
) -> None:
    """The app does not wait for the Collector; the numbers of the calls say which are missing."""
    microdollar.uninstrument()
    monkeypatch.setenv("MICRODOLLAR_QUEUE_SIZE", "10")
    microdollar.instrument()
    gate = threading.Event()
    export = meter.exporter.export
    monkeypatch.setattr(
        meter.exporter, "export", lambda spans: export(spans) if gate.wait(9) else None
    )
    dropped = _boot.current().dropped_calls
    content = b"".join(line(kind, number) + b"\n" for number in range(50))
    assert get(http, URLS[kind], content, stream=True) == content
    assert _boot.current().dropped_calls == dropped + 40
    gate.set()
    sent = [
        int(str((span.attributes or {})["microdollar.call.sequence"])) for span in meter.spans()
    ]
    assert sent == list(range(sent[0], sent[0] + 10))
    get(http, URLS[kind], line(kind, 1), stream=False)
    attributes = meter.attributes()
    assert attributes["microdollar.call.sequence"] == sent[0] + 50
    assert attributes["microdollar.boot.dropped_calls"] == dropped + 40
    assert [text for text in warnings_logged if "queue of 10 is full" in text]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 200),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100, 200),
        (b'{"prompt": "a line of training data"}\n' * 10, 200),
        (b'{"error": {"message": "no such file"}}', 404),
    ],
)
def test_any_other_file_is_no_call_and_takes_no_number(
    http: ModuleType, meter: Meter, content: bytes, status: int
) -> None:
    get(http, URLS["openai"], line("openai", 1), stream=False)
    before = int(meter.attributes()["microdollar.call.sequence"])
    assert get(http, URLS["openai"], content, status=status, stream=True) == content
    assert meter.spans() == ()
    get(http, URLS["openai"], line("openai", 1), stream=False)
    assert meter.attributes()["microdollar.call.sequence"] == before + 1
