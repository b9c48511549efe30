# SPDX-License-Identifier: Apache-2.0
"""The commands about prices: which are in force, how they change, and how a cost came about."""

import json
import sys
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from microdollar_exporter.cli_shared import (
    by_option,
    db_option,
    exact_number,
    form_option,
    overrides_asked,
    plain_errors,
    show,
    who_decides,
)
from microdollar_exporter.errors import UsageError

if TYPE_CHECKING:
    from microdollar_exporter.ask.connect import Connection
    from microdollar_exporter.price.feed import Feed
    from microdollar_exporter.price.importer import Imported

__all__ = ["COMMANDS"]

_MICROSECOND = timedelta(microseconds=1)
_FILE = click.Path(path_type=Path, dir_okay=False)
_form_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
_overrides_option = click.option(
    "--overrides",
    type=_FILE,
    envvar="MICRODOLLAR_OVERRIDES",
    show_envvar=True,
    help="Prices of your own, in TOML.  [default: those in use]",
)
_no_overrides_option = click.option(
    "--no-overrides", is_flag=True, help="No prices of your own from now on."
)
_limit_option = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many lines of each list to show.",
)
_reason_option = click.option("--reason", help="Why, for whoever reads the books later.")


@click.group()
def prices() -> None:
    """See, check and change the prices that calls are charged at.

    A price book never changes. Another is put in its place, from then on; what was priced before
    stays as it is until `microdollar reprice`.
    """


@prices.command("import")
@db_option
@_form_option
@click.option("--fetch", is_flag=True, help="Fetch the feed of genai-prices over the network.")
@click.option(
    "--url",
    envvar="MICRODOLLAR_PRICES_URL",
    show_envvar=True,
    help="Where --fetch finds it.  [default: where genai-prices publishes it]",
)
@click.option("--force", is_flag=True, help="Take it though it looks wrong.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option(
    "--most-moved",
    metavar="PERCENT",
    type=exact_number(0, 100),
    default="5",
    show_default=True,
    help="Refuse a book in which more of the known rates moved.",
)
@click.option(
    "--most-factor",
    metavar="FACTOR",
    type=exact_number(1),
    default="5",
    show_default=True,
    help="Refuse a book in which a rate moved by more, up or down.",
)
@_overrides_option
@_no_overrides_option
@_limit_option
@_reason_option
@by_option
@click.argument("file", type=_FILE, required=False)
@plain_errors
def import_(
    *,
    db: Path,
    form: str,
    fetch: bool,
    url: str | None,
    force: bool,
    dry_run: bool,
    most_moved: Fraction,
    most_factor: Fraction,
    overrides: Path | None,
    no_overrides: bool,
    limit: int,
    reason: str | None,
    by: str | None,
    file: Path | None,
) -> None:
    """Put a new price book in force: of the installed genai-prices, or of a FILE of its feed.

    It says what is new, what changes, and what is said otherwise of the past. A book in which too
    much moved is refused without --force. A running exporter prices by the new book from its next
    commit on.
    """
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb
    from microdollar_exporter.operate.prices import USE_PRICES  # noqa: PLC0415 - loads duckdb

    imported, ignored = _obtain(file, fetch, url)
    _tell(imported, ignored)
    if imported.unknown and not force:
        raise UsageError(
            "it charges for what this version cannot read: upgrade microdollar-exporter and "
            "genai-prices, or take it with --force; such usage then has no price"
        )
    book = imported.book
    asked = f"prices import of {book.source} {book.source_version}{', forced' if force else ''}"
    answer = perform(
        db,
        USE_PRICES,
        {
            "book": book.canonical_json().decode(),
            "source": book.source,
            "source_version": book.source_version,
            "most_share": str(most_moved / 100),
            "most_factor": str(most_factor),
            "force": force,
            "apply": not dry_run,
            **_named(overrides, no_overrides),
            **who_decides(by, reason or asked),
        },
    )
    _show_change(answer, form, limit)
    if answer["refusal"] and not force:
        raise UsageError(f"not taken: {answer['refusal']}; read the lists, then use --force")


def _obtain(file: Path | None, fetch: bool, url: str | None) -> "tuple[Imported, dict[str, int]]":
    if file and fetch:
        raise UsageError("--fetch and a FILE are two sources: choose one")
    if not (file or fetch):
        from microdollar_exporter.price.importer import (  # noqa: PLC0415 - loads pydantic
            import_installed,
        )

        return import_installed(), {}
    from microdollar_exporter.price.feed import FEED_URL, read_feed  # noqa: PLC0415 - loads pydantic
    from microdollar_exporter.price.obtain import fetch_feed, open_feed  # noqa: PLC0415

    feed: Feed = read_feed(open_feed(file) if file else fetch_feed(url or FEED_URL))
    return feed.imported, dict(feed.ignored)


