# SPDX-License-Identifier: Apache-2.0
"""Who is let in at the doors of a real exporter, and to what."""

import itertools
import json
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import grpc
import pytest
from click.testing import CliRunner
from google.rpc.status_pb2 import Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter import connect
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.ask.render import render
from microdollar_exporter.ask.report import DIMENSIONS, report_on
from microdollar_exporter.cli import main
from microdollar_exporter.store import Store
from tests.exporter.ledgers import entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

PROTOBUF = {"content-type": "application/x-protobuf"}
SCOPES = ("ingest", "read", "read:customer=acme", "metrics", "admin")


ACME = [
    call("acme", microdollar__tag__feature="chat", microdollar__user__id="u1"),
    call("acme", microdollar__call__sequence=9, microdollar__boot__id="b1"),
    call("acme", gen_ai__usage__output_tokens=None, gen_ai__response__model="nebula-1"),
]
GLOBEX = [
    call("globex", microdollar__tag__feature="globex-feature", microdollar__user__id="globex-u"),
    call("globex", trace_id=ACME[0].trace_id, gen_ai__response__model="globex-model"),
    call("globex", microdollar__call__sequence=2, microdollar__boot__id="globex-b"),
    call(None, microdollar__user__id="globex-nobody"),
]


def stored(db: Path, *spans: Span) -> Path:
    """A ledger at rest with these calls."""
    with closing(Store(db)) as store:
        store.append(evidence_of(request(*spans)), entries)
    return db


