# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, read-only, slow or damaged; clocks that jump; traces without end.

What was acknowledged stays, what cannot be taken is refused so that it is sent again, and what is
damaged is left as it was found.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from random import Random
from typing import Any, Self

import duckdb
import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.errors import StoreError, StoreUnavailable
from microdollar_exporter.store import Store
from microdollar_exporter.store import store as store_module
from tests.exporter.ledgers import evidence_of, price
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request
from tests.simulation import huge
from tests.simulation import reports as by
from tests.simulation.books import Moments, check_books
from tests.simulation.doomed import CountingSender, Doomed, Zygote, export, kept
from tests.simulation.episodes import make_episode

DAY = 86_400_000_000
SEED = 20261121
LEAVES = int(os.environ.get("FAULTS_LEAVES", "50000"))
"""The calls of a huge trace of another emitter: tried with 200,000, which takes a minute or two."""
KEEPER = Bookkeeper(price, price_book="book")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Where exporters come from."""
    with Zygote(tmp_path_factory.mktemp("zygote")) as made:
        yield made


class Disk:
    """A folder on which little can be stored, until there is room again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "meter.duckdb"

    def fill(self, exporter: Doomed) -> None:
        """Leave little room for this exporter."""

    def empty(self, exporter: Doomed) -> None:
        """Make room."""


class LimitedFiles(Disk):
    """Files may not grow beyond a limit of the process."""

    def fill(self, exporter: Doomed) -> None:
        resource.prlimit(exporter.pid, resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))

    def empty(self, exporter: Doomed) -> None:
        if exporter.runs:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(exporter.pid, resource.RLIMIT_FSIZE, unlimited)


class SmallFilesystem(Disk):
    """A file system of its own, which only root can make."""

    def fill(self, exporter: Doomed) -> None:
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        room = shutil.disk_usage(self.folder).free
        ballast.write_bytes(bytes(max(0, room - 200_000)))

    def empty(self, exporter: Doomed) -> None:
        (self.folder / "ballast").unlink()


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory, mounted on a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=[LimitedFiles, SmallFilesystem])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk that can be full, made in two ways."""
    if request.param is SmallFilesystem:
        with mounted(tmp_path / "disk", "32m") as folder:
            yield SmallFilesystem(folder)
    elif hasattr(resource, "prlimit"):
        yield LimitedFiles(tmp_path)
    else:
        pytest.skip("the files of another process can only be limited on Linux")


class Traffic:
    """A sender that never runs out of things to say."""

    def __init__(self) -> None:
        self.sender = CountingSender()
        self._episodes = 0

    def send(self, exporter: Doomed, episodes: int) -> None:
        """Send so many episodes, with whatever has not been acknowledged yet."""
        for _ in range(episodes):
            self._episodes += 1
            name = f"{SEED}/{self._episodes}"
            random = Random(name)
            began = STARTED_AT + random.randrange(DAY)
            self.sender.add([make_episode(name, random, began)], 20)
        self.sender.send(exporter.port, at_once=20)

    def send_until_refused(self, exporter: Doomed) -> None:
        """Send until the disk is full."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.send(exporter, 30)
            if not self.sender.done:
                return
        raise AssertionError("it took everything")

    def send_the_rest(self, exporter: Doomed) -> None:
        """Send what was refused, until it is taken."""
        deadline = time.monotonic() + 60
        while not self.sender.done:
            assert time.monotonic() < deadline, "it never took what it had refused"
            self.sender.send(exporter.port)


