# SPDX-License-Identifier: Apache-2.0
"""Which prices a ledger is kept by: shipped at first, then by decision, between two commits."""

import http.server
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from microdollar_exporter import connect
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.prices import PricesInUse, use_prices
from microdollar_exporter.operate.verify import verify
from microdollar_exporter.price.shipped import shipped, shipped_id
from microdollar_exporter.store import Store
from tests.exporter.ledgers import evidence_of
from tests.exporter.price.feeds import feed, installed_feed, price_keys
from tests.exporter.small_books import book
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import call, request

WHO = {"by": "ops", "reason": "a new list"}
ADJUSTED = """
schema = 1
[[adjust]]
name = "edp"
provider = "openai"
multiply = 0.5
reason = "contract 7"
"""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a ledger shall be."""
    return tmp_path / "meter.duckdb"


def microdollar(db: Path, *arguments: str) -> Result:
    """Run a command on a ledger."""
    return CliRunner().invoke(main, [*arguments, "--db", str(db)])


def asked(book_of: Any, **further: Any) -> dict[str, Any]:
    """The arguments of the act for a book."""
    content = book_of.canonical_json().decode()
    source = {"source": book_of.source, "source_version": book_of.source_version}
    return {"book": content, **source, "apply": True, **WHO, **further}


def books(db: Path) -> list[tuple[str, Decimal | None]]:
    """What the entries of a ledger were priced by, and came to, in the order of booking."""
    rows = connect(db).sql("SELECT price_book, cost FROM ledger ORDER BY recorded_at").to_pylist()
    return [(row["price_book"], row["cost"]) for row in rows]


def in_force(db: Path) -> list[str]:
    """The books that were in force, in their order."""
    rows = connect(db).sql("SELECT book_id FROM price_book_in_force ORDER BY in_force_from")
    return [row["book_id"] for row in rows.to_pylist()]


def decisions(db: Path) -> list[tuple[str, str, str]]:
    """Who decided what, and why."""
    rows = connect(db).sql("SELECT kind, made_by, reason FROM decision ORDER BY made_at")
    return [(row["kind"], row["made_by"], row["reason"]) for row in rows.to_pylist()]


def luna(**rates: Any) -> list[dict[str, Any]]:
    """The installed data with other rates of `gpt-6-luna` at OpenAI."""
    raw: list[dict[str, Any]] = installed_feed()
    [prices] = [
        prices
        for provider in raw
        if provider["id"] == "openai"
        for model in provider["models"]
        if model["id"] == "gpt-6-luna"
        for prices in price_keys(model["prices"])
    ]
    prices |= rates
    return raw


def write_feed(folder: Path, raw: Any) -> str:
    """A file of the feed."""
    path = folder / "feed.json"
    path.write_bytes(feed(raw))
    return str(path)


def test_a_new_ledger_is_kept_by_the_book_that_ships(db: Path) -> None:
    """Nobody decided anything, and a second start changes nothing."""
    for _ in range(2):
        with closing(Store(db)) as store:
            store.append(evidence_of(request(call())), PricesInUse(store))
    assert in_force(db) == [shipped_id()]
    assert decisions(db) == []
    assert books(db) == [(shipped_id(), Decimal("116.000000"))] * 2


def test_an_upgrade_moves_no_price(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A ledger stays with its book until an operator decides, and the log says so."""
    older = book(3)
    with closing(Store(db)) as store:
        store.record_book(older)
    with closing(Store(db)) as store, caplog.at_level("INFO"):
        store.append(evidence_of(request(call())), PricesInUse(store))
    assert in_force(db) == [older.id]
    assert books(db)[0][0] == older.id
    assert "this release ships a book that the ledger has never been kept by" in caplog.text


def test_a_book_comes_into_force_by_a_decision_with_who_and_why(db: Path) -> None:
    with closing(Store(db)) as store:
        prices = PricesInUse(store)
        store.append(evidence_of(request(call())), prices)
        answer = prices.use(store, asked(book(2), force=True))
        store.append(evidence_of(request(call())), prices)
    assert answer["applied"] is True
    assert (answer["was"], answer["in_force"]) == (shipped_id(), book(2).id)
    assert [priced for priced, _ in books(db)] == [shipped_id(), book(2).id]
    assert in_force(db) == [shipped_id(), book(2).id]
    assert decisions(db) == [("prices", "ops", "a new list")]


