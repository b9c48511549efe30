# SPDX-License-Identifier: Apache-2.0
"""The main door: OTLP over gRPC."""

import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from microdollar_exporter.errors import UsageError
from microdollar_exporter.receive.ingest import MAX_REQUEST_BYTES, Ingest, RefusedExport

__all__ = ["start_grpc"]


async def start_grpc(ingest: Ingest, address: str) -> tuple[grpc.aio.Server, int]:
    """Listen on `HOST:PORT` without TLS; returns the running server and the port it took.

    Raises:
        UsageError: the address cannot be listened on.
    """

    async def export(
        body: bytes, context: grpc.aio.ServicerContext[bytes, ExportTraceServiceResponse]
    ) -> ExportTraceServiceResponse:
        try:
            return await ingest.export(body)
        except RefusedExport as error:
            refused = error.refusal
            trailers = (("grpc-status-details-bin", refused.details()),)
            await context.abort(refused.code, refused.message, trailers)
            raise

    server = grpc.aio.server(
        options=[
            # gRPC's own refusal is RESOURCE_EXHAUSTED without a RetryInfo: `ingest` gives a clear
            # one up to twice its limit.
            ("grpc.max_receive_message_length", 2 * MAX_REQUEST_BYTES),
            # Without this two exporters would share a port and split the data between them.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "opentelemetry.proto.collector.trace.v1.TraceService",
                {
                    "Export": grpc.unary_unary_rpc_method_handler(
                        export,
                        request_deserializer=None,
                        response_serializer=ExportTraceServiceResponse.SerializeToString,
                    )
                },
            )
        ]
    )
    try:
        taken = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UsageError(
            f"cannot listen on {address}: choose another address with --grpc HOST:PORT"
        ) from error
    await server.start()
    return server, taken