class Guarded:
    """An exporter on a ledger of two customers, with a token of each scope.

    `alone` is a ledger of what one of them has in it.
    """

    def __init__(self, folder: Path) -> None:
        db = stored(folder / "meter.duckdb", *ACME, *GLOBEX)
        self.alone = connect(stored(folder / "alone.duckdb", *ACME))
        self.file = TokenFile.beside(db)
        self.tokens = {scope: self.file.create([scope], name=scope)[0] for scope in SCOPES}
        self.exporter = Exporter(db)

    def post(self, path: str, token: str | None, body: object = None) -> int:
        """The status of a POST of JSON."""
        return self.exporter.send("POST", path, json.dumps(body), token=token).status

    def get(self, path: str, token: str | None) -> int:
        """The status of a GET."""
        return self.exporter.send("GET", path, token=token).status


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One for all that leaves the tokens as they are."""
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    with made.exporter:
        yield made


def sent_over_grpc(exporter: Exporter, token: str | None, body: bytes = b"") -> grpc.StatusCode:
    """The code of an export, and a check that a refusal of it tells the sender to give up."""
    try:
        exporter.export_bytes(body, token=token)
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
        assert not Status.FromString(trailers["grpc-status-details-bin"]).details
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("scope", [*SCOPES, None, "unknown"])
def test_each_scope_opens_its_doors_and_no_others(guarded: Guarded, scope: str | None) -> None:
    """401 without a token that is known, 403 with one that is for something else."""
    token = guarded.tokens.get(scope, scope) if scope else None
    known = scope in guarded.tokens

    def expected(*scopes: str) -> int:
        return 200 if scope in (*scopes, "admin") else 403 if known else 401

    empty = guarded.exporter.send("POST", "/v1/traces", b"", PROTOBUF, token=token)
    assert empty.status == expected("ingest")
    assert ("www-authenticate" in empty.headers) == (empty.status == 401)
    assert guarded.post("/v1/sql", token, {"sql": "SELECT 1"}) == expected("read")
    assert guarded.get("/v1/report", token) == expected("read", "read:customer=acme")
    assert guarded.get("/v1/status", token) == expected("metrics")
    assert guarded.get("/metrics", token) == expected("metrics")
    # There is no such act, which only who may act is told.
    assert guarded.post("/v1/acts/none", token, {}) == {200: 400}.get(expected(), expected())
    assert guarded.get("/healthz", token) == guarded.get("/readyz", token) == 200
    assert (
        sent_over_grpc(guarded.exporter, token)
        == {
            200: grpc.StatusCode.OK,
            401: grpc.StatusCode.UNAUTHENTICATED,
            403: grpc.StatusCode.PERMISSION_DENIED,
        }[expected("ingest")]
    )


def test_the_commands_of_this_machine_need_no_token(guarded: Guarded) -> None:
    """The address card has one, of this run."""
    db = guarded.exporter.db
    assert connect(db).sql("SELECT 1 AS n").to_pylist() == [{"n": 1}]
    assert stat.S_IMODE(guarded.file.path.stat().st_mode) == 0o600


def test_a_refused_sender_is_told_so_before_it_has_sent_much(guarded: Guarded) -> None:
    """And nothing of what it sends is kept."""
    body = bytes(30 << 20)
    assert sent_over_grpc(guarded.exporter, None, body) == grpc.StatusCode.UNAUTHENTICATED
    assert guarded.exporter.send("POST", "/v1/traces", body, PROTOBUF).status == 401
    assert guarded.exporter.status()["bytes_under_way"] == 0


@pytest.mark.parametrize("named", [{}, {"customer": "acme"}])
@pytest.mark.parametrize("from_", [None, "2000-01-01", "2026-12-01"])
@pytest.mark.parametrize(
    "by", [*DIMENSIONS, "feature", "tag:feature", "tag:globex", "day,customer,user,model"]
)
def test_who_may_read_one_customer_reads_what_a_ledger_of_its_own_would_say(
    guarded: Guarded, by: str, from_: str | None, named: dict[str, str]
) -> None:
    """To the letter, so nothing of anybody else shines through any figure."""
    options = named | {"by": by} | ({"from": from_} if from_ else {})
    answer = guarded.exporter.send(
        "GET", f"/v1/report?{urlencode(options)}", token=guarded.tokens["read:customer=acme"]
    )
    own = report_on(guarded.alone, by, from_=from_, customer="acme")
    assert answer.body.decode() == render(own, "json")
    everything = guarded.exporter.send(
        "GET", f"/v1/report?{urlencode({'by': by})}", token=guarded.tokens["read"]
    )
    assert everything.json()["total"]["calls"] == 7


@pytest.mark.parametrize(
    "query",
    [
        "customer=globex",
        "customer=unassigned",
        "customer=",
        "customer=ACME",
        "customer=acme&customer=globex",
        "customer=globex&customer=acme",
        "customer=acme%27%20OR%201=1%20--",
        "by=customer&customer=acme'--",
        "by=customer_id",
        "by=customer,nothing",
        "by=tag:x'",
        "from=1%20OR%20true",
        "to=2026-01-01'%20OR%20'1'='1",
        "sql=SELECT%201",
        "db=other.duckdb",
        "format=csv",
    ],
)
def test_no_parameter_leads_to_another_customers_rows(guarded: Guarded, query: str) -> None:
    """Refused, or the customer's own all the same."""
    token = guarded.tokens["read:customer=acme"]
    answer = guarded.exporter.send("GET", f"/v1/report?{query}", token=token)
    if answer.status == 200:
        assert answer.json()["total"]["calls"] == 3
    else:
        assert answer.status in (400, 403)
        assert list(answer.json()) == ["error"]


def test_who_may_read_one_customer_does_not_see_what_is_earned(guarded: Guarded) -> None:
    """A report with amounts has margins, too."""
    answer = guarded.exporter.send(
        "GET", "/v1/report?markup=true", token=guarded.tokens["read:customer=acme"]
    )
    assert (answer.status, answer.json()) == (403, {"error": "this token lacks the scope read"})


def test_who_may_read_one_customer_may_not_ask_in_sql(guarded: Guarded) -> None:
    """Whatever the SQL, wherever the token stands."""
    token = guarded.tokens["read:customer=acme"]
    for sql in ("SELECT 1", "SELECT * FROM ledger WHERE customer_id = 'acme'"):
        assert guarded.post("/v1/sql", token, {"sql": sql}) == 403
    for path in ("/v1/sql", "/v1/report"):
        answer = guarded.exporter.send("GET", f"{path}?token={guarded.tokens['admin']}")
        assert answer.status in (401, 405)


