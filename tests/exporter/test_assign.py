# SPDX-License-Identifier: Apache-2.0
"""Calls of nobody given to a customer and taken back, as entries of the ledger."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microdollar_exporter import connect
from microdollar_exporter.ask.report import report_on
from microdollar_exporter.cli import main
from microdollar_exporter.errors import UsageError
from microdollar_exporter.markup import parse
from microdollar_exporter.operate.assign import assign, unassign
from microdollar_exporter.operate.door import perform
from microdollar_exporter.operate.users import map_users
from microdollar_exporter.rounding import Unit
from microdollar_exporter.store import Store
from tests.exporter.ledgers import DAY, entries, evidence_of
from tests.fakes.exporter import Exporter
from tests.fakes.otlp import STARTED_AT, Value, call, request

MINUTE = 60_000_000
WHO = {"by": "ada", "reason": "they said so"}
FOREIGN = "openinference.instrumentation.openai"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh ledger."""
    opened = Store(tmp_path / "meter.duckdb")
    yield opened
    opened.close()


def rows(store: Store, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    return store.cursor().execute(query, list(parameters)).fetchall()


def by_customer(store: Store) -> dict[str | None, int]:
    """The calls of each customer."""
    query = "SELECT customer_id, sum(calls) FROM ledger GROUP BY ALL HAVING sum(calls) <> 0"
    return {customer: int(calls) for customer, calls in rows(store, query)}


def whole(store: Store) -> tuple[Any, ...]:
    """Every sum of the ledger, and what is to be said beside it."""
    [sums] = rows(
        store,
        """
        SELECT sum(calls), sum(input_uncached), sum(cache_read), sum(output), sum(cost),
            sum(calls) FILTER (cost IS NULL), sum(map_extract_value(units, 'web_search')),
            sum(calls) FILTER (price_status = 'fallback') FROM ledger""",
    )
    return sums


def append(store: Store, *spans: Any, **of_request: Any) -> None:
    """Append calls."""
    store.append(evidence_of(request(*spans, **of_request)), entries)


def test_an_assigned_call_is_reversed_and_booked_again_for_the_customer(store: Store) -> None:
    """The same in all else, with the decision; the sums stay."""
    append(store, call(None, microdollar__usage__units__web_search=3, microdollar__user__id="u1"))
    before = whole(store)
    found = assign(store, {"customer": "acme", "rule": {"user": "u1"}, "apply": True, **WHO})
    booked, reversed_, again = rows(
        store, "SELECT * EXCLUDE (recorded_at) FROM ledger ORDER BY rowid"
    )
    names = [
        name for name, *_ in rows(store, "DESCRIBE SELECT * EXCLUDE (recorded_at) FROM ledger")
    ]
    old, back, new = (dict(zip(names, row, strict=True)) for row in (booked, reversed_, again))
    decision = found["decision"]

    changed = {name for name in names if old[name] != new[name]}
    of_decision = {"customer_id", "decision", "assigned_by", "reason"}
    assert changed == {"entry_id", "revision", *of_decision}
    assert (new["customer_id"], new["revision"]) == ("acme", 1)
    assert (new["decision"], new["assigned_by"]) == (decision, decision)
    assert new["reason"] == f"assigned by decision {decision}; call"
    assert (back["kind"], back["reverses"], back["decision"]) == (
        "reversal", old["entry_id"], decision,
    )  # fmt: skip
    assert (back["calls"], back["output"], back["cost"], back["units"]) == (
        -1, -50, -old["cost"], {"web_search": -3},
    )  # fmt: skip
    assert (back["customer_id"], back["assigned_by"], back["user_id"]) == (None, None, "u1")
    assert len({row["entry_id"] for row in (old, back, new)}) == 3
    assert whole(store) == before
    assert by_customer(store) == {"acme": 1}


def test_the_decision_says_who_why_when_and_what(store: Store) -> None:
    """With the sums, to compare what it did with what was meant."""
    append(store, call(None), call(None, gen_ai__response__model="nebula-1"))
    found = assign(store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO})
    [(decision, kind, by, reason, content, same_moment)] = rows(
        store,
        """
        SELECT decision_id, kind, made_by, reason, content, made_at = (
            SELECT max(recorded_at) FROM ledger) FROM decision""",
    )
    assert (decision, kind, by, reason) == (found["decision"], "assign", "ada", "they said so")
    assert same_moment
    assert json.loads(content) == {
        "customer": "acme", "rule": {"service": "shop"}, "calls": 2, "entries": 2, "tokens": 2100,
        "cost": "100.000050", "first": "2026-11-21 00:00:00", "last": "2026-11-21 00:00:00",
    }  # fmt: skip
    assert found["unpriced"] == 1


