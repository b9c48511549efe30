# SPDX-License-Identifier: Apache-2.0
"""Receive OTLP: decode, reduce, store durably, and only then acknowledge."""

from microdollar_exporter.receive.grpc import start_grpc
from microdollar_exporter.receive.http import otlp_routes
from microdollar_exporter.receive.ingest import Ingest

__all__ = ["Ingest", "otlp_routes", "start_grpc"]
