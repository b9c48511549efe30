# SPDX-License-Identifier: Apache-2.0
"""The commands that settle what the past cost: `reprice` and `close`."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

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

_form_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
_from = click.option(
    "--from", "from_", metavar="TIME", help="First instant: 2026-11-01, or a UTC time."
)
_to = click.option("--to", metavar="TIME", help="The instant after the last, in the same forms.")


@click.command()
@db_option
@click.option("--customer", help='Only calls of this customer; "unassigned" for those of nobody.')
@click.option("--provider", help="Only calls to this provider, as they name it.")
@click.option("--model", help="Only calls in which this model worked, as they name it.")
@_from
@_to
@click.option(
    "--status",
    metavar="STATUS[,STATUS…]",
    help="Only prices of this status: unpriced, partial, fallback, bad_usage; priced and free with "
    "--include-priced.  [default: unpriced,partial,fallback]",
)
@click.option(
    "--include-priced",
    "--all",
    "include_priced",
    is_flag=True,
    help="Correct exact prices too, where the book says something else of the past now.",
)
@click.option("--apply/--dry-run", default=False, help="Book it; by default it is only shown.")
@reason_option
@by_option
@_form_option
@plain_errors
def reprice(
    *,
    db: Path,
    from_: str | None,
    to: str | None,
    status: str | None,
    include_priced: bool,
    apply: bool,
    reason: str | None,
    by: str | None,
    form: str,
    **filters: str | None,
) -> None:
    """Price calls of the past by the prices in force now, and book the corrections.

    Looks at calls without a price, or with one that is partial or in doubt, unless told otherwise.
    Each correction is a reversal of the entry and the entry at the new price, dated now: figures as
    of an earlier moment, those of closed periods among them, stay what they are. All of it is
    booked, or nothing; doing it again changes nothing. A price is never taken away.

    A million calls take some ten seconds, five times that where prices are not tokens times rates.
    An exporter takes nothing in meanwhile, and its senders wait.
    """
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb

    given = {**filters, "from": from_, "to": to, "status": status and status.split(",")}
    arguments: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    arguments |= {"include_priced": include_priced, "apply": apply}
    found = perform(db, "reprice", arguments | (who_decides(by, reason) if apply else {}))
    show(json.dumps(found) + "\n" if form == "json" else _repriced(found), form)


def _repriced(found: Mapping[str, Any]) -> str:
    lines = [*_left(found["left"])]
    if not found["entries"]:
        return "\n".join(["No call gets another price.", *lines]) + "\n"
    book = f"book {found['book'][:16]}"
    what = (
        f"{found['calls']:,} calls ({found['tokens']:,} tokens), {_dollars(found['before'])} before"
        f" and {_dollars(found['after'])} by {book}: {_signed(found['difference'])}"
    )
    lines += [
        f"Of the closed period {closed['period']}: {closed['calls']:,} calls, "
        f"{_signed(closed['difference'])}, dated now; its closed figures stay."
        for closed in found["closed"]
    ]
    if found["decision"]:
        lines.append(f"Booked in {found['seconds']:.1f} s, by decision {found['decision']}.")
    else:
        lines.append(
            f"Nothing is booked yet: add --apply and --reason. This took {found['seconds']:.1f} s, "
            "and booking it takes longer; an exporter takes nothing in meanwhile."
        )
    return f"{_changes(found['changes'])}\n{what}.\n" + "\n".join(lines) + "\n"


def _changes(changes: Sequence[Mapping[str, Any]]) -> str:
    import tabulate  # noqa: PLC0415 - only here

    body = [
        [
            *(change["customer"], change["model"] or "", change["why"], f"{change['calls']:,}"),
            *(change["before"] or "unknown", change["after"], change["difference"]),
        ]
        for change in changes
    ]
    headers = ["customer", "model", "why", "calls", "before\nµ$", "after\nµ$", "difference\nµ$"]
    align = ["left"] * 3 + ["right"] * 4
    table = tabulate.tabulate(body, headers, "simple", disable_numparse=True, colalign=align)
    return f"{table}\n"


def _left(left: Mapping[str, int]) -> list[str]:
    said = {
        "still_unpriced": "have no price in force either: see `microdollar prices unpriced`",
        "kept": "keep a price that the prices in force no longer have",
        "without_evidence": "cannot be priced anew: their evidence is not in the file",
        "unchanged": "have the right price already",
    }
    return [f"{left[name]:,} calls {what}." for name, what in said.items() if left[name]]


def _dollars(microdollars: str | None) -> str:
    return "no known cost" if microdollars is None else f"${usd(Decimal(microdollars)):f}"


def _signed(microdollars: str) -> str:
    amount = usd(Decimal(microdollars))
    return f"{'-' if amount < 0 else '+'}${abs(amount):f}"


@click.command()
@db_option
@click.argument("month", required=False)
@_from
@_to
@click.option("--dry-run", is_flag=True, help="Only show what would be closed.")
@click.option("--list", "listed", is_flag=True, help="List the closed periods instead.")
@reason_option
@by_option
@form_option
@plain_errors
def close(
    *,
    db: Path,
    month: str | None,
    from_: str | None,
    to: str | None,
    dry_run: bool,
    listed: bool,
    reason: str | None,
    by: str | None,
    form: str,
) -> None:
    """Close MONTH (2026-10, UTC), or a period from one instant to another, once it is over.

    Closing settles the figures as of now: `report --as-of` the moment of the closing gives them for
    ever. Nothing is refused afterwards. Calls of the period that come late, assignments and
    repricing are booked as ever, dated when they are booked; `close --list` says how much that is.
    """
    if listed:
        if month or from_ or to:
            raise UsageError("--list lists all closed periods: leave the period out")
        _list_closed(db, form)
        return
    from microdollar_exporter.operate.door import perform  # noqa: PLC0415 - loads duckdb

    given = {"month": month, "from": from_, "to": to}
    arguments: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    arguments["apply"] = not dry_run
    decided = {} if dry_run else who_decides(by, reason or "the period is over")
    found = perform(db, "close-period", arguments | decided)
    show(_closed(found, form), form)


def _closed(found: Mapping[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(found) + "\n"
    if form == "csv":
        raise UsageError("--format csv is for --list: choose table or json")
    unknown = [f"{found[name]:,} {name}" for name in ("unpriced", "unassigned") if found[name]]
    sums = (
        f"{found['period']}: {found['calls']:,} calls ({found['tokens']:,} tokens), "
        f"{_dollars(found['cost'])}{''.join(f', {part}' for part in unknown)}.\n"
    )
    if found["decision"] is None:
        return f"{sums}Nothing is closed yet: leave --dry-run out.\n"
    return (
        f"{sums}Closed as of {found['as_of']} UTC, by decision {found['decision']}:\n"
        f"  microdollar report --from {_argument(found['from'])} --to {_argument(found['to'])} "
        f"--as-of {found['as_of']}\n"
        "gives these figures for ever. What comes late is booked as ever, dated when it is booked; "
        "`microdollar close --list` says how much that is.\n"
    )


def _argument(moment: str) -> str:
    return moment.removesuffix(" 00:00:00").replace(" ", "T")


def _list_closed(db: Path, form: str) -> None:
    import pyarrow as pa  # noqa: PLC0415 - loads slowly

    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render import render_rows  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.operate.close import Settled, settled  # noqa: PLC0415 - loads duckdb

    numbers = {"calls": pa.int64(), "calls_since": pa.int64()}
    schema = pa.schema([(name, numbers.get(name, pa.string())) for name in Settled._fields])
    rows = [closed._asdict() for closed in settled(connect(db))]
    show(render_rows(pa.Table.from_pylist(rows, schema), form), form)


COMMANDS: tuple[click.Command, ...] = (reprice, close)
"""What this room adds to `microdollar`."""
