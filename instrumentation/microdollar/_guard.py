# SPDX-License-Identifier: Apache-2.0
"""The wall between our faults and the app: a fault of the meter is logged, never felt."""

import functools
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

__all__ = ["guarded", "is_foreign", "logger", "report", "warn_once"]

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("microdollar")

reraise = False
"""Let faults through. Only our own tests set it."""

_OURS = sys.stdlib_module_names | {
    "aiohttp",
    "botocore",
    "httpx",
    "httpx2",
    "microdollar",
    "microdollar_semconv",
    "multidict",
    "opentelemetry",
    "requests",
    "urllib3",
    "wrapt",
    "yarl",
}
"""Top-level packages in which a fault of ours can surface on the app's own threads."""

_seen: set[tuple[str, ...]] = set()


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make `function` return None instead of raising.

    `BaseException`s that end the app pass, and so does what a signal handler of the app raises
    while our code happens to run: a time limit, for example.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if is_foreign(error):
                raise
            report(function.__qualname__, error)
            return None

    return call


def is_foreign(error: Exception) -> bool:
    """Whether an exception was raised by code that is neither ours nor called by us."""
    frame = None
    traceback = error.__traceback__
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
    if frame is None:
        return False
    return str(frame.f_globals.get("__name__")).partition(".")[0] not in _OURS


def report(place: str, error: Exception) -> None:
    """Log a fault of ours, once per place and type.

    The error's message is left out, because it may quote what the app sent or received.
    """
    if reraise:
        raise error
    kind = type(error).__qualname__
    if _first("fault", place, kind):
        _log(
            logging.ERROR,
            "internal fault in %s: %s at %s. The app is not affected; "
            "calls may be metered incompletely.",
            place,
            kind,
            _position(error.__traceback__),
        )


def warn_once(kind: str, message: str, *args: object, level: int = logging.WARNING) -> None:
    """Log a message the first time its `kind` occurs in this process."""
    if _first("warning", kind):
        _log(level, message, *args)


def _log(level: int, message: str, *args: object) -> None:
    with suppress(Exception):  # the handlers are the app's
        logger.log(level, "microdollar: " + message, *args)


def _first(*key: str) -> bool:
    if key in _seen:
        return False
    _seen.add(key)
    return True


def _position(traceback: TracebackType | None) -> str:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "unknown"
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
