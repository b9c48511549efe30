# SPDX-License-Identifier: Apache-2.0
"""Which exporter is used, and what is said when it is not there."""

import re
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from microdollar import _exporter
from microdollar._exporter import ExporterUnavailableError, load, protocol
from microdollar._settings import Settings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}
DISTRO = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
TRACES = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}


@pytest.mark.parametrize(
    ("settings", "environ", "grpc_installed", "expected"),
    [
        ({}, {}, True, "http/protobuf"),
        ({}, DISTRO, True, "grpc"),
        ({}, DISTRO, False, "http/protobuf"),
        ({}, DISTRO | ENDPOINT, False, "grpc"),
        ({}, DISTRO | TRACES, True, "http/protobuf"),
        ({}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, True, "grpc"),
        ({"otlp_endpoint": "http://c"}, DISTRO, False, "grpc"),
        ({"otlp_protocol": "http/protobuf"}, DISTRO | ENDPOINT, True, "http/protobuf"),
        ({"otlp_protocol": "grpc"}, {}, False, "grpc"),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, True, "http/protobuf"),
    ],
)
def test_the_protocol(
    settings: dict[str, Any], environ: dict[str, str], grpc_installed: bool, expected: str
) -> None:
    assert protocol(Settings(**settings), environ, grpc_installed=grpc_installed) == expected


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ENDPOINT", "PROTOCOL", "TRACES_ENDPOINT", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{variable}", raising=False)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("http://c/base", "http://c/base/v1/traces"),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
        (None, "http://localhost:4318/v1/traces"),
    ],
)
def test_the_endpoint_is_a_base_url(given: str | None, used: str) -> None:
    exporter: Any = load(Settings(otlp_endpoint=given))
    assert exporter._endpoint == used
    exporter.shutdown()


def test_opentelemetrys_own_variables_hold_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318")
    exporter: Any = load(Settings())
    assert exporter._endpoint == "http://otel:4318/v1/traces"
    exporter.shutdown()


def test_a_missing_exporter_is_said_loudly_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    http = EntryPoint("otlp_proto_http", "x:y", "opentelemetry_traces_exporter")
    monkeypatch.setattr(_exporter, "entry_points", lambda **_: [http])
    with pytest.raises(ExporterUnavailableError):
        load(Settings(otlp_protocol="grpc"))
    (message,) = warnings_logged
    assert "NO METERING DATA IS SENT" in message
    assert "opentelemetry-exporter-otlp-proto-grpc" in message
    assert "MICRODOLLAR_OTLP_PROTOCOL" in message


def test_we_never_import_grpc_ourselves() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("microdollar.") and (path := getattr(module, "__file__", None)):
            with open(path, encoding="utf-8") as source:  # noqa: PTH123
                assert not re.search(r"^\s*(import|from) grpc", source.read(), re.MULTILINE)
