# SPDX-License-Identifier: Apache-2.0
"""A fault of ours is logged once, without what it may quote, and never felt."""

from types import ModuleType
from typing import Any

import pytest

from microdollar import _body, _call, _customer, _guard, _headers, _stream
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation.conftest import Meter

SECRET = "canary-4711"


@pytest.fixture(autouse=True)
def as_in_production(faults_are_failures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "reraise", False)


def test_a_fault_is_logged_once_and_by_its_place_only(warnings_logged: list[str]) -> None:
    @_guard.guarded
    def broken() -> int:
        raise ValueError(SECRET)

    assert broken() is None
    assert broken() is None
    (message,) = warnings_logged
    assert "ValueError" in message
    assert "test_guard.py" in message
    assert SECRET not in message


def test_what_ends_the_app_passes() -> None:
    @_guard.guarded
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()


PLACES: list[tuple[Any, str]] = [
    (_call, "_parent"),
    (_call.Call, "_describe"),
    (_body.Body, "__init__"),
    (_body.Body, "feed"),
    (_body.Body, "end"),
    (_customer, "joined"),
    (_headers, "take"),
    (_headers, "read"),
    (_headers, "restore"),
    (_stream, "observed"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["read", "stream"])
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=[name for _, name in PLACES])
def test_whatever_breaks_in_us_the_app_gets_its_answer(
    http: ModuleType,
    meter: Meter,
    fake: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    warnings_logged: list[str],
    owner: Any,
    name: str,
    stream: bool,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError(SECRET)

    reply = sample("openai.chat.stream.sse")
    fake.queue("openai", reply)
    url = fake.url("openai") + "/v1/chat/completions"
    with monkeypatch.context() as only, http.Client() as client:
        only.setattr(owner, name, broken)
        if stream:
            with client.stream("POST", url, json={}) as response:
                assert response.read() == reply.body
        else:
            assert client.post(url, json={}).content == reply.body
    spans = meter.spans()
    if owner in (_body.Body, _stream):
        assert len(spans) == 1  # what cannot be observed is still a call
    assert all(SECRET not in message for message in warnings_logged)
    assert len(warnings_logged) <= 1
    _call._open.clear()
