# SPDX-License-Identifier: Apache-2.0
"""The calls made while a web request is served are for the customer that its headers name."""

import asyncio
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from microdollar import _customer, customer
from microdollar.middleware import ASGIMiddleware, WSGIMiddleware


def who() -> tuple[str | None, str | None] | None:
    found = _customer.current()
    return None if found is None else (found.customer, found.user)


def asgi(headers: list[tuple[bytes, bytes]], kind: str = "http") -> Any:
    """What holds inside an ASGI app."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(who())
        with customer("inner"):
            seen.append(who())

    scope = {"type": kind} if kind == "lifespan" else {"type": kind, "headers": headers}
    asyncio.run(ASGIMiddleware(app)(scope, None, None))  # type: ignore[arg-type]
    assert seen[1] == ("inner", None)
    return seen[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_asgi_request_names_the_customer(kind: str) -> None:
    assert asgi([(b"x-microdollar-customer", b"acme")], kind) == ("acme", None)
    assert asgi([(b"X-Tenant-Id", b"acme"), (b"x-user-id", b"u")], kind) == ("acme", "u")
    assert asgi([(b"x-other", b"acme")], kind) is None
    assert who() is None


def test_what_is_no_request_has_no_customer() -> None:
    assert asgi([], "lifespan") is None


def test_headers_that_are_none_are_not_felt() -> None:
    assert asgi([(b"x-tenant-id", b"\xff" * 300)]) is None


def wsgi(answer: Any, **headers: str) -> tuple[list[Any], Any]:
    environ: dict[str, Any] = dict(headers)
    setup_testing_defaults(environ)
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(who())
        return answer(seen)

    return seen, WSGIMiddleware(app)(environ, lambda *_: None)


def test_a_wsgi_request_names_the_customer() -> None:
    seen, body = wsgi(lambda _: [b"x"], HTTP_X_TENANT_ID="acme", HTTP_X_USER_ID="u")
    assert seen == [("acme", "u")]
    assert body == [b"x"]
    seen, _ = wsgi(lambda _: [b"x"])
    assert seen == [None]
    assert who() is None


def test_a_wsgi_answer_made_while_it_is_sent_is_for_the_customer_too() -> None:
    closed: list[bool] = []

    class Answer:
        def __init__(self, seen: list[Any]) -> None:
            self.seen = seen

        def __iter__(self) -> Iterator[bytes]:
            for _ in range(2):
                self.seen.append(who())
                yield b"x"

        def close(self) -> None:
            closed.append(True)

    seen, body = wsgi(Answer, HTTP_X_MICRODOLLAR_CUSTOMER="acme")
    for _ in body:
        assert who() is None
    body.close()
    assert seen == [("acme", None)] * 3
    assert closed == [True]
