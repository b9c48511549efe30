# SPDX-License-Identifier: Apache-2.0
"""A customer forgotten: nothing of it in any byte, and every sum as it was."""

import json
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from microdollar_exporter import connect
from microdollar_exporter.ask.completeness import completeness_on
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.cli import main
from microdollar_exporter.errors import ActFailed, StoreError, StoreUnavailable, UsageError
from microdollar_exporter.operate.assign import assign
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.erase import erase, fingerprint
from microdollar_exporter.operate.users import map_users
from microdollar_exporter.store import Store
from tests.exporter.ledgers import DAY, entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, call, request, span

WHO = {"by": "ada", "reason": "asked to"}
FOREIGN = "openinference.instrumentation.openai"
MINUTE = 60_000_000
NAME = "Quixotic-Zebra"
"""A customer whose name is in no other word."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh ledger."""
    opened = Store(tmp_path / "meter.duckdb")
    yield opened
    opened.close()


def rows(store: Store, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with store.cursor() as cursor:
        return cursor.execute(query, list(parameters)).fetchall()


def append(store: Store, *spans: Any, **of_request: Any) -> None:
    """Append spans."""
    store.append(evidence_of(request(*spans, **of_request)), entries)


def traces_of(folder: Path, *words: str) -> set[tuple[str, str]]:
    """Which of these words are in which files, in any case of letters."""
    found = set()
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes().lower()
            found |= {(file.name, word) for word in words if word.lower().encode() in content}
    return found


SECRETS = (
    NAME, "user-of-zebra-77", "tag-of-zebra", "chatcmpl-ZebraResponse0001", "session-of-zebra-5",
    "5eb4a00000000000000000000000aaaa", "5eb4a0000000bbbb", "5eb4a00000000000000000000000cccc",
)  # fmt: skip
TRACE, SPAN, OTHER_TRACE = (bytes.fromhex(SECRETS[n]) for n in (5, 6, 7))


def zebra(store: Store) -> None:
    """Calls of the customer in every way in which it can be in a ledger, among those of others."""
    own: dict[str, Any] = {
        "microdollar__user__id": SECRETS[1],
        "microdollar__tag__feature": SECRETS[2],
        "gen_ai__response__id": SECRETS[3],
        "trace_id": TRACE,
        "microdollar__boot__id": "a",
    }
    append(store, call(NAME, **own, span_id=SPAN, microdollar__call__sequence=2))
    append(store, call("globex", microdollar__boot__id="a", microdollar__call__sequence=1))
    append(store, call("globex", microdollar__boot__id="a", microdollar__call__sequence=3))
    # What another emitter saw of the same call, and what is around it.
    witness = call(None, gen_ai__response__id=SECRETS[3], trace_id=TRACE)
    witness.attributes.extend(
        span({"user.id": SECRETS[1], "session.id": SECRETS[4], "tenant.id": NAME}).attributes
    )
    around = span(
        {"gen_ai.operation.name": "invoke_agent", "session.id": SECRETS[4]}, trace_id=TRACE
    )
    append(store, witness, around, scope=FOREIGN)
    # Given to it afterwards, by hand and by its users.
    append(store, call(None, started_at=STARTED_AT + MINUTE, trace_id=OTHER_TRACE, user_id=None))
    assign(store, {"customer": NAME, "rule": {"trace": SECRETS[7]}, "apply": True,
                   "by": "ada", "reason": f"{NAME} said so"})  # fmt: skip
    map_users(store, {"users": {SECRETS[1]: NAME, "u2": "globex"}, **WHO})
    # By its process, and on a service called after it.
    append(
        store,
        call(None, started_at=STARTED_AT + 2 * MINUTE),
        resource={"microdollar.customer.id": NAME, "service.name": f"shop-{NAME}"},
    )
    append(store, call(None, started_at=STARTED_AT + 3 * MINUTE))


def sums(store: Store) -> list[tuple[Any, ...]]:
    """Every sum, by the day."""
    return rows(
        store,
        """
        SELECT started_at::DATE, sum(calls), sum(input_uncached), sum(output), sum(cost)
        FROM ledger GROUP BY ALL ORDER BY ALL""",
    )


def test_no_byte_of_the_customer_is_left(store: Store, tmp_path: Path) -> None:
    """Nor of its users, tags, responses and ids; in the file, the log or beside it."""
    zebra(store)
    store.checkpoint()
    assert {word for _, word in traces_of(tmp_path, *SECRETS)} == set(SECRETS)
    erase(store, {"customer": NAME, "apply": True, **WHO})
    assert traces_of(tmp_path, *SECRETS) == set()
    append(store, call("globex", started_at=STARTED_AT + DAY))
    store.close()
    assert traces_of(tmp_path, *SECRETS) == set()
    assert [file.name for file in tmp_path.iterdir()] == ["meter.duckdb"]


def test_every_sum_stays_and_stands_under_erased(store: Store) -> None:
    """By the day; the calls of others are as they were."""
    zebra(store)
    before = sums(store)
    others = rows(store, "SELECT * FROM ledger WHERE customer_id = 'globex' ORDER BY entry_id")
    found = erase(store, {"customer": NAME, "apply": True, **WHO})
    assert sums(store) == before
    assert (found["calls"], found["cost"]) == (3, "300.000150")
    assert (
        rows(store, "SELECT * FROM ledger WHERE customer_id = 'globex' ORDER BY entry_id") == others
    )
    [(calls, cost, traces, users)] = rows(
        store,
        """
        SELECT sum(calls), sum(cost), max(trace_id), max(user_id)
        FROM ledger WHERE customer_id = 'erased'""",
    )
    assert (calls, cost, traces, users) == (3, Decimal("300.000150"), "", None)
    assert rows(store, "SELECT DISTINCT started_at FROM ledger WHERE customer_id = 'erased'") == [
        (rows(store, "SELECT TIMESTAMP '2026-11-21'")[0][0],)
    ]


def test_reports_of_past_periods_are_what_they_were(store: Store, tmp_path: Path) -> None:
    """Totals and models; only the customer has become another word."""
    zebra(store)
    store.close()
    before = report_on(connect(tmp_path / "meter.duckdb"), "model,provider,day")
    opened = Store(tmp_path / "meter.duckdb")
    erase(opened, {"customer": NAME, "apply": True, **WHO})
    opened.close()
    after = report_on(connect(tmp_path / "meter.duckdb"), "model,provider,day")
    assert after.total | {"late": 0} == before.total | {"late": 0}
    assert after.rows.drop(columns="late").equals(before.rows.drop(columns="late"))
    assert after.unassigned_calls == before.unassigned_calls == 1


def test_spans_that_come_again_bring_nothing_back(store: Store) -> None:
    """Neither the customer nor the sums."""
    sent = [
        evidence_of(request(call(NAME), call("globex"))),
        evidence_of(request(call(None, started_at=STARTED_AT + MINUTE), scope=FOREIGN)),
    ]
    for evidence in sent:
        store.append(evidence, entries)
    assign(store, {"customer": NAME, "rule": {"service": "shop"}, "apply": True, **WHO})
    erase(store, {"customer": NAME, "apply": True, **WHO})
    before = sums(store)
    for evidence in sent:
        assert store.append(evidence, entries).new == 0
    assert sums(store) == before
    assert rows(store, "SELECT count(*) FROM span") == [(1,)]
    append(store, call("globex", started_at=STARTED_AT + 9 * MINUTE))
    assert rows(store, "SELECT count(*) FROM span") == [(2,)]


@pytest.mark.parametrize(
    ("response_id", "known"), [(SECRETS[3], 1), ("chatcmpl-1", 0)], ids=["strong", "weak"]
)
def test_another_witness_that_comes_later_brings_nothing_back(
    store: Store, response_id: str, known: int
) -> None:
    """It tells of the same response, if that has an id which no other can have by chance."""
    append(store, call(NAME, gen_ai__response__id=response_id))
    erase(store, {"customer": NAME, "apply": True, **WHO})
    late = call(NAME, gen_ai__response__id=response_id, started_at=STARTED_AT + MINUTE)
    appended = store.append(evidence_of(request(late, scope=FOREIGN)), entries)
    assert (appended.duplicates, appended.new) == (known, 1 - known)


def test_no_call_counts_as_missing_for_having_been_erased(store: Store, tmp_path: Path) -> None:
    """Of the numbers of a process some were the customer's."""
    for number in range(1, 8):
        customer = NAME if number in {1, 3, 4, 7} else "globex"
        facts: dict[str, Any] = {
            "microdollar__boot__id": "a",
            "microdollar__call__sequence": number,
            "microdollar__boot__dropped_calls": int(number > 5),
        }
        if number != 6:
            append(store, call(customer, started_at=STARTED_AT + number * MINUTE, **facts))
    store.close()
    before = completeness_on(connect(tmp_path / "meter.duckdb"))
    opened = Store(tmp_path / "meter.duckdb")
    erase(opened, {"customer": NAME, "apply": True, **WHO})
    opened.close()
    after = completeness_on(connect(tmp_path / "meter.duckdb"))
    assert [(gap.first, gap.last) for gap in after.gaps] == [(6, 6)]
    assert after.gaps == before.gaps
    assert after.dropped == before.dropped == 1


def test_the_act_is_recorded_without_the_name(store: Store) -> None:
    """By a hash that whoever knows the name can compute."""
    zebra(store)
    found = erase(store, {"customer": NAME, "apply": True, **WHO})
    [(kind, by, reason, content)] = rows(
        store,
        "SELECT kind, made_by, reason, content FROM decision WHERE decision_id = ?",
        found["decision"],
    )
    assert (kind, by, reason) == ("erase", "ada", "asked to")
    said = json.loads(content)
    assert said["customer_hash"] == fingerprint(NAME, found["decision"])
    assert fingerprint("Quixotic-Zebr", found["decision"]) != said["customer_hash"]
    assert (said["calls"], said["spans"], said["users"]) == (3, 5, 1)
    [(last,)] = rows(store, "SELECT kind FROM decision ORDER BY made_at DESC LIMIT 1")
    assert last == "erase"


def test_decisions_stay_without_what_they_named(store: Store) -> None:
    """That they were made, when and by whom; the users of others stay mapped."""
    zebra(store)
    before = rows(store, "SELECT decision_id, kind, made_at FROM decision ORDER BY made_at")
    found = erase(store, {"customer": NAME, "apply": True, **WHO})
    assert found["decisions"] == 2
    after = rows(
        store,
        "SELECT decision_id, kind, made_at FROM decision WHERE kind <> 'erase' ORDER BY made_at",
    )
    assert after == before
    contents = dict(rows(store, "SELECT kind, content FROM decision"))
    assert json.loads(contents["users"])["users"] == {"u2": "globex"}
    assert json.loads(contents["assign"])["customer"] == "erased"
    assert json.loads(contents["assign"])["rule"] == {}
    assert rows(store, "SELECT reason FROM decision WHERE kind = 'assign'") == [("erased said so",)]


def test_what_others_share_with_the_customer_stays_theirs(store: Store) -> None:
    """A trace, a user, a process; a call that is no longer the customer's."""
    append(store, call(NAME, trace_id=TRACE, microdollar__user__id="both"))
    append(store, call("globex", trace_id=TRACE, microdollar__user__id="both",
                       started_at=STARTED_AT + MINUTE))  # fmt: skip
    mixed = call(None, started_at=STARTED_AT + 2 * MINUTE)
    mixed.attributes.extend(span({"enduser.id": "globex", "user.id": NAME}).attributes)
    append(store, mixed, scope=FOREIGN)
    erase(store, {"customer": NAME, "apply": True, **WHO})
    kept = rows(
        store,
        """
        SELECT customer_id, user_id, trace_id = ? FROM ledger
        WHERE trace_id <> '' ORDER BY started_at""",
        TRACE.hex(),
    )
    assert kept == [("globex", "both", True), ("globex", None, False)]
    assert rows(store, "SELECT count(*) FROM span") == [(2,)]
    [(details,)] = rows(store, f"SELECT details FROM spans WHERE scope = '{FOREIGN}'")
    assert details == {"enduser.id": "globex", "user.id": "erased"}


def test_a_customer_with_a_short_name_takes_no_words_of_others_along(store: Store) -> None:
    """It is in many."""
    append(
        store,
        call("a"),
        call("acme", microdollar__user__id="a1"),
        resource={"service.name": "cart"},
    )
    assign_reason = {"by": "ada", "reason": "as a said, and an apple"}
    append(store, call(None, microdollar__tag__x="y"))
    assign(
        store, {"customer": "acme", "rule": {"tags": {"x": "y"}}, "apply": True, **assign_reason}
    )
    erase(store, {"customer": "a", "apply": True, "by": "bob", "reason": "it was due"})
    assert rows(store, "SELECT DISTINCT service FROM ledger ORDER BY ALL") == [("cart",), ("shop",)]
    assert rows(store, "SELECT reason FROM decision WHERE kind = 'assign'") == [
        ("as erased said, and an apple",)
    ]
    assert ("acme", 2) in rows(store, "SELECT customer_id, sum(calls) FROM ledger GROUP BY ALL")


def test_without_apply_nothing_is_done(store: Store) -> None:
    """It only says what that concerns."""
    zebra(store)
    before = rows(store, "SELECT * FROM ledger ORDER BY entry_id")
    found = erase(store, {"customer": NAME})
    assert (found["decision"], found["calls"], found["spans"], found["users"]) == (None, 3, 5, 1)
    assert rows(store, "SELECT * FROM ledger ORDER BY entry_id") == before


@pytest.mark.parametrize("apply", [False, True])
def test_a_customer_that_nothing_names_is_a_slip_and_refused(store: Store, apply: bool) -> None:
    """With a status that scripts see, whether it was only to be said or to be done."""
    zebra(store)
    store.close()
    asked = ["erase", "--customer", "Quixotic-Zebrra", "--db", str(store.path)]
    done = CliRunner().invoke(main, [*asked, *(["--apply", "--reason", "r"] if apply else [])])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: there is no customer 'Quixotic-Zebrra' in the ledger, so nothing was erased\n"
    )
    store._open(0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"customer": "erased"}, "no customer can have"),
        ({"customer": "unassigned"}, "no customer can have"),
        ({}, "customer is None"),
        ({"customer": NAME, "apply": True, "by": "ada"}, "reason is None"),
        (
            {"customer": NAME, "apply": True, "by": "ada", "reason": f"for {NAME.upper()}"},
            "are kept",
        ),
    ],
)
def test_a_wrong_argument_is_refused(
    store: Store, arguments: Mapping[str, Any], message: str
) -> None:
    """Before anything is done."""
    append(store, call(NAME))
    with pytest.raises(UsageError, match=message):
        erase(store, arguments)
    assert rows(store, "SELECT count(*) FROM span") == [(1,)]


