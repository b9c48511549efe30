# SPDX-License-Identifier: Apache-2.0
"""The DuckDB file: what is appended, what is refused, and what survives."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from microdollar_exporter.book import Bookkeeper
from microdollar_exporter.errors import Busy, StoreError, StoreLocked, StoreUnavailable
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.price import Book, Price
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.store import Booker, Booking, Known, Store, Writer, writer
from microdollar_exporter.store.migrations import MIGRATIONS
from microdollar_exporter.usage import UsageRow
from tests.exporter.ledgers import evidence_of
from tests.fakes.otlp import STARTED_AT, call, request

LEDGER_COLUMNS = [
    "entry_id",
    "kind",
    "recorded_at",
    "started_at",
    "trace_id",
    "span_id",
    "position",
    "revision",
    "customer_id",
    "user_id",
    "tags",
    "service",
    "environment",
    "provider",
    "operation",
    "request_model",
    "response_model",
    "response_id",
    "service_tier",
    "calls",
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write",
    "input_tool",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "image_in",
    "image_out",
    "units",
    "usage_source",
    "rule",
    "cost",
    "list_cost",
    "price_status",
    "price_note",
    "price_row",
    "price_book",
    "reverses",
    "decision",
    "reason",
    "assigned_by",
]


def a_picodollar_each(row: UsageRow) -> Price:
    """A price that tells entries apart by nothing but their number."""
    return Price(1, 1, "priced", "row", None)


entries = Bookkeeper(a_picodollar_each)
"""Books at a picodollar a row."""


def evidence(count: int = 1, started_at: int = STARTED_AT) -> list[Evidence]:
    """Evidence of calls with fresh ids, a microsecond apart."""
    return evidence_of(request(*(call(started_at=started_at + n) for n in range(count))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger file that does not exist yet."""
    return tmp_path / "meter.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An open store on an empty file."""
    opened = Store(path)
    yield opened
    opened.close()


def one(store: Store, sql: str) -> tuple[object, ...]:
    """The first row of a query."""
    row = store.cursor().execute(sql).fetchone()
    assert row is not None
    return tuple(row)


def test_the_ledger_has_the_columns_that_other_tools_rely_on(store: Store) -> None:
    """In this order, and money as DECIMAL(18,6)."""
    described = store.cursor().execute("DESCRIBE ledger").fetchall()
    assert [column[0] for column in described] == LEDGER_COLUMNS
    assert {column[0]: column[1] for column in described}["cost"] == "DECIMAL(18,6)"


def test_appended_evidence_and_entries_are_there_after_the_file_is_opened_again(path: Path) -> None:
    """Cost is exact to the picodollar."""
    first = Store(path)
    assert first.append(evidence(3), entries).new == 3
    first.close()
    again = Store(path)
    assert one(again, "SELECT count(*) FROM spans") == (3,)
    assert str(one(again, "SELECT sum(cost) FROM ledger")[0]) == "0.000003"
    again.close()


def test_a_redelivered_span_changes_nothing(store: Store) -> None:
    """In the same batch, in a later one, alone or among new ones."""
    batch = evidence(3)
    appended = store.append([*batch, *batch], entries)
    assert (appended.new, appended.duplicates, appended.entries) == (3, 3, 3)
    appended = store.append([*evidence(1), *batch], entries)
    assert (appended.new, appended.duplicates, appended.entries) == (1, 3, 1)
    assert one(store, "SELECT count(*), sum(calls) FROM ledger") == (4, 4)


def test_a_redelivered_span_that_says_something_else_is_counted(store: Store) -> None:
    """What came first stands: in the file, and in a batch."""
    first, other, third = evidence(3)
    more = first._replace(usage={name: count + 1 for name, count in first.usage.items()})
    assert store.append([first, other], entries).contradictory == 0
    assert store.append([first, other], entries).contradictory == 0
    for changed in (
        more,
        first._replace(ended_at=first.ended_at + 1),
        first._replace(response_id="another"),
        first._replace(profile=replace(first.profile, status="error")),
    ):
        appended = store.append([changed, other], entries)
        assert (appended.new, appended.duplicates, appended.contradictory) == (0, 2, 1)
    otherwise = third._replace(response_id="another")
    same = third._replace(profile=replace(third.profile))
    appended = store.append([third, same, otherwise], entries)
    assert (appended.new, appended.duplicates, appended.contradictory) == (1, 2, 1)
    assert one(store, "SELECT count(*), sum(calls) FROM ledger") == (3, 3)