def test_a_report_over_http_is_what_the_command_prints(guarded: Guarded) -> None:
    """With the same words and the same JSON."""
    token = guarded.tokens["read"]
    answer = guarded.exporter.send("GET", "/v1/report?by=customer,day&to=2027-01-01", token=token)
    arguments = ["report", "--db", str(guarded.exporter.db), "--format", "json"]
    printed = CliRunner().invoke(main, [*arguments, "--by", "customer,day", "--to", "2027-01-01"])
    assert answer.body.decode() == printed.stdout
    wrong = guarded.exporter.send("GET", "/v1/report?by=nothing", token=token)
    assert (wrong.status, "cannot group by 'nothing'" in wrong.json()["error"]) == (400, True)


def test_refusals_are_counted_by_reason(guarded: Guarded) -> None:
    """At both doors."""
    before = guarded.exporter.status()["requests_refused_by_reason"]
    for token in (None, guarded.tokens["read"]):
        sent_over_grpc(guarded.exporter, token)
        guarded.exporter.send("POST", "/v1/traces", b"", PROTOBUF, token=token)
    after = guarded.exporter.status()["requests_refused_by_reason"]
    assert {reason: after[reason] - before.get(reason, 0) for reason in after} == {
        **dict.fromkeys(after, 0),
        "unauthenticated": 2,
        "forbidden": 2,
    }


def test_tokens_are_made_and_revoked_while_the_exporter_runs(tmp_path: Path) -> None:
    """From the next request on; a file that goes away closes the doors and loses nothing."""
    file = TokenFile(tmp_path / "elsewhere")
    options = ["--tokens", str(file.path)]
    with Exporter(tmp_path / "meter.duckdb", options=options) as exporter:
        exporter.export(request(call()))
        token, _ = file.create(["ingest"], name="sender")
        assert sent_over_grpc(exporter, None) == grpc.StatusCode.UNAUTHENTICATED
        exporter.export(request(call()), token=token)
        kept = file.path.rename(tmp_path / "kept")
        with pytest.raises(grpc.RpcError) as caught:
            exporter.export(request(call()), token=token)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert str(tmp_path) not in str(caught.value.details())
        kept.rename(file.path)
        exporter.export(request(call()), token=token)
        file.revoke("sender")
        assert sent_over_grpc(exporter, token) == grpc.StatusCode.UNAUTHENTICATED
        assert exporter.status()["spans_stored"] == 3
        assert token not in exporter.log


@pytest.mark.parametrize(
    ("option", "address"),
    [("--grpc", "0.0.0.0:0"), ("--http", "0.0.0.0:0"), ("--http", "[::]:0")],
)
def test_a_door_that_other_machines_reach_is_not_left_open(
    tmp_path: Path, option: str, address: str
) -> None:
    """The error names every way out, and nothing is left behind."""
    db = tmp_path / "meter.duckdb"
    result = CliRunner().invoke(main, ["serve", "--db", str(db), option, address])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: other machines can reach {option} {address}, and ")
    for way_out in (
        "`microdollar token create --scope ingest`",
        "--tls-client-ca",
        "127.0.0.1",
        "--insecure-no-auth",
    ):
        assert way_out in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_door_is_opened_to_other_machines_by_tokens_or_by_decision(tmp_path: Path) -> None:
    """Without TLS the log warns of it."""
    for number, options in enumerate([["--insecure-no-auth"], []]):
        db = tmp_path / f"{number}.duckdb"
        token = None if options else TokenFile.beside(db).create(["ingest"])[0]
        # The later option is the one that counts.
        everywhere = ["--http", "0.0.0.0:0", "--grpc", "0.0.0.0:0"]
        with Exporter(db, options=[*everywhere, *options]) as exporter:
            exporter.export(request(call()), token=token)
            assert "other machines can reach --grpc 0.0.0.0:0 and --http 0.0.0.0:0 without TLS" in (
                exporter.log
            )
            assert exporter.status()["spans_stored"] == 1


def test_an_insecure_door_is_open_for_spans_and_for_nothing_else(tmp_path: Path) -> None:
    """Also when there are tokens, which are for reading then."""
    db = tmp_path / "meter.duckdb"
    TokenFile.beside(db).create(["read"])
    with Exporter(db, options=["--insecure-no-auth"]) as exporter:
        exporter.export(request(call()))
        for method, path in itertools.product(("GET", "POST"), ("/v1/sql", "/v1/acts/x")):
            assert exporter.send(method, path, "{}").status in (401, 405)
