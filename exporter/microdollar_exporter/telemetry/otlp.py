# SPDX-License-Identifier: Apache-2.0
"""Where the exporter's own metrics are sent, when they are: never to itself."""

import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

from microdollar_exporter.errors import UsageError

__all__ = ["otlp_reader"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def otlp_reader(environ: Mapping[str, str], own: Iterable[tuple[str, int]]) -> MetricReader:
    """Sends the metrics by OTLP/HTTP, as OpenTelemetry's environment variables say.

    `own` are the addresses of this exporter's doors.

    Raises:
        UsageError: no endpoint is named, or it is one of our own doors.
    """
    name = next((name for name in _ENDPOINTS if environ.get(name)), None)
    if name is None:
        raise UsageError(f"--otlp-metrics wants an OTLP/HTTP server in {_ENDPOINTS[0]}")
    for host, port in own:
        if _leads_to(environ[name], host, port):
            raise UsageError(
                f"{name} is {environ[name]!r}, which is this exporter itself: name the server that "
                f"takes your metrics in {_ENDPOINTS[0]}, or leave out --otlp-metrics"
            )
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - on demand
        OTLPMetricExporter,
    )

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _leads_to(endpoint: str, host: str, port: int) -> bool:
    """Whether a URL is served by who listens at `host` and `port`."""
    try:
        url = urlsplit(endpoint)
        if (url.port or {"http": 80, "https": 443}.get(url.scheme)) != port:
            return False
        found = {str(info[4][0]) for info in socket.getaddrinfo(url.hostname, port)}
        bound = {str(info[4][0]) for info in socket.getaddrinfo(host, port)}
    except (OSError, ValueError):
        return False
    everywhere = any(ip_address(address).is_unspecified for address in bound)
    return bool(found & bound) or (everywhere and any(map(_is_local, found)))


def _is_local(address: str) -> bool:
    """Whether an address is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