def test_what_was_priced_before_stays_as_it_is(db: Path) -> None:
    """Each entry names the book that proves it, and all of them do."""
    with closing(Store(db)) as store:
        prices = PricesInUse(store)
        store.append(evidence_of(request(call())), prices)
        prices.use(store, asked(book(2), force=True))
        store.append(evidence_of(request(call())), prices)
    assert [cost for _, cost in books(db)] == [Decimal("116.000000"), Decimal("2000.000000")]
    assert verify(db).holds


def test_a_book_that_differs_by_too_much_is_refused_and_nothing_is_done(db: Path) -> None:
    with closing(Store(db)) as store:
        prices = PricesInUse(store)
        answer = prices.use(store, asked(book(2)))
        store.append(evidence_of(request(call())), prices)
    assert answer["applied"] is False
    assert "6,607 known rates moved, which is more than 5 %" in answer["refusal"]
    assert in_force(db) == [shipped_id()]
    assert books(db) == [(shipped_id(), Decimal("116.000000"))]
    assert decisions(db) == []


def test_without_apply_a_book_is_only_looked_at(db: Path) -> None:
    with closing(Store(db)) as store:
        prices = PricesInUse(store)
        answer = prices.use(store, asked(book(2), force=True, apply=False))
    assert (answer["applied"], answer["in_force"]) == (False, book(2).id)
    assert in_force(db) == [shipped_id()]


def test_the_same_book_again_changes_nothing(db: Path) -> None:
    with closing(Store(db)) as store:
        prices = PricesInUse(store)
        for _ in range(2):
            answer = prices.use(store, asked(shipped()))
    assert answer["applied"] is False
    assert answer["was"] == answer["in_force"] == shipped_id()
    assert decisions(db) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"book": 5}, "book is no text"),
        ({"book": "{}", "source": "x", "source_version": "1"}, "book: not the content of a price"),
        ({"book": "{", "source": "x", "source_version": "1"}, "book: "),
        ({"book": "{}"}, "source is None"),
        ({"most_share": "much", **asked(book(2))}, "most_share is 'much': write a number like"),
        ({"most_factor": "1/0", **asked(book(2))}, "most_factor is '1/0': write a number like"),
        ({"force": "yes"}, "force is 'yes': write true or false"),
        ({"overrides": "/nowhere.toml"}, "/nowhere.toml"),
        ({"books": 1}, "there is no argument 'books'"),
        ({key: value for key, value in asked(book(2), force=True).items() if key != "by"}, "by is"),
    ],
)
def test_a_wrong_argument_is_named(db: Path, arguments: Mapping[str, Any], message: str) -> None:
    with closing(Store(db)) as store, pytest.raises(UsageError, match=message):
        use_prices(store, arguments)


def test_overrides_beside_the_ledger_count_from_the_start(db: Path) -> None:
    """The book in force is another then, and the decision says of which file."""
    with closing(Store(db)) as store:
        store.append(evidence_of(request(call())), PricesInUse(store))
    db.with_suffix(".prices.toml").write_text(ADJUSTED)
    for _ in range(2):
        with closing(Store(db)) as store:
            store.append(evidence_of(request(call())), PricesInUse(store))
    assert [cost for _, cost in books(db)] == [Decimal(116), Decimal(58), Decimal(58)]
    assert in_force(db)[0] == shipped_id()
    assert len(in_force(db)) == 2
    assert [reason for _, _, reason in decisions(db)] == ["the overrides as they are at the start"]
    assert verify(db).holds


def test_a_new_list_stays_under_the_overrides(db: Path) -> None:
    db.with_suffix(".prices.toml").write_text(ADJUSTED)
    with closing(Store(db)) as store:
        prices = PricesInUse(store)
        answer = prices.use(store, asked(book(2), force=True))
        store.append(evidence_of(request(call())), prices)
    assert answer["book"] == book(2).id != answer["in_force"]
    with closing(Store(db)) as store:
        store.append(evidence_of(request(call())), PricesInUse(store))
    assert books(db) == [(answer["in_force"], Decimal("1000.000000"))] * 2