def test_without_apply_nothing_is_done_and_all_is_said(store: Store) -> None:
    """Counts, tokens, cost and some of the calls."""
    append(
        store,
        *(call(None, trace_id=bytes([n]) * 16, started_at=STARTED_AT + n) for n in range(1, 8)),
    )
    found = assign(store, {"customer": "acme", "rule": {"service": "shop"}})
    assert (found["decision"], found["calls"], found["tokens"]) == (None, 7, 7350)
    assert Decimal(found["cost"]) == Decimal("700.000350")
    assert [example["trace"][:2] for example in found["examples"]] == ["01", "02", "03", "04", "05"]
    assert (by_customer(store), rows(store, "SELECT * FROM decision")) == ({None: 7}, [])


def test_calls_that_have_a_customer_are_never_touched(store: Store) -> None:
    """Not even by their own customer's name, and not a second time."""
    append(store, call("globex"), call(None))
    arguments = {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO}
    assert assign(store, arguments)["calls"] == 1
    assert by_customer(store) == {"acme": 1, "globex": 1}
    again = assign(store, {**arguments, "customer": "initech"})
    assert (again["calls"], again["decision"]) == (0, None)
    assert len(rows(store, "SELECT * FROM decision")) == 1
    assert len(rows(store, "SELECT * FROM ledger")) == 4


def mixed(store: Store) -> None:
    """Six calls of nobody, each different from the first in one thing."""
    append(store, call(None, microdollar__tag__feature="chat"))
    append(store, call(None), resource={"service.name": "lab"})
    append(store, call(None), resource={"deployment.environment.name": "test"})
    append(store, call(None, microdollar__user__id="u1", started_at=STARTED_AT + DAY))
    append(store, call(None, gen_ai__response__model="nebula-1", trace_id=b"t" * 16))
    append(store, call(None, gen_ai__provider__name="mistral_ai", server__address="api.mistral.ai"))
    append(store, call(None, started_at=STARTED_AT + 2 * DAY), scope=FOREIGN)


@pytest.mark.parametrize(
    ("rule", "calls"),
    [
        ({"service": "lab"}, 1),
        ({"service": "shop"}, 6),
        ({"environment": "test"}, 1),
        ({"user": "u1"}, 1),
        ({"tags": {"feature": "chat"}}, 1),
        ({"tags": {"feature": "search"}}, 0),
        ({"model": "nebula-1"}, 1),
        ({"provider": "mistral_ai"}, 1),
        ({"trace": (b"t" * 16).hex()}, 1),
        ({"scope": FOREIGN}, 1),
        ({"from": "2026-11-22"}, 2),
        ({"to": "2026-11-22"}, 5),
        ({"from": "2026-11-22", "to": "2026-11-23"}, 1),
        ({"service": "shop", "model": "nebula-1"}, 1),
        ({"service": "lab", "model": "nebula-1"}, 0),
    ],
)
def test_a_rule_finds_the_calls_that_all_of_it_holds_for(
    store: Store, rule: Mapping[str, Any], calls: int
) -> None:
    """And no others."""
    mixed(store)
    assert assign(store, {"customer": "acme", "rule": rule})["calls"] == calls
    assert assign(store, {"customer": "acme", "rule": rule, "apply": True, **WHO})["calls"] == calls
    assert by_customer(store).get("acme", 0) == calls
    assert sum(by_customer(store).values()) == 7


