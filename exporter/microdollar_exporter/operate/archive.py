# SPDX-License-Identifier: Apache-2.0
"""Seal the evidence of closed days in files that any tool can read.

What is sealed stays as it is: spans of a sealed day that come later go into further files beside
the first ones. Each span is in one file, since a file has what was received in its own time.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from microdollar_exporter.ask.connect import Connection, ledger_file
from microdollar_exporter.errors import ActFailed, StoreError, UsageError
from microdollar_exporter.operate.arguments import Who
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.files import new_file
from microdollar_exporter.operate.parquet import (
    SEALED,
    DayManifest,
    SealedFile,
    described,
    write_parquet,
)
from microdollar_exporter.operate.sealed import ArchivePart
from microdollar_exporter.store import Store
from microdollar_exporter.store.migrations import MIGRATIONS

__all__ = [
    "PART_ROWS",
    "Part",
    "Removals",
    "archive",
    "archive_of",
    "bring_back",
    "day_before",
    "remove_sealed",
]

PART_ROWS = 250_000
"""So many spans at most go into a file: they are sorted in memory."""


_SPANS_AT_ONCE = 100_000
"""About so many are removed between two commits of an exporter."""


class Part(NamedTuple):
    """A file that was sealed: the day of its spans, and what it holds."""

    day: date
    path: Path
    holds: SealedFile


class Removals(NamedTuple):
    """How many spans were removed from the file, by their day, and how many sealed ones kept."""

    by_day: Mapping[date, int]
    kept: int


class _Slice(NamedTuple):
    """The spans of a day that were received after one moment and until another."""

    day: date
    after: datetime | None
    until: datetime

    def condition(self) -> tuple[str, list[str]]:
        """The SQL condition that a span is in it, and its parameters."""
        parameters = [self.day.isoformat(), self.day.isoformat(), _text(self.until)]
        condition = """started_at >= CAST(? AS TIMESTAMP)
            AND started_at < CAST(? AS TIMESTAMP) + INTERVAL 1 DAY
            AND received_at <= CAST(? AS TIMESTAMP)"""
        if self.after is not None:
            condition += " AND received_at > CAST(? AS TIMESTAMP)"
            parameters.append(_text(self.after))
        return condition, parameters


def day_before(text: str) -> date:
    """The day that `--before` means: one like 2026-11-01, or so many days ago, like 90d.

    Raises:
        UsageError: it is neither.
    """
    days = re.fullmatch(r"(\d{1,5})d", text)
    try:
        if days:
            return datetime.now(UTC).date() - timedelta(days=int(days[1]))
        return date.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--before is {text!r}: write a day like 2026-11-01, or how long ago, like 90d"
        ) from error


def archive_of(db: Path) -> Path:
    """The folder of a ledger's sealed evidence, unless another is named."""
    return db.with_name(db.name + ".archive")


def archive(db: str | Path, before: date, to: Path | None = None) -> list[Part]:
    """Seal all evidence of the days before a day that is not sealed yet, in a folder.

    Raises:
        UsageError: there is no such ledger, or the days are not over yet.
        StoreError: the ledger cannot be read, or the files not be written.
        ActFailed: the folder has files that this ledger knows nothing of.
    """
    today = datetime.now(UTC).date()
    if before > today:
        raise UsageError(f"--before {before} is not over: name {today} (UTC) or an earlier day")
    source = ledger_file(db)
    folder = (to or archive_of(source)).resolve()
    ledger = Connection(source)
    [(version,)] = (
        ledger.sql("SELECT max(version) AS version FROM schema_version").to_pydict().values()
    )
    if version < len(MIGRATIONS):
        Store(source).close()
    sealed = []
    for whole in _unsealed(ledger, before):
        sealer = _Sealer(source, ledger, folder, whole.day)
        left = sealer.take_up(whole)
        if left is not None:
            sealed += [sealer.seal(part) for part in _cut(ledger, left)]
    return sealed


