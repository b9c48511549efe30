# SPDX-License-Identifier: Apache-2.0
"""TLS at both doors, with certificates made here."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from click.testing import CliRunner

from microdollar_exporter import connect
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.door import perform
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

PROTOBUF = {"content-type": "application/x-protobuf"}


@dataclass(frozen=True)
class Authority:
    """A certificate authority with a certificate for our doors."""

    folder: Path
    ca: trustme.CA

    @classmethod
    def made(cls, folder: Path) -> "Authority":
        """A new one, whose files lie in a folder."""
        folder.mkdir()
        authority = cls(folder, trustme.CA())
        server = authority.ca.issue_cert("localhost", "127.0.0.1")
        server.private_key_pem.write_to_path(folder / "key.pem")
        for number, part in enumerate(server.cert_chain_pems):
            part.write_to_path(folder / "cert.pem", append=number > 0)
        authority.ca.cert_pem.write_to_path(folder / "ca.pem")
        return authority

    @property
    def options(self) -> list[str]:
        """For a server with its certificate."""
        return [
            *("--tls-cert", str(self.folder / "cert.pem")),
            *("--tls-key", str(self.folder / "key.pem")),
        ]

    def trusting(self, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """A client that trusts it, and may show a certificate."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if client is not None:
            client.configure_cert(context)
        return context

    def credentials(self, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
        """The same for gRPC."""
        key = chain = None
        if client is not None:
            key = client.private_key_pem.bytes()
            chain = b"".join(part.bytes() for part in client.cert_chain_pems)
        return grpc.ssl_channel_credentials(self.ca.cert_pem.bytes(), key, chain)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for the tests."""
    return Authority.made(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one, which ours knows nothing of."""
    return Authority.made(tmp_path_factory.mktemp("tls") / "strange")


def send_to_both(exporter: Exporter, token: str | None = None) -> None:
    """A call through each door."""
    exporter.export(request(call()), token=token)
    body = request(call()).SerializeToString()
    assert exporter.send("POST", "/v1/traces", body, PROTOBUF, token=token).status == 200


def fails_at_both(exporter: Exporter) -> bool:
    """Whether neither door lets one in as far as a request."""
    with pytest.raises(grpc.RpcError) as caught:
        exporter.export(request(call()))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        exporter.send("POST", "/v1/traces", b"", PROTOBUF)
    return bool(caught.value.code() == grpc.StatusCode.UNAVAILABLE)


def reached_by(
    exporter: Exporter,
    tls: ssl.SSLContext | None,
    credentials: grpc.ChannelCredentials | None,
) -> Exporter:
    """The same process, reached in another way."""
    exporter.tls, exporter.credentials = tls, credentials
    return exporter


def test_both_doors_speak_tls_and_nothing_else(tmp_path: Path, authority: Authority) -> None:
    """To who trusts the authority; our own commands go on working, by the loopback."""
    with Exporter(
        tmp_path / "meter.duckdb",
        options=authority.options,
        tls=authority.trusting(),
        credentials=authority.credentials(),
    ) as exporter:
        send_to_both(exporter)
        assert connect(exporter.db).sql("SELECT count(*) AS n FROM spans").to_pylist() == [{"n": 2}]
        with pytest.raises(UsageError, match="there is no act 'none'"):
            perform(exporter.db, "none", {})
        assert exporter.card.port != exporter.http_port
        assert fails_at_both(reached_by(exporter, None, None))
        untrusting = ssl.create_default_context(), grpc.ssl_channel_credentials()
        assert fails_at_both(reached_by(exporter, *untrusting))
        assert exporter.status()["spans_stored"] == 2


def test_the_door_of_our_own_commands_takes_no_spans_and_wants_the_token(
    tmp_path: Path, authority: Authority
) -> None:
    """It is no way around the certificate."""
    with Exporter(
        tmp_path / "meter.duckdb",
        options=authority.options,
        tls=authority.trusting(),
        credentials=authority.credentials(),
    ) as exporter:
        exporter.http_port = exporter.card.port
        reached_by(exporter, None, None)
        assert exporter.send("POST", "/v1/traces", b"", PROTOBUF).status == 404
        assert exporter.send("POST", "/v1/sql", '{"sql": "SELECT 1"}').status == 401
        assert exporter.send("GET", "/readyz").status == 200


def test_client_certificates_are_asked_for_at_both_doors(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """Ours get in without a token, also where other machines can reach; no others do."""
    client = authority.ca.issue_cert("sender@example.com")
    ours = authority.trusting(client), authority.credentials(client)
    strange = stranger.ca.issue_cert("sender@example.com")
    with Exporter(
        tmp_path / "meter.duckdb",
        options=[
            *authority.options,
            *("--tls-client-ca", str(authority.folder / "ca.pem")),
            *("--grpc", "0.0.0.0:0", "--http", "0.0.0.0:0"),
        ],
        tls=ours[0],
        credentials=ours[1],
    ) as exporter:
        send_to_both(exporter)
        assert fails_at_both(reached_by(exporter, authority.trusting(), authority.credentials()))
        shown = authority.trusting(strange), authority.credentials(strange)
        assert fails_at_both(reached_by(exporter, *shown))
        send_to_both(reached_by(exporter, *ours))
        assert exporter.status()["spans_stored"] == 4
        assert "without TLS" not in exporter.log


def test_tokens_count_behind_tls_too(tmp_path: Path, authority: Authority) -> None:
    """A certificate of the server's says nothing of the client."""
    db = tmp_path / "meter.duckdb"
    token, _ = TokenFile.beside(db).create(["ingest"])
    with Exporter(
        db,
        options=[*authority.options, "--http", "0.0.0.0:0"],
        tls=authority.trusting(),
        credentials=authority.credentials(),
    ) as exporter:
        send_to_both(exporter, token)
        with pytest.raises(grpc.RpcError) as caught:
            exporter.export(request(call()))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert exporter.send("POST", "/v1/traces", b"", PROTOBUF).status == 401


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tls-cert", "{ours}/cert.pem"], "TLS takes both --tls-cert and --tls-key"),
        (["--tls-key", "{ours}/key.pem"], "TLS takes both --tls-cert and --tls-key"),
        (["--tls-client-ca", "{ours}/ca.pem"], "TLS takes both --tls-cert and --tls-key"),
        (
            ["--tls-cert", "{ours}/none.pem", "--tls-key", "{ours}/key.pem"],
            "--tls-cert {ours}/none.pem and --tls-key {ours}/key.pem are no certificate in PEM "
            "with its key: No such file or directory",
        ),
        (
            ["--tls-cert", "{ours}/cert.pem", "--tls-key", "{strange}/key.pem"],
            "--tls-cert {ours}/cert.pem and --tls-key {strange}/key.pem are no certificate in PEM "
            "with its key: KEY_VALUES_MISMATCH",
        ),
        (
            [
                *("--tls-cert", "{ours}/cert.pem", "--tls-key", "{ours}/key.pem"),
                *("--tls-client-ca", "{ours}/key.pem"),
            ],
            "--tls-client-ca {ours}/key.pem has no certificate in PEM: ",
        ),
    ],
)
def test_a_certificate_that_cannot_be_used_is_said_at_the_start(
    tmp_path: Path,
    authority: Authority,
    stranger: Authority,
    options: list[str],
    message: str,
) -> None:
    """In one line, which names the file; nothing is left behind."""
    folders = {"ours": str(authority.folder), "strange": str(stranger.folder)}
    arguments = ["serve", "--db", str(tmp_path / "meter.duckdb")]
    arguments += [option.format(**folders) for option in options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message.format(**folders)}")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
