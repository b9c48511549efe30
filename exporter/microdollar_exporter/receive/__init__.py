# SPDX-License-Identifier: Apache-2.0
"""Receive OTLP: let in, unpack, reduce, store durably, and only then acknowledge."""

from microdollar_exporter.receive.grpc import GrpcDoor
from microdollar_exporter.receive.http import otlp_routes
from microdollar_exporter.receive.ingest import Ingest
from microdollar_exporter.receive.limits import Bounds, Gate

__all__ = ["Bounds", "Gate", "GrpcDoor", "Ingest", "otlp_routes"]
