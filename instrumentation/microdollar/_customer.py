# SPDX-License-Identifier: Apache-2.0
"""Whom a call is made for: the customer, the user inside it, and tags."""

import functools
import inspect
import os
import re
import uuid
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
)
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from microdollar._guard import guarded, warn_once
from microdollar._settings import Settings, is_switched_off
from microdollar._text import UNSAFE
from microdollar_semconv import UNASSIGNED

__all__ = ["Attribution", "CustomerBlock", "attribution", "current", "customer", "joined"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_LENGTH = 256
MAX_TAGS = 16
MAX_TAG_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom a call is made for, already validated. A call without a customer is unassigned."""

    customer: str | None = None
    user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def inside(self, outer: "Attribution") -> "Attribution":
        """This attribution, with the user and the tags it leaves unset taken from `outer`."""
        return Attribution(
            self.customer, self.user or outer.user, _limited({**outer.tags, **self.tags}, self.tags)
        )


def attribution(customer: object, user: object, tags: Mapping[str, object]) -> Attribution:
    """Validate. A value that cannot be used is left out and warned of, never raised."""
    valid: dict[str, str] = {}
    for name, value in tags.items():
        text = _valid("tag", value)
        if text is not None and _valid("tag name", name, MAX_TAG_NAME_LENGTH) is not None:
            valid[name] = text
    owner = _valid("customer id", customer)
    if owner == UNASSIGNED:
        warn_once("customer id reserved", "customer id left out: %r is reserved", UNASSIGNED)
        owner = None
    return Attribution(
        owner,
        _valid("user id", user),
        _limited(valid, ()),
    )


def joined(block: Attribution | None, header: Attribution) -> Attribution:
    """What holds for one request: the enclosing block, then the request's own headers.

    The block decides the customer. Headers that name another customer are ignored with it.
    """
    if block is None:
        return header
    if block.customer is None:
        return header.inside(block) if header.customer is not None else block.inside(header)
    if header.customer in (None, block.customer):
        return block.inside(header)
    return block


@dataclass(frozen=True, slots=True)
class _Layer:
    """One entered block in the stack of a context; immutable, as tasks and threads share it."""

    block: object
    below: "_Layer | None"
    attribution: Attribution


_top: ContextVar[_Layer | None] = ContextVar("microdollar_customer", default=None)


def current() -> Attribution | None:
    """The attribution of the innermost block in force, or None outside any block."""
    layer = _top.get()
    return None if layer is None else layer.attribution


class CustomerBlock:
    """A `with` block or decorator; see `customer`. Reusable, re-entrant, and free to share."""

    __slots__ = ("_attribution",)

    def __init__(self, own: Attribution) -> None:
        self._attribution = own

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    def __call__(self, function: F) -> F:
        """Decorate a function, coroutine function, generator or asynchronous generator."""
        return self._decorate(function) or function

    @guarded
    def _enter(self) -> None:
        if not metering_started:
            _warn_of_no_metering()
        outer, own = current(), self._attribution
        if outer is not None and own.customer is not None and own.customer == outer.customer:
            own = own.inside(outer)
        _top.set(_Layer(self, _top.get(), own))

    @guarded
    def _leave(self) -> None:
        # A block may be left in another context than it was entered in (frameworks run the two
        # halves of a generator in different threads); there is nothing to take back there.
        layer, above = _top.get(), []
        while layer is not None and layer.block is not self:
            above.append(layer)
            layer = layer.below
        if layer is None:
            return
        # Generators leave their blocks in any order; those entered since still hold.
        rest = layer.below
        for kept in reversed(above):
            rest = replace(kept, below=rest)
        _top.set(rest)

    @guarded
    def _decorate(self, function: F) -> F:
        if inspect.isasyncgenfunction(function):
            wrapper: Any = self._async_generator(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._generator(function)
        elif inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)
        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    result = function(*args, **kwargs)
                # A wrapper around a coroutine function does not look like one.
                return self._coroutine(result) if inspect.iscoroutine(result) else result

        return cast("F", functools.wraps(function)(wrapper))

    async def _coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self:
            return await coroutine

    def _generator(self, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            generator = function(*args, **kwargs)
            inner = _Inner(self)
            step: Callable[[], Any] = functools.partial(next, generator)
            while True:
                try:
                    with inner:
                        item = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    sent = yield item
                except GeneratorExit:
                    with inner:
                        generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = functools.partial(generator.send, sent)

        return wrapper

    def _async_generator(
        self, function: Callable[..., AsyncGenerator[Any, Any]]
    ) -> Callable[..., Any]:
        async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            generator = function(*args, **kwargs)
            inner = _Inner(self)
            step: Callable[[], Awaitable[Any]] = functools.partial(anext, generator)
            while True:
                try:
                    with inner:
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    with inner:
                        await generator.aclose()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)
                else:
                    step = functools.partial(generator.asend, sent)

        return wrapper


class _Inner:
    """The stack of blocks as a generator's own code sees it, in force only while that runs."""

    __slots__ = ("_block", "_inside", "_outside", "_started")

    def __init__(self, block: CustomerBlock) -> None:
        self._block = block
        self._started = False
        self._inside: _Layer | None = None
        self._outside: _Layer | None = None

    @guarded
    def __enter__(self) -> None:
        self._outside = _top.get()
        if self._started:
            _top.set(self._inside)
        else:
            self._started = True
            self._block._enter()

    @guarded
    def __exit__(self, *exc_info: object) -> None:
        self._inside = _top.get()
        _top.set(self._outside)


def customer(customer_id: object, *, user: object = None, **tags: object) -> CustomerBlock:
    """Say for which customer the calls inside a `with` block or decorated function are made.

    It holds for the current context only, so concurrent threads and tasks do not mix. A nested
    block for the same customer inherits the user and the tags it does not set; a block for
    another customer starts clean.

    Args:
        customer_id: The end customer (tenant).
        user: The user inside that customer.
        **tags: At most 16 further labels, such as `feature="assistant"`.

    Values are `str`, `int` or `uuid.UUID` of 1 to 256 characters without control characters, tag
    names at most 64 characters. Nothing is raised for a value that cannot be used: a warning is
    logged, once per kind, and the value is left out.
    """
    # Asked for a customer, so the lack of one is worth the warning that an empty one gets.
    named = "" if customer_id is None else customer_id
    return CustomerBlock(_attribution(named, user, tags) or Attribution())


_attribution = guarded(attribution)


def _valid(kind: str, value: object, limit: int = MAX_LENGTH) -> str | None:
    """`value` as text; None if it is None or cannot be used. The value itself is never logged."""
    if value is None:
        return None
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write out integers of thousands of digits; this many are too long.
        text = int.__str__(value) if value.bit_length() <= 4 * limit else "9" * (limit + 1)
    elif isinstance(value, uuid.UUID):
        text = str(value)
    else:
        warn_once(f"{kind} type", "%s left out: neither str, int nor UUID", kind)
        return None
    if not text:
        warn_once(f"{kind} empty", "%s left out: empty", kind)
    elif len(text) > limit:
        warn_once(f"{kind} length", "%s left out: longer than %d characters", kind, limit)
    elif UNSAFE.search(text):
        warn_once(f"{kind} characters", "%s left out: has control characters", kind)
    elif _EMAIL.fullmatch(text) and not Settings.load().allow_email:
        warn_once(
            f"{kind} e-mail",
            "%s left out: it looks like an e-mail address, which would be stored; use another "
            "name for it, or set MICRODOLLAR_ALLOW_EMAIL",
            kind,
        )
    else:
        return text
    return None


_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


metering_started = False
"""Whether anybody has started metering, or tried to; set by `_hooks`."""


def _warn_of_no_metering() -> None:
    if is_switched_off(os.environ):
        return
    warn_once(
        "not started",
        "a customer block was entered, but metering was not started. Run the app under "
        "opentelemetry-instrument, or call microdollar.instrument() at its start.",
    )


def _limited(tags: dict[str, str], first: Iterable[str]) -> dict[str, str]:
    """At most `MAX_TAGS` tags, those named in `first` before the others."""
    if len(tags) <= MAX_TAGS:
        return tags
    warn_once("tag count", "tags left out: more than %d", MAX_TAGS)
    names = [*first, *(name for name in tags if name not in set(first))]
    return {name: tags[name] for name in names[:MAX_TAGS]}
