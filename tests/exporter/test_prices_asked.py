# SPDX-License-Identifier: Apache-2.0
"""What `microdollar prices` says of books: what they hold, how they differ, if they are whole."""

import json
import re
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from microdollar_exporter.ask.rates import rates_of
from microdollar_exporter.ask.render_prices import render_difference, render_rows_of
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.prices import PricesInUse
from microdollar_exporter.price.difference import difference
from microdollar_exporter.price.overrides import parse
from microdollar_exporter.price.shipped import shipped, shipped_id
from microdollar_exporter.store import Store
from tests.exporter.price.overriding import listed
from tests.exporter.price.rows import at as microseconds
from tests.exporter.small_books import book

SHIPPED = f"Book {shipped_id()[:16]} of genai-prices 0.2.3, as of "


def prices(*arguments: str, db: Path | None = None) -> Result:
    """Run `microdollar prices`, on a ledger or where there is none."""
    where = ["--db", str(db or Path("nowhere.duckdb"))]
    return CliRunner().invoke(main, ["prices", *arguments, *where])


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A ledger that is kept by a book of one model, and before was by the shipped one."""
    path = tmp_path / "meter.duckdb"
    with closing(Store(path)) as store:
        PricesInUse(store)
        store.record_book(book(3))
    return path


def test_show_lists_the_providers_of_the_shipped_book_where_there_is_no_ledger() -> None:
    lines = prices("show").stdout.splitlines()
    assert lines[0].startswith(SHIPPED)
    assert lines[2].split() == ["provider", "models", "price", "rows", "and", "the", "models", "of"]
    [azure] = [line.split() for line in lines if line.startswith("azure ")]
    assert azure[:5] == ["azure", "23", "20", "openai,", "anthropic,"]
    assert len(lines) == 4 + 47


def test_show_has_the_book_in_force_of_a_ledger(db: Path) -> None:
    shown = prices("show", "openai", "gpt-6-luna", db=db).stdout
    assert shown.splitlines()[2:] == [
        f"openai gpt-6-luna: always; row {next(book(3).rows).price_row}",
        "  cache_read         1 USD/MTok",
        "  input_uncached     2 USD/MTok",
        "  output             3 USD/MTok",
    ]


@pytest.mark.parametrize(
    ("at", "rate"),
    [("2026-11-30T23:59:59.999999", "2 USD/MTok"), ("2026-12-01", "4 USD/MTok")],
)
def test_show_says_what_holds_at_a_moment(at: str, rate: str) -> None:
    """By the name that a span has, which it says; the change of December is there already."""
    done = prices("show", "gcp.gemini", "gemini-4-argon", "--at", at)
    standard = done.stdout.split("(processing=batch)")[0]
    assert f"  input_uncached     {rate}\n" in standard
    assert standard.count("input_uncached") == 1
    assert done.stderr == (
        "there is no ledger nowhere.duckdb: the book is the shipped one\n"
        "gcp.gemini gemini-4-argon is priced as google gemini-4-argon\n"
    )


def test_show_has_the_whole_history_of_a_model_unless_told_when() -> None:
    lines = prices("show", "google", "gemini-4-argon").stdout.splitlines()
    assert [line for line in lines if line.startswith("google gemini-4-argon: ")] == [
        f"google gemini-4-argon: until 2026-12-01; row {_row('until 2026-12-01', lines)}",
        f"google gemini-4-argon: from 2026-12-01; row {_row('from 2026-12-01', lines)}",
    ]


def _row(when: str, lines: list[str]) -> str:
    return next(line for line in lines if f"argon: {when}; row" in line).rpartition(" ")[2]


CONTRACT = """schema = 1
[[adjust]]
name = "contract 7"
provider = "maker"
model = "large"
of = "tokens"
multiply = 0.885
from = 2026-10-01
[[adjust]]
name = "overnight"
provider = "maker"
model = "large"
when = { processing = "batch" }
multiply = 0.5
"""
LIST = ["  input_uncached     2 USD/MTok", "  output             10 USD/MTok"]
TIMES_7 = ["  input_uncached     1.77 USD/MTok", "  output             8.85 USD/MTok"]
SEARCH = "  web_search         0.01 USD each"


@pytest.mark.parametrize(
    ("at", "standard"),
    [
        ("2026-09-30", [("always", *LIST, SEARCH)]),
        ("2026-10-01", [
            ("from 2026-10-01; times 0.885 of tokens by contract 7", *TIMES_7, SEARCH),
        ]),
        (None, [
            ("always", *LIST, SEARCH),
            ("from 2026-10-01; times 0.885 of tokens by contract 7", *TIMES_7, SEARCH),
        ]),
    ],
)  # fmt: skip
def test_an_adjusted_price_is_shown_with_the_rates_it_comes_to(
    at: str | None, standard: list[tuple[str, ...]]
) -> None:
    """Of a moment there is one price for the same calls; of all time, each with its dates."""
    laid = parse(CONTRACT, "own.toml").over(listed())
    moment = None if at is None else microseconds(at)
    shown = render_rows_of(laid, 0, rates_of(laid, "maker", "large", moment).rows)
    found: list[tuple[str, ...]] = []
    for line in re.sub(r"; row [0-9a-f]{16}", "", shown).splitlines()[2:]:
        if line.startswith("maker large: "):
            found.append((line.removeprefix("maker large: "),))
        elif line.startswith("maker"):
            break
        else:
            found[-1] += (line,)
    assert found == standard


def test_show_of_a_provider_has_what_holds_now() -> None:
    """Nothing that ended, and nothing to come."""
    shown = prices("show", "deepseek").stdout
    assert "deepseek deepseek-chat" in shown
    assert "UTC; row" in shown


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nobody"], "provider 'nobody' is not in the book: `microdollar prices show` lists"),
        (["openai", "gpt-99"], "model 'gpt-99' of openai is not in the book, so its calls are unp"),
        (["openai", "gpt-6-luna", "--at", "noon"], "at is 'noon': write a day like 2026-11-01"),
        (
            ["--book", "best"],
            "there is no price book 'best': name one by in-force, listed, shipped",
        ),
        (["--book", "abcdef"], "there is no price book 'abcdef'"),
    ],
)
def test_what_cannot_be_shown_is_said_with_the_way_out(
    db: Path, names: list[str], message: str
) -> None:
    book_name = [] if "--book" in names else ["--book", "shipped"]
    done = prices("show", *names, *book_name, db=db)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {message}")


def test_a_name_that_is_an_alias_for_a_time_is_shown_with_all_that_it_means() -> None:
    """Whether the time is over, or yet to come."""
    text = """schema = 1
