# SPDX-License-Identifier: Apache-2.0
"""A local stand-in for the APIs of OpenAI, Anthropic and Gemini.

One process, three HTTP/1.1 listeners on free ports of 127.0.0.1. It knows nothing about models:
it sends the replies it is given, byte for byte, and remembers the requests. Tests use it in
process; `python -m tests.fakes.provider --replies DIR` serves the replies of a folder.
"""

import argparse
import contextlib
import gzip
import json
import signal
import socket
import socketserver
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

from tests.fakes.replies import PROVIDERS, Provider, Received, Replies, Reply, error, sample

__all__ = [
    "PROVIDERS",
    "FakeProvider",
    "Provider",
    "Received",
    "Replies",
    "Reply",
    "error",
    "sample",
]


class FakeProvider:
    """The three listeners; a context manager.

    A request is answered by the next queued reply of its provider, else by the provider's
    responder, else with 404 in the provider's own error shape.
    """

    def __init__(self) -> None:
        self.closing: Final = threading.Event()
        self._lock = threading.Lock()
        self._queues: dict[Provider, deque[Reply]] = {name: deque() for name in PROVIDERS}
        self._responders: dict[Provider, Callable[[Received], Reply]] = {}
        self._received: list[Received] = []
        self._listeners: dict[Provider, _Listener] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> Self:
        """Open the listeners. An instance is started once."""
        for name in PROVIDERS:
            listener = _Listener(self, name)
            self._listeners[name] = listener
            # With the default interval of the accept loop a close() would take half a second.
            thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
            thread.start()
            self._threads.append(thread)
        return self

    def close(self) -> None:
        """Drop every connection, also those that hang, and end all threads. Idempotent."""
        self.closing.set()
        # At once, because each shutdown waits for the next turn of its accept loop.
        with ThreadPoolExecutor(len(PROVIDERS)) as pool:
            list(pool.map(_Listener.stop, self._listeners.values()))
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def url(self, provider: Provider) -> str:
        """`http://127.0.0.1:PORT` of a provider; its OpenAI SDK base URL is this plus `/v1`."""
        return f"http://{self._address(provider)}"

    def port(self, provider: Provider) -> int:
        """The port of a provider's listener."""
        return int(self._listeners[provider].server_address[1])

    @property
    def hosts(self) -> str:
        """The value of `MICRODOLLAR_HOSTS` that declares the listeners as provider hosts."""
        return ",".join(f"{self._address(name)}={name}" for name in PROVIDERS)

    def _address(self, provider: Provider) -> str:
        host, port = self._listeners[provider].server_address[:2]
        return f"{host!s}:{port}"

    @property
    def received(self) -> list[Received]:
        """A copy of all requests so far, in order of arrival."""
        with self._lock:
            return list(self._received)

    def queue(self, provider: Provider, *replies: Reply) -> None:
        """Append replies, each of which answers one request, first in first out."""
        with self._lock:
            self._queues[provider].extend(replies)

    def respond(self, provider: Provider, responder: Callable[[Received], Reply]) -> None:
        """Answer with `responder` when the queue is empty. It runs in the connection's thread."""
        with self._lock:
            self._responders[provider] = responder

    def answer(self, request: Received) -> Reply:
        """Remember a request and choose its reply."""
        with self._lock:
            self._received.append(request)
            queue = self._queues[request.provider]
            if queue:
                return queue.popleft()
            responder = self._responders.get(request.provider)
        if responder is None:
            return error(request.provider, 404, "the fake provider has no reply for this request")
        return responder(request)


class _Listener(socketserver.ThreadingTCPServer):
    """One provider's socket; a thread per connection, all of them joined by `server_close`."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, fake: FakeProvider, provider: Provider) -> None:
        self.fake = fake
        self.provider: Provider = provider
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        self.shutdown()
        with self._lock:  # wake the threads that wait for a client
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Connection(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each flush leaves at once, in a packet of its own

    def handle(self) -> None:
        # A client that hangs up early is an ordinary event here.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *args: Any) -> None:
        """Keep quiet: requests may hold content."""

    def _answer(self) -> None:
        fake = self.server.fake
        request = Received(
            provider=self.server.provider,
            method=self.command,
            path=self.path,
            headers=list(self.headers.items()),
            body=self._read_body(),
        )
        try:
            reply = fake.answer(request)
        except Exception:
            # The client gets an answer and the traceback goes to standard error.
            self._send(error(request.provider, 500, "the fake provider's responder failed"))
            raise
        if reply.delay:
            fake.closing.wait(reply.delay)
        self._send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(pieces)

    def _send(self, reply: Reply) -> None:
        body = _compress(reply)
        chunked = reply.chunk is not None or _is_stream(reply)
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.encoding is not None:
            self.send_header("content-encoding", reply.encoding)
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(body)))
        self.end_headers()

        stop = reply.cut_after if reply.hang_after is None else reply.hang_after
        for piece in _pieces(body[:stop], reply.chunk):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if reply.hang_after is not None:
            self.server.fake.closing.wait()
        if stop is not None:
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")


_STREAMS: Final = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"}
)


def _is_stream(reply: Reply) -> bool:
    kind = next((v for k, v in reply.headers.items() if k.lower() == "content-type"), "")
    return kind.partition(";")[0] in _STREAMS


def _compress(reply: Reply) -> bytes:
    match reply.encoding:
        case "gzip":
            return gzip.compress(reply.body, mtime=0)
        case "deflate":
            return zlib.compress(reply.body)
        case "br":
            return bytes(import_module("brotli").compress(reply.body))
        case "zstd":
            return bytes(import_module("backports.zstd").compress(reply.body))
        case None:
            return reply.body


def _pieces(body: bytes, size: int | None) -> list[bytes]:
    size = size or len(body) or 1
    return [body[start : start + size] for start in range(0, len(body), size)]


def main(arguments: list[str]) -> None:
    """Serve the replies of a folder until SIGTERM; one JSON line tells the addresses."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.provider", description=__doc__)
    parser.add_argument("--replies", type=Path, required=True, help="folder with an index.json")
    replies = Replies(parser.parse_args(arguments).replies)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with FakeProvider() as fake:
        for name in PROVIDERS:
            fake.respond(name, replies)
        print(json.dumps({"hosts": fake.hosts, **{n: fake.url(n) for n in PROVIDERS}}), flush=True)
        stop.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
