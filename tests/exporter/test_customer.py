# SPDX-License-Identifier: Apache-2.0
"""Whom a call was made for: what its spans say, the more trusted before the nearer."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from microdollar_exporter.customer import (
    CUSTOMER_KEYS,
    KEYS_DECISION,
    USERS_DECISION,
    Customers,
    check_keys,
)
from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import Evidence
from microdollar_exporter.store import Decision, Store
from tests.exporter.ledgers import entries, evidence_of
from tests.fakes.otlp import STARTED_AT, Value, call, request, span

OPENINFERENCE = "openinference.instrumentation.openai"
DAY = 86_400_000_000

ORDER = (
    "traceloop.association.properties.customer_id",
    *("tenant.id", "customer.id", "customer_id", "app.tenant.id"),
    *("litellm.end_user.id", "metadata.user_api_key_end_user_id"),
    *("litellm.metadata.user_api_key_end_user_id", "litellm.team.id"),
    *("metadata.user_api_key_team_id", "enduser.pseudo.id", "enduser.id"),
)
"""What names a customer on the spans of others, the most trusted first."""
USERS = (
    *("user.id", "langfuse.user.id", "ai.telemetry.metadata.userId", "ai.settings.context.userId"),
    *("traceloop.association.properties.user_id", "langsmith.metadata.user_id"),
    *("gen_ai.user", "llm.user", "user.hash"),
)
NOBODY = (
    *("user.email", "user.name", "user.full_name", "session.id", "gen_ai.conversation.id"),
    *("organization.id", "anthropic.organization.id", "metadata.user_api_key_org_id"),
    *("langfuse.session.id", "ai.telemetry.metadata.sessionId"),
)


def foreign(
    attributes: Mapping[str, Value] | None = None,
    *,
    resource: Mapping[str, Value] | None = None,
    scope: str = OPENINFERENCE,
    **changes: Any,
) -> Evidence:
    """A call as another emitter reports it, with these attributes more."""
    made = call(None, **changes)
    made.attributes.extend(span(attributes or {}).attributes)
    [evidence] = evidence_of(request(made, scope=scope, resource=resource))
    return evidence


def users(
    made_at: int, *, past: bool = False, undone: bool = False, **of: str | None
) -> list[Decision]:
    """The operator's decision that users are of customers."""
    made = Decision(
        f"d{made_at}", USERS_DECISION, made_at, "op", "why", {"users": of, "past": past}, None
    )
    undoing = Decision(f"u{made_at}", "unassign", made_at, "op", "why", {}, made.decision_id)
    return [made, undoing] if undone else [made]


def keys(made_at: int, *chosen: str, past: bool = False) -> list[Decision]:
    """The operator's decision which attributes name customers."""
    content = {"keys": list(chosen), "past": past}
    return [Decision(f"k{made_at}", KEYS_DECISION, made_at, "op", "why", content, None)]


@pytest.mark.parametrize(("better", "worse"), list(itertools.pairwise(ORDER)))
def test_of_two_attributes_the_more_trusted_is_believed(better: str, worse: str) -> None:
    """And the reason of the entry names the other."""
    named = Customers().named(foreign({worse: "globex", better: "acme"}))
    assert named.customer_id == "acme"
    assert named.note == f"customer named by {better}, another by {worse}"


def test_our_own_attribute_is_believed_before_all_others() -> None:
    """It is set in the process that makes the call."""
    named = Customers().named(foreign({"microdollar.customer.id": "acme", ORDER[0]: "globex"}))
    assert named.customer_id == "acme"
    assert named.note == f"customer named by microdollar.customer.id, another by {ORDER[0]}"


def test_two_attributes_that_agree_are_no_conflict() -> None:
    """The note says by which of them the customer is known."""
    named = Customers().named(foreign({"tenant.id": "acme", "enduser.id": "acme"}))
    assert (named.customer_id, named.note) == ("acme", "customer named by tenant.id")
    own = Customers().named(foreign({"microdollar.customer.id": "acme", "tenant.id": "acme"}))
    assert (own.customer_id, own.note) == ("acme", None)


