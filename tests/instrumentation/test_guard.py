# SPDX-License-Identifier: Apache-2.0
"""A fault of ours is logged once, without what it may quote, and never felt."""

import json
import logging
import signal
from collections.abc import Iterator
from types import FrameType, FunctionType, ModuleType
from typing import Any

import pytest

from microdollar import _baggage, _body, _call, _customer, _guard, _headers, _send, _skim, _stream
from tests.fakes.provider import FakeProvider, sample
from tests.instrumentation.conftest import Meter

SECRET = "canary-4711"


def _raise(*_: object, **__: object) -> Any:
    raise ValueError(SECRET)


broken: Any = FunctionType(
    _raise.__code__, {"SECRET": SECRET, "__name__": "microdollar._made_up"}, "broken"
)
"""Raises as code of ours does: where a fault comes from decides whether it is swallowed."""


@pytest.fixture(autouse=True)
def as_in_production(faults_are_failures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "reraise", False)


def test_a_fault_is_logged_once_and_by_its_place_only(warnings_logged: list[str]) -> None:
    guarded = _guard.guarded(broken)
    assert guarded() is None
    assert guarded() is None
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


def test_a_fault_in_a_library_that_we_call_is_ours(warnings_logged: list[str]) -> None:
    assert _guard.guarded(json.loads)("{") is None
    assert len(warnings_logged) == 1


def test_logging_that_fails_is_not_felt(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", _raise)
    monkeypatch.setattr(_guard.logger, "handlers", [handler])
    _guard.warn_once("kind", "message")


class TimeLimitError(Exception):
    """What a task runner's signal handler raises in the middle of anything."""


@pytest.fixture
def time_limit() -> Iterator[None]:
    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGUSR1, expire)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize(
    ("owner", "name"),
    [(_send, "_port"), (_body.Body, "end"), (_skim.Document, "take")],
)
def test_what_the_apps_signal_handler_raises_inside_us_reaches_the_app(
    http: ModuleType,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
) -> None:
    original = getattr(owner, name)
    interrupted: list[bool] = []

    def interrupting(*args: Any, **kwargs: Any) -> Any:
        if not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return original(*args, **kwargs)

    def reply(_: Any) -> Any:
        return http.Response(200, json={"model": "m", "usage": {"prompt_tokens": 3}})

    url = "https://api.openai.com/v1/embeddings"
    with http.Client(transport=http.MockTransport(reply)) as client:
        monkeypatch.setattr(owner, name, interrupting)
        with pytest.raises(TimeLimitError):
            client.post(url, json={})
        assert client.post(url, json={}).status_code == 200
    assert len(meter.spans()) == (1 if owner is _send else 2)


PLACES: list[tuple[Any, str]] = [
    (_call, "_parent"),
    (_call.Call, "_attributes"),
    (_body.Body, "__init__"),
    (_body.Body, "feed"),
    (_body.Body, "end"),
    (_baggage, "withhold"),
    (_baggage, "restore"),
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
    if owner in (_baggage, _body.Body, _stream):
        assert len(spans) == 1  # what cannot be observed is still a call
    assert all(SECRET not in message for message in warnings_logged)
    assert len(warnings_logged) <= 1
    _call._open.clear()
    _baggage.restore(False)
