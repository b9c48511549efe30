# SPDX-License-Identifier: Apache-2.0
"""What `microdollar prices` says of books: what they hold, how they differ, if they are whole."""

import json
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from microdollar_exporter.cli import main
from microdollar_exporter.operate.prices import PricesInUse
from microdollar_exporter.price.shipped import shipped, shipped_id
from microdollar_exporter.store import Store
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
    assert done.stderr == "gcp.gemini gemini-4-argon is priced as google gemini-4-argon\n"


def test_show_has_the_whole_history_of_a_model_unless_told_when() -> None:
    lines = prices("show", "google", "gemini-4-argon").stdout.splitlines()
    assert [line for line in lines if line.startswith("google gemini-4-argon: ")] == [
        f"google gemini-4-argon: until 2026-12-01; row {_row('until 2026-12-01', lines)}",
        f"google gemini-4-argon: from 2026-12-01; row {_row('from 2026-12-01', lines)}",
    ]


def _row(when: str, lines: list[str]) -> str:
    return next(line for line in lines if f"argon: {when}; row" in line).rpartition(" ")[2]


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


def test_check_names_the_line_of_what_is_wrong_in_overrides(db: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('schema = 1\n[[free]]\nprovider = "openai"\nmodle = "gpt-6-luna"\n')
    done = prices("check", str(file), db=db)
    assert done.exit_code == 1
    assert str(file) in done.stderr
    assert "modle" in done.stderr
    assert "line 4" in done.stderr or ":4" in done.stderr
