# SPDX-License-Identifier: Apache-2.0
"""Back a ledger up while it fills, and put a backup in a ledger's place.

A backup is a ledger file like any other, with a manifest beside it that says what it has to hold.
It has nothing of the evidence that was archived and removed, nor of the token file.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from microdollar_exporter.ask.connect import ledger_file
from microdollar_exporter.errors import ActFailed, StoreError, UsageError
from microdollar_exporter.operate.copying import copy_ledger
from microdollar_exporter.operate.figures import rows, schema_version, sums
from microdollar_exporter.operate.files import new_file, require_absent, sha256, wal_of
from microdollar_exporter.store.file import open_file
from microdollar_exporter.store.migrations import MIGRATIONS

__all__ = ["Manifest", "back_up", "restore"]

_SUFFIX = ".manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup has to hold.

    `rows` counts by table; `sums` are those of the ledger, as decimal text, `cost` in
    microdollars. `sha256` is that of the file's `bytes` bytes.
    """

    made_at: str
    made_by: str
    schema_version: int
    bytes: int
    sha256: str
    rows: Mapping[str, int]
    sums: Mapping[str, str | None]

    @staticmethod
    def path(backup: Path) -> Path:
        """Where the manifest of a backup lies."""
        return backup.with_name(backup.name + _SUFFIX)

    @classmethod
    def of(cls, file: Path) -> Self:
        """The manifest of a ledger file that no process is writing."""
        with closing(open_file(file, read_only=True)) as con:
            return cls(
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                made_by=f"microdollar-exporter {version('microdollar-exporter')}",
                schema_version=schema_version(con),
                bytes=file.stat().st_size,
                sha256=sha256(file),
                rows=rows(con),
                sums=sums(con),
            )

    @classmethod
    def read(cls, backup: Path) -> Self:
        """The manifest beside a backup.

        Raises:
            StoreError: it is not there, or not a manifest.
        """
        path = cls.path(backup)
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError as error:
            raise StoreError(
                f"there is no {path}, which says what the backup has to hold: bring it along with "
                "the backup"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"cannot read {path}: {error}") from error

    def text(self) -> str:
        """The manifest as it is written."""
        return json.dumps(asdict(self), indent=2) + "\n"


def back_up(db: str | Path, to: Path) -> tuple[Path, Manifest]:
    """Copy the ledger in `db` to a new file, or into a folder under a name with the moment in it.

    The copy is the ledger as of one moment, whether or not an exporter is writing it, and has been
    read whole before it gets its name. A ledger of an earlier schema version stays one.

    Raises:
        UsageError: there is no such ledger.
        StoreError: the ledger cannot be read or the copy not be written; something is there.
        ActFailed: the copy was not whole, and nothing was kept.
    """
    source = ledger_file(db)
    to = to.resolve()
    if to.is_dir():
        to /= f"{source.stem}-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}{source.suffix}"
    require_absent(to)
    require_absent(Manifest.path(to))
    _require_room(to.parent, source.stat().st_size)
    with new_file(to) as draft:
        copy_ledger(source, draft)
        manifest = Manifest.of(draft)
        # First, so that there is never a backup without one.
        with new_file(Manifest.path(to)) as beside:
            beside.write_text(manifest.text(), "utf-8")
    return to, manifest


def restore(backup: Path, db: Path) -> Manifest:
    """Put a copy of a backup where a ledger shall be, once it has been found to be whole.

    Raises:
        UsageError: there is no such backup.
        StoreError: a ledger is there already; the backup cannot be read, or the copy not be
            written.
        ActFailed: the backup is not what its manifest says, or a newer version made it.
    """
    if not backup.is_file():
        raise UsageError(f"there is no backup {backup}: name the file that `backup` made")
    db = db.resolve()
    require_absent(db)
    if wal_of(db).exists():
        raise StoreError(
            f"{wal_of(db)} belongs to a ledger that is not there: move it away, for it would be "
            "taken for that of the restored one"
        )
    manifest = Manifest.read(backup)
    if manifest.schema_version > len(MIGRATIONS):
        raise ActFailed(
            f"{backup} has schema version {manifest.schema_version}, and this "
            f"microdollar-exporter knows versions up to {len(MIGRATIONS)}: upgrade "
            "microdollar-exporter"
        )
    _require_room(db.parent, manifest.bytes)
    with new_file(db) as draft:
        shutil.copyfile(backup, draft)
        if draft.stat().st_size != manifest.bytes or sha256(draft) != manifest.sha256:
            raise ActFailed(f"{backup} is not what its manifest says: take another backup")
        _check_figures(draft, manifest)
    return manifest


def _check_figures(file: Path, manifest: Manifest) -> None:
    with closing(open_file(file, read_only=True)) as con:
        found: dict[str, Any] = {"rows": rows(con), "sums": sums(con)}
    for name, value in found.items():
        if value != getattr(manifest, name):
            raise ActFailed(
                f"the {name} of {file} are {value}, and its manifest says "
                f"{getattr(manifest, name)}: take another backup"
            )


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StoreError(f"{folder} has {free:,} bytes free, and {size:,} are needed")