def test_a_full_disk_refuses_until_there_is_room(disk: Disk, zygote: Zygote) -> None:
    """The exporter goes on by itself, without a restart; senders keep what it could not take."""
    traffic = Traffic()
    with zygote.exporter(disk.db) as exporter:
        assert exporter.ready(), zygote.log
        traffic.send(exporter, 5)
        disk.fill(exporter)
        traffic.send_until_refused(exporter)
        disk.empty(exporter)
        traffic.send_the_rest(exporter)
        assert exporter.stop() == 0
    kept(disk.db, traffic.sender, everything=True)


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_an_exporter_that_ends_on_a_full_disk_loses_nothing(
    ending: str, disk: Disk, zygote: Zygote
) -> None:
    """Though nothing can be folded or tidied up."""
    traffic = Traffic()
    with zygote.exporter(disk.db) as exporter:
        assert exporter.ready(), zygote.log
        disk.fill(exporter)
        traffic.send_until_refused(exporter)
        getattr(exporter, ending)()
        disk.empty(exporter)
    with zygote.exporter(disk.db) as exporter:
        assert exporter.ready(), zygote.log
        traffic.send_the_rest(exporter)
        assert exporter.stop() == 0
    kept(disk.db, traffic.sender, everything=True)


@pytest.fixture(params=["a new file", "a file"])
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A ledger, or the place for one, where nothing can be written."""
    db = tmp_path / "disk" / "meter.duckdb"

    def fill() -> None:
        if request.param == "a file":
            Store(db).close()

    if os.geteuid() == 0:
        # Root may write whatever the permissions say, but not on a read-only file system.
        with mounted(db.parent, "8m") as folder:
            fill()
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            yield db
    else:
        db.parent.mkdir()
        fill()
        db.parent.chmod(0o555)
        yield db
        db.parent.chmod(0o755)


def test_a_disk_that_cannot_be_written_is_said_at_the_start(read_only: Path) -> None:
    """With the way out, and nothing is left behind."""
    before = contents(read_only)
    command = [*(sys.executable, "-m", "microdollar_exporter", "serve", "--db", str(read_only))]
    ended = subprocess.run(
        [*command, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    [line] = [line for line in ended.stderr.splitlines() if "may not write" in line]
    assert str(read_only.parent) in line
    assert "Traceback" not in ended.stderr
    assert contents(read_only) == before


def contents(db: Path) -> dict[str, bytes]:
    """Every file of a ledger."""
    return {file.name: file.read_bytes() for file in db.parent.glob(f"{db.name}*")}


COMMIT = 40
COMMITS = 10


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a ledger with commits in its file and in its write-ahead log is made of."""
    folder = tmp_path_factory.mktemp("ledger")
    original, copy = folder / "meter.duckdb", folder / "copy" / "meter.duckdb"
    copy.parent.mkdir()
    with closing(Store(original)) as store:
        for number in range(2 * COMMITS):
            if number == COMMITS:
                store.checkpoint()
            store.append(evidence_of(request(*(call() for _ in range(COMMIT)))), KEEPER)
        for name, content in contents(original).items():
            copy.with_name(name).write_bytes(content)
    return contents(copy)


def flipped(content: bytearray, random: Random) -> None:
    """A bit is the other way round."""
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def zeroed(content: bytearray, random: Random) -> None:
    """A sector has been lost."""
    first = random.randrange(len(content)) // 512 * 512
    last = min(first + 512, len(content))
    content[first:last] = bytes(last - first)


def cut(content: bytearray, random: Random) -> None:
    """The end is missing."""
    del content[random.randrange(len(content)) :]


def overwritten(content: bytearray, random: Random) -> None:
    """Something else is there."""
    content[:] = random.randbytes(random.randint(100, 5000))


def lengthened(content: bytearray, random: Random) -> None:
    """Something else stands behind it."""
    content += random.randbytes(random.randint(1, 5000))


FILE, LOG = "meter.duckdb", "meter.duckdb.wal"