def _tell(imported: "Imported", ignored: dict[str, int]) -> None:
    """What could not be taken as it stands, on the standard error."""
    book = imported.book
    rows = sum(1 for _ in book.rows)
    models = sum(len(provider.models) for provider in book.providers.values())
    said = [
        f"{book.source} {book.source_version}: {rows:,} price rows of {models:,} models of "
        f"{len(book.providers):,} providers"
    ]
    if imported.rounded:
        said.append(f"{imported.rounded:,} prices with the residue of a float were rounded")
    said += [f"not needed: {key}, {count:,} models" for key, count in imported.set_aside.items()]
    said += [f"not read: {field}, {count:,} times" for field, count in sorted(ignored.items())]
    said += [
        f"unknown: {key}, of {', '.join(models[:3])}{' …' if len(models) > 3 else ''}"
        for key, models in imported.unknown.items()
    ]
    click.echo("\n".join(said), err=True)


def _named(overrides: Path | None, none: bool) -> dict[str, Any]:
    asked = overrides_asked(overrides, none)
    if asked is None:
        return {}
    # Not where a link leads to: what it leads to may change.
    return {"overrides": asked and str(asked.absolute())}


def _show_change(answer: dict[str, Any], form: str, limit: int) -> None:
    if form == "json":
        show(json.dumps(answer, indent=2) + "\n", form)
        return
    from microdollar_exporter.ask.render_prices import (  # noqa: PLC0415 - loads pandas
        render_difference,
        render_overridden,
    )
    from microdollar_exporter.price.difference import Difference  # noqa: PLC0415

    found = Difference.from_json(answer["difference"])
    show(render_difference(found, answer["since"], limit), form)
    show(render_overridden(answer, limit), form)
    book = answer["in_force"][:16]
    over = f", with the overrides in {answer['overrides']}" if answer["overrides"] else ""
    if answer["applied"]:
        show(f"Book {book} is in force from now on{over}.\n", form)
    elif answer["was"] == answer["in_force"]:
        show(f"Book {book} is in force already{over}.\n", form)


@prices.command()
@db_option
@_form_option
@_overrides_option
@_no_overrides_option
@_limit_option
@_reason_option
@by_option
@plain_errors
def reload(
    *,
    db: Path,
    form: str,
    overrides: Path | None,
    no_overrides: bool,
    limit: int,
    reason: str | None,
    by: str | None,
) -> None:
    """Read the overrides anew, and price by them from now on."""
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb
    from microdollar_exporter.operate.prices import USE_PRICES  # noqa: PLC0415 - loads duckdb

    who = who_decides(by, reason or "prices reload")
    answer = perform(db, USE_PRICES, {"apply": True, **_named(overrides, no_overrides), **who})
    _show_change(answer, form, limit)


@prices.command("show")
@db_option
@_form_option
@click.option("--at", metavar="TIME", help="Only what holds then: 2026-11-01, or a UTC time.")
@click.option(
    "--book", "name", default="in-force", show_default=True, help="Which book; see `prices diff`."
)
@click.argument("provider", required=False)
@click.argument("model", required=False)
@plain_errors
def show_(
    *, db: Path, form: str, at: str | None, name: str, provider: str | None, model: str | None
) -> None:
    """Show what the book in force says: of all providers, of one, or of one model.

    PROVIDER and MODEL are names as spans have them. Of a provider it shows what holds now, of a
    model all that ever does, unless --at says when.
    """
    from microdollar_exporter.ask.books import find_book  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.rates import rates_of  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render_prices import (  # noqa: PLC0415 - loads pandas
        render_book,
        render_rows_of,
    )

    book, known_at = find_book(name, _ledger(db))
    if provider is None:
        if form == "json":
            rows = book.table_rows()
            show(json.dumps({"book": book.id, "rows": rows}, indent=2) + "\n", form)
        else:
            show(render_book(book, known_at), form)
        return
    found = rates_of(book, provider, model, _moment(at))
    if form == "json":
        of_book = {row["price_row"]: row for row in book.table_rows()}
        rows = [of_book[row.price_row] for row in found.rows]
        said = {"book": book.id, "notes": list(found.notes), "rows": rows}
        show(json.dumps(said, indent=2) + "\n", form)
        return
    for note in found.notes:
        click.echo(note, err=True)
    show(render_rows_of(book, known_at, found.rows), form)