def test_the_ledger_is_as_it_was_when_the_fresh_file_cannot_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on being written."""
    zebra(store)
    before = sums(store)

    def full(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(sys.modules[erase.__module__], "sum_up", full)
    with pytest.raises(StoreError, match="No space left"):
        erase(store, {"customer": NAME, "apply": True, **WHO})
    assert sums(store) == before
    append(store, call("globex", started_at=STARTED_AT + DAY))
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["meter.duckdb"]


def test_a_table_that_nobody_has_thought_of_stops_it(store: Store) -> None:
    """It may name the customer."""
    append(store, call(NAME))
    with store.change() as change:
        change.con.execute("CREATE TABLE later (customer_id VARCHAR)")
    with pytest.raises(ActFailed, match="what the table later holds"):
        erase(store, {"customer": NAME, "apply": True, **WHO})


def test_sums_that_would_change_stop_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather no erasure than other books."""
    append(store, call(NAME))
    monkeypatch.setattr(sys.modules[erase.__module__], "sum_up", lambda *_: None)
    with pytest.raises(ActFailed, match="nothing was removed"):
        erase(store, {"customer": NAME, "apply": True, **WHO})


def test_the_fresh_file_has_the_permissions_of_the_old_one(store: Store, tmp_path: Path) -> None:
    """Who might not read the ledger may not read it now."""
    append(store, call(NAME))
    (tmp_path / "meter.duckdb").chmod(0o640)
    erase(store, {"customer": NAME, "apply": True, **WHO})
    assert stat.S_IMODE((tmp_path / "meter.duckdb").stat().st_mode) == 0o640


