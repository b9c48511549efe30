# SPDX-License-Identifier: Apache-2.0
"""Questions to the ledger: the same answers from a file at rest and from a running exporter."""

import csv
import http.client
import io
import json
import socket
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from click.testing import CliRunner
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import microdollar_exporter
from microdollar_exporter import Connection, connect
from microdollar_exporter.ask import http as ask_http
from microdollar_exporter.ask.connect import Card
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.book import book
from microdollar_exporter.cli import main
from microdollar_exporter.entry import Entry
from microdollar_exporter.errors import QueryFailed, QueryRefused, StoreError, UsageError
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.price import Price
from microdollar_exporter.reduce import reduce
from microdollar_exporter.store import Store
from microdollar_exporter.usage import UsageRow
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request

DAY = 86_400_000_000


def price(row: UsageRow) -> Price:
    """2.000001 microdollars for an output token; `nebula-1` has no price."""
    if row.response_model == "nebula-1":
        return Price(cost=None, status="unpriced_model", price_row=None, note="no price")
    if row.usage.output is None:
        return Price(cost=None, status="bad_usage", price_row=None, note="usage not reported")
    return Price(cost=row.usage.output * 2_000_001, status="priced", price_row="r", note=None)


def entries(evidence: Sequence[Evidence]) -> list[Entry]:
    """Book at these prices."""
    return book(evidence, price)


CALLS = request(
    call("acme", microdollar__tag__feature="chat", microdollar__user__id="u1"),
    call("acme", microdollar__tag__feature="search", started_at=STARTED_AT + DAY),
    call("acme", microdollar__tag__feature="chat", gen_ai__usage__output_tokens=7),
    call("globex", gen_ai__response__model="nebula-1"),
    call(
        "globex",
        gen_ai__usage__input_tokens=None,
        gen_ai__usage__cache_read__input_tokens=None,
        gen_ai__usage__output_tokens=None,
        microdollar__usage__source="missing",
    ),
    call(None, started_at=STARTED_AT + DAY - 1),
)
OTHERS = request(call(), scope="com.anthropic.sdk.python")


def filled(folder: Path) -> Path:
    """A file at rest with six calls and a span of another emitter."""
    path = folder / "meter.duckdb"
    store = Store(path)
    store.append([*reduce(CALLS).evidence, *reduce(OTHERS).evidence], entries)
    store.close()
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of a test's own."""
    return filled(tmp_path)


