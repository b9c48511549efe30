# SPDX-License-Identifier: Apache-2.0
"""The commands about whose calls they are, which are missing, and how they are forgotten."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from microdollar_exporter.ask.honesty import plural
from microdollar_exporter.cli_shared import (
    by_option,
    db_option,
    form_option,
    plain_errors,
    reason_option,
    show,
    who_decides,
)
from microdollar_exporter.errors import UsageError
from microdollar_exporter.money import usd

__all__ = ["COMMANDS"]

_from = click.option(
    "--from", "from_", metavar="TIME", help="First instant: 2026-11-01, or a UTC time."
)
_to = click.option("--to", metavar="TIME", help="The instant after the last, in the same forms.")
_apply = click.option("--apply", is_flag=True, help="Do it; without this it is only shown.")


@click.command()
@db_option
@_from
@_to
@click.option("--service", help="Only the processes of this service.")
@form_option
@plain_errors
def completeness(
    *, db: Path, from_: str | None, to: str | None, service: str | None, form: str
) -> None:
    """Name the calls that processes numbered and that have not arrived.

    Says of each gap how many calls it is, between which times they began, and what they are likely
    to have cost. A gap belongs to the period in which the call after it began.
    """
    from microdollar_exporter.ask.completeness import (  # noqa: PLC0415 - loads pyarrow
        completeness_on,
    )
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render import render_completeness  # noqa: PLC0415 - loads pandas

    found = completeness_on(connect(db), from_=from_, to=to, service=service)
    show(render_completeness(found, form), form)
    if form == "csv":
        click.echo(found.summary, err=True)


@click.command()
@db_option
@click.option("--customer", help="To whom.")
@click.option("--service", help="Only calls of this service.")
@click.option("--environment", help="Only calls in this environment.")
@click.option("--user", help="Only calls of this user.")
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Only calls so tagged.")
@click.option("--model", help="Only calls in which this model worked.")
@click.option("--provider", help="Only calls to this provider.")
@click.option("--trace", help="Only calls of this trace.")
@click.option("--scope", help="Only calls seen by this instrumentation.")
@_from
@_to
@click.option("--undo", metavar="DECISION", help="Take the calls of this decision back instead.")
@_apply
@reason_option
@by_option
@plain_errors
def assign(
    *,
    db: Path,
    customer: str | None,
    tags: Sequence[str],
    undo: str | None,
    apply: bool,
    reason: str | None,
    by: str | None,
    from_: str | None,
    to: str | None,
    **filters: str | None,
) -> None:
    """Give past calls that are nobody's to a customer, by a rule.

    The rule is all the filters together. Calls that have a customer are never touched, and the sum
    over all customers stays what it is. Without --apply it only says which calls those are.
    """
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb

    given = {**filters, "from": from_, "to": to}
    rule: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if tags:
        rule["tags"] = _tags(tags)
    arguments: dict[str, Any] = {"apply": apply, **(who_decides(by, reason) if apply else {})}
    if undo:
        if customer or rule:
            raise UsageError("--undo takes a whole decision back: leave --customer and filters out")
        found = perform(db, "unassign", {"decision": undo, **arguments})
        _show_move(found, f"taken back from decision {undo}", "")
        return
    if not customer or not rule:
        raise UsageError("say to whom with --customer, and which calls with at least one filter")
    found = perform(db, "assign", {"customer": customer, "rule": rule, **arguments})
    _show_move(found, f"given to {customer}", "; --undo {} takes them back")


def _tags(given: Sequence[str]) -> dict[str, str]:
    tags = {}
    for tag in given:
        name, equals, value = tag.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--tag is {tag!r}: write NAME=VALUE")
        tags[name] = value
    return tags


def _show_move(found: Mapping[str, Any], done: str, way_back: str) -> None:
    from microdollar_exporter.ask.tables import cut, table  # noqa: PLC0415 - only here

    unpriced = f", {found['unpriced']:,} of them unpriced" if found["unpriced"] else ""
    cost = f"${usd(Decimal(found['cost'])):f}" if found["cost"] is not None else "no known cost"
    calls, tokens = plural(found["calls"], "call"), plural(found["tokens"], "token")
    what = f"{calls} ({tokens}, {cost}{unpriced})"
    if not found["entries"]:
        show(f"No calls to be {done}.\n", "table")
    elif found["decision"]:
        way_back = way_back.format(found["decision"])
        show(f"{what} {done}, by decision {found['decision']}{way_back}.\n", "table")
    else:
        rows = [[cut(value or "") for value in each.values()] for each in found["examples"]]
        names = list(found["examples"][0]) if rows else []
        examples = table(rows, names)
        show(
            f"{what} from {found['first']} to {found['last']} would be {done}. For example:\n\n"
            f"{examples}\n\nNothing is done yet: add --apply and --reason.\n",
            "table",
        )


@click.group()
def users() -> None:
    """Say whose users they are, for calls that name a user and no customer.

    What a span itself says of its customer goes before this table.
    """


@users.command("list")
@db_option
@form_option
@plain_errors
def list_users(*, db: Path, form: str) -> None:
    """List the users whose customers are known."""
    import pyarrow as pa  # noqa: PLC0415 - loads slowly

    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render import render_rows  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.operate.users import (  # noqa: PLC0415 - loads duckdb
        MappedUser,
        mapped_users,
    )

    rows = [user._asdict() for user in mapped_users(connect(db))]
    schema = pa.schema([(name, pa.string()) for name in MappedUser._fields])
    show(render_rows(pa.Table.from_pylist(rows, schema), form), form)


_past = click.option(
    "--past", is_flag=True, help="Also give them the past calls of the user that are nobody's."
)


@users.command("map")
@db_option
@click.argument("user")
@click.argument("customer")
@_past
@reason_option
@by_option
@plain_errors
def map_user(
    *, db: Path, user: str, customer: str, past: bool, reason: str | None, by: str | None
) -> None:
    """Calls of USER are for CUSTOMER, from now on."""
    _map(db, {user: customer}, past, who_decides(by, reason))


@users.command("unmap")
@db_option
@click.argument("user")
@reason_option
@by_option
@plain_errors
def unmap_user(*, db: Path, user: str, reason: str | None, by: str | None) -> None:
    """Calls of USER are for nobody known, from now on; those of the past stay where they are."""
    _map(db, {user: None}, False, who_decides(by, reason))


@users.command("import")
@db_option
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_past
@reason_option
@by_option
@plain_errors
def import_users(*, db: Path, file: Path, past: bool, reason: str | None, by: str | None) -> None:
    """Map the users of a CSV FILE with the columns user and customer; others stay as they are."""
    from microdollar_exporter.operate.users import read_users  # noqa: PLC0415 - loads duckdb

    who = who_decides(by, reason)
    for some in read_users(file):
        _map(db, some, past, who)


def _map(db: Path, users: Mapping[str, str | None], past: bool, who: Mapping[str, str]) -> None:
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb

    found = perform(db, "map-users", {"users": dict(users), "past": past, **who})
    if found["decision"] is None:
        show("Nothing to change: that is in force already.\n", "table")
        return
    show(f"{found['users']:,} users mapped, by decision {found['decision']}.\n", "table")
    if past:
        _show_move(found, "given", "; assign --undo {} takes them back")


@click.command()
@db_option
@click.option("--customer", required=True, help="Whom to forget.")
@_apply
@reason_option
@by_option
@plain_errors
def erase(*, db: Path, customer: str, apply: bool, reason: str | None, by: str | None) -> None:
    """Forget a customer, and keep the sums.

    What names the customer or its users goes, from the bytes of the ledger's file too. Sums by the
    day stay, under the customer "erased", so that no total changes. Nothing brings it back: spans
    that are sent again are known. The ledger is written anew, which takes some seconds for each
    million calls; an exporter takes nothing in meanwhile. Without --apply it only says what that
    concerns.
    """
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb

    who = who_decides(by, reason) if apply else {}
    found = perform(db, "erase", {"customer": customer, "apply": apply, **who})
    what = (
        f"{plural(found['calls'], 'call')}, {plural(found['spans'], 'span')}, "
        f"{plural(found['users'], 'user')}, {plural(found['decisions'], 'decision')}"
    )
    _show_done(found, apply, f"{what} erased", f"{what} would be erased")
    for file in found["archived"]:
        click.echo(f"{file} was sealed with such days: remove it, or seal it anew", err=True)
    if found["decision"]:
        click.echo("Backups from before still name the customer: remove them.", err=True)


@click.command()
@db_option
@click.option("--evidence", required=True, metavar="AGE", help="Keep spans so long: 90d.")
@click.option(
    "--ledger",
    metavar="AGE",
    help="Keep entries call by call so long: 400d; then as sums by the day.  [default: for ever]",
)
@_apply
@reason_option
@by_option
@plain_errors
def retain(
    *, db: Path, evidence: str, ledger: str | None, apply: bool, reason: str | None, by: str | None
) -> None:
    """Let go of what is older than it has to be kept, and keep the sums.

    Evidence goes first; entries stay with their price and reason until they are too old as well.
    Spans of a time whose evidence is gone are refused from then on: they could not be told from
    those that were there. Without --apply it only says what would go.
    """
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb

    arguments: dict[str, Any] = {"evidence": _days("--evidence", evidence), "apply": apply}
    if ledger:
        arguments["ledger"] = _days("--ledger", ledger)
    found = perform(db, "retain", arguments | (who_decides(by, reason) if apply else {}))
    what = f"{plural(found['spans'], 'span')} from before {found['evidence_before']}"
    done = f"{what} removed"
    would = f"{what} would be removed"
    if found["ledger_before"]:
        entries = "1 entry" if found["entries"] == 1 else f"{found['entries']:,} entries"
        entries += f" from before {found['ledger_before']}"
        done += f", {entries} made sums by the day"
        would += f", {entries} would become sums by the day"
    _show_done(found, apply, done, would)


def _days(option: str, age: str) -> int:
    number = age.removesuffix("d")
    if number == age or not number.isascii() or not number.isdigit():
        raise UsageError(f"{option} is {age!r}: write days like 90d")
    return int(number)


def _show_done(found: Mapping[str, Any], apply: bool, done: str, would: str) -> None:
    if found["decision"]:
        show(f"{done}, by decision {found['decision']}.\n", "table")
    elif apply:
        show("There is nothing of that: nothing was done.\n", "table")
    else:
        show(f"{would}. Nothing is done yet: add --apply and --reason.\n", "table")


@click.command()
@click.argument("name")
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MICRODOLLAR_PSEUDONYMS",
    show_envvar=True,
    help="The file with the key that `serve --pseudonyms` has.",
)
@plain_errors
def pseudonym(*, name: str, key: Path) -> None:
    """Print what stands for a customer, a user or a session in a ledger of pseudonyms."""
    from microdollar_exporter.operate.pseudonyms import (  # noqa: PLC0415 - loads duckdb
        Pseudonyms,
    )

    show(Pseudonyms.read(key).of(name) + "\n", "table")


COMMANDS: tuple[click.Command, ...] = (completeness, assign, users, erase, retain, pseudonym)
"""What this room adds to `microdollar`."""