def test_overrides_that_say_what_cannot_be_stop_the_start_with_the_line(db: Path) -> None:
    db.with_suffix(".prices.toml").write_text('schema = 1\n[[rate]]\nprovidr = "x"\n')
    with closing(Store(db)) as store, pytest.raises(UsageError, match="providr"):
        PricesInUse(store)


def test_a_running_exporter_prices_by_the_new_book_from_the_next_commit_on(
    db: Path, tmp_path: Path
) -> None:
    """Calls go on arriving while it is changed; none is priced by half of either."""
    new = write_feed(tmp_path, luna(output_mtok=Decimal("0.6")))
    with Exporter(db) as exporter:
        exporter.export(request(call()))
        go_on = threading.Event()
        sent: list[int] = []

        def send() -> None:
            while not go_on.is_set():
                exporter.export(request(call(), call()))
                sent.append(2)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            done = microdollar(db, "prices", "import", new)
        finally:
            go_on.set()
            sender.join()
        assert done.exit_code == 0, done.stderr
        exporter.export(request(call()))
        found = books(db)
    costs = {shipped_id(): Decimal("116.000000"), in_force(db)[1]: Decimal("121.000000")}
    assert len(found) == sum(sent) + 2
    assert all(costs[priced] == cost for priced, cost in found)
    assert [found[0][0], found[-1][0]] == in_force(db)
    order = [priced for priced, _ in found]
    assert order == sorted(order, key=in_force(db).index)
    assert verify(db).holds
    with Exporter(db) as exporter:
        exporter.export(request(call()))
    assert books(db)[-1] == found[-1]


def test_overrides_are_read_anew_by_a_running_exporter(db: Path) -> None:
    """A file that says what cannot be leaves the prices as they are."""
    path = db.with_suffix(".prices.toml")
    with Exporter(db) as exporter:
        exporter.export(request(call()))
        path.write_text(ADJUSTED)
        assert microdollar(db, "prices", "reload", "--reason", "contract 7").exit_code == 0
        exporter.export(request(call()))
        path.write_text(ADJUSTED.replace("0.5", '"half"'))
        done = microdollar(db, "prices", "reload")
        assert done.exit_code == 1
        assert f"{path}" in done.stderr
        assert "multiply" in done.stderr
        exporter.export(request(call()))
        assert [cost for _, cost in books(db)] == [Decimal(116), Decimal(58), Decimal(58)]
        assert decisions(db)[-1][::2] == ("prices", "contract 7")


def test_overrides_can_lie_elsewhere_and_go_on_counting(db: Path, tmp_path: Path) -> None:
    """Named once to a running exporter, it is the file that `reload` reads from then on."""
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / "prices.toml"
    path.write_text(ADJUSTED)
    with Exporter(db) as exporter:
        assert microdollar(db, "prices", "reload", "--overrides", str(path)).exit_code == 0
        exporter.export(request(call()))
        path.write_text(ADJUSTED.replace("0.5", "0.25"))
        assert microdollar(db, "prices", "reload").exit_code == 0
        exporter.export(request(call()))
    with Exporter(db, options=["--overrides", str(path)]) as exporter:
        exporter.export(request(call()))
    assert [cost for _, cost in books(db)] == [Decimal(58), Decimal(29), Decimal(29)]
    assert len(in_force(db)) == 3


def test_overrides_in_use_stay_in_use_whichever_process_reads_them(
    db: Path, tmp_path: Path
) -> None:
    """Where they lie is part of the decision: no option has to be given again."""
    path = tmp_path / "own.toml"
    path.write_text(ADJUSTED)
    with Exporter(db) as exporter:
        assert microdollar(db, "prices", "reload", "--overrides", str(path)).exit_code == 0
        exporter.export(request(call()))
    path.write_text(ADJUSTED.replace("0.5", "0.25"))
    assert microdollar(db, "prices", "reload").exit_code == 0
    with Exporter(db) as exporter:
        exporter.export(request(call()))
    assert microdollar(db, "prices", "import").exit_code == 0
    with Exporter(db) as exporter:
        exporter.export(request(call()))
    assert [cost for _, cost in books(db)] == [Decimal(58), Decimal(29), Decimal(29)]
    assert len(in_force(db)) == 3


