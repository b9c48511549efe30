# SPDX-License-Identifier: Apache-2.0
"""The commands that settle what the past cost: `reprice` and `close`."""

import json
from collections.abc import Mapping
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
        f"{plural(found['calls'], 'call')} ({plural(found['tokens'], 'token')}), "
        f"{_dollars(found['before'])} before"
        f" and {_dollars(found['after'])} by {book}: {_signed(found['difference'])}"
    )
    if found["becoming_partial"]:
        becoming = plural(found["becoming_partial"], "call")
        verb = "becomes" if found["becoming_partial"] == 1 else "become"
        lines.append(f"{becoming} {verb} partial: a rate is missing, so the cost is too low.")
    lines += [
        f"Of the closed period {closed['period']}: {plural(closed['calls'], 'call')}, "
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
    return f"{_changes(found)}\n{what}.\n" + "\n".join(lines) + "\n"


def _changes(found: Mapping[str, Any]) -> str:
    from microdollar_exporter.ask.tables import cut, table  # noqa: PLC0415 - only here

    changes = found["changes"]
    total = {"customer": "TOTAL", "model": "", "why": "", "old_status": "", "new_status": ""}
    body = [
        [
            *(cut(change["customer"]), cut(change["model"] or ""), change["why"], _status(change)),
            *(f"{change['calls']:,}", change["before"] or "unknown"),
            *(change["after"] or "unknown", change["difference"]),
        ]
        for change in [*changes, {**found, **total}]
    ]
    money = ("before\nµ$", "after\nµ$", "difference\nµ$")
    headers = ["customer", "model", "why", "status", "calls", *money]
    return table(body, headers, [False] * 4 + [True] * 4) + "\n"


def _status(change: Mapping[str, Any]) -> str:
    old, new = change["old_status"], change["new_status"]
    return str(new) if old == new else f"{old} → {new}"


def _left(left: Mapping[str, int]) -> list[str]:
    said = {
        "still_unpriced": (
            "has no price in force either",
            "have no price in force either",
            ": see `microdollar prices unpriced`",
        ),
        "kept": (
            "keeps a price that the prices in force no longer have",
            "keep a price that the prices in force no longer have",
            "",
        ),
        "beyond": (
            "would cost more than an entry can hold, and stays as it is",
            "would cost more than an entry can hold, and stay as they are",
            ": see whether its rate is right",
        ),
        "without_evidence": (
            "cannot be priced anew: its evidence is not in the file",
            "cannot be priced anew: their evidence is not in the file",
            "",
        ),
        "unchanged": ("has the right price already", "have the right price already", ""),
    }
    return [
        f"{plural(left[name], 'call')} {one if left[name] == 1 else many}{way_out}."
        for name, (one, many, way_out) in said.items()
        if left[name]
    ]


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
    from microdollar_exporter.ask.honesty import honesty  # noqa: PLC0415 - only this command

    calls, tokens = plural(found["calls"], "call"), plural(found["tokens"], "token")
    sums = f"{found['period']}: {calls} ({tokens}), {_dollars(found['cost'])}.\n{honesty(found)}\n"
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

    from microdollar_exporter.ask.closed import Settled, settled  # noqa: PLC0415 - loads duckdb
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render import render_rows  # noqa: PLC0415 - loads pandas

    kinds = {"calls": pa.int64(), "calls_since": pa.int64()}
    money = {name: f"{name}_usd" for name in ("cost", "cost_since")}
    fields: list[tuple[str, pa.DataType]] = []
    for name in Settled._fields:
        fields.append(
            (name, pa.decimal128(38, 6) if name in money else kinds.get(name, pa.string()))
        )
        if name in money:
            fields.append((money[name], pa.decimal128(38, 12)))
    rows = []
    for closed in settled(connect(db)):
        row = closed._asdict()
        for name, in_usd in money.items():
            row[name] = None if row[name] is None else Decimal(row[name])
            row[in_usd] = None if row[name] is None else usd(row[name])
        rows.append(row)
    units = {**dict.fromkeys(money, "µ$"), **dict.fromkeys(money.values(), "$")}
    headers = [
        f"{name.removesuffix('_usd')}\n{units[name]}" if name in units else name
        for name, _ in fields
    ]
    table = pa.Table.from_pylist(rows, pa.schema(fields))
    show(render_rows(table, form, headers), form)


COMMANDS: tuple[click.Command, ...] = (reprice, close)
"""What this room adds to `microdollar`."""
