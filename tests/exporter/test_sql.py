# SPDX-License-Identifier: Apache-2.0
"""Plain SQL on a ledger, from any process, whether or not an exporter writes it."""

import http.client
import json
import os
import signal
import socket
import stat
import threading
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from microdollar_exporter import Connection, connect
from microdollar_exporter.ask import connect as ask_connect
from microdollar_exporter.ask import http as ask_http
from microdollar_exporter.ask.connect import Card
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.errors import QueryFailed, QueryRefused, StoreError, UsageError
from microdollar_exporter.store import Store
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request


def test_plain_sql_answers_with_an_arrow_table(connection: Connection) -> None:
    """With parameters, and sums of DECIMAL(18,6) that stay exact."""
    table = connection.sql(
        "SELECT customer_id, sum(cost) AS cost FROM ledger WHERE calls = ? GROUP BY ALL ORDER BY 1",
        [1],
    )
    assert table.to_pylist()[0] == {"customer_id": "acme", "cost": Decimal("314.000157")}
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
        assert report_on(connection).total["calls"] == 7


def test_queries_see_what_is_committed_while_the_exporter_writes(ledger: Path) -> None:
    """From another connection, at once."""
    with Exporter(ledger) as exporter:
        connection = connect(ledger)
        for expected in (8, 9, 10):
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
    assert report_on(connection).total["calls"] == 7


def test_a_connection_outlives_the_exporter_and_holds_no_file(ledger: Path) -> None:
    """An exporter may start, stop and start again between two questions."""
    connection = connect(ledger)
    for _ in range(2):
        assert report_on(connection).total["calls"] == 7
        with Exporter(ledger):
            assert report_on(connection).total["calls"] == 7


def test_a_ledger_is_found_by_any_of_its_names(ledger: Path) -> None:
    """The card lies beside the file itself."""
    link = ledger.with_name("link.duckdb")
    link.symlink_to(ledger)
    with Exporter(ledger):
        assert report_on(connect(link)).total["calls"] == 7


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
        assert connect(ledger).sql(query).to_pylist() == [{"n": 7}]
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


def test_sigterm_does_not_wait_for_a_query_whose_client_has_left(ledger: Path) -> None:
    """It left before there was an answer to send."""
    with Exporter(ledger) as exporter:
        card = Card.read(ledger)
        assert card is not None
        asked = json.dumps({"sql": "SELECT * FROM ledger"})
        os.kill(exporter.pid, signal.SIGSTOP)
        gone = card.dial()
        gone.request("POST", "/v1/sql", asked, card.headers)
        gone.close()
        os.kill(exporter.pid, signal.SIGCONT)
        time.sleep(1)
        assert exporter.status()["queries_running"] == 0
        assert exporter.terminate() == 0


def test_an_exporter_that_does_not_answer_is_not_waited_for_for_ever(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which, and what to do."""
    monkeypatch.setattr(ask_connect, "_ANSWER_SECONDS", 0.2)
    with Exporter(ledger) as exporter:
        os.kill(exporter.pid, signal.SIGSTOP)
        try:
            with pytest.raises(QueryFailed, match=r"has not answered within 0 s: see whether"):
                connect(ledger).sql("SELECT 1")
        finally:
            os.kill(exporter.pid, signal.SIGCONT)


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
