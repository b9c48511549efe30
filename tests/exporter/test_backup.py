# SPDX-License-Identifier: Apache-2.0
"""`microdollar backup` and `restore`: a ledger is copied while it fills, and put back whole."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import duckdb
import pytest
from click.testing import CliRunner, Result

from microdollar_exporter import connect
from microdollar_exporter.cli import main
from microdollar_exporter.errors import ActFailed, StoreError, UsageError
from microdollar_exporter.operate import copying
from microdollar_exporter.operate.backup import Manifest, back_up, restore
from microdollar_exporter.operate.door import perform
from microdollar_exporter.store import Store, store
from tests.exporter.ledgers import entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request


def totals(db: Path) -> tuple[int, int, str]:
    """Spans, calls and cost."""
    con = connect(db)
    spans = con.sql("SELECT count(*) AS n FROM spans")["n"][0].as_py()
    sums = con.sql("SELECT sum(calls)::BIGINT AS calls, sum(cost)::VARCHAR AS cost FROM ledger")
    return spans, sums["calls"][0].as_py(), sums["cost"][0].as_py()


def append(db: Path, spans: int = 1) -> None:
    """Add calls to a ledger at rest."""
    opened = Store(db)
    batch = request(*(call(started_at=STARTED_AT + n) for n in range(spans)))
    opened.append(evidence_of(batch), entries)
    opened.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Seven calls, at rest."""
    append(tmp_path / "meter.duckdb", 7)
    return tmp_path / "meter.duckdb"


def header(db: Path) -> bytes:
    """What DuckDB rewrites at every checkpoint."""
    return db.read_bytes()[: 3 * 4096]


def test_a_backup_is_the_ledger_and_its_manifest_says_so(ledger: Path, tmp_path: Path) -> None:
    """The manifest has the bytes, their hash, the rows of each table and the ledger's sums."""
    made, manifest = back_up(ledger, tmp_path / "copy.duckdb")
    assert made == tmp_path / "copy.duckdb"
    assert totals(made) == totals(ledger) == (7, 7, "700.000350")
    assert Manifest.read(made) == manifest
    assert manifest.bytes == made.stat().st_size
    assert manifest.sha256 == sha256sum(made)
    assert manifest.rows["span"] == 7
    assert manifest.rows["ledger"] == 7
    assert manifest.sums["calls"] == "7"
    assert manifest.sums["cost"] == "700.000350"
    assert manifest.sums["cache_write_1h"] is None


def sha256sum(file: Path) -> str:
    """What `sha256sum` says."""
    said = subprocess.run(["sha256sum", str(file)], capture_output=True, check=True, text=True)
    return said.stdout.split()[0]


def test_a_backup_into_a_folder_gets_a_name_with_the_moment_in_it(
    ledger: Path, tmp_path: Path
) -> None:
    """So that backups of every day can lie side by side."""
    folder = tmp_path / "backups"
    folder.mkdir()
    made, _ = back_up(ledger, folder)
    assert made.parent == folder
    assert time.strptime(made.name, "meter-%Y-%m-%dT%H-%M-%SZ.duckdb")
    assert sorted(folder.iterdir()) == [made, Manifest.path(made)]


def test_a_restored_backup_and_what_came_since_sent_again_are_exactly_right(tmp_path: Path) -> None:
    """Backed up under load, lost, restored; the senders send everything once more."""
    db, copy = tmp_path / "meter.duckdb", tmp_path / "copy.duckdb"
    batches = [
        request(*(call(f"c{n % 7}", started_at=STARTED_AT + 100 * n + m) for m in range(20)))
        for n in range(60)
    ]
    with Exporter(db) as exporter:
        for batch in batches[:20]:
            exporter.export(batch)
        sender = threading.Thread(target=lambda: [exporter.export(b) for b in batches[20:]])
        sender.start()
        _, manifest = back_up(db, copy)
        sender.join()
        whole = totals(db)
        exporter.kill()
    assert 400 <= manifest.rows["span"] <= 1200
    assert manifest.rows["span"] == totals(copy)[0]
    assert whole[:2] == (1200, 1200)
    for file in tmp_path.glob("meter.duckdb*"):
        file.unlink()
    restore(copy, db)
    with Exporter(db) as exporter:
        for batch in batches:
            exporter.export(batch)
        assert exporter.status()["spans_duplicate"] == manifest.rows["span"]
        assert totals(db) == whole