@pytest.mark.parametrize("folder", [".", "own"])
def test_overrides_that_are_gone_are_not_dropped_in_silence(
    db: Path, tmp_path: Path, folder: str
) -> None:
    """No start and no act goes on without them unless it is told to, which then holds."""
    (tmp_path / "own").mkdir()
    path = tmp_path / folder / "meter.prices.toml"
    path.write_text(ADJUSTED)
    with closing(Store(db)) as store:
        PricesInUse(store, path)
        path.rename(tmp_path / "away")
        with pytest.raises(UsageError) as refused:
            PricesInUse(store)
        assert str(refused.value) == (
            f"the overrides in use, {path}, are not there any more: put the file back, name "
            "another with --overrides, or go on without any with --no-overrides"
        )
    done = microdollar(db, "prices", "import")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, f"Error: {refused.value}")
    assert microdollar(db, "prices", "reload", "--no-overrides").exit_code == 0
    assert in_force(db)[-1] == shipped_id()
    db.with_suffix(".prices.toml").write_text(ADJUSTED)
    with closing(Store(db)) as store:
        PricesInUse(store)
    assert in_force(db)[-1] == shipped_id()
    with closing(Store(db)) as store:
        PricesInUse(store, db.with_suffix(".prices.toml"))
    assert in_force(db)[-1] != shipped_id()


def test_the_overrides_in_use_are_those_that_are_checked(db: Path, tmp_path: Path) -> None:
    """Wherever they lie, and whether they are still there."""
    path = tmp_path / "own.toml"
    path.write_text(ADJUSTED)
    with closing(Store(db)) as store:
        PricesInUse(store, path)
    assert f"{path}: the overrides hold over book" in microdollar(db, "prices", "check").stdout
    path.unlink()
    done = microdollar(db, "prices", "check")
    assert done.exit_code == 1
    assert f"the overrides in use, {path}, are not there any more" in done.stderr
    assert microdollar(db, "prices", "reload", "--no-overrides").exit_code == 0
    assert "no overrides: it was so decided\n" in microdollar(db, "prices", "check").stdout


def test_overrides_beside_a_ledger_move_with_it(db: Path, tmp_path: Path) -> None:
    db.with_suffix(".prices.toml").write_text(ADJUSTED)
    with closing(Store(db)) as store:
        PricesInUse(store)
    (tmp_path / "there").mkdir()
    for path in (db, db.with_suffix(".prices.toml")):
        path.rename(tmp_path / "there" / path.name)
    with closing(Store(tmp_path / "there" / db.name)) as store:
        PricesInUse(store)
    assert len(in_force(tmp_path / "there" / db.name)) == 1


def test_overrides_and_none_are_not_asked_for_together(db: Path) -> None:
    done = microdollar(db, "prices", "reload", "--overrides", "x.toml", "--no-overrides")
    assert done.exit_code == 1
    assert "--overrides and --no-overrides say two things: choose one" in done.stderr


def test_an_exporter_can_be_started_without_the_overrides_in_use(db: Path) -> None:
    db.with_suffix(".prices.toml").write_text(ADJUSTED)
    for options in ([], ["--no-overrides"]):
        with Exporter(db, options=options) as exporter:
            exporter.export(request(call()))
    assert [cost for _, cost in books(db)] == [Decimal(58), Decimal(116)]


def test_import_without_an_exporter_counts_from_the_next_start(db: Path, tmp_path: Path) -> None:
    Store(db).close()
    new = write_feed(tmp_path, luna(output_mtok=Decimal("0.6")))
    assert microdollar(db, "prices", "import", new).exit_code == 0
    with Exporter(db) as exporter:
        exporter.export(request(call()))
    assert [cost for _, cost in books(db)] == [Decimal("121.000000")]


def test_import_of_the_installed_package_is_the_shipped_book(db: Path) -> None:
    with closing(Store(db)) as store:
        PricesInUse(store)
    done = microdollar(db, "prices", "import")
    assert done.exit_code == 0
    assert done.stdout == (
        f"The two books say the same.\nBook {shipped_id()[:16]} is in force already.\n"
    )
    assert done.stderr == (
        f"genai-prices 0.2.3: {sum(1 for _ in shipped().rows):,} price rows of 2,330 models of 47 "
        "providers\n"
        "26 prices with the residue of a float were rounded\n"
        "not needed: input_audio_hours, 10 models\nnot needed: output_citation_mtok, 1 models\n"
    )


