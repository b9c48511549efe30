# SPDX-License-Identifier: Apache-2.0
"""The main door: OTLP over gRPC, and gRPC's health service."""

import asyncio
from collections.abc import Callable

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from microdollar_exporter.errors import BrokenOff, UsageError
from microdollar_exporter.receive.ingest import Body, Ingest, RefusedExport
from microdollar_exporter.receive.limits import Held

__all__ = ["GrpcDoor"]

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_EXPECTED_BYTES = 4 * 1024 * 1024
"""What a request occupies until it has arrived: gRPC does not say beforehand how large it is."""
_HEALTH_SECONDS = 0.5
_UNARRIVED = "no whole message arrived, or one far over the limit"


class GrpcDoor:
    """A gRPC server of the trace service and of the health service.

    An export is one message, and it is served as a stream of messages all the same: what is sent
    then waits at the sender until it is let in, instead of in this process.
    """

    def __init__(self, ingest: Ingest, healthy: Callable[[], bool]) -> None:
        self._ingest = ingest
        self._healthy = healthy
        self._health = health.aio.HealthServicer()
        self._watch: asyncio.Task[None] | None = None
        self._server = grpc.aio.server(
            options=[
                # gRPC's own refusal is not counted: `ingest` gives one up to twice its limit.
                ("grpc.max_receive_message_length", 2 * ingest.max_bytes),
                # Without this two exporters would share a port and split the data between them.
                ("grpc.so_reuseport", 0),
                # Flow control would open wide on a fast link and take in what waits to be let in.
                ("grpc.http2.bdp_probe", 0),
            ]
        )
        export = grpc.stream_unary_rpc_method_handler(
            self._export,
            request_deserializer=None,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(_SERVICE, {"Export": export})]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Listen on `HOST:PORT`, with TLS if there are credentials; returns the port taken.

        Raises:
            UsageError: the address cannot be listened on.
        """
        try:
            if credentials is None:
                taken: int = self._server.add_insecure_port(address)
            else:
                taken = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise UsageError(
                f"cannot listen on {address}: choose another address with --grpc HOST:PORT"
            ) from error
        await self._say_health()
        await self._server.start()
        self._watch = asyncio.create_task(self._follow_health())
        return taken

    async def stop(self, grace: float) -> None:
        """Take nothing more, and give what has begun `grace` seconds to end."""
        await self._health.enter_graceful_shutdown()
        if self._watch:
            self._watch.cancel()
        await self._server.stop(grace)

    async def _export(
        self,
        _: object,
        context: grpc.aio.ServicerContext[bytes, ExportTraceServiceResponse],
    ) -> ExportTraceServiceResponse:
        async def read(held: Held) -> Body:
            message = await context.read()
            if not isinstance(message, bytes):
                raise BrokenOff(_UNARRIVED)
            held.resize(len(message))
            return Body(message)

        expected = min(_EXPECTED_BYTES, self._ingest.max_bytes)
        try:
            return await self._ingest.export("grpc", _authorization(context), expected, read)
        except RefusedExport as error:
            refused = error.refusal
            trailers = (("grpc-status-details-bin", refused.details()),)
            await context.abort(refused.code, refused.message, trailers)
            raise

    async def _follow_health(self) -> None:
        while True:
            await asyncio.sleep(_HEALTH_SECONDS)
            await self._say_health()

    async def _say_health(self) -> None:
        status = health_pb2.HealthCheckResponse
        serving = status.SERVING if self._healthy() else status.NOT_SERVING
        for service in ("", _SERVICE):
            await self._health.set(service, serving)


def _authorization(
    context: grpc.aio.ServicerContext[bytes, ExportTraceServiceResponse],
) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None