def remove_sealed(db: str | Path, before: date, folder: Path | None, who: Who) -> Removals:
    """Remove the sealed evidence of the days before a day from the ledger's file.

    Each file is first compared with what the ledger has, span by span. The entries stay.

    Raises:
        UsageError: there is no such ledger.
        StoreError: a file is not there, or not what was sealed.
        ActFailed: a file does not have what the ledger has.
    """
    source = ledger_file(db)
    ledger = Connection(source)
    by_day: Counter[date] = Counter()
    kept = 0
    for day, parts in _sealed_days(ledger, before):
        for part, slice_ in parts:
            _require_same(ledger, part, slice_, folder)
        spans = sum(part.rows for part, _ in parts)
        for hours in _hours(spans):
            asked = {"day": day.isoformat(), "hours": hours, **_asking(who)}
            done = perform(source, "archive-remove", asked)
            by_day.update({date.fromisoformat(on): spans for on, spans in done["removed"].items()})
            kept = done["kept"]
    return Removals(by_day, kept)


def bring_back(db: str | Path, day: date, folder: Path | None, who: Who) -> int:
    """Bring the evidence of a day back from the archive, file by file; returns how many spans.

    Raises:
        UsageError: there is no such ledger, or the evidence of that day was not removed.
        StoreError: a file is not there, or not what was sealed.
    """
    source = ledger_file(db)
    files = Connection(source).sql(
        "SELECT file FROM archive_part WHERE day = CAST(? AS DATE) ORDER BY file",
        [day.isoformat()],
    )
    returned = 0
    for file in files["file"].to_pylist():
        asked = {"day": day.isoformat(), "file": file, "folder": folder and str(folder.resolve())}
        returned += perform(source, "archive-return-part", asked)["returned"]
    perform(source, "archive-return", {"day": day.isoformat(), **_asking(who)})
    return returned