@pytest.fixture(scope="module", params=["file", "exporter"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The same ledger, once at rest and once in the hands of an exporter; for reading only."""
    path = filled(tmp_path_factory.mktemp("asked"))
    if request.param == "file":
        yield path
    else:
        with Exporter(path):
            yield path


@pytest.fixture
def connection(asked: Path) -> Connection:
    """A connection to it."""
    return connect(asked)


def test_a_report_sums_calls_tokens_and_cost_per_customer(connection: Connection) -> None:
    """Cost is exact, absent sums are absent, and `unassigned` is a row of its own, the last."""
    frame = report_on(connection).rows
    assert list(frame["customer"]) == ["acme", "globex", "unassigned"]
    assert list(frame["calls"]) == [3, 2, 1]
    assert list(frame["input_uncached"]) == [2700, 900, 900]
    assert list(frame["cache_read"]) == [300, 100, 100]
    assert list(frame["output"]) == [107, 50, 50]
    assert frame["reasoning"].isna().all()
    assert list(frame["cost"]) == [Decimal("214.000107"), None, Decimal("100.000050")]
    assert list(frame["cost_usd"]) == [Decimal("0.000214000107"), None, Decimal("0.000100000050")]
    assert list(frame["unpriced"]) == [0, 1, 0]
    assert list(frame["missing"]) == [0, 1, 0]


def test_the_total_and_its_honesty_line(connection: Connection) -> None:
    """What the sums leave out stands beside them."""
    made = report_on(connection)
    assert (made.total["calls"], made.total["cost"]) == (6, Decimal("314.000157"))
    assert made.honesty == (
        "Of 6 calls: 1 unpriced (1,050 tokens), 1 with usage missing, 1 unassigned. "
        "Not booked: 1 span of other emitters (com.anthropic.sdk.python)."
    )


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("feature", {("chat",): 2, ("search",): 1, (None,): 3}),
        ("tag:feature", {("chat",): 2, ("search",): 1, (None,): 3}),
        ("customer,day", {
            ("acme", "2026-11-21"): 2,
            ("acme", "2026-11-22"): 1,
            ("globex", "2026-11-21"): 2,
            ("unassigned", "2026-11-21"): 1,
        }),
        ("model", {("gpt-6-luna",): 5, ("nebula-1",): 1}),
        ("user", {("u1",): 1, (None,): 5}),
        ("month,provider", {("2026-11", "openai"): 6}),
        ("service,environment,operation", {("shop", None, "chat"): 6}),
    ],
)  # fmt: skip
def test_a_report_groups_by_any_of_its_words(
    connection: Connection, by: str, expected: dict[tuple[str | None, ...], int]
) -> None:
    """Each group once; what a call does not say is a group too."""
    made = report_on(connection, by)
    keys = [
        tuple(None if pd.isna(v) else v for v in key) for key in made.rows[list(made.by)].values
    ]
    assert dict(zip(keys, made.rows["calls"], strict=True)) == expected


@pytest.mark.parametrize(
    ("from_", "to", "calls"),
    [
        (None, None, 6),
        ("2026-11-21", "2026-11-22", 5),
        ("2026-11-22", None, 1),
        (date(2026, 11, 22), None, 1),
        ("2026-11-21T23:59:59.999999", "2026-11-22T00:00:00", 1),
        ("2026-11-22T00:59:59.999999+01:00", "2026-11-22T01:00:00+01:00", 1),
        (datetime(2026, 11, 21, 0, 0, 0, 1, UTC), None, 2),
        ("2026-11-23", None, 0),
    ],
)
def test_a_period_begins_with_from_and_ends_before_to(
    connection: Connection, from_: str | date | None, to: str | date | None, calls: int
) -> None:
    """To the microsecond, in UTC; a time with a zone is converted."""
    assert report_on(connection, from_=from_, to=to).total["calls"] == calls


def test_a_report_can_be_about_one_customer_or_about_nobody(connection: Connection) -> None:
    """A customer that never called has an empty report."""
    assert report_on(connection, customer="acme").total["calls"] == 3
    assert report_on(connection, customer="unassigned").total["calls"] == 1
    empty = report_on(connection, customer="' OR true --")
    assert (empty.rows.empty, empty.total["calls"], empty.total["cost"]) == (True, 0, None)
    assert empty.honesty == "Of 0 calls: each priced from reported usage, and assigned."


def test_calls_that_were_numbered_and_never_arrived_are_said(tmp_path: Path) -> None:
    """A process numbers its calls from 1; what a period does not begin with is not its own."""

    def numbered(boot: str, sequence: int, day: int) -> Span:
        return call(
            started_at=STARTED_AT + day * DAY,
            microdollar__boot__id=boot,
            microdollar__call__sequence=sequence,
        )

    calls = [numbered("a", 2, 0), numbered("a", 5, 0), numbered("a", 7, 1), numbered("b", 1, 1)]
    store = Store(tmp_path / "meter.duckdb")
    store.append(reduce(request(*calls)).evidence, entries)
    store.close()
    connection = connect(tmp_path / "meter.duckdb")
    assert report_on(connection).absent == 4  # 1, 3, 4 and 6
    assert "4 further calls not arrived, or still running." in report_on(connection).honesty
    assert report_on(connection, to="2026-11-22").absent == 3  # 1, 3 and 4
    assert report_on(connection, from_="2026-11-22").absent == 0
    assert report_on(connection, customer="acme").absent == 0


def test_further_models_are_entries_and_not_calls(tmp_path: Path) -> None:
    """One call, of which two models have no price."""
    further = '[{"model":"nebula-1","output":1},{"model":"nebula-1","output":2}]'
    store = Store(tmp_path / "meter.duckdb")
    one = call("acme", microdollar__usage__additional=further)
    store.append(reduce(request(one)).evidence, entries)
    store.close()
    made = report_on(connect(tmp_path / "meter.duckdb"))
    assert made.honesty == "Of 1 call (3 entries): 2 unpriced (3 tokens)."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "colour"}, "cannot group by 'colour': choose from customer, user, model"),
        ({"by": "model,model"}, "different words; this is 'model,model'"),
        ({"from_": "yesterday"}, "from is 'yesterday': write a day like 2026-11-01"),
        ({"to": "2026-13-01"}, "to is '2026-13-01'"),
        ({"from_": "0001-01-01T00:00:00+05:00"}, "from is '0001-01-01T00:00:00.05:00'"),
        ({"from_": "2026-12-01", "to": "2026-12-01"}, "to is 2026-12-01, which is not after"),
        ({"by": "tag:"}, "cannot group by 'tag:'"),
        ({"by": "feature,tag:feature"}, "different words"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_accepted(
    ledger: Path, arguments: dict[str, str], message: str
) -> None:
    """In one sentence."""
    with pytest.raises(UsageError, match=message):
        microdollar_exporter.report(**{"db": ledger, **arguments})  # type: ignore[arg-type]


def test_the_python_call_returns_a_data_frame(asked: Path) -> None:
    """Counts are integers that can be absent, money is Decimal."""
    frame = microdollar_exporter.report(["customer", "model"], db=asked, customer="acme")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns[:3]) == ["customer", "model", "calls"]
    assert str(frame["calls"].dtype) == "Int64"
    assert frame["cost"].sum() == Decimal("214.000107")
    assert frame.attrs["honesty"].startswith("Of 3 calls:")


def test_plain_sql_answers_with_an_arrow_table(connection: Connection) -> None:
    """With parameters, and sums of DECIMAL(18,6) that stay exact."""
    table = connection.sql(
        "SELECT customer_id, sum(cost) AS cost FROM ledger WHERE calls = ? GROUP BY ALL ORDER BY 1",
        [1],
    )
    assert table.to_pylist()[0] == {"customer_id": "acme", "cost": Decimal("214.000107")}
    assert str(table.schema.field("cost").type) == "decimal128(38, 6)"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO ledger SELECT * FROM ledger",
        "WITH x AS (SELECT 1) INSERT INTO ledger SELECT * FROM ledger",
        "EXPLAIN ANALYZE DELETE FROM ledger",
        "DELETE FROM ledger",
        "UPDATE ledger SET cost = 0",
        "DROP TABLE ledger",
        "SELECT 1; SELECT 2",
        "",
        "SET memory_limit = '1GB'",
        "ATTACH 'other.duckdb'",
        "COPY ledger TO 'out.csv'",
        "CHECKPOINT",
        "CALL pragma_version()",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM (SELECT * FROM glob('*'))",
        "SELECT * FROM query('SELECT 1')",
        "SELECT (SELECT max(name) FROM duckdb_settings())",
        "SELECT getenv('HOME')",
        "SELECT current_setting('memory_limit')",
        "SELECT json_serialize_plan('DELETE FROM ledger')",
        "SELECT pg_sleep(1)",
        "SELECT sleep_ms(1)",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM pg_settings",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM main.sqlite_master",
        "SELECT * FROM other.ledger",
        "SELECT * FROM '/etc/hostname'",
        "WITH x AS (SELECT 1) SELECT * FROM x, duckdb_tables()",
        "SELECT '\ud800'",
        "SELECT * FROM ledger WHERE nextval('s') = 1",
    ],
)
def test_whatever_is_not_one_select_over_the_ledger_is_refused(ledger: Path, sql: str) -> None:
    """By parsing, since a keyword check lets `WITH … INSERT` through."""
    with pytest.raises(QueryRefused):
        connect(ledger).sql(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT customer_id, sum(cost) AS cost FROM ledger GROUP BY ALL HAVING sum(calls) > 0",
        "FROM ledger SELECT count(*)",
        "WITH x AS (SELECT * FROM ledger) SELECT * FROM x UNION ALL SELECT * FROM ledger",
        "SELECT l.customer_id, s.scope FROM ledger l JOIN spans s USING (trace_id, span_id)",
        "SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY started_at) FROM ledger",
        "SELECT tags['feature'], list_sum([1, 2]), now(), current_date FROM main.ledger",
        "SELECT date_trunc('hour', started_at), CASE WHEN calls = 1 THEN 'a' END FROM ledger",
        "SELECT unnest(map_keys(tags)) FROM ledger",
        "SELECT approx_quantile(cost, 0.5), string_agg(DISTINCT provider, ', ') FROM ledger",
        "DESCRIBE ledger",
        "SUMMARIZE ledger",
        "SELECT * FROM range(3)",
    ],
)
def test_what_a_question_could_need_is_answered(ledger: Path, sql: str) -> None:
    """Joins, windows, dates, maps and lists."""
    assert connect(ledger).sql(sql).num_columns


def test_a_running_exporter_refuses_it_too_and_says_why(ledger: Path) -> None:
    """The same check stands at its door, and a failing query is told apart."""
    with Exporter(ledger):
        connection = connect(ledger)
        with pytest.raises(QueryRefused, match="this is DELETE"):
            connection.sql("DELETE FROM ledger")
        with pytest.raises(QueryFailed, match='"nope"'):
            connection.sql("SELECT nope FROM ledger")
        with pytest.raises(QueryFailed, match="Conversion Error"):
            connection.sql("SELECT CAST(customer_id AS BIGINT) FROM ledger")
        assert report_on(connection).total["calls"] == 6


def test_queries_see_what_is_committed_while_the_exporter_writes(ledger: Path) -> None:
    """From another connection, at once."""
    with Exporter(ledger) as exporter:
        connection = connect(ledger)
        for expected in (7, 8, 9):
            exporter.export(request(call()))
            assert report_on(connection).total["calls"] == expected


def test_who_may_read_the_file_may_ask_the_exporter(ledger: Path) -> None:
    """The address card has the file's permissions; without its token there is no answer."""
    ledger.chmod(0o640)
    with Exporter(ledger) as exporter:
        assert stat.S_IMODE(Card.path(ledger).stat().st_mode) == 0o640
        for token in ("", "Bearer wrong"):
            connection = http.client.HTTPConnection("127.0.0.1", exporter.http_port, timeout=30)
            connection.request(
                "POST", "/v1/sql", json.dumps({"sql": "SELECT 1"}), {"authorization": token}
            )
            assert connection.getresponse().status == 401
            connection.close()


def test_a_card_that_outlived_its_exporter_is_passed_over(ledger: Path) -> None:
    """After a kill the file itself is asked."""
    with Exporter(ledger) as exporter:
        exporter.kill()
    assert Card.path(ledger).exists()
    connection = connect(ledger)
    assert report_on(connection).total["calls"] == 6


def test_a_connection_outlives_the_exporter_and_holds_no_file(ledger: Path) -> None:
    """An exporter may start, stop and start again between two questions."""
    connection = connect(ledger)
    for _ in range(2):
        assert report_on(connection).total["calls"] == 6
        with Exporter(ledger):
            assert report_on(connection).total["calls"] == 6


def test_a_ledger_is_found_by_any_of_its_names(ledger: Path) -> None:
    """The card lies beside the file itself."""
    link = ledger.with_name("link.duckdb")
    link.symlink_to(ledger)
    with Exporter(ledger):
        assert report_on(connect(link)).total["calls"] == 6


def test_a_card_that_leads_to_another_server_is_passed_over(ledger: Path) -> None:
    """A port is given to somebody else once its owner has gone."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        Card("127.0.0.1", other.getsockname()[1], "token").write(ledger)

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"\x00\x00\x18\x04 this is not HTTP")

        thread = threading.Thread(target=answer)
        thread.start()
        query = "SELECT count(*) AS n FROM ledger"
        assert connect(ledger).sql(query).to_pylist() == [{"n": 6}]
        thread.join(30)


def test_sigterm_ends_running_queries(ledger: Path) -> None:
    """Nobody waits for a minute, and the file is closed in order."""
    endless = (
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range <> b.range"
    )
    failures: list[Exception] = []

    def ask() -> None:
        try:
            connect(ledger).sql(endless)
        except QueryFailed as error:
            failures.append(error)

    with Exporter(ledger) as exporter:
        thread = threading.Thread(target=ask)
        thread.start()
        while not exporter.status()["queries_running"]:
            time.sleep(0.05)
        assert exporter.terminate() == 0
        thread.join(30)
    assert "interrupted" in str(failures[0])


def test_a_query_without_end_is_interrupted(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not hold the exporter's memory and cores for ever."""
    monkeypatch.setattr(ask_http, "QUERY_SECONDS", 0.2)
    store = Store(ledger)
    endless = (
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range <> b.range"
    )
    try:
        with pytest.raises(QueryFailed, match="ran longer than"):
            queries = ask_http.Queries(store.cursor)
            b"".join(ask_http._Answer(queries, queries.begin(), endless, []).stream())
    finally:
        store.close()


def test_a_missing_file_and_a_file_without_a_ledger_are_said(tmp_path: Path) -> None:
    """Asking never creates a file."""
    with pytest.raises(UsageError, match="there is no ledger"):
        connect(tmp_path / "none.duckdb")
    assert not (tmp_path / "none.duckdb").exists()
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(StoreError, match="without a ledger"):
        connect(tmp_path / "empty.duckdb").sql("SELECT 1")


def run(*arguments: str) -> tuple[int, str, str]:
    """The `microdollar` command: exit status, stdout, stderr."""
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_report_as_a_table(ledger: Path) -> None:
    """Columns that hold nothing are left out; the honesty line closes it."""
    status, out, _ = run("report", "--db", str(ledger))
    assert status == 0
    assert (
        out
        == """\
customer    calls     input  cache  output        cost            cost  unpriced  missing
                   uncached   read                  µ$               $
----------  -----  --------  -----  ------  ----------  --------------  --------  -------
acme            3     2,700    300     107  214.000107  0.000214000107         0        0
globex          2       900    100      50                                     1        1
unassigned      1       900    100      50  100.000050  0.000100000050         0        0
TOTAL           6     4,500    500     207  314.000157  0.000314000157         1        1

Of 6 calls: 1 unpriced (1,050 tokens), 1 with usage missing, 1 unassigned. \
Not booked: 1 span of other emitters (com.anthropic.sdk.python).
"""
    )


def test_report_as_csv(ledger: Path) -> None:
    """Every column, exact decimals, empty where unknown; the honesty line goes to stderr."""
    status, out, err = run(
        "report", "--db", str(ledger), "--format", "csv", "--by", "customer,user"
    )
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["customer"], row["user"], row["cost"]) for row in rows] == [
        ("acme", "u1", "100.000050"),
        ("acme", "", "114.000057"),
        ("globex", "", ""),
        ("unassigned", "", "100.000050"),
    ]
    assert rows[0]["cost_usd"] == "0.000100000050"
    assert rows[0]["reasoning"] == ""
    assert err.startswith("Of 6 calls: ")