def test_a_call_moves_whole(store: Store) -> None:
    """With the further models inside it, by which it may have been found."""
    further = '[{"model":"gpt-image-2","output":9}]'
    append(store, call(None, microdollar__usage__additional=further), call(None))
    before = whole(store)
    found = assign(
        store, {"customer": "acme", "rule": {"model": "gpt-image-2"}, "apply": True, **WHO}
    )
    assert (found["calls"], found["entries"]) == (1, 2)
    assert by_customer(store) == {"acme": 1, None: 1}
    assert whole(store) == before


def test_undone_the_calls_are_nobodys_again(store: Store) -> None:
    """As entries again, with a decision of its own; nothing is deleted."""
    append(store, call(None), call(None))
    before = whole(store)
    given_to = assign(
        store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO}
    )
    seen = unassign(store, {"decision": given_to["decision"]})
    assert (seen["calls"], seen["decision"], by_customer(store)) == (2, None, {"acme": 2})
    undone = unassign(store, {"decision": given_to["decision"], "apply": True, **WHO})
    assert by_customer(store) == {None: 2}
    assert whole(store) == before
    assert len(rows(store, "SELECT * FROM ledger")) == 10
    [(undoes,)] = rows(store, "SELECT undoes FROM decision WHERE kind = 'unassign'")
    assert undoes == given_to["decision"]
    reasons = {reason for (reason,) in rows(store, "SELECT reason FROM ledger WHERE revision = 2")}
    assert reasons == {f"returned by decision {undone['decision']}; call"}
    again = unassign(store, {"decision": given_to["decision"], "apply": True, **WHO})
    assert (again["calls"], again["decision"]) == (0, None)


def test_a_customer_from_whom_all_was_taken_back_has_no_row_in_a_report(store: Store) -> None:
    """Its entries cancel; a further model that used nothing has no figures either, but stands."""
    further = '[{"model":"nebula-1","output":0}]'
    append(store, call(None), call("globex", microdollar__usage__additional=further))
    given_to = assign(
        store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO}
    )
    whose = [name for name, *_ in report_on(_Asked(store)).rows.values]
    assert whose == ["acme", "globex"]
    unassign(store, {"decision": given_to["decision"], "apply": True, **WHO})
    for more in ({}, {"markup": parse(MARKUP, "m")}, {"unit": Unit.CENT}):
        rows_by_model = report_on(_Asked(store), "customer,model", **more).rows
        found = [(row.customer, row.model) for row in rows_by_model.itertuples()]
        assert found == [
            ("globex", "gpt-6-luna"), ("globex", "nebula-1"), ("unassigned", "gpt-6-luna"),
        ]  # fmt: skip
    owed = parse(
        f'{MARKUP}[[minimum]]\nname = "least"\ncustomer = "acme"\nusd = 1\nfrom = 2026-11-01\n', "m"
    )
    assert list(report_on(_Asked(store), markup=owed).rows["customer"]) == [
        "acme", "globex", "unassigned",
    ]  # fmt: skip


MARKUP = 'schema = 1\n[[markup]]\nname = "standard"\npercent = 20\n'


