# SPDX-License-Identifier: Apache-2.0
"""Undo a body's content encoding, beside the HTTP library, which does it again for the app."""

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

from microdollar._guard import is_foreign

__all__ = ["Decode", "MalformedBodyError", "UnknownEncodingError", "decoder"]

Decode = Callable[[bytes], bytes]


class UnknownEncodingError(Exception):
    """No decoder is installed. The HTTP library then has none either."""


class MalformedBodyError(ValueError):
    """A body is not what its encoding says. The app is told so by its own client."""


def decoder(content_encoding: str) -> Decode:
    """An incremental decoder for the value of a Content-Encoding header.

    Raises:
        UnknownEncodingError: one of the encodings cannot be undone.

    The decoder raises `MalformedBodyError` for a body that is not in this encoding.
    """
    # The last encoding was applied last, so it comes off first.
    names = [name.strip().lower() for name in reversed(content_encoding.split(","))]
    steps = [_ENCODINGS[name]() for name in names if name in _ENCODINGS]
    if len(steps) != len(names):
        raise UnknownEncodingError

    def decode(data: bytes) -> bytes:
        try:
            for step in steps:
                data = step(data)
        except Exception as error:
            if is_foreign(error):
                raise
            # Each library has its own error, with no class in common.
            raise MalformedBodyError from error
        return data

    return decode


def _identity() -> Decode:
    return lambda data: data


def _gzip() -> Decode:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress


def _deflate() -> Decode:
    """`deflate` is zlib by the standard, and the bare stream from some servers."""
    stream = zlib.decompressobj()
    first = True

    def decode(data: bytes) -> bytes:
        nonlocal stream, first
        if first and data:
            first = False
            try:
                return stream.decompress(data)
            except zlib.error:
                stream = zlib.decompressobj(-zlib.MAX_WBITS)
        return stream.decompress(data)

    return decode


def _brotli() -> Decode:
    stream = _first_module("brotli", "brotlicffi").Decompressor()
    decode: Decode = stream.decompress if hasattr(stream, "decompress") else stream.process
    return decode


def _zstd() -> Decode:
    module = _first_module("compression.zstd", "backports.zstd", "zstandard")
    stream = _zstd_stream(module)

    def decode(data: bytes) -> bytes:
        nonlocal stream
        decoded = b""
        # A body may be several frames, one behind the other.
        while data:
            if getattr(stream, "eof", False):
                stream = _zstd_stream(module)
            decoded += stream.decompress(data)
            data = stream.unused_data if getattr(stream, "eof", False) else b""
        return decoded

    return decode


def _zstd_stream(module: Any) -> Any:
    stream = module.ZstdDecompressor()
    return stream.decompressobj() if hasattr(stream, "decompressobj") else stream  # zstandard


def _first_module(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise UnknownEncodingError


_ENCODINGS: dict[str, Callable[[], Decode]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
