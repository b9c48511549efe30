# SPDX-License-Identifier: Apache-2.0
"""Which exporter is used, and what is said when it is not there."""

import re
import socket
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from microdollar import _exporter
from microdollar._exporter import (
    ExporterUnavailableError,
    endpoint,
    limit,
    load,
    protocol,
)
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
        ({"otlp_endpoint": "http://c:4318"}, DISTRO, True, "http/protobuf"),
        ({"otlp_endpoint": "http://c:4318"}, DISTRO | ENDPOINT, True, "http/protobuf"),
        ({"otlp_endpoint": "http://c/otlp"}, DISTRO, True, "http/protobuf"),
        ({"otlp_endpoint": "http://c:4317/"}, DISTRO, True, "grpc"),
        ({}, DISTRO | {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4318"}, True, "http/protobuf"),
        ({}, DISTRO | {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, True, "grpc"),
        ({}, DISTRO | {"OTEL_EXPORTER_OTLP_ENDPOINT": "unix:///run/otel"}, True, "grpc"),
        ({}, DISTRO | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:x"}, True, "grpc"),
        ({"otlp_protocol": "grpc", "otlp_endpoint": "http://c:4318"}, {}, True, "grpc"),
        ({"otlp_protocol": "http/protobuf"}, DISTRO | ENDPOINT, True, "http/protobuf"),
        ({"otlp_protocol": "grpc"}, {}, False, "grpc"),
        ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, True, "http/protobuf"),
    ],
)
def test_the_protocol(
    settings: dict[str, Any], environ: dict[str, str], grpc_installed: bool, expected: str
) -> None:
    assert protocol(Settings(**settings), environ, grpc_installed=grpc_installed) == expected


def test_an_unknown_protocol_is_said_once(warnings_logged: list[str]) -> None:
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    for _ in range(2):
        protocol(Settings(), environ, grpc_installed=True)
    (message,) = warnings_logged
    assert "http/protobuf is used" in message


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://u:p@c:4318/v1/traces?k=1#f", "http://c:4318/v1/traces"),
        ("c:4317", "c:4317"),
        ("http://[::1", None),
        (None, None),
    ],
)
def test_an_endpoint_is_shown_without_credentials(given: str | None, shown: str | None) -> None:
    exporter: Any = SimpleNamespace(_endpoint=given)
    assert endpoint(exporter) == shown


@pytest.mark.parametrize("chosen", ["http/protobuf", "grpc"])
def test_an_export_can_be_limited_to_one_attempt(chosen: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        exporter: Any = load(Settings(otlp_protocol=chosen, otlp_endpoint=url))
        limit(exporter, 0.05)
        owner, event = (
            (exporter, exporter._shutdown_in_progress)
            if chosen == "grpc"
            else (exporter._client, exporter._client._shutdown_event)
        )
        assert event.is_set()
        assert owner._timeout == 0.05
        span = ReadableSpan(name="a", context=SpanContext(1, 1, is_remote=False))
        assert exporter.export([span]) is SpanExportResult.FAILURE
        limit(exporter, 10)
        assert owner._timeout == 0.05
        exporter.shutdown()
    limit(InMemorySpanExporter(), 1)


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