class _Asked:
    """Answers from an open store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        return self._store.cursor().sql(query, params=list(parameters)).to_arrow_table()


def test_only_what_still_stands_is_taken_back(store: Store) -> None:
    """What another decision has given since stays given."""
    append(store, call(None, microdollar__user__id="u1"), call(None, microdollar__user__id="u2"))
    rule = {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO}
    first = assign(store, rule)["decision"]
    unassign(store, {"decision": first, "apply": True, **WHO})
    second = assign(store, {**rule, "customer": "globex", "rule": {"user": "u1"}})["decision"]
    assert unassign(store, {"decision": first, "apply": True, **WHO})["calls"] == 0
    assert by_customer(store) == {"globex": 1, None: 1}
    assert unassign(store, {"decision": second, "apply": True, **WHO})["calls"] == 1


RESPONSE: dict[str, Any] = {"gen_ai__response__id": "chatcmpl-9AbCdEfGh1JkLmN0pQr5"}


@pytest.mark.parametrize("names", [None, "globex"])
def test_a_better_witness_that_comes_late_leaves_a_call_where_it_was_given(
    store: Store, names: str | None
) -> None:
    """A decision outlives it, and can be undone afterwards; then the call is of whom it names."""
    append(store, call(None, **RESPONSE), scope=FOREIGN)
    given_to = assign(
        store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO}
    )
    append(store, call(names, **RESPONSE))
    assert by_customer(store) == {"acme": 1}
    [(rule, decision)] = rows(
        store,
        """
        SELECT rule, decision FROM ledger WHERE kind = 'usage'
        ORDER BY recorded_at DESC LIMIT 1""",
    )
    assert (rule, decision) == ("microdollar/1", given_to["decision"])
    unassign(store, {"decision": given_to["decision"], "apply": True, **WHO})
    assert by_customer(store) == {None: 1}


def test_spans_that_come_again_change_nothing(store: Store) -> None:
    """Neither the customer nor the sums."""
    foreign = request(call(None, started_at=STARTED_AT + MINUTE), scope=FOREIGN)
    evidence = evidence_of(foreign, request(call(None)))
    store.append(evidence, entries)
    assign(store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO})
    before = len(rows(store, "SELECT * FROM ledger"))
    assert store.append(evidence, entries).new == 0
    append(store, call(None, started_at=STARTED_AT + 2 * MINUTE), scope=FOREIGN)
    assert by_customer(store) == {"acme": 2, None: 1}
    assert len(rows(store, "SELECT * FROM ledger")) == before + 1


def test_a_call_that_is_taken_back_by_a_witness_after_it_was_given_is_gone(store: Store) -> None:
    """Two spans were two calls until a third showed that they are one."""
    ours = call(None, **RESPONSE)
    append(store, ours)
    assign(store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO})
    append(store, call(None, **RESPONSE), scope=FOREIGN)
    assert by_customer(store) == {"acme": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": {"service": "shop"}}, "customer is None"),
        ({"customer": "unassigned", "rule": {"service": "shop"}}, "no customer can have"),
        ({"customer": "erased", "rule": {"service": "shop"}}, "no customer can have"),
        ({"customer": "a\nb", "rule": {"service": "shop"}}, "a text of one line"),
        ({"customer": "acme", "rule": {}}, "rule is {}"),
        ({"customer": "acme"}, "rule is None"),
        ({"customer": "acme", "rule": {"colour": "red"}}, "there is no argument 'colour'"),
        ({"customer": "acme", "rule": {"service": 5}}, "service is 5"),
        ({"customer": "acme", "rule": {"tags": "chat"}}, "tags is 'chat'"),
        ({"customer": "acme", "rule": {"from": "soon"}}, "from is 'soon'"),
        ({"customer": "acme", "rule": {"service": "s"}, "apply": "yes"}, "apply is 'yes'"),
        ({"customer": "acme", "rule": {"service": "s"}, "apply": True, "by": "ada"}, "reason is"),
        ({"customer": "acme", "rule": {"service": "s"}, "apply": True, "reason": "r"}, "by is"),
        ({"customer": "acme", "rule": {"service": "s"}, "aply": True}, "no argument 'aply'"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_accepted(
    store: Store, arguments: Mapping[str, Any], message: str
) -> None:
    """Nothing is done then."""
    with pytest.raises(UsageError, match=message.replace("{}", r"\{\}")):
        assign(store, arguments)


def test_what_gave_no_calls_cannot_be_undone(store: Store) -> None:
    """Nor what is not there."""
    append(store, call(None))
    with pytest.raises(UsageError, match="there is none of this id"):
        unassign(store, {"decision": "abc"})
    first = assign(store, {"customer": "acme", "rule": {"service": "shop"}, "apply": True, **WHO})
    undone = unassign(store, {"decision": first["decision"], "apply": True, **WHO})
    with pytest.raises(UsageError, match="of the kind unassign, which gave no calls"):
        unassign(store, {"decision": undone["decision"]})


# The table of users.


def users_of(
    store: Store, users: Mapping[str, str | None], *, past: bool = False
) -> dict[str, Any]:
    """Map users."""
    return map_users(store, {"users": dict(users), "past": past, **WHO})


def test_a_mapped_user_s_new_calls_are_the_customer_s(store: Store) -> None:
    """In small batches and in large ones, at once and until the user is unmapped."""
    later = int(rows(store, "SELECT epoch_us(now()::TIMESTAMP)")[0][0]) + DAY

    def calls(count: int) -> list[Any]:
        facts: dict[str, Value] = {"microdollar__user__id": "u1"}
        return [call(None, started_at=later + n, **facts) for n in range(count)]  # type: ignore[arg-type]

    append(store, *calls(1))
    assert by_customer(store) == {None: 1}
    assert users_of(store, {"u1": "acme", "u2": "globex"})["calls"] == 0
    append(store, *calls(1))
    append(store, *calls(100))
    assert by_customer(store) == {None: 1, "acme": 101}
    assert {
        reason for (reason,) in rows(store, "SELECT reason FROM ledger WHERE customer_id = 'acme'")
    } == {"call; customer named by the table of users"}
    users_of(store, {"u1": None})
    append(
        store, *[call(None, started_at=later + DAY, microdollar__user__id="u1") for _ in range(3)]
    )
    assert by_customer(store) == {None: 4, "acme": 101}


def test_the_past_calls_of_a_user_are_given_when_that_is_asked_for(store: Store) -> None:
    """As by `assign`, and so are those that come late; both are undone together."""
    append(
        store, call(None, microdollar__user__id="u1"), call("globex", microdollar__user__id="u1")
    )
    append(store, call(None, microdollar__user__id="u2"), call(None))
    before = whole(store)
    found = users_of(store, {"u1": "acme", "u2": "initech"}, past=True)
    assert found["calls"] == 2
    assert by_customer(store) == {"acme": 1, "initech": 1, "globex": 1, None: 1}
    assert whole(store) == before
    append(store, call(None, microdollar__user__id="u1"))
    assert by_customer(store)["acme"] == 2
    unassign(store, {"decision": found["decision"], "apply": True, **WHO})
    append(store, call(None, microdollar__user__id="u1"))
    assert by_customer(store) == {"acme": 1, "globex": 1, None: 4}


def test_what_is_in_force_is_not_decided_again(store: Store) -> None:
    """An import can be repeated; it is one decision for what has changed."""
    assert users_of(store, {"u1": "acme", "u2": "acme"})["users"] == 2
    again = users_of(store, {"u1": "acme", "u2": "acme"})
    assert (again["users"], again["decision"]) == (0, None)
    assert users_of(store, {"u1": "acme", "u2": "globex", "u3": None})["users"] == 1
    assert users_of(store, {"u1": "acme"}, past=True)["decision"] is not None
    [(last,)] = rows(store, "SELECT content FROM decision ORDER BY made_at DESC OFFSET 1 LIMIT 1")
    assert json.loads(last)["users"] == {"u2": "globex"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": {}}, "users is"),
        ({"users": {"u1": "unassigned"}}, "no customer can have"),
        ({"users": {"": "acme"}}, "user is ''"),
        ({"users": {"u1": 5}}, "customer is 5"),
        ({"users": {"u1": None}, "past": True}, "assign --undo"),
        ({"users": {f"u{n}": "c" for n in range(50_001)}}, "these are 50001 users"),
    ],
)
def test_a_wrong_map_is_refused(store: Store, arguments: Mapping[str, Any], message: str) -> None:
    """Before anything is written."""
    with pytest.raises(UsageError, match=message):
        map_users(store, {**arguments, **WHO})


ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("call"), st.sampled_from([None, "a", "b"]), st.sampled_from(["u1", "u2", None])
        ),
        st.tuples(st.just("foreign"), st.integers(0, 2), st.sampled_from(["u1", "u2", None])),
        st.tuples(st.just("witness"), st.integers(0, 2), st.sampled_from(["u1", None])),
        st.tuples(
            st.just("assign"), st.sampled_from(["a", "b"]), st.sampled_from(["u1", "u2", None])
        ),
        st.tuples(st.just("map"), st.sampled_from(["a", "b"]), st.sampled_from(["u1", "u2"])),
        st.tuples(st.just("undo"), st.integers(0, 5), st.none()),
    ),
    max_size=12,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=ACTS)
def test_no_act_changes_a_sum(acts: list[tuple[str, Any, Any]], tmp_path_factory: Any) -> None:
    """Whatever is given and taken back, and whatever spans come meanwhile.

    A call is one call; every entry has an id of its own and is reversed once at most; and what
    does not name a customer is never without one that was decided.
    """
    store = Store(tmp_path_factory.mktemp("acts") / "meter.duckdb")
    made: list[str] = []
    seen: set[tuple[str, int]] = set()
    own = 0
    for act, what, user in acts:
        facts: dict[str, Any] = {"microdollar__user__id": user} if user else {}
        before = whole(store)
        match act:
            case "call":
                own += 1
                append(store, call(what, started_at=STARTED_AT + own * MINUTE, **facts))
            case "foreign" | "witness" if (act, what) not in seen:
                # An emitter reports a call once.
                seen.add((act, what))
                facts["gen_ai__response__id"] = f"chatcmpl-9AbCdEfGh1JkLmN0pQr{what}"
                facts["started_at"] = STARTED_AT + DAY + what * MINUTE
                append(
                    store,
                    call(None, **facts),
                    scope=FOREIGN if act == "foreign" else "microdollar",
                )
            case "assign":
                rule = {"user": user} if user else {"service": "shop"}
                found = assign(store, {"customer": what, "rule": rule, "apply": True, **WHO})
                made += [found["decision"]] if found["decision"] else []
            case "map":
                found = users_of(store, {user: what}, past=True)
                made += [found["decision"]] if found["decision"] else []
            case "undo" if what < len(made):
                unassign(store, {"decision": made[what], "apply": True, **WHO})
        if act in {"assign", "map", "undo"}:
            assert whole(store) == before
    assert sum(by_customer(store).values()) == own + len({what for _, what in seen})
    [(ids, count, reversed_, reversals)] = rows(
        store,
        """
        SELECT count(DISTINCT entry_id), count(*), count(DISTINCT reverses), count(reverses)
        FROM ledger""",
    )
    assert (ids, reversed_) == (count, reversals)
    store.close()


# The commands, and a running exporter.


def run(*arguments: str) -> tuple[int, str]:
    """The `microdollar` command: exit status and what it says."""
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def test_assign_on_the_command_line(tmp_path: Path) -> None:
    """First what it would do, then done, then undone."""
    db = tmp_path / "meter.duckdb"
    store = Store(db)
    append(store, call(None, microdollar__tag__feature="chat"), call(None))
    store.close()
    rule = ["assign", "--db", str(db), "--customer", "acme", "--tag", "feature=chat"]
    status, out = run(*rule)
    assert status == 0
    assert out.startswith("1 call (1,050 tokens, $0.000100000050) from 2026-11-21 00:00:00 to")
    assert "Nothing is done yet: add --apply and --reason." in out
    assert run(*rule, "--apply") == (1, "Error: say why with --reason: the ledger keeps it\n")
    status, out = run(*rule, "--apply", "--reason", "the chat is theirs")
    assert (status, "given to acme, by decision" in out) == (0, True)
    decision = out.partition("by decision ")[2].partition(";")[0]
    assert run(*rule, "--apply", "--reason", "again")[1] == "No calls to be given to acme.\n"
    undo = ["assign", "--db", str(db), "--undo", decision]
    assert "would be taken back" in run(*undo)[1]
    assert "taken back from decision" in run(*undo, "--apply", "--reason", "it was not")[1]
    [(made_by,)] = Store(db).cursor().execute("SELECT DISTINCT made_by FROM decision").fetchall()
    assert made_by


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--customer", "acme"], "say to whom with --customer, and which calls"),
        (["--service", "shop"], "say to whom with --customer"),
        (["--undo", "x", "--customer", "acme"], "--undo takes a whole decision back"),
        (["--customer", "acme", "--tag", "chat"], "--tag is 'chat': write NAME=VALUE"),
    ],
)
def test_a_wrong_option_is_named(ledger: Path, arguments: list[str], message: str) -> None:
    """In one line."""
    status, out = run("assign", "--db", str(ledger), *arguments)
    assert (status, message in out) == (1, True)


def test_users_on_the_command_line(tmp_path: Path) -> None:
    """Mapped one by one and from a file, listed, and unmapped."""
    db, file = tmp_path / "meter.duckdb", tmp_path / "users.csv"
    Store(db).close()
    of = ["--db", str(db), "--reason", "crm", "--by", "ada"]
    assert run("users", "map", "u1", "acme", *of)[0] == 0
    file.write_text("customer,name,user\nacme,Ann,u1\nglobex,Bob,u2\nglobex,Cy,u3\n", "utf-8")
    assert run("users", "import", str(file), "--past", *of)[0] == 0
    assert run("users", "unmap", "u3", *of)[0] == 0
    _, out = run("users", "list", "--db", str(db), "--format", "json")
    found = json.loads(out)
    assert [(row["user"], row["customer"], row["made_by"]) for row in found] == [
        ("u1", "acme", "ada"),
        ("u2", "globex", "ada"),
    ]
    assert (
        run("users", "map", "u2", "globex", *of)[1]
        == "Nothing to change: that is in force already.\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,owner\nu1,acme\n", "has no columns named user and customer"),
        ("user,customer\nu1,\n", "line 2 of"),
        ("user,customer\nu1,acme\nu1,globex\n", "line 3 of .* gives 'u1' to a second customer"),
        ("user,customer\n\udcff,acme\n", "cannot read"),
        ('user,customer\n"u1,acme\n', "cannot read"),
    ],
)
def test_a_file_of_users_that_is_not_one_is_refused_whole(
    tmp_path: Path, text: str, message: str
) -> None:
    """With the line."""
    db, file = tmp_path / "meter.duckdb", tmp_path / "users.csv"
    Store(db).close()
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = CliRunner().invoke(
        main, ["users", "import", str(file), "--db", str(db), "--reason", "crm"]
    )
    assert result.exit_code == 1
    assert re.search(message, result.output)


def test_a_running_exporter_books_by_what_was_just_decided(exporter: Exporter) -> None:
    """Between two commits, without a restart."""
    facts: dict[str, Any] = {"microdollar__user__id": "u1", "started_at": STARTED_AT + 3650 * DAY}
    exporter.export(request(call(None, **facts)))
    perform(exporter.db, "map-users", {"users": {"u1": "acme"}, **WHO})
    exporter.export(request(call(None, **facts)))
    query = "SELECT customer_id FROM ledger ORDER BY recorded_at"
    assert connect(exporter.db).sql(query)["customer_id"].to_pylist() == [None, "acme"]