[[alias]]
provider = "azure"
model = "prod"
is = { provider = "openai", model = "gpt-6-luna" }
to = 2026-01-01
[[alias]]
provider = "azure"
model = "prod"
is = { provider = "openai", model = "gpt-6-sol" }
from = 2031-01-01T12:00:00Z
"""
    book = parse(text, "own.toml").over(shipped())
    found = rates_of(book, "azure", "prod", None)
    assert found.notes == (
        "azure prod is priced as openai gpt-6-luna until 2026-01-01",
        "azure prod is not in the book from 2026-01-01, until 2031-01-01T12:00:00, so its calls "
        "are unpriced",
        "azure prod is priced as openai gpt-6-sol from 2031-01-01T12:00:00",
    )
    assert {row.model for row in found.rows} == {"gpt-6-luna", "gpt-6-sol"}
    end = 1_767_225_600_000_000
    before = rates_of(book, "azure", "prod", end - 1)
    assert before.notes == ("azure prod is priced as openai gpt-6-luna",)
    assert {row.model for row in before.rows} == {"gpt-6-luna"}
    with pytest.raises(UsageError, match="model 'prod' of azure is not in the book"):
        rates_of(book, "azure", "prod", end)


def test_what_is_shown_of_a_lent_price_is_what_the_source_has() -> None:
    """And not what an operator agreed with the lender."""
    free = 'schema = 1\n[[free]]\nprovider = "openai"\nmodel = "gpt-6-luna"\n'
    book = parse(free, "own.toml").over(shipped())
    assert rates_of(book, "azure", "gpt-6-luna", None).rows == (
        shipped().lookup("openai", "gpt-6-luna")
    )
    assert {row.layer for row in rates_of(book, "openai", "gpt-6-luna", None).rows} == {"free"}


def test_a_model_without_a_price_is_said_to_have_none() -> None:
    done = prices("show", "openrouter", "google/gemma-3-27b-it:free")
    assert done.exit_code == 0
    assert "the book has no price for it" in done.stderr


def test_rates_as_json_are_exact_decimals() -> None:
    said = json.loads(prices("show", "openai", "gpt-6-luna", "--format", "json").stdout)
    assert said["book"] == shipped_id()
    assert said["rows"][0]["rates"]["output"] == "0.0000005"
    whole = json.loads(prices("show", "--format", "json").stdout)
    assert len(whole["rows"]) == sum(1 for _ in shipped().rows)


def test_the_installed_data_and_the_shipped_book_say_the_same() -> None:
    assert prices("diff").stdout == "The two books say the same.\n"
    assert prices("diff", "shipped", "installed").stdout == "The two books say the same.\n"


def test_books_of_a_ledger_are_named_by_the_beginning_of_their_ids(db: Path) -> None:
    done = prices("diff", shipped_id()[:6], book(3).id[:12], "--limit", "1", db=db)
    lines = done.stdout.splitlines()
    assert lines[0] == "New models: 0"
    assert "  openai gpt-6-luna: cache_read 0.01 USD/MTok → 1 USD/MTok" in lines
    assert "Models no longer listed: 2,329" in lines
    assert lines[-1].startswith("An import would be refused without --force: 6,6")


def test_the_rate_for_whatever_nobody_lists_is_called_as_in_the_file() -> None:
    every = "schema = 1\n[default]\nper_mtok = { input = 9, output = 9 }\n"
    laid = parse(every, "own.toml").over(listed())
    shown = render_difference(difference(listed(), laid, 0), 0, 10)
    assert shown.splitlines()[:2] == ["New models: 1", "  [default]"]
    [row] = laid.lookup("*", "*")
    assert render_rows_of(laid, 0, [row]).splitlines()[2].startswith("[default]: always; row ")


def test_where_the_past_ends_can_be_said(db: Path) -> None:
    """Without saying it is where the older book came into the ledger."""
    said = json.loads(prices("diff", "in-force", "shipped", "--format", "json", db=db).stdout)
    assert said["since"] > 1_795_000_000_000_000
    later = ["diff", "in-force", "shipped", "--format", "json", "--since", "2026-10-12"]
    moved = json.loads(prices(*later, db=db).stdout)
    assert {move["since"] for move in moved["past"]} == {None}
    assert {move["since"] for move in moved["later"]} >= {1_791_763_200_000_000}
    assert moved["since"] == 1_791_763_200_000_000


def test_check_says_that_all_is_well(db: Path) -> None:
    done = prices("check", db=db)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "2 of 2 price books in the ledger are what their ids say\n"
        f"no overrides: there is no file {db.with_suffix('.prices.toml')}\n"
    )


def test_check_finds_a_book_that_was_altered(db: Path) -> None:
    with duckdb.connect(db) as con:
        con.execute(
            "UPDATE price_book SET content = replace(content, '0', '1') WHERE book_id = ?",
            [shipped_id()],
        )
    done = prices("check", db=db)
    assert done.exit_code == 1
    assert done.stdout.startswith("1 of 2 price books in the ledger are what their ids say\n")
    assert done.stderr == (
        f"price book {shipped_id()[:16]} was altered: its id is not the hash of its content; "
        "restore a backup\n"
    )


def test_check_reads_overrides_as_they_would_be_laid_over_the_prices(
    db: Path, tmp_path: Path
) -> None:
    """And says that they do not count yet."""
    file = tmp_path / "own.toml"
    file.write_text(
        'schema = 1\n[[free]]\nprovider = "openai"\nmodel = "gpt-6-luna"\nreason = "x"\n'
    )
    done = prices("check", str(file), db=db)
    assert done.exit_code == 0, done.stderr
    assert f"{file}: the overrides hold over book {book(3).id[:16]}, as " in done.stdout
    assert "they are not in force yet: see `microdollar prices reload`" in done.stdout


def test_check_names_rates_that_say_nothing_of_output(db: Path, tmp_path: Path) -> None:
    """They may be meant so; a rate for output, for units only, or of zero is none of them."""
    file = tmp_path / "own.toml"
    file.write_text(
        "schema = 1\n"
        "[default]\nper_mtok = { input = 1 }\n"
        '[[rate]]\nprovider = "openai"\nmodel = "nova-9"\nper_mtok = { input = 1 }\n'
        '[[rate]]\nprovider = "openai"\nmodel = "nova-8"\nper_mtok = { input = 1, output = 0 }\n'
        '[[rate]]\nprovider = "openai"\nmodel = "nova-7"\nper = { web_search = 1 }\n'
    )
    done = prices("check", str(file), db=db)
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if "output" in line] == [
        f"{file}:2: [default] has no rate for output: calls with output will be partial",
        f"{file}:4: [[rate]] for openai nova-9 has no rate for output: calls with output will be "
        "partial",
    ]


def test_where_there_is_no_ledger_that_is_said(tmp_path: Path) -> None:
    """Beside the answer about the shipped book; a wrong path is not taken for a ledger."""
    nowhere = tmp_path / "nope.duckdb"
    said = f"there is no ledger {nowhere}: the book is the shipped one\n"
    for asked in (["show", "openai", "gpt-6-luna"], ["show", "--format", "json"], ["diff"]):
        done = prices(*asked, db=nowhere)
        assert (done.exit_code, done.stderr) == (0, said), asked
    done = prices("check", db=nowhere)
    assert (done.exit_code, done.stderr) == (0, said)


def test_check_names_the_line_of_what_is_wrong_in_overrides(db: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('schema = 1\n[[free]]\nprovider = "openai"\nmodle = "gpt-6-luna"\n')
    done = prices("check", str(file), db=db)
    assert done.exit_code == 1
    assert str(file) in done.stderr
    assert "modle" in done.stderr
    assert "line 4" in done.stderr or ":4" in done.stderr
