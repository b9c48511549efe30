# SPDX-License-Identifier: Apache-2.0
"""Unpack the body of an HTTP request, never into more than a limit: bombs stay small."""

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

from microdollar_exporter.errors import MalformedRequest, TooLarge, Unsupported

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["unpack"]

_GZIP, _ZLIB = zlib.MAX_WBITS | 16, zlib.MAX_WBITS
_ZSTD_WINDOW_LOG = 23
"""8 MiB, the most that RFC 9659 allows over HTTP; a larger window is memory a sender chooses."""
_CHUNK_BYTES = 64 * 1024
_MAX_MEMBERS = 2000


class _Unpacker(Protocol):
    """What zlib and zstd call a decompressor: it reads one member of a stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, max_length: int, /) -> bytes: ...


def unpack(encoding: str, body: bytes, limit: int) -> bytes:
    """The body as it was before `content-encoding` was applied, to the end of its last member.

    Raises:
        Unsupported: the encoding is not read.
        MalformedRequest: the body is not whole, or not in this encoding.
        TooLarge: it unpacks to more than `limit` bytes.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "zstd", "deflate"):
        raise Unsupported("this content-encoding is not read: use gzip, zstd, deflate or none")
    try:
        return b"".join(_parts(name, memoryview(body), limit))
    except (zlib.error, zstd.ZstdError) as error:
        raise MalformedRequest(f"the body is not {name}, as content-encoding says it is") from error


def _parts(name: str, packed: memoryview, limit: int) -> Iterator[bytes]:
    room = limit + 1
    # A second member may follow the first, and holds as much of the request.
    for _ in range(_MAX_MEMBERS):
        unpacker = _unpacker(name)
        while not unpacker.eof:
            # In chunks, because what a member leaves unused of one is copied.
            chunk = packed[:_CHUNK_BYTES]
            if not chunk:
                raise MalformedRequest(f"the body ends in the middle of its {name}")
            part = unpacker.decompress(chunk, room)
            room -= len(part)
            if not room:
                raise TooLarge(f"a request may have {limit} bytes unpacked: send smaller batches")
            yield part
            packed = packed[len(chunk) - len(unpacker.unused_data) :]
        if not packed:
            return
    raise MalformedRequest(f"the body is {name} of more than {_MAX_MEMBERS} members")


def _unpacker(name: str) -> _Unpacker:
    if name == "zstd":
        options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG}
        return zstd.ZstdDecompressor(options=options)
    return zlib.decompressobj(_GZIP if name == "gzip" else _ZLIB)