@pytest.mark.parametrize("attribute", NOBODY)
def test_people_sessions_and_the_sellers_account_are_no_customers(attribute: str) -> None:
    """Such a call is unassigned."""
    assert Customers().named(foreign({attribute: "x@example.org"})).customer_id is None


@pytest.mark.parametrize("attribute", ["user.email", "user.name", "user.full_name"])
def test_names_and_addresses_of_people_are_not_even_kept(attribute: str) -> None:
    """They are dropped at the door."""
    assert attribute not in foreign({attribute: "x@example.org"}).details


@pytest.mark.parametrize("attribute", USERS)
def test_a_user_is_of_the_customer_that_the_operator_says(attribute: str) -> None:
    """Without that it is a user of nobody known."""
    evidence = foreign({attribute: "u1"})
    assert Customers().named(evidence) == (None, "u1", None)
    named = Customers(users(STARTED_AT, u1="acme", u2="globex")).named(evidence)
    assert named == ("acme", "u1", "customer named by the table of users")


def test_the_users_customer_is_believed_after_what_the_span_says() -> None:
    """A disagreement is noted."""
    mapped = Customers(users(STARTED_AT, u1="acme"))
    named = mapped.named(foreign({"user.id": "u1", "enduser.id": "globex"}))
    assert named.customer_id == "globex"
    assert named.note == "customer named by enduser.id, another by the table of users"


def test_a_hash_of_a_machine_is_no_user() -> None:
    """Claude Code's `user.id`; on the spans of others it is a user."""
    mapped = Customers(users(STARTED_AT, u1="acme"))
    scope = "com.anthropic.claude_code.tracing"
    assert mapped.named(foreign({"user.id": "u1"}, scope=scope)).user_id is None
    assert mapped.named(foreign({"user.id": "u1"}, scope=scope)).customer_id is None


@pytest.mark.parametrize("attribute", ["microdollar.customer.id", "tenant.id", "customer.id"])
def test_the_resource_speaks_for_what_names_nobody_else(attribute: str) -> None:
    """Where every customer has processes of its own. That a span says otherwise is no conflict."""
    resource = {attribute: "acme"}
    assert Customers().named(foreign(resource=resource)).customer_id == "acme"
    named = Customers().named(foreign({"enduser.id": "globex"}, resource=resource))
    assert (named.customer_id, named.note) == ("globex", "customer named by enduser.id")


def test_a_namespace_is_a_customer_only_if_the_operator_says_so() -> None:
    """Elsewhere it groups services."""
    evidence = foreign(resource={"service.namespace": "acme"})
    assert Customers().named(evidence).customer_id is None
    chosen = Customers(keys(STARTED_AT, "resource.service.namespace"))
    assert chosen.named(evidence).customer_id == "acme"
    assert chosen.named(foreign({"tenant.id": "globex"})).customer_id == "globex"


def test_the_operators_attributes_stand_where_the_usual_ones_stood() -> None:
    """After what OpenLLMetry's associations say and before what a gateway has verified."""
    chosen = Customers(keys(STARTED_AT, "langfuse.user.id"))
    own = {"langfuse.user.id": "acme"}
    assert chosen.named(foreign(own)).customer_id == "acme"
    assert chosen.named(foreign({**own, ORDER[0]: "first"})).customer_id == "first"
    assert chosen.named(foreign({**own, "litellm.team.id": "after"})).customer_id == "acme"
    assert chosen.named(foreign({"tenant.id": "globex"})).customer_id is None


@pytest.mark.parametrize(
    ("made_at", "past", "customer"),
    [
        (STARTED_AT, False, "acme"),
        (STARTED_AT + 1, False, None),
        (STARTED_AT + 1, True, "acme"),
    ],
)
def test_a_decision_holds_for_calls_that_began_after_it(
    made_at: int, past: bool, customer: str | None
) -> None:
    """So the books are the same in whatever order spans arrive; for the past it has to say so."""
    assert (
        Customers(users(made_at, past=past, u1="acme")).named(foreign({"user.id": "u1"}))[0]
        == customer
    )
    chosen = Customers(keys(made_at, "gen_ai.user", past=past))
    assert chosen.named(foreign({"gen_ai.user": "acme"})).customer_id == customer