def test_a_backup_holds_what_was_acknowledged_before_it_began_and_no_half_of_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly it is copied, and whatever is committed meanwhile."""
    monkeypatch.setattr(copying, "_CHUNK", 65_536)
    db = tmp_path / "meter.duckdb"
    with Exporter(db) as exporter:
        exporter.export(request(*(call(started_at=STARTED_AT + n) for n in range(500))))
        later = iter([request(*(call(started_at=STARTED_AT + n * 1000),) * 1) for n in range(1000)])

        def export_before_each_chunk(target: BinaryIO, chunk: bytes) -> None:
            exporter.export(next(later))
            target.write(chunk)

        monkeypatch.setattr(copying, "_write", export_before_each_chunk)
        _, manifest = back_up(db, tmp_path / "copy.duckdb")
        assert totals(db)[0] > 500
    assert manifest.rows["span"] == manifest.rows["ledger"] == 500
    assert totals(tmp_path / "copy.duckdb")[:2] == (500, 500)


def test_commits_go_on_and_checkpoints_wait_while_a_copier_holds_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's header does not change, however much is committed; afterwards it does."""
    monkeypatch.setattr(store, "CHECKPOINT_BYTES", 1)
    db = tmp_path / "meter.duckdb"
    opened = Store(db)
    opened.append(evidence_of(request(call())), entries)
    assert opened.wal_bytes == 0
    opened.hold_still(1000)
    still = header(db)
    for n in range(3):
        opened.append(evidence_of(request(call(started_at=STARTED_AT + n))), entries)
        opened.checkpoint()
    assert header(db) == still
    assert opened.wal_bytes > 0
    opened._still_until = 0.0
    opened.append(evidence_of(request(call())), entries)
    assert header(db) != still
    assert opened.wal_bytes == 0
    opened.close()


@pytest.mark.parametrize("seconds", [None, 0, -1, 300.1, "30"])
def test_a_hold_is_for_some_minutes_at_most(ledger: Path, seconds: object) -> None:
    """A copier that has died must not let the log grow for ever."""
    with pytest.raises(UsageError, match="seconds"):
        perform(ledger, "hold", {"seconds": seconds})


def test_a_copy_under_which_the_file_changed_is_made_again(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be half old and half new."""
    monkeypatch.setattr(copying, "_write", _once(lambda: append(ledger, 3)))
    _, manifest = back_up(ledger, tmp_path / "copy.duckdb")
    assert manifest.rows["span"] == totals(ledger)[0] == 10


def _once(before: Callable[[], None]) -> Callable[[BinaryIO, bytes], None]:
    """Writes a chunk, and does something before the first."""
    left = [before]

    def write(target: BinaryIO, chunk: bytes) -> None:
        if left:
            left.pop()()
        target.write(chunk)

    return write


def test_a_file_that_changes_under_every_copy_is_given_up_on(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing left behind."""

    def write(target: BinaryIO, chunk: bytes) -> None:
        append(ledger)
        target.write(chunk)

    monkeypatch.setattr(copying, "_write", write)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ActFailed, match="changed under each of 10 copies"):
        back_up(ledger, tmp_path / "copy.duckdb")
    assert sorted(tmp_path.iterdir()) == before


def test_what_an_exporter_that_was_killed_had_acknowledged_is_in_a_backup(tmp_path: Path) -> None:
    """It lies in the write-ahead log that it left."""
    db = tmp_path / "meter.duckdb"
    with Exporter(db) as exporter:
        exporter.export(request(call(), call()))
        exporter.kill()
    assert db.with_name("meter.duckdb.wal").exists()
    _, manifest = back_up(db, tmp_path / "copy.duckdb")
    assert manifest.rows["span"] == 2


@pytest.mark.parametrize("taken", ["copy.duckdb", "copy.duckdb.manifest.json"])
def test_a_backup_overwrites_nothing(ledger: Path, tmp_path: Path, taken: str) -> None:
    """It may be the only good one."""
    (tmp_path / taken).write_text("mine")
    with pytest.raises(StoreError, match=r"is there already: move it away"):
        back_up(ledger, tmp_path / "copy.duckdb")
    assert (tmp_path / taken).read_text() == "mine"


def test_a_killed_backup_leaves_nothing_under_its_name_and_the_next_one_works(
    ledger: Path, tmp_path: Path
) -> None:
    """What it left behind is used up."""
    stall = """if True:
        import sys, time
        from pathlib import Path
        from microdollar_exporter.operate import backup, copying

        def write(target, chunk):
            target.write(chunk[:1000])
            print(flush=True)
            time.sleep(60)

        copying._write = write
        backup.back_up(sys.argv[1], Path(sys.argv[2]))
    """
    copy = tmp_path / "copy.duckdb"
    command = [sys.executable, "-c", stall, str(ledger), str(copy)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ActFailed, match="another process is writing"):
            back_up(ledger, copy)
        process.kill()
    assert not copy.exists()
    back_up(ledger, copy)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"meter.duckdb", "copy.duckdb", "copy.duckdb.manifest.json"}