def _hours(spans: int) -> list[int]:
    """After which hours of a day to pause, so that nobody waits long while its spans go."""
    pauses = min(24, -(-spans // _SPANS_AT_ONCE))
    return [24 * number // pauses for number in range(1, pauses + 1)]


def _asking(who: Who) -> dict[str, str]:
    return {"by": who.made_by, "reason": who.reason}


def _sealed_days(
    ledger: Connection, before: date
) -> list[tuple[date, list[tuple[ArchivePart, _Slice]]]]:
    """The parts of which something is in the file still, by day."""
    found = ledger.sql(
        """
        SELECT day, file, folder, rows, sha256, received_after, received_until FROM archive_part
        WHERE day < CAST(? AS DATE) AND day IN (SELECT CAST(started_at AS DATE) FROM span)
        ORDER BY day, received_until""",
        [before.isoformat()],
    ).to_pylist()
    days: dict[date, list[tuple[ArchivePart, _Slice]]] = {}
    for row in found:
        slice_ = _Slice(row["day"], row.pop("received_after"), row.pop("received_until"))
        days.setdefault(row["day"], []).append((ArchivePart(**row), slice_))
    return list(days.items())


def _require_same(
    ledger: Connection, part: ArchivePart, slice_: _Slice, folder: Path | None
) -> None:
    """Raise unless the file has every span that the ledger still has of it, as it is there."""
    condition, parameters = slice_.condition()
    hashed = "SELECT md5(CAST(sealed AS VARCHAR)) AS row"
    there = ledger.sql(f"{hashed} FROM ({SEALED} WHERE {condition}) sealed", parameters)
    sealed = part.read(folder)
    with duckdb.connect() as con:
        con.register("there", there)
        con.register("sealed", sealed)
        [(missing,)] = con.execute(
            f"SELECT count(*) FROM there ANTI JOIN ({hashed} FROM sealed) USING (row)"
        ).fetchall()
    if missing or sealed.num_rows != part.rows:
        raise ActFailed(
            f"{part.path(folder)} does not have what the ledger has of {part.day}: nothing of that "
            "day was removed"
        )


def _unsealed(ledger: Connection, before: date) -> list[_Slice]:
    """What no file has, by day."""
    found = ledger.sql(
        """
        WITH sealed AS (
            SELECT day, max(received_until) AS until FROM archive_part GROUP BY day
        ), spans_of AS (
            SELECT CAST(started_at AS DATE) AS day, received_at FROM span
            WHERE started_at < CAST(? AS TIMESTAMP)
        )
        SELECT day, until, max(received_at) AS last FROM spans_of LEFT JOIN sealed USING (day)
        WHERE until IS NULL OR received_at > until GROUP BY day, until ORDER BY day""",
        [before.isoformat()],
    )
    return [_Slice(row["day"], row["until"], row["last"]) for row in found.to_pylist()]


def _cut(ledger: Connection, whole: _Slice) -> Iterator[_Slice]:
    """A slice in parts of at most `PART_ROWS` spans; what came at one moment stays together."""
    condition, parameters = whole.condition()
    moments = ledger.sql(
        f"""SELECT received_at, count(*) AS rows FROM span WHERE {condition}
        GROUP BY received_at ORDER BY received_at""",
        parameters,
    )
    part = whole
    rows = 0
    last = whole.until
    for received_at, count in zip(*(c.to_pylist() for c in moments.columns), strict=True):
        if rows and rows + count > PART_ROWS:
            yield part._replace(until=last)
            part, rows = part._replace(after=last), 0
        rows += count
        last = received_at
    yield part._replace(until=last)


class _Sealer:
    """Seals the parts of one day, one after the other.

    First comes the file, then what the manifest of the day says of it, and last the ledger's own
    record: what the ledger knows of is there.
    """

    def __init__(self, source: Path, ledger: Connection, folder: Path, day: date) -> None:
        self._source = source
        self._ledger = ledger
        self._folder = folder
        self._day = day
        self._manifest = DayManifest.read(folder, day)
        [(known,)] = (
            ledger.sql(
                "SELECT count(*) AS parts FROM archive_part WHERE day = CAST(? AS DATE)",
                [day.isoformat()],
            )
            .to_pydict()
            .values()
        )
        self._parts: int = known

    def take_up(self, whole: _Slice) -> _Slice | None:
        """Record what was sealed when the process was killed before it could; returns what is left.

        Raises:
            ActFailed: it is not what this ledger has: of another one, or of a later state of it.
        """
        said = next((f for f in self._manifest.files if f.file == self._name()), None)
        if said is None:
            return whole
        after = said.received_after
        part = _Slice(
            self._day,
            None if after is None else datetime.fromisoformat(after),
            datetime.fromisoformat(said.received_until),
        )
        path = DayManifest.folder(self._folder, self._day) / said.file
        with tempfile.TemporaryDirectory() as scratch:
            again = Path(scratch) / said.file
            write_parquet(self._rows(part), again)
            if part.after != whole.after or described(again)["sha256"] != said.sha256:
                raise ActFailed(
                    f"{path} is not of this ledger as it is now: name another folder with --to"
                )
        self._record(said)
        return whole._replace(after=part.until) if part.until < whole.until else None

    def seal(self, part: _Slice) -> Part:
        """Write a part to a file of its own."""
        path = DayManifest.folder(self._folder, self._day) / self._name()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to {self._folder}: {error}") from error
        # One that is there is half of what a killed process was about to seal.
        with new_file(path, replace=True) as draft:
            write_parquet(self._rows(part), draft)
            holds = SealedFile(
                file=path.name,
                received_after=None if part.after is None else _text(part.after),
                received_until=_text(part.until),
                **described(draft),
            )
        self._manifest = replace(self._manifest, files=(*self._manifest.files, holds))
        self._manifest.write(self._folder)
        self._record(holds)
        return Part(self._day, path, holds)

    def _name(self) -> str:
        return f"spans-{self._parts + 1:06}.parquet"

    def _rows(self, part: _Slice) -> pa.Table:
        condition, parameters = part.condition()
        return self._ledger.sql(
            f"{SEALED} WHERE {condition} ORDER BY customer_id, started_at, trace_id, span_id",
            parameters,
        )

    def _record(self, holds: SealedFile) -> None:
        record = {**asdict(holds), "day": self._day.isoformat(), "folder": str(self._folder)}
        del record["sums"]
        perform(self._source, "archive-part", record)
        self._parts += 1


def _text(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="microseconds")
