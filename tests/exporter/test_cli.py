# SPDX-License-Identifier: Apache-2.0
"""The `microdollar` command, as a person and a program read it."""

import ast
import csv
import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from microdollar_exporter.cli import main
from microdollar_exporter.cli_shared import exact_number


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
acme            4     3,600    400     157  314.000157  0.000314000157         0        0
globex          2       900    100      50                                     1        1
unassigned      1       900    100      50  100.000050  0.000100000050         0        0
TOTAL           7     5,400    600     257  414.000207  0.000414000207         1        1

Of 7 calls: 1 unpriced (1,050 tokens), 1 with usage missing, 1 unassigned (1,050 tokens).
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
        ("acme", "", "214.000107"),
        ("globex", "", ""),
        ("unassigned", "", "100.000050"),
    ]
    assert rows[0]["cost_usd"] == "0.000100000050"
    assert rows[0]["reasoning"] == ""
    assert err.startswith("Of 7 calls: ")


def test_report_as_json(ledger: Path) -> None:
    """Money is text, because a JSON number is a float to most readers."""
    status, out, _ = run("report", "--db", str(ledger), "--format", "json")
    assert status == 0
    document = json.loads(out)
    assert document["rows"][0]["cost"] == "314.000157"
    assert document["rows"][1]["cost"] is None
    assert document["total"]["calls"] == 7
    assert (document["unassigned_calls"], document["absent_calls"]) == (1, 0)
    assert document["unbooked_calls"] == {}


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
        (
            ["serve", "--insecure-no-auth", "--grpc", "8.8.8.8:1"],
            "Error: cannot listen on 8.8.8.8:1 (Cannot assign",
        ),
    ],
)
def test_an_expected_error_is_one_line_with_the_way_out(arguments: list[str], message: str) -> None:
    """Without a traceback."""
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_question_loads_nothing_of_the_server() -> None:
    """Asking has to be quick."""
    code = """
import sys
from microdollar_exporter.ask.connect import connect
from microdollar_exporter.cli import main
print(sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert "duckdb" in loaded
    assert not loaded & {"grpc", "opentelemetry.sdk", "prometheus_client", "starlette", "uvicorn"}


def test_a_number_of_an_option_is_taken_to_its_last_digit() -> None:
    """A float would have it as 0.1000000000000000055."""
    number = exact_number(0, 100)
    for text, exact in [
        ("0.1", Fraction(1, 10)),
        ("33.333333333333333333", Fraction(33333333333333333333, 10**18)),
        ("0", Fraction(0)),
        ("100", Fraction(100)),
    ]:
        assert number(text) == exact
    assert exact_number(1)("101") == 101


@pytest.mark.parametrize("text", ["-1", "100.1", "1e3", "nan", "inf", "1/2", "5 %", "", "٣"])
def test_a_number_of_an_option_that_cannot_be_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        exact_number(0, 100)(text)
    assert refused.value.message == f"{text!r}: write a number like 12.5, from 0 to 100"
    status, _, said = run("prices", "import", "--most-factor", "0.9")
    assert (status, said.splitlines()[-1]) == (
        2,
        "Error: Invalid value for '--most-factor': '0.9': write a number like 12.5, from 1",
    )
