# SPDX-License-Identifier: Apache-2.0
"""Choose and load the OTLP exporter, among those installed."""

import logging
import os
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import cast
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter

from microdollar._guard import warn_once
from microdollar._settings import PROTOCOLS, Settings

__all__ = [
    "ExporterUnavailableError",
    "endpoint",
    "exporting",
    "limit",
    "load",
    "protocol",
    "public",
]

_ENTRY_POINTS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


exporting: ContextVar[bool] = ContextVar("microdollar_exporting", default=False)
"""Whether this context sends metering spans. Such requests are not metered themselves, though
they may go through a client that we meter."""


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
    url = settings.otlp_endpoint
    if url is None:
        return cast("SpanExporter", exporter())
    if chosen == "http/protobuf" and not url.endswith("/v1/traces"):
        url = url.rstrip("/") + "/v1/traces"
    return cast("SpanExporter", exporter(endpoint=url))


def limit(exporter: SpanExporter, seconds: float) -> None:
    """Let an export end with its first failure, and after `seconds`.

    One that is waiting to try again now ends too. The exporters offer that only together with
    closing their connection, which would cut off an attempt that may succeed, so what they wait
    for is set directly. An exporter built otherwise keeps to its own timeout.
    """
    for owner in (exporter, getattr(exporter, "_client", None)):
        for name in ("_shutdown_event", "_shutdown_in_progress"):
            event = getattr(owner, name, None)
            if isinstance(event, threading.Event):
                event.set()
        timeout = getattr(owner, "_timeout", None)
        if isinstance(timeout, int | float):
            owner._timeout = min(timeout, seconds)  # type: ignore[union-attr]


def endpoint(exporter: SpanExporter) -> str | None:
    """Where an exporter sends to, without credentials and query; None if it does not say."""
    text = getattr(exporter, "_endpoint", None)
    return public(text) if isinstance(text, str) else None


def public(address: str) -> str | None:
    """A URL without credentials and query; None if it is none."""
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:
        return None
    plain = url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="")
    return plain.geturl().removeprefix("//")


def protocol(settings: Settings, environ: Mapping[str, str], *, grpc_installed: bool) -> str:
    """The OTLP protocol to use: one of `PROTOCOLS`.

    opentelemetry-distro sets `OTEL_EXPORTER_OTLP_PROTOCOL=grpc` for everybody, so that variable
    may be nobody's wish: it is not obeyed against an endpoint that is plainly HTTP, nor where
    there is neither an endpoint nor the exporter.
    """
    if settings.otlp_protocol is not None:
        return settings.otlp_protocol
    wish = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if wish != "grpc":
        if wish not in (None, "http/protobuf"):
            warn_once(
                "protocol",
                "the OTLP protocol that the environment asks for is not one of %s; "
                "http/protobuf is used",
                ", ".join(PROTOCOLS),
            )
        return "http/protobuf"
    url = settings.otlp_endpoint or _first(
        environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    if url is None:
        return "grpc" if grpc_installed else "http/protobuf"
    return "http/protobuf" if _is_http(url) else "grpc"


def _first(environ: Mapping[str, str], *variables: str) -> str | None:
    """The value of the first variable that has one."""
    values = (environ.get(variable, "").strip() for variable in variables)
    return next(filter(None, values), None)


def _is_http(url: str) -> bool:
    """Whether an endpoint has the port of OTLP/HTTP, or a path, which gRPC has no use for."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        port = parts.port
    except ValueError:
        return False
    return port == 4318 or (parts.scheme != "unix" and parts.path not in ("", "/"))