def test_a_backup_needs_room(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that it would fill may be the ledger's own."""
    total, used, _ = shutil.disk_usage(tmp_path)
    full = type(shutil.disk_usage(tmp_path))(total, used, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StoreError, match=r"has 10 bytes free, and [\d,]+ are needed"):
        back_up(ledger, tmp_path / "copy.duckdb")


def test_what_is_no_ledger_is_not_backed_up(ledger: Path, tmp_path: Path) -> None:
    """Neither a file of something else, nor none."""
    with pytest.raises(UsageError, match="there is no ledger"):
        back_up(tmp_path / "none.duckdb", tmp_path / "copy.duckdb")
    other = tmp_path / "other.duckdb"
    duckdb.connect(str(other)).close()
    with pytest.raises(StoreError, match="without a ledger"):
        back_up(other, tmp_path / "copy.duckdb")
    with pytest.raises(StoreError, match="there is no folder"):
        back_up(ledger, tmp_path / "none" / "copy.duckdb")


@pytest.fixture
def copied(ledger: Path, tmp_path: Path) -> Path:
    """A backup of the ledger."""
    made, _ = back_up(ledger, tmp_path / "copy.duckdb")
    return made


def test_a_ledger_is_never_restored_over_another(ledger: Path, copied: Path) -> None:
    """The way out is to move it away."""
    before = ledger.read_bytes()
    with pytest.raises(StoreError, match=r"meter.duckdb is there already: move it away"):
        restore(copied, ledger)
    assert ledger.read_bytes() == before


def test_a_log_without_its_ledger_is_in_the_way(copied: Path, tmp_path: Path) -> None:
    """DuckDB would take it for that of the restored ledger."""
    (tmp_path / "new.duckdb.wal").write_bytes(b"log")
    with pytest.raises(StoreError, match=r"new.duckdb.wal belongs to a ledger that is not there"):
        restore(copied, tmp_path / "new.duckdb")


def test_a_backup_that_is_not_what_its_manifest_says_is_not_restored(
    copied: Path, tmp_path: Path
) -> None:
    """One bit, one byte too few, or sums that are not there."""
    whole, manifest = copied.read_bytes(), Manifest.read(copied)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-1]):
        copied.write_bytes(damaged)
        with pytest.raises(ActFailed, match="not what its manifest says"):
            restore(copied, tmp_path / "new.duckdb")
    copied.write_bytes(whole)
    said = json.loads(manifest.text())
    said["sums"]["calls"] = "8"
    Manifest.path(copied).write_text(json.dumps(said))
    with pytest.raises(ActFailed, match="the sums of"):
        restore(copied, tmp_path / "new.duckdb")
    assert not (tmp_path / "new.duckdb").exists()
    Manifest.path(copied).write_text(manifest.text())
    restore(copied, tmp_path / "new.duckdb")
    assert (tmp_path / "new.duckdb").read_bytes() == whole


@pytest.mark.parametrize(("text", "said"), [(None, "there is no"), ("{}", "cannot read")])
def test_a_backup_without_a_manifest_is_not_restored(
    copied: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    """Nothing could tell whether it is whole."""
    Manifest.path(copied).unlink()
    if text is not None:
        Manifest.path(copied).write_text(text)
    with pytest.raises(StoreError, match=said):
        restore(copied, tmp_path / "new.duckdb")


def test_a_backup_of_a_newer_version_is_not_restored(copied: Path, tmp_path: Path) -> None:
    """The exporter could not open it."""
    said = json.loads(Manifest.path(copied).read_text())
    said["schema_version"] += 1
    Manifest.path(copied).write_text(json.dumps(said))
    with pytest.raises(ActFailed, match="upgrade microdollar-exporter"):
        restore(copied, tmp_path / "new.duckdb")


def test_the_commands_say_what_they_have_done(ledger: Path, tmp_path: Path) -> None:
    """To people, to programs, and in one line when it goes wrong."""
    copy = tmp_path / "copy.duckdb"
    said = run("backup", "--db", str(ledger), str(copy))
    assert said.exit_code == 0
    assert said.stdout.endswith("7 spans, 7 ledger entries, 7 calls, 700.000350 µ$\n")
    said = run("restore", "--db", str(tmp_path / "new.duckdb"), "--format", "json", str(copy))
    assert said.exit_code == 0
    assert json.loads(said.stdout)["sums"]["cost"] == "700.000350"
    said = run("restore", "--db", str(ledger), str(copy))
    assert said.exit_code == 1
    assert said.stderr == (
        f"Error: {ledger} is there already: move it away, or choose another name\n"
    )


def run(*arguments: str) -> Result:
    """The `microdollar` command."""
    return CliRunner().invoke(main, list(arguments))