def test_import_shows_three_lists(db: Path, tmp_path: Path) -> None:
    """New models, later changes and the rewritten past; with --limit of each."""
    Store(db).close()
    raw = luna(output_mtok=Decimal("0.6"), requests_kcount=Decimal(1))
    [sol] = [m for p in raw if p["id"] == "openai" for m in p["models"] if m["id"] == "gpt-6-sol"]
    [now] = price_keys(sol["prices"])
    dearer = {**now, "web_searches_kcount": Decimal(11)}
    sol["prices"] = [
        {"prices": now},
        {"prices": dearer, "constraint": {"start_date": "2199-01-01"}},
    ]
    raw[0]["models"].append({**raw[0]["models"][0], "id": "claude-7", "match": {"equals": "c7"}})
    path = write_feed(tmp_path, raw)
    shown = microdollar(db, "prices", "import", path, "--dry-run").stdout
    lines = shown.splitlines()
    assert lines[:2] == ["New models: 1", "  anthropic claude-7"]
    assert lines[3].startswith("Changes from 20")
    assert "  openai gpt-6-sol: web_search 0.01 USD each → 0.011 USD each, from 2199-01-01" in lines
    past = lines.index(next(line for line in lines if line.startswith("Past rewritten, before 20")))
    assert lines[past + 1 : past + 4] == [
        "  openai gpt-6-luna: output 0.5 USD/MTok → 0.6 USD/MTok",
        "  openai gpt-6-luna: requests no rate → 0.001 USD each",
        "  openai gpt-6-luna: output 0.75 USD/MTok → 0.6 USD/MTok, over 272,000 input tokens",
    ]
    assert lines[-2:] == ["", "6 of 6,607 known rates moved."]
    assert lines[4].startswith("  openai gpt-6-sol")
    cut = microdollar(db, "prices", "import", path, "--dry-run", "--limit", "1").stdout
    assert "  … and 6 more: see --limit" in cut.splitlines()
    assert in_force(db) == []


