# SPDX-License-Identifier: Apache-2.0
"""The log: lines for people, or one JSON object a line for programs.

An exception's own words can quote what was being read, and what is being read is somebody's
prompt. Of an exception the log therefore has its type and where it was raised, never its text.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

__all__ = ["LogFormat", "configure_logging", "formatter"]

LogFormat = Literal["text", "json"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure_logging(form: LogFormat) -> None:
    """Log to stderr in this form, from `INFO` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def formatter(form: LogFormat) -> logging.Formatter:
    """Writes records in this form."""
    return _Json() if form == "json" else _Text()


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        return "\n".join(_exception(ei[1]))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = list(_exception(record.exc_info[1]))
        return json.dumps(line)


def _exception(error: BaseException | None) -> Iterator[str]:
    """The types of an exception and of its causes, each with the places it came through."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{type(error).__module__}.{type(error).__qualname__}"
        for frame in traceback.extract_tb(error.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
