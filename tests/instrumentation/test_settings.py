# SPDX-License-Identifier: Apache-2.0
"""The environment variables, their values, and what becomes of bad ones."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import microdollar
from microdollar import providers
from microdollar._settings import PROVIDERS, Settings, is_switched_off


def test_the_defaults() -> None:
    assert Settings.load({}) == Settings(
        enabled=True,
        hosts={},
        otlp_endpoint=None,
        otlp_protocol=None,
        queue_size=10_000,
        exit_timeout=5.0,
    )


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("ENABLED", "false", "enabled", False),
        ("ENABLED", "0", "enabled", False),
        ("ENABLED", "Off", "enabled", False),
        ("ENABLED", "no", "enabled", False),
        ("ENABLED", "on", "enabled", True),
        ("ENABLED", "yes", "enabled", True),
        ("ENABLED", " True ", "enabled", True),
        ("ENABLED", "", "enabled", True),
        ("HOSTS", "LLM.local=openai", "hosts", {("llm.local", None): "openai"}),
        (
            "HOSTS",
            "a:1=openai, b=anthropic,",
            "hosts",
            {("a", 1): "openai", ("b", None): "anthropic"},
        ),
        ("HOSTS", "llm.local.:80=openai", "hosts", {("llm.local", 80): "openai"}),
        ("HOSTS", "[::1]:80=gemini", "hosts", {("::1", 80): "gemini"}),
        ("HOSTS", "[::1]=gemini", "hosts", {("::1", None): "gemini"}),
        ("OTLP_ENDPOINT", "http://c:4318", "otlp_endpoint", "http://c:4318"),
        ("OTLP_PROTOCOL", "grpc", "otlp_protocol", "grpc"),
        ("QUEUE_SIZE", "1", "queue_size", 1),
        ("EXIT_TIMEOUT", "0.5", "exit_timeout", 0.5),
        ("EXIT_TIMEOUT", "0", "exit_timeout", 0.0),
    ],
)
def test_a_good_value(variable: str, text: str, option: str, value: Any) -> None:
    assert getattr(Settings.load({f"MICRODOLLAR_{variable}": text}), option) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ENABLED", "maybe"),
        ("OTLP_ENDPOINT", "c:4318"),
        ("OTLP_PROTOCOL", "http/json"),
        ("QUEUE_SIZE", "0"),
        ("QUEUE_SIZE", "many"),
        ("EXIT_TIMEOUT", "-1"),
        ("EXIT_TIMEOUT", "nan"),
    ],
)
def test_a_bad_value_is_said_and_the_default_used(
    variable: str, text: str, warnings_logged: list[str]
) -> None:
    assert Settings.load({f"MICRODOLLAR_{variable}": text}) == Settings()
    (message,) = warnings_logged
    assert f"MICRODOLLAR_{variable}" in message
    assert text not in message


@pytest.mark.parametrize(
    "entry",
    [
        "localhost:8000",
        "=openai",
        ".=openai",
        "a=b=c:x=openai",
        "a:port=openai",
        "a:0=openai",
        "a:65536=openai",
        "a=",
        "a=mystery",
        "http://a=openai",
        "a/v1=openai",
        "[::1=openai",
    ],
)
def test_a_bad_host_is_named_and_the_others_hold(entry: str, warnings_logged: list[str]) -> None:
    settings = Settings.load({"MICRODOLLAR_HOSTS": f"b=gemini,{entry},c:65535=openai"})
    assert settings.hosts == {("b", None): "gemini", ("c", 65535): "openai"}
    assert warnings_logged == [
        f"microdollar: MICRODOLLAR_HOSTS: {entry!r} left out; "
        f"expected host[:port]={'|'.join(PROVIDERS)}"
    ]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"MICRODOLLAR_ENABLED": "off"}, True),
        ({"OTEL_SDK_DISABLED": "true"}, True),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask, microdollar"}, True),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask"}, False),
    ],
)
def test_switched_off(environ: dict[str, str], expected: bool) -> None:
    assert is_switched_off(environ) is expected


def test_every_provider_can_be_declared() -> None:
    assert set(PROVIDERS) == set(providers.PROVIDERS)


def test_the_readme_has_the_table_of_settings() -> None:
    rows = [
        f"| `{option.metadata['variable']}` | {default(option.metadata['default'])} "
        f"| {option.metadata['meaning']} |"
        for option in fields(Settings)
    ]
    readme = (Path(microdollar.__file__).parents[1] / "README.md").read_text()
    written = [line for line in readme.splitlines() if line.startswith("| `MICRODOLLAR_")]
    assert written == rows


def default(value: object) -> str:
    """As somebody would set the variable; nothing for what is not set."""
    if value in (None, "", {}):
        return ""
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{str(value).lower()}`"


def test_a_disabled_sdk_disables_metering() -> None:
    assert not Settings.load({"OTEL_SDK_DISABLED": " TRUE "}).enabled


@given(
    st.sampled_from(["ENABLED", "HOSTS", "OTLP_ENDPOINT", "QUEUE_SIZE", "EXIT_TIMEOUT"]), st.text()
)
def test_no_value_raises(variable: str, text: str) -> None:
    Settings.load({f"MICRODOLLAR_{variable}": text})


def test_the_settings_name_every_provider() -> None:
    """They are listed there too, so that reading the settings does not load the table."""
    assert set(PROVIDERS) == set(providers.PROVIDERS)
