# SPDX-License-Identifier: Apache-2.0
"""What `docs/exporter.md` says is what the exporter does."""

import os
import re
import shlex
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_HEADERS
from opentelemetry.util.re import parse_env_headers

from microdollar_exporter.access.scopes import SCOPES
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.ask.readonly import TABLES
from microdollar_exporter.cli import main
from microdollar_exporter.store import Store
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request
from tests.pages import Page

TEXT = (Path(__file__).parents[2] / "docs" / "exporter.md").read_text("utf-8")
TOKENS, SENDER, REPORT, SERVE, REPRICE, CLOSE, CLOSED, STATUS = re.findall(
    r"^```sh\n(.*?)^```", TEXT, re.M | re.S
)
[COLLECTOR] = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)


def rows(first: str) -> dict[str, list[str]]:
    """The rows of a table whose first cells look like this, by their first cell."""
    found = re.findall(rf"^\| `({first})` \| (.*) \|$", TEXT, re.M)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in found}


def options() -> dict[str, click.Option]:
    """The options of `microdollar serve` by name."""
    serve = main.commands["serve"]
    found = [parameter for parameter in serve.params if isinstance(parameter, click.Option)]
    return {option.opts[0]: option for option in found}


def test_every_option_is_in_the_table_with_its_variable_and_its_default() -> None:
    """And no other is."""
    table = rows(r"--[\w-]+")
    assert list(table) == list(options())
    for name, option in options().items():
        variable, default, _ = table[name]
        assert variable == f"`{option.envvar}`"
        plural = "S" if option.multiple else ""
        assert option.envvar == "MICRODOLLAR_" + name[2:].upper().replace("-", "_") + plural
        if option.show_default:
            assert default.strip("`") == str(option.default)


def test_every_scope_is_in_the_table() -> None:
    """And no other is."""
    assert set(SCOPES) <= set(rows(r"[\w:=]+"))


def test_every_column_of_the_ledger_is_on_the_page(tmp_path: Path) -> None:
    """And no other is."""
    with closing(Store(tmp_path / "meter.duckdb")) as store:
        names = {name for name, *_ in store.cursor().execute("DESCRIBE ledger").fetchall()}
    table = Page("exporter/README.md").table("`ledger` column", "meaning")
    cells = [row["`ledger` column"] for row in table]
    assert sorted(name.strip("` ") for cell in cells for name in cell.split(",")) == sorted(names)


def test_every_table_that_a_query_can_read_is_in_the_help() -> None:
    """With the two that it is mostly about first."""
    said = CliRunner().invoke(main, ["sql", "--help"]).stdout
    assert set(re.findall(r"\w+", said)) >= TABLES


def test_every_command_about_prices_is_in_the_table() -> None:
    """And no other is."""
    prices = main.commands["prices"]
    assert isinstance(prices, click.Group)
    assert set(rows("microdollar prices \\w+")) == {
        f"microdollar prices {name}" for name in prices.commands
    }


def test_an_option_can_be_given_in_the_environment(tmp_path: Path) -> None:
    """Where it is no flag, and where it is one."""
    environment = {"MICRODOLLAR_GRPC": "no address"}
    result = CliRunner(env=environment).invoke(main, ["serve", "--db", str(tmp_path / "m.duckdb")])
    assert result.stderr.startswith("Error: --grpc is 'no address'")
    environment = {"MICRODOLLAR_GRPC": "0.0.0.0:0", "MICRODOLLAR_INSECURE_NO_AUTH": "1"}
    with Exporter(tmp_path / "meter.duckdb", environment=environment) as exporter:
        assert exporter.send("GET", "/readyz").status == 200


def test_the_commands_for_tokens_are_true(tmp_path: Path) -> None:
    """As they stand there, one after the other."""
    runner = CliRunner(env={"MICRODOLLAR_DB": str(tmp_path / "meter.duckdb")})
    for line in TOKENS.splitlines():
        program, *arguments = shlex.split(line)
        result = runner.invoke(main, arguments)
        assert (program, result.exit_code) == ("microdollar", 0), result.stderr
    [left] = TokenFile.beside(tmp_path / "meter.duckdb").read()
    assert left.scopes == ("read:customer=acme",)


def test_the_commands_for_serving_and_sending_are_true() -> None:
    """By the options and the names they use."""
    words = shlex.split(SERVE)
    assert words[:2] == ["microdollar", "serve"]
    assert {word for word in words if word.startswith("--")} <= set(options())
    name, _, value = SENDER.removeprefix("export ").strip().partition("=")
    assert name == OTEL_EXPORTER_OTLP_HEADERS
    assert parse_env_headers(value.strip('"')) == {"authorization": "Bearer $TOKEN"}
    headers = yaml.safe_load(COLLECTOR)["exporters"]["otlp/microdollar"]["headers"]
    assert headers == {"authorization": "Bearer ${env:TOKEN}"}


_NOVA = """
schema = 1

[[rate]]
provider = "openai"
model = "nova-9"
from = 2026-10-01T00:00:00Z
per_mtok = { input = 2, cache_read = 1, output = 3 }
reason = "the price list of October"
"""


def test_the_commands_that_settle_the_past_are_true(tmp_path: Path) -> None:
    """On a ledger with a call of October whose model has a rate now."""
    at = 1_793_448_000_000_000
    with Exporter(tmp_path / "meter.duckdb") as exporter:
        unknown = call(
            "acme", started_at=at, gen_ai__request__model="nova-9", gen_ai__response__model="nova-9"
        )
        exporter.export(request(unknown))
        (tmp_path / "meter.prices.toml").write_text(_NOVA, "utf-8")
        asked = ["prices reload --reason r", *f"{CLOSE}{REPRICE}{CLOSED}".splitlines()]
        said = []
        for line in asked:
            words = shlex.split(line.removeprefix("microdollar "))
            done = CliRunner().invoke(main, [*words, "--db", str(exporter.db)])
            assert done.exit_code == 0, (line, done.output)
            said.append(done.stdout)
    _, closed, listed, dry, booked, reported = said
    assert "Closed as of 2026-" in closed
    assert "2026-10" in listed
    assert "acme      nova-9  override (rate)" in dry
    assert "Of the closed period 2026-10: 1 call," in booked
    assert "No calls." in reported


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="wants curl and jq")
def test_the_questions_by_curl_are_true(tmp_path: Path) -> None:
    """Against a real exporter, at its own port."""
    with Exporter(tmp_path / "meter.duckdb") as exporter:
        secret, _ = TokenFile.beside(exporter.db).create(["read"])
        for script, expected in ((REPORT, '"honesty"'), (STATUS, '"spans_stored"')):
            done = subprocess.run(
                ["bash", "-euc", script.replace("4318", str(exporter.http_port))],
                cwd=tmp_path,
                env={**os.environ, "TOKEN": secret},
                capture_output=True,
                text=True,
                check=True,
            )
            assert expected in done.stdout