def test_a_redelivered_span_is_found_whatever_else_is_in_its_batch(store: Store) -> None:
    """Its own time bounds the search, however far apart the times of a batch are."""
    days = 86_400_000_000
    batches = [evidence(2, STARTED_AT + offset) for offset in (-400 * days, 0, 300 * days)]
    for batch in batches:
        store.append(batch, entries)
    for batch in (batches[0] + batches[2], batches[1], batches[2] + batches[0] + batches[1]):
        assert store.append(batch, entries).new == 0


def test_spans_that_share_a_trace_or_a_span_id_are_different_calls(store: Store) -> None:
    """Only both together are one span."""
    spans = [
        call(trace_id=trace * 16, span_id=span * 8)
        for trace in (b"1", b"2")
        for span in (b"3", b"4")
    ]
    assert store.append(evidence_of(request(*spans)), entries).new == 4


def test_a_batch_that_fails_leaves_nothing_behind(store: Store) -> None:
    """Evidence without its entries would be a call that nobody is charged for."""

    def fail(_: Sequence[Evidence], known: Known) -> Booking:
        raise RuntimeError("no price")

    with pytest.raises(RuntimeError, match="no price"):
        store.append(evidence(), fail)
    assert one(store, "SELECT count(*) FROM spans") == (0,)
    assert store.append(evidence(), entries).new == 1


def test_recorded_at_never_goes_back(path: Path) -> None:
    """The books of an earlier moment must not change when a clock does."""
    first = Store(path)
    first.append(evidence(), entries)
    first.cursor().execute("UPDATE ledger SET recorded_at = TIMESTAMP '2199-01-01'")
    first.close()
    again = Store(path)
    again.append(evidence(), entries)
    assert one(again, "SELECT min(recorded_at), max(recorded_at) FROM ledger") == (
        datetime(2199, 1, 1),
        datetime(2199, 1, 1, 0, 0, 0, 1),
    )
    again.close()


def test_a_file_that_is_open_elsewhere_is_refused_with_a_way_out(path: Path) -> None:
    """The message names another file as the way out."""
    hold = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StoreLocked, match="--db"):
            Store(path)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    """It may be evidence of something."""
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"left as it is"):
        Store(path)
    assert path.read_bytes() == b"not a database" * 100


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    """An older exporter must not write what it does not understand."""
    Store(path).close()
    with duckdb.connect(str(path)) as con:
        con.execute("INSERT INTO schema_version VALUES (?, 'm', now())", [len(MIGRATIONS) + 1])
    with pytest.raises(StoreError, match="upgrade microdollar-exporter"):
        Store(path)


def test_sql_cannot_reach_out_of_the_file(store: Store) -> None:
    """Neither to read files nor to change the settings that forbid it."""
    for sql in ("SELECT * FROM read_text('/etc/hostname')", "SET enable_external_access = true"):
        with pytest.raises(duckdb.Error):
            store.cursor().execute(sql)


def test_a_price_book_is_kept_once_whole_and_as_rows(store: Store) -> None:
    """Its id is its content, and every rate in it is exact."""
    prices = import_genai_prices()
    for _ in range(2):
        store.record_book(prices)
    assert one(store, "SELECT count(*), any_value(book_id) FROM price_book") == (1, prices.id)
    assert one(store, "SELECT sha256(content) FROM price_book") == (prices.id,)
    assert one(store, "SELECT count(*) FROM price_row") == (len(prices.table_rows()),)
    [row] = prices.lookup("google", "gemini-4-argon")[:1]
    assert row.effective_to is not None
    assert one(
        store,
        f"""SELECT effective_to, rates['output'] FROM price_row
            WHERE price_row = '{row.price_row}'""",
    ) == (datetime(2026, 12, 1), Decimal("0.000010"))


