# SPDX-License-Identifier: Apache-2.0
"""The parts of an OTLP trace request that may matter, as protobuf messages.

They are wire-compatible with `ExportTraceServiceRequest` and leave out what is never kept (events,
links, the status message): content is not even decoded. Attributes stay bytes, so that one which
was seen before costs a dictionary look-up, and one that is malformed costs nothing but itself.
Source: `opentelemetry/proto/trace/v1/trace.proto`.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["ExportRequest"]

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "microdollar.otlp"
_BYTES, _INT32, _FIXED64 = _Field.TYPE_BYTES, _Field.TYPE_INT32, _Field.TYPE_FIXED64

# message → field → (number, type or message name, repeated)
_MESSAGES: dict[str, dict[str, tuple[int, Any, bool]]] = {
    "ExportRequest": {"resource_spans": (1, "ResourceSpans", True)},
    "ResourceSpans": {
        "resource": (1, "Resource", False),
        "scope_spans": (2, "ScopeSpans", True),
    },
    "Resource": {"attributes": (1, _BYTES, True)},
    "ScopeSpans": {"scope": (1, "Scope", False), "spans": (2, "Span", True)},
    "Scope": {"name": (1, _BYTES, False), "version": (2, _BYTES, False)},
    "Span": {
        "trace_id": (1, _BYTES, False),
        "span_id": (2, _BYTES, False),
        "parent_span_id": (4, _BYTES, False),
        "name": (5, _BYTES, False),
        "kind": (6, _INT32, False),
        "start_time_unix_nano": (7, _FIXED64, False),
        "end_time_unix_nano": (8, _FIXED64, False),
        "attributes": (9, _BYTES, True),
        "status": (15, "Status", False),
    },
    "Status": {"code": (3, _INT32, False)},
}


def _message_class(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="microdollar/otlp.proto", package=_PACKAGE, syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind, repeated) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


ExportRequest: Any = _message_class("ExportRequest")
"""A whole export request; `FromString` raises `google.protobuf.message.DecodeError`."""