def test_a_question_that_is_being_answered_is_waited_for(store: Store) -> None:
    """And while the ledger is written anew none is begun."""
    append(store, call(NAME))
    cursor = store.cursor()
    cursor.execute("SELECT * FROM range(10)")
    threading.Timer(0.3, cursor.close).start()
    began = time.monotonic()
    erase(store, {"customer": NAME, "apply": True, **WHO})
    assert time.monotonic() - began > 0.2
    with store.let_go(), pytest.raises(StoreUnavailable, match="is being rewritten"):
        store.cursor()
    assert rows(store, "SELECT count(*) FROM span") == [(0,)]


def test_erase_on_the_command_line_and_through_a_running_exporter(tmp_path: Path) -> None:
    """First what it would do; then done, while spans come in."""
    db = tmp_path / "meter.duckdb"
    with Exporter(db) as exporter:
        exporter.export(request(call(NAME, trace_id=TRACE), call("globex")))
        shown = CliRunner().invoke(main, ["erase", "--db", str(db), "--customer", NAME])
        assert shown.exit_code == 0
        assert "1 call, 1 span, 0 users, 0 decisions would be erased." in shown.output
        done = CliRunner().invoke(
            main, ["erase", "--db", str(db), "--customer", NAME, "--apply", "--reason", "asked to"]
        )
        assert re.search("1 call, .* erased, by decision [0-9a-f]{12}", done.output)
        assert "Backups from before still name the customer" in done.stderr
        exporter.export(request(call("globex", started_at=STARTED_AT + MINUTE)))
        found = connect(db).sql(
            "SELECT customer_id, sum(calls) AS n FROM ledger GROUP BY ALL ORDER BY ALL"
        )
        assert found.to_pylist() == [
            {"customer_id": "erased", "n": 1},
            {"customer_id": "globex", "n": 2},
        ]
        with pytest.raises(UsageError, match="there is no customer"):
            perform(db, "erase", {"customer": NAME, "apply": True, **WHO})
        assert NAME not in exporter.log
    assert traces_of(tmp_path, NAME, TRACE.hex()) == set()