def test_the_writer_acknowledges_only_what_is_on_disk(store: Store) -> None:
    """Requests that arrive together share a commit, and each is answered for itself."""
    writing = Writer(store, entries)
    futures = [writing.submit(evidence(5)) for _ in range(20)]
    wait(futures, 30)
    assert one(store, "SELECT count(*) FROM spans") == (100,)
    assert (writing.tally.stored, writing.tally.duplicates) == (100, 0)
    writing.close()


def test_the_writer_writes_what_it_has_taken_before_it_closes(store: Store) -> None:
    """And takes nothing more."""
    gate = threading.Event()

    def slow(batch: Sequence[Evidence], known: Known) -> Booking:
        gate.wait(30)
        return entries(batch, known)

    writing = Writer(store, slow)
    futures = [writing.submit(evidence()) for _ in range(3)]
    closer = threading.Thread(target=writing.close)
    closer.start()
    gate.set()
    closer.join(30)
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreUnavailable):
        writing.submit(evidence())


def test_a_full_queue_tells_the_sender_to_come_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting data are bounded; a request larger than the bound is taken when nothing waits."""
    monkeypatch.setattr(writer, "WAITING_SPANS", 2)
    gate, started = threading.Event(), threading.Event()

    def slow(batch: Sequence[Evidence], known: Known) -> Booking:
        started.set()
        gate.wait(30)
        return entries(batch, known)

    writing = Writer(store, slow)
    taken = [writing.submit(evidence(5))]
    assert started.wait(30)
    taken.append(writing.submit(evidence(2)))
    with pytest.raises(Busy):
        writing.submit(evidence(1))
    gate.set()
    wait(taken, 30)
    writing.submit(evidence(1)).result(30)
    writing.close()


def test_a_failing_disk_fails_its_requests_and_no_later_ones(store: Store) -> None:
    """The senders still have the data."""
    faults = [duckdb.IOException("disk full")]

    def sometimes(batch: Sequence[Evidence], known: Known) -> Booking:
        if faults:
            raise faults.pop()
        return entries(batch, known)

    writing = Writer(store, sometimes)
    batch = evidence(2)
    with pytest.raises(StoreUnavailable, match="disk full"):
        writing.submit(batch).result(30)
    assert not writing.healthy
    assert writing.submit(batch).result(30) == 0
    assert writing.healthy
    assert one(store, "SELECT count(*) FROM spans") == (2,)
    writing.close()


def test_a_span_that_cannot_be_stored_costs_no_other(store: Store) -> None:
    """It is refused for itself, though it shares its commit with many."""
    gate, started = threading.Event(), threading.Event()
    batches = [evidence(3), evidence(3), evidence(3)]
    batches[1][1] = batches[1][1]._replace(boot_id="\ud800")

    def wait_first(batch: Sequence[Evidence], known: Known) -> Booking:
        started.set()
        gate.wait(30)
        return entries(batch, known)

    writing = Writer(store, wait_first)
    first = writing.submit(evidence())
    assert started.wait(30)
    futures = [writing.submit(batch) for batch in batches]
    gate.set()
    assert first.result(30) == 0
    assert [future.result(30) for future in futures] == [0, 1, 0]
    assert one(store, "SELECT count(*), sum(calls) FROM ledger") == (9, 9)
    writing.close()


def test_a_span_that_cannot_be_booked_is_kept_and_booked_once_it_can_be(path: Path) -> None:
    """The fault is ours: what it consumed is not lost by it, nor is that of any other."""
    batch = evidence(3)
    poison = batch[1].span_id

    def choke(batch: Sequence[Evidence], known: Known) -> Booking:
        if any(item.span_id == poison for item in batch):
            raise ZeroDivisionError
        return entries(batch, known)

    store = Store(path)
    writing = Writer(store, choke)
    assert writing.submit(batch).result(30) == 0
    assert writing.submit(batch).result(30) == 0, "sent again it is not kept twice"
    assert writing.tally.held == 1
    assert one(store, "SELECT count(*), sum(calls) FROM ledger") == (2, 2)
    assert one(store, "SELECT count(*), any_value(span_id) FROM held_span") == (1, poison)
    writing.close()
    store.close()
    reopened = Store(path)
    assert reopened.take_in(entries) == 1
    assert one(reopened, "SELECT count(*), sum(calls) FROM ledger") == (3, 3)
    assert one(reopened, "SELECT count(*) FROM held_span") == (0,)
    reopened.close()


def test_spans_that_are_held_back_are_tried_again_after_the_disk_has_failed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choke(batch: Sequence[Evidence], known: Known) -> Booking:
        raise ZeroDivisionError

    def full(*_: object) -> int:
        raise StoreUnavailable("disk full")

    store = Store(path)
    writing = Writer(store, choke)
    assert writing.submit(evidence()).result(30) == 0
    writing.close()
    store.close()
    reopened = Store(path)
    with monkeypatch.context() as during, pytest.raises(StoreUnavailable):
        during.setattr(Store, "_take_in", full)
        reopened.take_in(entries)
    assert reopened.take_in(entries) == 1
    reopened.close()


def test_of_spans_that_are_held_back_one_that_cannot_be_booked_yet_keeps_no_other(
    path: Path,
) -> None:
    batch = evidence(3)

    def choke_on(*poison: Evidence) -> Booker:
        def book(batch: Sequence[Evidence], known: Known) -> Booking:
            if {item.span_id for item in batch} & {item.span_id for item in poison}:
                raise ZeroDivisionError
            return entries(batch, known)

        return book

    store = Store(path)
    writing = Writer(store, choke_on(*batch))
    assert writing.submit(batch).result(30) == 0
    writing.close()
    store.close()
    reopened = Store(path)
    assert reopened.take_in(choke_on(batch[1])) == 2
    assert one(reopened, "SELECT count(*), sum(calls) FROM ledger") == (2, 2)
    assert one(reopened, "SELECT span_id FROM held_span") == (batch[1].span_id,)
    reopened.close()


def test_when_duckdb_gives_up_nobody_is_left_waiting(store: Store) -> None:
    """What waits is sent again, and the process learns that it has to start again."""
    gate, started, gone = threading.Event(), threading.Event(), threading.Event()

    def fatal(_: Sequence[Evidence], known: Known) -> Booking:
        started.set()
        gate.wait(30)
        raise duckdb.FatalException("database has been invalidated")

    writing = Writer(store, fatal, on_fatal=gone.set)
    futures = [writing.submit(evidence())]
    assert started.wait(30)
    futures.append(writing.submit(evidence()))
    gate.set()
    for future in futures:
        with pytest.raises(StoreUnavailable):
            future.result(30)
    assert gone.wait(30)
    with pytest.raises(StoreUnavailable):
        writing.submit(evidence())
    writing.close()


def test_the_price_book_in_force_is_known_for_every_moment(store: Store) -> None:
    """An older one may come back."""
    first = import_genai_prices()
    second = Book(providers=[], rows=[], source="test", source_version="2")
    for prices in (first, first, second, first):
        store.record_book(prices)
    found = store.cursor().execute("SELECT book_id FROM price_book_in_force").fetchall()
    assert found == [(first.id,), (second.id,), (first.id,)]


def test_the_price_book_in_force_is_right_though_the_clock_has_gone_back(path: Path) -> None:
    """The later row is the later one, also after a restart."""
    store = Store(path)
    store.record_book(import_genai_prices())
    store.cursor().execute("UPDATE price_book_in_force SET in_force_from = TIMESTAMP '2199-01-01'")
    store.close()
    again = Store(path)
    second = Book(providers=[], rows=[], source="test", source_version="2")
    again.record_book(second)
    last = "SELECT arg_max(book_id, in_force_from) FROM price_book_in_force"
    assert one(again, last) == (second.id,)
    again.close()


def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    """It is somebody's."""
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE ledger (a INTEGER)")
    with pytest.raises(StoreError, match="something else"):
        Store(path)
    with duckdb.connect(str(path)) as con:
        assert con.execute("SHOW TABLES").fetchall() == [("ledger",)]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Before DuckDB says it in other words."""
    with pytest.raises(StoreError, match=r"there is no folder .*none: create it"):
        Store(tmp_path / "none" / "meter.duckdb")


def test_a_store_waits_for_the_process_before_it(path: Path) -> None:
    """An exporter that is started again at once meets its predecessor closing the file."""
    hold = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print(); time.sleep(1)"
    command = [sys.executable, "-u", "-c", hold, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        Store(path, patience=30).close()