@pytest.mark.parametrize("name", [FILE, LOG])
@pytest.mark.parametrize("damage", [flipped, zeroed, cut, overwritten, lengthened])
def test_a_damaged_ledger_is_refused_as_it_is_or_says_the_truth(
    damage: Callable[[bytearray, Random], None],
    name: str,
    evidence: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """Never does it say something else, or tell a sender to drop what it cannot take."""
    for number in range(20):
        random = Random(f"{SEED}/{name}/{damage.__name__}/{number}")
        damaged = bytearray(evidence[name])
        damage(damaged, random)
        db = tmp_path / f"{number}" / FILE
        db.parent.mkdir()
        for part, content in {**evidence, name: bytes(damaged)}.items():
            (db.parent / part).write_bytes(content)
        before = contents(db)
        try:
            store = Store(db)
        except StoreError as error:
            assert "--db" in str(error)
            assert contents(db) == before
        else:
            with closing(store):
                says_the_truth(store, may_lack_commits=name == LOG)
            if name == LOG and len(damaged) > 64 and commits_in(db) == COMMITS * COMMIT:
                # DuckDB found nothing in it; what was there is kept.
                assert bytes(damaged) in contents(db).values()


def says_the_truth(store: Store, *, may_lack_commits: bool) -> None:
    """Each call once, of whole commits; or that the file is damaged."""
    try:
        with closing(store.cursor()) as con:
            check_books(con)
            [(spans, calls)] = con.execute(
                "SELECT (SELECT count(*) FROM spans), (SELECT sum(calls) FROM ledger)"
            ).fetchall()
    except duckdb.Error:
        # Its senders keep what it cannot take.
        with pytest.raises(StoreUnavailable):
            store.append(evidence_of(request(call())), KEEPER)
        return
    assert spans == calls
    if may_lack_commits:
        assert spans in range(COMMITS * COMMIT, 2 * COMMITS * COMMIT + 1, COMMIT)
    else:
        assert spans == 2 * COMMITS * COMMIT
    try:
        assert store.append(evidence_of(request(call())), KEEPER).new == 1
    except StoreUnavailable:
        return
    with closing(store.cursor()) as con:
        assert con.execute("SELECT sum(calls) FROM ledger").fetchall() == [(calls + 1,)]


def commits_in(db: Path) -> int:
    """How many spans a ledger has, of those it had before it was damaged."""
    with duckdb.connect(str(db)) as con:
        [(spans,)] = con.execute("SELECT count(*) FROM span").fetchall()
    return int(spans) - 1


def test_a_clock_that_jumps_changes_nothing_that_was_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years forward, back again, and back before the first entry; with restarts between."""
    today = datetime(2026, 11, 21, tzinfo=UTC)
    said = {"now": today}

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            moment = said["now"].astimezone(tz)
            return cls(*moment.timetuple()[:6], moment.microsecond, moment.tzinfo)

    monkeypatch.setattr(store_module, "datetime", Clock)
    moments = Moments()
    for number, year in enumerate((2026, 2036, 2026, 2010, 2026)):
        said["now"] = today.replace(year=year)
        with closing(Store(tmp_path / "meter.duckdb")) as store:
            for _ in range(2):
                store.append(evidence_of(request(call())), KEEPER)
                with closing(store.cursor()) as con:
                    moments.check(con)
                    moments.remember(con)
            with closing(store.cursor()) as con:
                check_books(con)
                recorded = con.execute("SELECT recorded_at FROM ledger ORDER BY rowid").fetchall()
        assert len(set(recorded)) == len(recorded) == 2 * (number + 1)
        assert recorded == sorted(recorded)


def test_spans_from_any_time_are_booked_at_their_time(tmp_path: Path) -> None:
    """Ten days late, by a clock of 1970 and by one of 2262; and none of them twice."""
    moments = [STARTED_AT, STARTED_AT - 10 * DAY, 1_000_000, 9_200_000_000_000_000]
    late = evidence_of(request(*(call(started_at=moment) for moment in moments)))
    with closing(Store(tmp_path / "meter.duckdb")) as store:
        assert store.append(late[:2], KEEPER).new == 2
        assert store.append(late, KEEPER).new == 2
        assert store.append(list(reversed(late)), KEEPER).new == 0
        with closing(store.cursor()) as con:
            check_books(con)
            booked = con.execute("SELECT epoch_us(started_at) FROM ledger ORDER BY 1").fetchall()
    assert booked == [(moment,) for moment in sorted(moments)]


def test_attributes_of_64_kib_are_kept_out_and_counted(exporter: Exporter) -> None:
    """The call is booked all the same, and the request is fine."""
    long = "canary-" + "x" * 65_536
    sent = call(
        None,
        microdollar__customer__id=long,
        microdollar__tag__feature=long,
        gen_ai__conversation__id=long,
        gen_ai__prompt=long,
        llm__token_count__prompt=long,
    )
    assert not exporter.export(request(sent, call())).HasField("partial_success")
    assert exporter.status()["values_dropped"] >= 3
    exporter.terminate()
    for content in contents(exporter.db).values():
        assert b"canary-" not in content
    with duckdb.connect(str(exporter.db), read_only=True) as con:
        booked = con.execute("SELECT customer_id, calls, output FROM ledger").fetchall()
    assert sorted(booked, key=str) == [("acme", 1, 50), (None, 1, 50)]


def measured(kind: str, count: int, db: Path) -> tuple[dict[str | None, list[Any]], float]:
    """What the books say of a huge trace, by customer, and the GiB it took to book it."""
    command = [sys.executable, "-m", "tests.simulation.huge", kind, str(count), str(db)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    result = json.loads(ended.stdout)
    return {customer: sums for customer, *sums in result["said"]}, result["kib"] / 2**20


def sums_of(calls: int, entries: int) -> list[Any]:
    """What the books have to say of so many calls of `huge`."""
    tokens = [count * calls for count in huge.TOKENS]
    cost = f"{sum(c * r for c, r in zip(tokens, (100_000, 10_000, 500_000), strict=True)) // 10**6}"
    return [entries, calls, *tokens, f"{cost}.000000", calls]


def test_a_trace_of_a_million_calls_is_booked_in_little_memory(tmp_path: Path) -> None:
    """Each of them once: a trace is nothing that has to be held together."""
    said, gibibytes = measured("ours", 1_000_000, tmp_path / "meter.duckdb")
    assert said == {None: sums_of(1_000_000, 1_000_000)}
    assert gibibytes < 2


def test_a_huge_trace_gets_its_customer_from_the_span_that_ends_last(tmp_path: Path) -> None:
    """All its calls had been booked for nobody: they are taken back and booked anew."""
    said, gibibytes = measured("others", LEAVES, tmp_path / "meter.duckdb")
    nobody = [2 * LEAVES, 0, 0, 0, 0, "0.000000", LEAVES]
    assert said == {"acme": sums_of(LEAVES, LEAVES), None: nobody}
    # So much for any trace, and 10 KB for each call of one that has to be thought over.
    assert gibibytes < 0.6 + LEAVES * 10_000 / 2**30


def test_a_slow_disk_makes_senders_wait_and_not_the_memory_grow(
    zygote: Zygote, tmp_path: Path
) -> None:
    """What was accepted is there, and who was refused was told when to come back."""
    bodies = list(huge.requests(by.OURS, 60 * huge.BATCH))
    assert sum(map(len, bodies)) > 150e6
    options = ["--max-waiting-mib", "8"]
    db = tmp_path / "meter.duckdb"
    with zygote.exporter(db, delay=0.5, options=options) as exporter:
        assert exporter.ready(), zygote.log
        before = most_memory(exporter.pid)
        with grpc.insecure_channel(f"127.0.0.1:{exporter.port}") as channel:
            answers = [export(channel).future(body, timeout=60) for body in bodies]
            refused = [error for answer in answers if (error := answer.exception()) is not None]
        assert most_memory(exporter.pid) - before < 200e6
        assert exporter.stop() == 0
    assert 0 < len(refused) < len(bodies)
    for error in refused:
        assert isinstance(error, grpc.RpcError)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        [details] = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
        retry = RetryInfo()
        assert Status.FromString(details).details[0].Unpack(retry)
        assert retry.retry_delay.seconds > 0
    with duckdb.connect(str(db), read_only=True) as con:
        [(calls,)] = con.execute("SELECT sum(calls) FROM ledger").fetchall()
    assert calls == (len(bodies) - len(refused)) * huge.BATCH


def most_memory(pid: int) -> int:
    """The most bytes that a process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