@prices.command()
@db_option
@_form_option
@_limit_option
@click.option(
    "--since",
    metavar="TIME",
    help="Where the past ends.  [default: when book A came into the ledger]",
)
@click.argument("a", default="listed")
@click.argument("b", default="installed")
@plain_errors
def diff(*, db: Path, form: str, limit: int, since: str | None, a: str, b: str) -> None:
    """Say what price book B says otherwise than A.

    A book is in-force, listed (in force, without the overrides), shipped (with this release) or
    installed (of the installed genai-prices), the id of a book in the ledger or its beginning, or
    a file of the genai-prices feed. By default it is listed against installed: what an import would
    change.
    """
    from microdollar_exporter.ask.books import find_book  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render_prices import render_difference  # noqa: PLC0415
    from microdollar_exporter.price.difference import difference  # noqa: PLC0415

    ledger = _ledger(db)
    old, new = find_book(a, ledger), find_book(b, ledger)
    until = _moment(since)
    parted = old.known_at if until is None else until
    found = difference(old.book, new.book, parted)
    if form == "json":
        said = {"a": old.book.id, "b": new.book.id, "since": parted, **found.as_json()}
        show(json.dumps({**said, "refusal": found.refusal()}, indent=2) + "\n", form)
        return
    text = render_difference(found, parted, limit)
    if refusal := found.refusal():
        text += f"An import would be refused without --force: {refusal}.\n"
    show(text, form)


@prices.command()
@db_option
@click.argument("file", type=_FILE, required=False)
@plain_errors
def check(*, db: Path, file: Path | None) -> None:
    """Check the price books of the ledger, and a FILE of overrides.

    Without a FILE it is the one in use, or else the one beside the ledger, if there is one. The
    status is 1 when anything is wrong, and each line says what, and what to do.
    """
    from microdollar_exporter.ask.check_prices import check_prices  # noqa: PLC0415 - loads duckdb

    checked = check_prices(_ledger(db), db, file)
    show("".join(f"{line}\n" for line in checked.sound), "table")
    for line in checked.wrong:
        click.echo(line, err=True)
    if checked.wrong:
        sys.exit(1)


@prices.command()
@db_option
@form_option
@plain_errors
def unpriced(*, db: Path, form: str) -> None:
    """List the models whose calls have no cost, why, and what to write in the overrides."""
    from microdollar_exporter.ask.books import IN_FORCE, find_book  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render_prices import (  # noqa: PLC0415 - loads pyarrow
        render_unpriced,
        unpriced_csv,
    )
    from microdollar_exporter.ask.unpriced import unpriced_in  # noqa: PLC0415 - loads pyarrow

    ledger = connect(db)
    found = unpriced_in(ledger, find_book(IN_FORCE, ledger).book)
    if form == "table":
        show(render_unpriced(found), form)
    elif form == "json":
        said = [one._asdict() for one in found]
        show(json.dumps(said, indent=2, default=str) + "\n", form)
    else:
        show(unpriced_csv(found), form)


@prices.command()
@db_option
@_form_option
@click.argument("entry", metavar="ENTRY|TRACE")
@plain_errors
def explain(*, db: Path, form: str, entry: str) -> None:
    """Tell how a cost came about: evidence, usage, price, and every entry since.

    ENTRY|TRACE is the id of a ledger entry or of a trace, or at least six characters of its
    beginning. Every count stands with its rate and what they make; the sum is worked out anew.
    """
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.explain import explain as stories_of  # noqa: PLC0415
    from microdollar_exporter.ask.render_prices import render_stories, stories_json  # noqa: PLC0415

    stories = stories_of(connect(db), entry)
    show(stories_json(stories) if form == "json" else render_stories(stories), form)


def _ledger(db: Path) -> "Connection | None":
    """The ledger, or None where there is none yet: the shipped book is then in force."""
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow

    if db.exists():
        return connect(db)
    click.echo(f"there is no ledger {db}: the book is the shipped one", err=True)
    return None


def _moment(at: str | None) -> int | None:
    """A time in microseconds since 1970 UTC."""
    from microdollar_exporter.ask.period import instant  # noqa: PLC0415 - only where one is given

    return None if at is None else (instant("at", at) - datetime(1970, 1, 1)) // _MICROSECOND


COMMANDS: tuple[click.Command, ...] = (prices, explain)
"""What this room adds to `microdollar`. A cost is asked after by who reads a report, too, and not
only by who keeps the prices: hence `microdollar explain` without `prices`."""
