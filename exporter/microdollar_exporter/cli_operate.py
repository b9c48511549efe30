# SPDX-License-Identifier: Apache-2.0
"""The commands that keep a ledger safe: `backup`, `restore`, `archive` and `verify`."""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from microdollar_exporter.ask.honesty import plural
from microdollar_exporter.cli_shared import (
    by_option,
    db_option,
    plain_errors,
    reason_option,
    show,
    who_decides,
)

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
        f"{file}: {manifest.bytes:,} bytes, {plural(spans, 'span')}, "
        f"{rows['ledger']:,} ledger entries, {plural(int(sums['calls'] or 0), 'call')}, "
        f"{sums['cost'] or 0} µ$\n",
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
@click.option(
    "--archive",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the archive lies now.  [default: where it was written]",
)
@plain_errors
def verify(*, db: Path, form: str, limit: int, scratch: Path | None, folder: Path | None) -> None:
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
            archive=folder,
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
        f"{plural(rows['span'], 'span')}, {rows['ledger']:,} ledger entries, "
        f"{plural(rows['price_book'], 'price book')}, {plural(rows['decision'], 'decision')}: "
        f"{plural(int(sums['calls'] or 0), 'call')}, {sums['cost'] or 0} µ$"
    ]
    lines += [f"not provable: {count:,} {what}" for what, count in verdict.unproven.items()]
    lines += [f"{each.kind}: {each.where}: {each.what}" for each in verdict.examples]
    lines += [f"{count:,} x {kind}" for kind, count in verdict.differences.items()]
    lines.append("The ledger holds." if verdict.holds else "The ledger does not hold.")
    show("\n".join(lines) + "\n", form)


@click.command()
@db_option
@_form_option
@click.option(
    "--before",
    metavar="DAY",
    required=True,
    help="Seal the days before this one: 2026-11-01, or 90d for those of 90 days ago and earlier.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for the files.  [default: that of --db with .archive added]",
)
@click.option("--delete", is_flag=True, help="Then remove what is sealed from the ledger's file.")
@reason_option
@by_option
@plain_errors
def archive(
    *,
    db: Path,
    form: str,
    before: str,
    to: Path | None,
    delete: bool,
    reason: str | None,
    by: str | None,
) -> None:
    """Write the evidence of closed days to Parquet files, which any tool can read.

    A folder for each day has files sorted by customer and time, and a manifest with their rows,
    sums and hashes. Running it again writes what has come since, to further files.

    With --delete the evidence is then in the files alone. The ledger's entries stay. Spans that are
    sent again are known; a span that comes late and may be about one of these calls is kept, and
    booked once `unarchive` has brought the evidence back.
    """
    from microdollar_exporter.operate import archive as sealing  # noqa: PLC0415 - loads duckdb
    from microdollar_exporter.operate.arguments import Who  # noqa: PLC0415 - loads duckdb

    until = sealing.day_before(before)
    decided = who_decides(by, reason) if delete else None
    parts = sealing.archive(db, until, to)
    who = Who(decided["by"], decided["reason"]) if decided else None
    removals = sealing.remove_sealed(db, until, to, who) if who else sealing.Removals({}, 0)
    if form == "json":
        sealed = [{"day": str(p.day), "path": str(p.path), **asdict(p.holds)} for p in parts]
        removed = {str(day): spans for day, spans in removals.by_day.items()}
        said = {"sealed": sealed, "removed": removed, "kept": removals.kept}
        show(json.dumps(said) + "\n", form)
        return
    lines = [f"{p.path}: {p.holds.rows:,} spans, {p.holds.bytes:,} bytes" for p in parts]
    lines += [
        f"{day}: {spans:,} spans removed from the ledger's file"
        for day, spans in sorted(removals.by_day.items())
    ]
    if removals.kept:
        lines.append(f"{removals.kept:,} sealed spans kept, to which spans that stay are related")
    show("\n".join(lines or ["nothing new to seal"]) + "\n", form)


@click.command()
@db_option
@_form_option
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the archive lies now.  [default: where it was written]",
)
@reason_option
@by_option
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@plain_errors
def unarchive(
    *, db: Path, form: str, folder: Path | None, reason: str | None, by: str | None, day: datetime
) -> None:
    """Bring the evidence of DAY back from the archive to the ledger's file.

    Spans that came late and could not be decided on without it are booked then: at once by an
    exporter that runs, else when one starts.
    """
    from microdollar_exporter.operate import archive as sealing  # noqa: PLC0415 - loads duckdb
    from microdollar_exporter.operate.arguments import Who  # noqa: PLC0415 - loads duckdb

    decided = who_decides(by, reason)
    who = Who(decided["by"], decided["reason"])
    returned = sealing.bring_back(db, day.date(), folder, who)
    if form == "json":
        show(json.dumps({"returned": returned}) + "\n", form)
    else:
        show(f"{returned:,} spans of {day.date()} are back\n", form)


COMMANDS: tuple[click.Command, ...] = (archive, backup, restore, unarchive, verify)
"""What this room adds to `microdollar`."""