def test_import_shows_what_overrides_say_otherwise_though_the_lists_say_the_same(db: Path) -> None:
    """They are read anew, and another factor or rate of theirs is seen before it is in force."""
    path = db.with_suffix(".prices.toml")
    path.write_text(ADJUSTED.replace('"openai"', '"openai"\nmodel = "gpt-6-luna"'))
    with closing(Store(db)) as store:
        PricesInUse(store)
    rates = "per_mtok = { input = 1.20, output = 4.80 }"
    own = f'[[rate]]\nprovider = "openai"\nmodel = "gpt-5.4"\n{rates}\n'
    path.write_text(path.read_text().replace("0.5", "0.05") + own)
    done = microdollar(db, "prices", "import", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.startswith(
        "The two books say the same.\n"
        "Multipliers otherwise: 1\n"
        "  edp: times 0.5 → 0.05\n"
        "\n"
        "By the overrides, beside the list prices:\n"
    )
    assert "\n  openai gpt-5.4: output 15 USD/MTok → 4.8 USD/MTok\n" in done.stdout
    assert "\nNames or adjustments otherwise: 1\n  openai gpt-6-luna\n" in done.stdout


def test_reload_names_the_multipliers_that_are_otherwise(db: Path) -> None:
    """One that is there no more multiplies by nothing any more."""
    path = db.with_suffix(".prices.toml")
    path.write_text(ADJUSTED)
    with closing(Store(db)) as store:
        PricesInUse(store)
    path.write_text(ADJUSTED.replace("edp", "new").replace("0.5", '0.5\nof = "tokens"'))
    done = microdollar(db, "prices", "reload")
    assert "Multipliers otherwise: 2\n" in done.stdout
    assert "  edp: times 0.5 → nothing\n  new: times nothing → 0.5 (tokens only)\n" in done.stdout


@pytest.mark.parametrize(
    ("options", "status"),
    [([], 1), (["--force"], 0), (["--most-factor", "40"], 0), (["--most-factor", "39"], 1)],
)
def test_import_refuses_a_leap_unless_told_to_take_it(
    db: Path, tmp_path: Path, options: list[str], status: int
) -> None:
    Store(db).close()
    path = write_feed(tmp_path, luna(cache_read_mtok=Decimal("0.4")))
    done = microdollar(db, "prices", "import", path, *options)
    assert done.exit_code == status
    assert "openai gpt-6-luna: cache_read 0.01 USD/MTok → 0.4 USD/MTok" in done.stdout
    assert ("more than a factor of" in done.stderr) is bool(status)
    assert len(in_force(db)) == 1 - status
    if not status:
        assert decisions(db)[0][2].endswith(", forced") is ("--force" in options)


def test_import_refuses_a_book_in_which_much_moved(db: Path, tmp_path: Path) -> None:
    """Here every 20th of all models, and a little more."""
    Store(db).close()
    raw = installed_feed()
    models = [model for provider in raw for model in provider["models"]]
    for model in models[::15]:
        for prices in price_keys(model["prices"]):
            prices |= {k: v * 2 for k, v in prices.items() if isinstance(v, Decimal)}
    path = write_feed(tmp_path, raw)
    done = microdollar(db, "prices", "import", path)
    assert done.exit_code == 1
    assert "known rates moved, which is more than 5 %; read the lists, then use" in done.stderr
    assert microdollar(db, "prices", "import", path, "--most-moved", "8").exit_code == 0


def test_import_refuses_units_that_it_cannot_read(db: Path, tmp_path: Path) -> None:
    """By name; and with --force says still what is left out."""
    Store(db).close()
    path = write_feed(tmp_path, luna(thoughts_gpixels=Decimal(1)))
    done = microdollar(db, "prices", "import", path)
    assert done.exit_code == 1
    assert "unknown: thoughts_gpixels, of openai gpt-6-luna\n" in done.stderr
    assert "it charges for what this version cannot read: upgrade" in done.stderr
    assert in_force(db) == []
    forced = microdollar(db, "prices", "import", path, "--force")
    assert forced.exit_code == 0
    assert "unknown: thoughts_gpixels" in forced.stderr


class _Feed(http.server.BaseHTTPRequestHandler):
    """Answers with a feed at one path, and counts who asks."""

    content = b""
    asked: Sequence[str] = ()

    def do_GET(self) -> None:
        type(self).asked = [*self.asked, self.path]
        self.send_response(200 if self.path == "/v2.json" else 404)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def publishing(content: bytes) -> Iterator[tuple[str, type[_Feed]]]:
    """A server with a feed."""
    handler = type("Feed", (_Feed,), {"content": content})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_the_feed_is_fetched_only_when_asked_for(db: Path, tmp_path: Path) -> None:
    Store(db).close()
    with publishing(feed(luna(output_mtok=Decimal("0.6")))) as (where, handler):
        url = ["--url", f"{where}/v2.json"]
        assert microdollar(db, "prices", "import", *url).exit_code == 0
        assert list(handler.asked) == []
        done = microdollar(db, "prices", "import", "--fetch", *url)
        assert done.exit_code == 0, done.stderr
        assert list(handler.asked) == ["/v2.json"]
    assert len(in_force(db)) == 2


def test_a_feed_that_cannot_be_fetched_is_said_with_the_way_out(db: Path) -> None:
    Store(db).close()
    with publishing(b"") as (where, _):
        url = f"{where}/gone"
        done = microdollar(db, "prices", "import", "--fetch", "--url", url)
        assert done.stderr == (
            f"Error: cannot fetch {url}: 404 Not Found; without a network, import a FILE of the "
            "feed\n"
        )
    refused = microdollar(db, "prices", "import", "--fetch", "--url", f"{where}/v2.json")
    assert "import a FILE of the feed" in refused.stderr
    odd = microdollar(db, "prices", "import", "--fetch", "--url", "file:///etc/passwd")
    assert odd.stderr.startswith("Error: --url is 'file:///etc/passwd': write one that begins with")
    both = microdollar(db, "prices", "import", "--fetch", "feed.json")
    assert both.stderr == "Error: --fetch and a FILE are two sources: choose one\n"


def test_the_feed_comes_from_where_genai_prices_publishes_it() -> None:
    """By that package's own word; there is none of ours."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    from microdollar_exporter.price.feed import FEED_URL

    assert FEED_URL == DEFAULT_UPDATE_URL


def test_the_act_is_found_by_its_name(db: Path) -> None:
    with Exporter(db):
        answer = perform(db, "use-prices", {"apply": True, **WHO})
    assert (answer["was"], answer["applied"]) == (shipped_id(), False)
