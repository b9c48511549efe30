# SPDX-License-Identifier: Apache-2.0
"""Whom a call is made for: blocks, decorators, nesting, threads, tasks, and bad values."""

import asyncio
import inspect
import threading
import uuid
from collections.abc import AsyncGenerator, Generator
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar import customer
from microdollar._customer import Attribution, attribution, current, joined

ACME = Attribution("acme", "u1", {"feature": "chat"})


def seen() -> tuple[str | None, str | None, dict[str, str]]:
    who = current() or Attribution()
    return who.customer, who.user, dict(who.tags)


def test_a_block_holds_inside_and_not_after() -> None:
    assert current() is None
    with customer("acme", user="u1", feature="chat"):
        assert current() == ACME
    assert current() is None


def test_a_block_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), customer("acme"):
        raise ZeroDivisionError
    assert current() is None


def test_the_same_customer_inherits_what_it_does_not_set() -> None:
    with customer("acme", user="u1", feature="chat", team="blue"):
        with customer("acme", team="red"):
            assert seen() == ("acme", "u1", {"feature": "chat", "team": "red"})
        with customer("acme", user="u2"):
            assert seen() == ("acme", "u2", {"feature": "chat", "team": "blue"})
        assert seen() == ("acme", "u1", {"feature": "chat", "team": "blue"})


def test_another_customer_starts_clean() -> None:
    with customer("acme", user="u1", feature="chat"), customer("globex"):
        assert seen() == ("globex", None, {})


def test_an_unusable_customer_is_not_the_outer_one() -> None:
    with customer("acme", user="u1"), customer("", feature="chat"):
        assert seen() == (None, None, {"feature": "chat"})


def test_one_block_can_be_used_again_and_inside_itself() -> None:
    block = customer("acme")
    for _ in range(2):
        with block:
            with block, customer("globex"):
                assert seen()[0] == "globex"
            assert seen()[0] == "acme"
        assert current() is None


def test_threads_start_outside_and_do_not_mix() -> None:
    found: dict[Any, Any] = {}
    barrier = threading.Barrier(3)

    def work(name: str) -> None:
        found["before", name] = current()
        with customer(name):
            barrier.wait(5)
            found[name] = seen()[0]
            barrier.wait(5)

    with customer("outer"):
        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {"a": "a", "b": "b", "c": "c"} | {("before", n): None for n in "abc"}


def test_tasks_inherit_and_do_not_mix() -> None:
    async def work(name: str) -> tuple[Any, Any]:
        before = seen()[0]
        with customer(name):
            await asyncio.sleep(0)
            return before, seen()[0]

    async def main() -> list[tuple[Any, Any]]:
        with customer("outer"):
            return await asyncio.gather(*(work(name) for name in "abc"))

    assert asyncio.run(main()) == [("outer", name) for name in "abc"]


def test_a_block_left_in_another_context_is_harmless() -> None:
    """Frameworks run the two halves of a generator in different threads."""
    block = customer("acme")
    copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert current() is None
    with customer("globex"):
        block.__exit__(None, None, None)
        assert seen()[0] == "globex"


def test_blocks_left_in_any_order_take_only_themselves_back() -> None:
    first, second, third = customer("a"), customer("b", user="u"), customer("b", feature="f")
    for block in (first, second, third):
        block.__enter__()
    first.__exit__(None, None, None)
    assert seen() == ("b", "u", {"feature": "f"})
    second.__exit__(None, None, None)
    assert seen() == ("b", "u", {"feature": "f"})
    third.__exit__(None, None, None)
    assert current() is None


def test_a_generator_that_ends_early_leaves_the_blocks_above_it() -> None:
    def work() -> Generator[None, None, None]:
        with customer("inside"):
            yield

    generator = work()
    next(generator)
    with customer("live"):
        assert list(generator) == []
        assert seen()[0] == "live"
    assert current() is None


def test_it_decorates_what_returns_a_coroutine() -> None:
    """Wrappers of coroutine functions, and objects that are called like one."""

    async def work() -> str | None:
        await asyncio.sleep(0)
        return seen()[0]

    class Task:
        async def __call__(self) -> str | None:
            return await work()

    def wrapped() -> Any:
        return work()

    plain: Any = customer("acme")(wrapped)
    called: Any = customer("acme")(Task())

    async def main() -> None:
        for function in (plain, called):
            pending = function()
            assert current() is None
            assert await pending == "acme"
            assert current() is None

    asyncio.run(main())


def test_it_decorates_functions_and_coroutine_functions() -> None:
    @customer("acme")
    def function(value: int, *, more: int = 0) -> tuple[int, str | None]:
        """Keeps its name."""
        return value + more, seen()[0]

    @customer("acme")
    async def coroutine(value: int) -> tuple[int, str | None]:
        await asyncio.sleep(0)
        return value, seen()[0]

    assert function(1, more=2) == (3, "acme")
    assert function.__doc__ == "Keeps its name."
    assert inspect.iscoroutinefunction(coroutine)
    assert asyncio.run(coroutine(1)) == (1, "acme")
    assert current() is None


