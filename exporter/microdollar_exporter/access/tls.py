# SPDX-License-Identifier: Apache-2.0
"""TLS at the doors: one certificate for both, and if wanted one authority for their clients."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from microdollar_exporter.errors import UsageError

__all__ = ["Tls"]


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its key, in PEM; with `client_ca`, clients must show one of theirs.

    The files are read once, when the exporter starts.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, cert: Path | None, key: Path | None, client_ca: Path | None) -> "Tls | None":
        """From the options of the command; None is without TLS.

        Raises:
            UsageError: one is missing, or a file is not what it should be.
        """
        if cert is None and key is None and client_ca is None:
            return None
        if cert is None or key is None:
            raise UsageError("TLS takes both --tls-cert and --tls-key")
        tls = cls(cert, key, client_ca)
        tls.context()
        return tls

    def context(self) -> ssl.SSLContext:
        """For the HTTP door: TLS 1.2 or later.

        Raises:
            UsageError: a file is not what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A password, so that OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"--tls-cert {self.cert} and --tls-key {self.key} are no certificate in PEM with "
                f"its key: {_why(error)}"
            ) from error
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"--tls-client-ca {self.client_ca} has no certificate in PEM: {_why(error)}"
                ) from error
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """For the gRPC door."""
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.cert.read_bytes())],
            self.client_ca.read_bytes() if self.client_ca else None,
            require_client_auth=self.client_ca is not None,
        )


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror
    return str(reason or error)
