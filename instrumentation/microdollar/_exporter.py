# SPDX-License-Identifier: Apache-2.0
"""Choose and load the OTLP exporter, among those installed."""

import logging
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import cast

from opentelemetry.sdk.trace.export import SpanExporter

from microdollar._guard import warn_once
from microdollar._settings import PROTOCOLS, Settings

__all__ = ["ExporterUnavailableError", "load", "protocol"]

_ENTRY_POINTS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class ExporterUnavailableError(Exception):
    """The exporter for the configured protocol is not installed."""


def load(settings: Settings) -> SpanExporter:
    """Make the exporter that settings and environment ask for.

    Raises:
        ExporterUnavailableError: it is not installed; what to do about it has been logged.
    """
    installed = {entry.name: entry for entry in entry_points(group="opentelemetry_traces_exporter")}
    chosen = protocol(settings, os.environ, grpc_installed=_ENTRY_POINTS["grpc"] in installed)
    entry = installed.get(_ENTRY_POINTS[chosen])
    if entry is None:
        warn_once(
            "exporter",
            "NO METERING DATA IS SENT: the OTLP protocol is set to %s, whose exporter "
            "is not installed. Install opentelemetry-exporter-otlp-proto-%s, or set "
            "MICRODOLLAR_OTLP_PROTOCOL (and MICRODOLLAR_OTLP_ENDPOINT) to another one of: %s.",
            chosen,
            "grpc" if chosen == "grpc" else "http",
            ", ".join(PROTOCOLS),
            level=logging.ERROR,
        )
        raise ExporterUnavailableError(chosen)
    exporter = entry.load()
    endpoint = settings.otlp_endpoint
    if endpoint is None:
        return cast("SpanExporter", exporter())
    if chosen == "http/protobuf" and not endpoint.endswith("/v1/traces"):
        endpoint = endpoint.rstrip("/") + "/v1/traces"
    return cast("SpanExporter", exporter(endpoint=endpoint))


def protocol(settings: Settings, environ: Mapping[str, str], *, grpc_installed: bool) -> str:
    """The OTLP protocol to use: one of `PROTOCOLS`.

    opentelemetry-distro sets `OTEL_EXPORTER_OTLP_PROTOCOL=grpc` for everybody, also where only
    the HTTP exporter is installed. Without an endpoint that is nobody's wish, so it is not obeyed.
    """
    if settings.otlp_protocol is not None:
        return settings.otlp_protocol
    wish = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "").strip()
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip()
    )
    if wish != "grpc":
        return "http/protobuf"
    has_endpoint = settings.otlp_endpoint or any(
        environ.get(variable, "").strip()
        for variable in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    return "grpc" if grpc_installed or has_endpoint else "http/protobuf"
