# SPDX-License-Identifier: Apache-2.0
"""Where the doors are: addresses, and the HTTP server behind one."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from microdollar_exporter.access.tls import Tls
from microdollar_exporter.errors import UsageError

__all__ = ["LOOPBACK", "Address", "HttpDoor", "bind"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, option: str, text: str) -> Self:
        """Read `HOST:PORT`; `option` names the option in the error.

        Raises:
            UsageError: the text is of another form.
        """
        host, colon, port = text.rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() else -1
        if not colon or not host or "/" in host or not 0 <= number <= 65535:
            raise UsageError(
                f"{option} is {text!r}: write HOST:PORT, as in 127.0.0.1:4317, without http://"
            )
        return cls(host.strip("[]"), number)

    @property
    def is_loopback(self) -> bool:
        """Whether it can be reached from this machine only."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def reachable(self) -> str:
        """The host by which a process on this machine reaches it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


LOOPBACK = Address("127.0.0.1", 0)


def bind(option: str, address: Address) -> socket.socket:
    """Listen on an address; from then on clients are queued until they are served.

    Raises:
        UsageError: it cannot be listened on; the message names `option`.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {address} ({error.strerror}): choose another address with {option} "
            "HOST:PORT"
        ) from error
    return listener


class HttpDoor:
    """Serves routes on a listening socket from its making on, until it is stopped."""

    def __init__(
        self, listener: socket.socket, routes: Sequence[Route], grace: float, tls: Tls | None = None
    ) -> None:
        host, port = listener.getsockname()[:2]
        self.address = Address(host, port)
        self._server = _Server(
            uvicorn.Config(
                Starlette(routes=routes),
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                # A proxy's headers change nothing here, and senders could write them themselves.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=int(grace),
                **_tls_options(tls),
            )
        )
        self._serving = asyncio.create_task(self._server.serve([listener]))

    async def stop(self) -> None:
        """Take nothing more, and wait until what has begun has ended."""
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`, which stops all doors."""
        yield


def _tls_options(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key,
        "ssl_ca_certs": tls.client_ca and str(tls.client_ca),
        "ssl_cert_reqs": ssl.CERT_REQUIRED if tls.client_ca else ssl.CERT_NONE,
    }