def test_a_generator_has_its_customer_only_while_its_own_code_runs() -> None:
    log: list[Any] = []

    @customer("acme")
    def numbers() -> Generator[int, str, str]:
        log.append(seen()[0])
        try:
            log.append((yield 1))
            with customer("inner"):
                yield 2
                log.append(seen()[0])
        except ValueError:
            log.append(seen()[0])
            yield 3
        finally:
            log.append(("finally", seen()[0]))
        return "done"

    generator = numbers()
    assert inspect.isgeneratorfunction(numbers)
    assert log == []
    assert (next(generator), seen()[0]) == (1, None)
    with customer("globex"):
        assert (generator.send("sent"), seen()[0]) == (2, "globex")
        with pytest.raises(StopIteration) as stop:
            next(generator)
    assert stop.value.value == "done"
    assert log == ["acme", "sent", "inner", ("finally", "acme")]

    generator, log[:] = numbers(), []
    next(generator)
    assert generator.throw(ValueError) == 3
    generator.close()
    assert log == ["acme", "acme", ("finally", "acme")]
    assert current() is None


def test_an_async_generator_has_its_customer_only_while_its_own_code_runs() -> None:
    log: list[Any] = []

    @customer("acme")
    async def numbers() -> AsyncGenerator[int, str]:
        log.append(seen()[0])
        try:
            log.append((yield 1))
            await asyncio.sleep(0)
            log.append(seen()[0])
            yield 2
        except ValueError:
            log.append(seen()[0])
            yield 3
        finally:
            log.append(("finally", seen()[0]))

    async def main() -> None:
        generator = numbers()
        assert (await anext(generator), seen()[0]) == (1, None)
        assert (await generator.asend("sent"), seen()[0]) == (2, None)
        assert await generator.athrow(ValueError) == 3
        await generator.aclose()
        assert log == ["acme", "sent", "acme", "acme", ("finally", "acme")]
        assert [number async for number in _first_two(numbers())] == [1, 2]

    assert inspect.isasyncgenfunction(numbers)
    asyncio.run(main())


async def _first_two(generator: AsyncGenerator[int, str]) -> AsyncGenerator[int, None]:
    async for number in generator:
        yield number


def test_numbers_and_uuids_are_names_too() -> None:
    number = uuid.uuid4()
    with customer(42, user=number):
        assert seen() == ("42", str(number), {})
    with customer(10**255):
        assert seen()[0] == str(10**255)


BAD = {
    "": "empty",
    "x" * 257: "longer than 256 characters",
    "a\nb": "has control characters",
    "\ud800": "has control characters",
    10**256: "longer than 256 characters",
    10**5000: "longer than 256 characters",
    1.5: "neither str, int nor UUID",
    True: "neither str, int nor UUID",
    None: "empty",
    "unassigned": "'unassigned' is reserved",
}


@pytest.mark.parametrize(("value", "reason"), BAD.items(), ids=map(ascii, BAD.values()))
def test_a_bad_customer_is_left_out_and_said_once(
    value: object, reason: str, warnings_logged: list[str]
) -> None:
    for _ in range(2):
        with customer(value, user="u1"):
            assert seen() == (None, "u1", {})
    assert warnings_logged == [f"microdollar: customer id left out: {reason}"]


def test_bad_users_and_tags_are_left_out(warnings_logged: list[str]) -> None:
    long: Any = {"n" * 65: "1", "n" * 64: "1"}
    with customer("x" * 256, user="", a="x" * 256, b="x" * 257, c=None, **long):
        assert seen() == ("x" * 256, None, {"a": "x" * 256, "n" * 64: "1"})
    assert sorted(warnings_logged) == [
        "microdollar: tag left out: longer than 256 characters",
        "microdollar: tag name left out: longer than 64 characters",
        "microdollar: user id left out: empty",
    ]


def test_at_most_16_tags_the_innermost_first(warnings_logged: list[str]) -> None:
    outer = {f"o{number}": "1" for number in range(16)}
    with customer("acme", **outer):
        assert len(seen()[2]) == 16
        with customer("acme", new="1"):
            assert "new" in seen()[2]
            assert len(seen()[2]) == 16
    assert warnings_logged == ["microdollar: tags left out: more than 16"]


def test_the_block_wins_over_the_header() -> None:
    header = Attribution("acme", "u2", {"team": "blue", "feature": "x"})
    assert joined(None, header) == header
    assert joined(ACME, Attribution()) == ACME
    merged = {"team": "blue", "feature": "chat"}
    assert joined(ACME, header) == Attribution("acme", "u1", merged)
    assert joined(Attribution("acme"), Attribution(None, "u2")) == Attribution("acme", "u2")
    assert joined(ACME, Attribution("globex", "u2", {"team": "blue"})) == ACME
    assert joined(Attribution(None, None, {"a": "1"}), header).customer == "acme"


VALUES = st.one_of(st.text(), st.integers(), st.uuids(), st.none(), st.floats(), st.binary())


@given(VALUES, VALUES, st.dictionaries(st.text(), VALUES))
def test_whatever_is_given_the_result_is_safe(who: Any, user: Any, tags: dict[str, Any]) -> None:
    result = attribution(who, user, tags)
    texts = [result.customer, result.user, *result.tags, *result.tags.values()]
    for text in filter(None, texts):
        assert 0 < len(text) <= 256
        text.encode()
        assert not any(ord(character) < 32 for character in text)
    assert len(result.tags) <= 16