@pytest.mark.parametrize(
    ("days", "customer"),
    [(-1, "first"), (0, "first"), (1, "second"), (2, "last"), (3, "last"), (4, None)],
)
def test_what_was_decided_at_the_time_goes_before_what_is_decided_later(
    days: int, customer: str | None
) -> None:
    """A later decision for the past fills only what was nobody's then."""
    first, second = STARTED_AT, STARTED_AT + DAY
    made = [
        *users(first, past=True, u1="first"),
        *users(second, u1="second"),
        *users(second + DAY, u1=None),
        *users(second + 2 * DAY, past=True, u1="last"),
        *users(second + 3 * DAY, u1=None),
    ]
    evidence = foreign({"user.id": "u1"}, started_at=STARTED_AT + days * DAY)
    assert Customers(made).named(evidence).customer_id == customer
    assert Customers(reversed(made)).named(evidence).customer_id == customer


def test_a_decision_for_the_past_that_was_undone_holds_for_new_calls_only() -> None:
    """As the calls that it gave were taken back."""
    made = Customers(users(STARTED_AT, past=True, undone=True, u1="acme"))
    assert made.named(foreign({"user.id": "u1"}, started_at=STARTED_AT - 1)).customer_id is None
    assert made.named(foreign({"user.id": "u1"})).customer_id == "acme"


@pytest.mark.parametrize("key", ["user.email", "session.id", "resource.organization.id", "", " x"])
def test_an_attribute_that_never_names_a_customer_cannot_be_chosen(key: str) -> None:
    """The message says why."""
    with pytest.raises(UsageError, match="--customer-key"):
        check_keys([key])


def test_chosen_attributes_are_kept_once_and_in_their_order() -> None:
    """The usual ones can be among them."""
    assert check_keys(["b", "a", "b", *CUSTOMER_KEYS[:1]]) == ("b", "a", "tenant.id")


