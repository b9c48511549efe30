# SPDX-License-Identifier: Apache-2.0
"""The commands that keep a ledger safe: `backup`, `restore`, `archive` and `verify`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from microdollar_exporter.cli_shared import db_option, plain_errors, show

if TYPE_CHECKING:
    from microdollar_exporter.operate.backup import Manifest
    from microdollar_exporter.operate.verify import Verdict

__all__ = ["COMMANDS"]

_form_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@click.command()
@db_option
@_form_option
@click.argument("to", type=click.Path(path_type=Path), metavar="FILE|FOLDER")
@plain_errors
def backup(*, db: Path, form: str, to: Path) -> None:
    """Copy the ledger as it is now to a new file.

    Works while an exporter is writing it, which goes on taking spans in. In a FOLDER the file gets
    a name with the time in it. A manifest beside it says what it has to hold.
    """
    from microdollar_exporter.operate.backup import back_up  # noqa: PLC0415 - loads duckdb

    file, manifest = back_up(db, to)
    _show_manifest(file, manifest, form)


@click.command()
@db_option
@_form_option
@click.argument("backup", type=click.Path(path_type=Path), metavar="FILE")
@plain_errors
def restore(*, db: Path, form: str, backup: Path) -> None:
    """Put a backup where the ledger of --db shall be.

    It has to be what its manifest says, and nothing may be there: move the old ledger away first.
    Spans that came after the backup can be sent again; those in it are known.
    """
    from microdollar_exporter.operate.backup import restore  # noqa: PLC0415 - loads duckdb

    _show_manifest(db, restore(backup, db), form)


def _show_manifest(file: Path, manifest: "Manifest", form: str) -> None:
    if form == "json":
        show(json.dumps({"file": str(file), **asdict(manifest)}) + "\n", form)
        return
    rows, sums = manifest.rows, manifest.sums
    spans = rows.get("span", rows.get("spans", 0))
    show(
        f"{file}: {manifest.bytes:,} bytes, {spans:,} spans, {rows['ledger']:,} ledger entries, "
        f"{sums['calls'] or 0} calls, {sums['cost'] or 0} µ$\n",
        form,
    )


@click.command()
@db_option
@_form_option
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many differences of each kind to name.",
)
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for a copy of the ledger, while it is checked.  [default: that of --db]",
)
@plain_errors
def verify(*, db: Path, form: str, limit: int, scratch: Path | None) -> None:
    """Work the whole ledger out anew from its evidence, and compare.

    What every call has to say follows from its spans, the price books and the operator's decisions.
    The status is 1 when anything differs, to the picodollar. It is a copy that is checked: an
    exporter goes on writing meanwhile.
    """
    from microdollar_exporter.operate.verify import verify  # noqa: PLC0415 - loads duckdb

    with click.progressbar(length=1000, label="verifying", file=sys.stderr) as bar:
        verdict = verify(
            db,
            scratch=scratch,
            limit=limit,
            progress=lambda done: bar.update(round(done * 1000) - bar.pos),
        )
    _show_verdict(verdict, form)
    if not verdict.holds:
        sys.exit(1)


def _show_verdict(verdict: "Verdict", form: str) -> None:
    if form == "json":
        said = {"holds": verdict.holds, **asdict(verdict)}
        said["examples"] = [example._asdict() for example in verdict.examples]
        show(json.dumps(said) + "\n", form)
        return
    rows, sums = verdict.rows, verdict.sums
    lines = [
        f"{rows['span']:,} spans, {rows['ledger']:,} ledger entries, "
        f"{rows['price_book']:,} price books, {rows['decision']:,} decisions: "
        f"{sums['calls'] or 0} calls, {sums['cost'] or 0} µ$"
    ]
    lines += [f"not provable: {count:,} {what}" for what, count in verdict.unproven.items()]
    lines += [f"{each.kind}: {each.where}: {each.what}" for each in verdict.examples]
    lines += [f"{count:,} x {kind}" for kind, count in verdict.differences.items()]
    lines.append("The ledger holds." if verdict.holds else "The ledger does not hold.")
    show("\n".join(lines) + "\n", form)


COMMANDS: tuple[click.Command, ...] = (backup, restore, verify)
"""What this room adds to `microdollar`."""
