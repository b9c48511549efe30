# SPDX-License-Identifier: Apache-2.0
"""The commands about whose calls they are: `completeness`, `assign` and `users`."""

import getpass
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from microdollar_exporter.cli_shared import db_option, form_option, plain_errors, show
from microdollar_exporter.errors import UsageError
from microdollar_exporter.money import usd

__all__ = ["COMMANDS"]

_from = click.option(
    "--from", "from_", metavar="TIME", help="First instant: 2026-11-01, or a UTC time."
)
_to = click.option("--to", metavar="TIME", help="The instant after the last, in the same forms.")
_reason = click.option("--reason", help="Why, for whoever reads the books later.")
_by = click.option("--by", help="Who decides.  [default: the user who runs this]")
_apply = click.option("--apply", is_flag=True, help="Do it; without this it is only shown.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise UsageError("this user has no name: say with --by who decides") from error


def _who(by: str | None, reason: str | None) -> dict[str, str]:
    if not reason:
        raise UsageError("say why with --reason: the ledger keeps it")
    return {"by": by or _user(), "reason": reason}


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
@_reason
@_by
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
    arguments: dict[str, Any] = {"apply": apply, **(_who(by, reason) if apply else {})}
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
    import tabulate  # noqa: PLC0415 - only here

    unpriced = f", {found['unpriced']:,} of them unpriced" if found["unpriced"] else ""
    cost = f"${usd(Decimal(found['cost'])):f}" if found["cost"] is not None else "no known cost"
    what = f"{found['calls']:,} calls ({found['tokens']:,} tokens, {cost}{unpriced})"
    if not found["entries"]:
        show(f"No calls to be {done}.\n", "table")
    elif found["decision"]:
        way_back = way_back.format(found["decision"])
        show(f"{what} {done}, by decision {found['decision']}{way_back}.\n", "table")
    else:
        rows = [list(example.values()) for example in found["examples"]]
        names = list(found["examples"][0]) if rows else []
        table = tabulate.tabulate(rows, names, "simple", disable_numparse=True)
        show(
            f"{what} from {found['first']} to {found['last']} would be {done}. For example:\n\n"
            f"{table}\n\nNothing is done yet: add --apply and --reason.\n",
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
@_reason
@_by
@plain_errors
def map_user(
    *, db: Path, user: str, customer: str, past: bool, reason: str | None, by: str | None
) -> None:
    """Calls of USER are for CUSTOMER, from now on."""
    _map(db, {user: customer}, past, _who(by, reason))


@users.command("unmap")
@db_option
@click.argument("user")
@_reason
@_by
@plain_errors
def unmap_user(*, db: Path, user: str, reason: str | None, by: str | None) -> None:
    """Calls of USER are for nobody known, from now on; those of the past stay where they are."""
    _map(db, {user: None}, False, _who(by, reason))


@users.command("import")
@db_option
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_past
@_reason
@_by
@plain_errors
def import_users(*, db: Path, file: Path, past: bool, reason: str | None, by: str | None) -> None:
    """Map the users of a CSV FILE with the columns user and customer; others stay as they are."""
    from microdollar_exporter.operate.users import read_users  # noqa: PLC0415 - loads duckdb

    who = _who(by, reason)
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


COMMANDS: tuple[click.Command, ...] = (completeness, assign, users)
"""What this room adds to `microdollar`."""
