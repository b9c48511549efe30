# SPDX-License-Identifier: Apache-2.0
"""`python -m microdollar` says what holds, what would happen, and whether a span arrives."""

import io
import os
import subprocess
import sys
from dataclasses import fields

import pytest

from microdollar import __main__ as doctor
from microdollar._settings import Settings
from tests.instrumentation.collector import Collector, attributes


def run(*arguments: str, text: str = "", **environ: str) -> tuple[int, str]:
    """The exit status and the output of the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "microdollar", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MICRODOLLAR_")} | environ,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_setting_is_printed_with_its_meaning() -> None:
    lines = list(doctor.settings_table(Settings()))
    variables = [line.split()[0] for line in lines[::2]]
    assert variables == [option.metadata["variable"] for option in fields(Settings)]
    assert all(line.strip().endswith(".") and "default" not in line for line in lines[1::2])


def test_what_is_set_is_told_from_the_default_and_secrets_are_not_shown() -> None:
    settings = Settings.load(
        {
            "MICRODOLLAR_QUEUE_SIZE": "5",
            "MICRODOLLAR_API_KEY_SALT": "canary",
            "MICRODOLLAR_HOSTS": "llm.internal:8000=openai",
        }
    )
    text = "\n".join(doctor.settings_table(settings))
    assert "MICRODOLLAR_QUEUE_SIZE = 5 (default: 10000)" in text
    assert "MICRODOLLAR_ENABLED = true\n" in text
    assert "MICRODOLLAR_HOSTS = llm.internal:8000=openai (default: not set)" in text
    assert "MICRODOLLAR_API_KEY_SALT = (set)" in text
    assert "canary" not in text


def test_a_healthy_installation() -> None:
    status, text = run(MICRODOLLAR_OTLP_ENDPOINT="http://user:canary@127.0.0.1:9/")
    assert status == 0, text
    assert "metering: on" in text
    assert "spans go: to http://127.0.0.1:9/v1/traces" in text
    assert "canary" not in text
    assert "x-tenant-id" in text


def test_metering_that_is_off_is_no_health() -> None:
    status, text = run(MICRODOLLAR_ENABLED="false")
    assert status == 1
    assert "metering: OFF" in text


def test_a_test_span_arrives_and_is_nobodys() -> None:
    with Collector() as collector:
        status, text = run("--send-test-span", MICRODOLLAR_OTLP_ENDPOINT=collector.url)
        assert status == 0, text
        (span,) = collector.spans()
    assert "test span: taken" in text
    values = attributes(span)
    assert values["gen_ai.request.model"] == "microdollar-test"
    assert values["microdollar.usage.source"] == "none"
    assert "microdollar.customer.id" not in values


def test_a_key_is_fingerprinted_without_being_shown() -> None:
    status, text = run("--fingerprint", text="sk-canary\n", MICRODOLLAR_API_KEY_SALT="salt")
    assert status == 0
    found = text.strip()
    settings = Settings.load({"MICRODOLLAR_API_KEYS": f"{found}=acme"})
    assert settings.api_keys == {found: "acme"}
    assert "canary" not in text


def test_a_key_is_read_from_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("sk-1\n"))
    assert doctor.main(["--fingerprint"]) == 0
    assert len(capsys.readouterr().out.strip()) == 32
