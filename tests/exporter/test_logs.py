# SPDX-License-Identifier: Apache-2.0
"""The log: for people or for programs, and never with what is being read."""

import io
import json
import logging
import re
from pathlib import Path

import pytest

from microdollar_exporter.telemetry.logs import LogFormat, formatter
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

SECRET = "what somebody asked a model"


def logged(form: LogFormat, message: str, error: BaseException | None = None) -> str:
    """A warning as it stands in the log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(form))
    logger = logging.Logger("some.part")
    logger.addHandler(handler)
    logger.warning(message, exc_info=error)
    return stream.getvalue()


def raised() -> Exception:
    """A fault whose words, and whose cause's words, are somebody's prompt."""
    with pytest.raises(KeyError) as caught:
        try:
            int(SECRET)
        except ValueError as cause:
            raise KeyError(SECRET) from cause
    return caught.value


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_logged_by_its_type_and_its_place(form: LogFormat) -> None:
    """Its own words can quote a prompt; those of what caused it too."""
    text = logged(form, "a fault", raised())
    assert SECRET not in text
    assert "a fault" in text
    assert re.search(r"builtins\.KeyError.*in raised.*builtins\.ValueError.*in raised", text, re.S)


def test_a_line_of_json_is_one_object() -> None:
    """Whatever stands in the message."""
    text = logged("json", 'two\nlines and a "quote"')
    assert text.count("\n") == 1
    line = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "some.part",
        "message": 'two\nlines and a "quote"',
    }


def test_an_exporter_logs_nothing_but_json_when_told_to(tmp_path: Path) -> None:
    """From its first line to its last."""
    exporter = Exporter(tmp_path / "meter.duckdb", options=["--log-format", "json"])
    exporter.export(request(call(), call(span_id=b"")))
    exporter.send("POST", "/v1/traces", b"\xff", {"content-type": "application/x-protobuf"})
    assert exporter.terminate() == 0
    lines = [json.loads(line) for line in exporter.lines]
    messages = [line["message"] for line in lines]
    assert any(message.startswith("OTLP/gRPC on ") for message in messages)
    assert any(message.startswith("spans are refused: span_id is not 8") for message in messages)
    assert any(message.startswith("an export is refused: the body is not") for message in messages)
    assert messages[-1].startswith("closed ")