def test_report_as_json(ledger: Path) -> None:
    """Money is text, because a JSON number is a float to most readers."""
    status, out, _ = run("report", "--db", str(ledger), "--format", "json")
    assert status == 0
    document = json.loads(out)
    assert document["rows"][0]["cost"] == "214.000107"
    assert document["rows"][1]["cost"] is None
    assert document["total"]["calls"] == 6
    assert (document["unassigned_calls"], document["absent_calls"]) == (1, 0)
    assert document["unbooked_spans"] == {"com.anthropic.sdk.python": 1}


def test_two_columns_of_one_name_are_both_there(ledger: Path) -> None:
    """Or refused, where the form cannot hold them."""
    query = "SELECT 1 AS a, 2 AS a"
    assert run("sql", "--db", str(ledger), "--format", "csv", query)[1] == "a,a\n1,2\n"
    status, _, err = run("sql", "--db", str(ledger), "--format", "json", query)
    assert (status, "name them with AS" in err) == (1, True)


def test_sql_as_a_table_csv_and_json(ledger: Path) -> None:
    """Maps are JSON."""
    query = "SELECT customer_id, tags, cost FROM ledger WHERE user_id = 'u1'"
    assert run("sql", "--db", str(ledger), "--format", "csv", query)[1] == (
        'customer_id,tags,cost\nacme,"{""feature"": ""chat""}",100.000050\n'
    )
    assert json.loads(run("sql", "--db", str(ledger), "--format", "json", query)[1]) == [
        {"customer_id": "acme", "tags": {"feature": "chat"}, "cost": "100.000050"}
    ]
    assert "acme" in run("sql", "--db", str(ledger), query)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "--db", "none.duckdb"], "Error: there is no ledger none.duckdb: name one with"),
        (["serve", "--grpc", "4317"], "Error: --grpc is '4317': write HOST:PORT"),
        (["serve", "--http", "localhost:99999"], "Error: --http is 'localhost:99999'"),
        (["serve", "--grpc", "http://127.0.0.1:4317"], "Error: --grpc is 'http://127.0.0.1:4317'"),
        (["serve", "--grpc", "127.0.0.1:²"], "Error: --grpc is '127.0.0.1:²'"),
        (["serve", "--grpc", "8.8.8.8:1"], "Error: cannot listen on 8.8.8.8:1 (Cannot assign"),
    ],
)
def test_an_expected_error_is_one_line_with_the_way_out(arguments: list[str], message: str) -> None:
    """Without a traceback."""
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