# What a trace says.


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh ledger."""
    opened = Store(tmp_path / "meter.duckdb")
    yield opened
    opened.close()


Batch = ExportTraceServiceRequest
TRACE = b"t" * 16


def node(
    number: int,
    parent: int | None = None,
    customer: str | None = None,
    *,
    is_call: bool = False,
    kind: "Span.SpanKind.ValueType" = Span.SPAN_KIND_INTERNAL,
    service: str = "shop",
) -> Batch:
    """A span of one trace: a call another emitter saw, or a span around calls."""
    at = STARTED_AT + number * 10_000_000
    if is_call:
        made = call(customer, trace_id=TRACE, span_id=bytes([number] * 8), started_at=at)
    else:
        attributes: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent"}
        if customer:
            attributes["microdollar.customer.id"] = customer
        made = span(
            attributes, trace_id=TRACE, span_id=bytes([number] * 8), started_at=at, kind=kind
        )
        made.end_time_unix_nano = (STARTED_AT + 1_000_000_000) * 1000
    if parent is not None:
        made.parent_span_id = bytes([parent] * 8)
    return request(made, scope=OPENINFERENCE, resource={"service.name": service})


SERVER = Span.SPAN_KIND_SERVER

TRACES: Mapping[str, tuple[Sequence[Batch], str | None]] = {
    "nobody is named": ([node(1), node(9, 1, is_call=True)], None),
    "the span above": ([node(1, None, "acme"), node(9, 1, is_call=True)], "acme"),
    "the nearest of two above": (
        [node(1, None, "acme"), node(2, 1, "globex"), node(3, 2), node(9, 3, is_call=True)],
        "globex",
    ),
    "the only one named, anywhere in the trace": (
        [node(1), node(2, 1, "acme"), node(9, 1, is_call=True)],
        "acme",
    ),
    "two are named, neither above": (
        [node(1), node(2, 1, "acme"), node(3, 1, "globex"), node(9, 1, is_call=True)],
        None,
    ),
    "two are named, and the span between is not there: the one by which the trace came in": (
        [node(1, None, "acme", kind=SERVER), node(2, 1, "globex"), node(9, 7, is_call=True)],
        "acme",
    ),
    "that of another service is none of its own": (
        [
            node(1, None, "acme", kind=SERVER, service="gate"),
            node(2, 1, "globex"),
            node(9, 7, is_call=True),
        ],
        None,
    ),
    "two services have each their own": (
        [
            node(1, None, "acme", kind=SERVER, service="gate"),
            node(2, 1, "globex", kind=SERVER),
            node(9, 7, is_call=True),
        ],
        "globex",
    ),
    "its own word": ([node(1, None, "acme"), node(9, 1, "globex", is_call=True)], "globex"),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_call_inherits_from_its_trace_in_whatever_order_it_comes(name: str, store: Store) -> None:
    """From the nearest span above; else from that by which it came in; else from all that agree."""
    batches, customer = TRACES[name]
    for number, order in enumerate(itertools.permutations(batches)):
        trace_id = (number + 1).to_bytes(16, "big")
        for batch in order:
            store.append(evidence_of(_in_trace(trace_id, batch)), entries)
        found = store.cursor().execute(
            "SELECT customer_id, sum(calls) FROM ledger WHERE trace_id = ? GROUP BY ALL "
            "HAVING sum(calls) <> 0",
            [trace_id.hex()],
        )
        assert found.fetchall() == [(customer, 1)], order


def _in_trace(trace_id: bytes, batch: Batch) -> Batch:
    """The same in another trace, with a response of its own."""
    made = Batch()
    made.CopyFrom(batch)
    [moved] = made.resource_spans[0].scope_spans[0].spans
    moved.trace_id = trace_id
    for attribute in moved.attributes:
        if attribute.key == "gen_ai.response.id":
            attribute.value.string_value += trace_id.hex()
    return made


def test_what_the_trace_says_goes_before_the_attributes_of_others(store: Store) -> None:
    """It was set by us."""
    child = call(None, trace_id=TRACE, span_id=b"9" * 8)
    child.parent_span_id = bytes([1] * 8)
    child.attributes.extend(span({"tenant.id": "globex"}).attributes)
    store.append(evidence_of(node(1, None, "acme"), request(child, scope=OPENINFERENCE)), entries)
    [(customer, reason)] = (
        store.cursor().execute("SELECT customer_id, reason FROM ledger").fetchall()
    )
    assert customer == "acme"
    assert reason.endswith("customer named by the trace, another by tenant.id")


def test_of_two_spans_about_a_call_the_more_trusted_word_counts(store: Store) -> None:
    """Whichever of them is billed."""
    response: dict[str, Any] = {"gen_ai__response__id": "chatcmpl-9AbCdEfGh1JkLmN0pQr5"}
    ours = call(None, **response)
    gateway = call(None, **response)
    gateway.attributes.extend(span({"litellm.end_user.id": "acme", "user.id": "u7"}).attributes)
    client = call(None, **response)
    client.attributes.extend(span({"enduser.id": "globex"}).attributes)
    for made in (
        request(client, scope=OPENINFERENCE),
        request(ours),
        request(gateway, scope="litellm"),
    ):
        store.append(evidence_of(made), entries)
    [(rule, customer, user, reason)] = (
        store.cursor()
        .execute("""
        SELECT rule, customer_id, user_id, reason FROM ledger
        ORDER BY recorded_at DESC, kind DESC LIMIT 1""")
        .fetchall()
    )
    assert (rule, customer, user) == ("microdollar/1", "acme", "u7")
    assert "litellm.end_user.id of another span, another by enduser.id of another span" in reason


@pytest.mark.parametrize("key", ORDER)
def test_the_word_for_nobody_is_no_customer_whoever_says_it(key: str) -> None:
    """Else its calls would escape `assign`, beside a row of the same name that does not."""
    assert Customers().named(foreign({key: "unassigned"})).customer_id is None
    assert Customers().named(foreign({key: "erased"})).customer_id is None
