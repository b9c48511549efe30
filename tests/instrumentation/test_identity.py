# SPDX-License-Identifier: Apache-2.0
"""Where a request may say whom it is for, and which of them counts."""

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import baggage, context

from microdollar import customer
from microdollar._identity import Identity, fingerprint
from microdollar._settings import Settings
from tests.instrumentation.conftest import Meter

OPENAI = "https://api.openai.com/v1/chat/completions"
BEDROCK = "x-amzn-bedrock-request-metadata"


def who(
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    **settings: str,
) -> tuple[str | None, str | None, dict[str, str]]:
    import httpx2

    environ = {f"MICRODOLLAR_{name.upper()}": value for name, value in settings.items()}
    found = Identity(Settings.load(environ)).of(httpx2.Headers(headers or {}), body or {})
    return found.customer, found.user, dict(found.tags)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (None, None, {})),
        ({"user": "u1"}, (None, "u1", {})),
        ({"safety_identifier": "s1", "user": "u1"}, (None, "s1", {})),
        ({"metadata": {"user_id": "u2"}}, (None, "u2", {})),
        ({"metadata": {"user_id": "u2"}, "user": "u1"}, (None, "u2", {})),
        ({"metadata": {"customer_id": "acme", "x": "y"}}, ("acme", None, {})),
        ({"metadata": {"tenant": "acme", "feature": "f"}}, ("acme", None, {"feature": "f"})),
        (
            {"metadata": {"tags": ["customer:acme", "feature:chat", "plain", 7, "user: u"]}},
            ("acme", "u", {"feature": "chat"}),
        ),
        ({"labels": {"customer": "acme", "user": "u"}}, ("acme", "u", {})),
        ({"requestMetadata": {"tenant_id": "acme"}}, ("acme", None, {})),
        ({"metadata": "x", "labels": 7, "user": {"a": 1}}, (None, None, {})),
        ({"metadata": {"customer": {"deep": 1}, "tags": "customer:acme"}}, (None, None, {})),
        ({"metadata": {"customer": "a" * 257}}, (None, None, {})),
        ({"metadata": {"customer": "unassigned"}}, (None, None, {})),
    ],
)
def test_the_body_says(body: dict[str, Any], expected: object) -> None:
    assert who(body=body) == expected
    assert who(body=body, body_tags="false") == (None, None, {})


def test_headers_that_others_use_say() -> None:
    assert who({"X-Tolvyn-End-Customer": "acme", "X-User-Id": "u"}) == ("acme", "u", {})
    assert who({"x-tenant-id": "acme"}) == ("acme", None, {})
    assert who({"x-tenant-id": "acme"}, customer_headers="x-account") == (None, None, {})
    assert who({"X-Account": "acme"}, customer_headers="x-account") == ("acme", None, {})
    assert who({BEDROCK: json.dumps({"customer": "acme"})}) == ("acme", None, {})
    assert who({BEDROCK: "{"}) == (None, None, {})


def test_the_stronger_source_decides_and_the_weaker_fills_in() -> None:
    ours = {"X-Microdollar-Customer": "acme", "x-tenant-id": "other"}
    assert who(ours, {"user": "u"}) == ("acme", "u", {})
    assert who(ours, {"metadata": {"customer": "other", "user": "u"}}) == ("acme", None, {})
    assert who(ours, {"metadata": {"customer": "acme", "user": "u"}}) == ("acme", "u", {})


def test_baggage_counts_only_when_it_is_trusted() -> None:
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        assert who() == (None, None, {})
        assert who(trusted_baggage="tenant") == ("acme", None, {})
        assert who({"x-tenant-id": "other"}, trusted_baggage="tenant") == ("other", None, {})
    finally:
        context.detach(token)
    assert who(trusted_baggage="tenant") == (None, None, {})


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_an_api_key_stands_for_its_customer(header: str) -> None:
    value = "Bearer key-1" if header == "Authorization" else "key-1"
    known = f"{fingerprint('key-1', 'salt')}=acme"
    assert who({header: value}, api_keys=known, api_key_salt="salt") == ("acme", None, {})
    assert who({header: value}, api_keys=known, api_key_salt="other") == (None, None, {})
    assert who({header: value + "2"}, api_keys=known, api_key_salt="salt") == (None, None, {})
    assert who({}, api_keys=known, api_key_salt="salt") == (None, None, {})


def test_a_key_in_the_place_of_its_fingerprint_is_not_logged(warnings_logged: list[str]) -> None:
    assert who({}, api_keys="sk-canary-4711=acme") == (None, None, {})
    (message,) = warnings_logged
    assert "canary" not in message


@pytest.mark.parametrize("value", ["a@b.example", "first.last@mail.example.org"])
def test_what_looks_like_an_email_address_is_refused_unless_allowed(
    value: str, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    assert who(body={"user": value}) == (None, None, {})
    assert value not in "".join(warnings_logged)
    assert "MICRODOLLAR_ALLOW_EMAIL" in warnings_logged[0]
    monkeypatch.setenv("MICRODOLLAR_ALLOW_EMAIL", "true")
    assert who(body={"user": value}) == (None, value, {})


@pytest.mark.parametrize("value", ["a@b", "@acme.example", "acme@", "team @ acme.example"])
def test_other_names_with_an_at_sign_are_names(value: str) -> None:
    assert who(body={"user": value}) == (None, value, {})


def test_a_block_wins_over_all_of_it(http: ModuleType, meter: Meter) -> None:
    transport = http.MockTransport(lambda _: http.Response(200, json={}))
    body = {"model": "m", "user": "u", "metadata": {"customer": "other"}}
    with http.Client(transport=transport) as client:
        client.post(OPENAI, json=body)
        with customer("acme"):
            client.post(OPENAI, json={"model": "m", "user": "u"})
            client.post(OPENAI, json=body)
    seen = [
        tuple(
            (span.attributes or {}).get(f"microdollar.{kind}.id") for kind in ("customer", "user")
        )
        for span in meter.spans()
    ]
    assert seen == [("other", "u"), ("acme", "u"), ("acme", None)]


def test_a_large_body_is_read_for_its_metadata(http: ModuleType, meter: Meter) -> None:
    transport = http.MockTransport(lambda _: http.Response(200, json={}))
    messages = [{"role": "user", "content": "x" * 100_000}]
    body = {"model": "m", "messages": messages, "metadata": {"customer": "acme"}}
    with http.Client(transport=transport) as client:
        client.post(OPENAI, json=body)
    assert meter.attributes()["microdollar.customer.id"] == "acme"
