# SPDX-License-Identifier: Apache-2.0
"""The acts `assign` and `unassign`: give past calls of nobody to a customer by a rule, and back.

Only calls without a customer are given, and only those are taken back that still stand as the
decision left them. Sums over all customers never change.
"""

from collections.abc import Mapping
from typing import Any, Final

from microdollar_exporter.ask.period import period
from microdollar_exporter.customer import USERS_DECISION
from microdollar_exporter.errors import UsageError
from microdollar_exporter.operate.arguments import (
    customer_of,
    flag_of,
    known_only,
    mapping_of,
    text_of,
    who_of,
)
from microdollar_exporter.operate.moves import Choice, look, move
from microdollar_exporter.store import Change, Store

__all__ = ["ASSIGN", "UNASSIGN", "assign", "unassign"]

ASSIGN: Final = "assign"
UNASSIGN: Final = "unassign"
"""The kinds of the decisions. An `assign` holds `customer`, `rule` and the sums of what it moved;
an `unassign` undoes a decision that assigned calls, and holds the sums."""

_OF_CALLS: Final = {
    "service": "service = ?",
    "environment": "environment = ?",
    "user": "user_id = ?",
    "trace": "trace_id = ?",
    "scope": """(trace_id, span_id, started_at) IN (
        SELECT (trace_id, span_id, started_at) FROM spans WHERE scope = ?)""",
}
_OF_ENTRIES: Final = {
    "model": "coalesce(coalesce(response_model, request_model) = ?, false)",
    "provider": "coalesce(provider = ?, false)",
}
_RULE: Final = (*_OF_CALLS, *_OF_ENTRIES, "tags", "from", "to")


def assign(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give the calls without a customer that a `rule` finds to `customer`; says what they are.

    The rule is a mapping of `service`, `environment`, `user`, `tags` (a mapping), `model`,
    `provider`, `trace`, `scope` (of the emitter), `from` and `to`; all that it names has to hold.
    Unless `apply` is true nothing is done. `by` and `reason` say who decides and why.
    """
    known_only(arguments, ("customer", "rule", "apply", "by", "reason"))
    customer = customer_of(arguments)
    rule = mapping_of(arguments, "rule")
    choice = _choice(customer, rule)
    if not flag_of(arguments, "apply"):
        return look(store, choice)
    who = who_of(arguments)

    def decide(change: Change, found: Mapping[str, Any]) -> str | None:
        if not found["entries"]:
            return None
        content = {"customer": customer, "rule": dict(rule), **_figures(found)}
        return change.decide(kind=ASSIGN, content=content, **who._asdict())

    return move(store, choice, decide, "assigned")


def unassign(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Undo the `decision` of this id: what still stands as it left it is nobody's again.

    Unless `apply` is true nothing is done. `by` and `reason` say who decides and why.
    """
    known_only(arguments, ("decision", "apply", "by", "reason"))
    undone = text_of(arguments, "decision")
    kinds = {decision.decision_id: decision.kind for decision in store.decisions}
    if undone not in kinds:
        raise UsageError(f"decision is {undone!r}: there is none of this id")
    if kinds[undone] not in (ASSIGN, USERS_DECISION):
        raise UsageError(f"decision {undone} is of the kind {kinds[undone]}, which gave no calls")
    choice = Choice(
        customer="CAST(NULL AS VARCHAR)",
        of_calls="assigned_by = ? AND customer_id IS NOT NULL",
        parameters=[undone],
    )
    if not flag_of(arguments, "apply"):
        return look(store, choice)
    who = who_of(arguments)
    is_undone = any(decision.undoes == undone for decision in store.decisions)

    def decide(change: Change, found: Mapping[str, Any]) -> str | None:
        # Recorded though nothing stands as it was: from now on it holds for no call of the past.
        if is_undone and not found["entries"]:
            return None
        content = _figures(found)
        return change.decide(kind=UNASSIGN, content=content, undoes=undone, **who._asdict())

    return move(store, choice, decide, "returned")


def _choice(customer: str, rule: Mapping[str, Any]) -> Choice:
    known_only(rule, _RULE)
    tags = mapping_of(rule, "tags") if "tags" in rule else {}
    of_entries = {name: sql for name, sql in _OF_ENTRIES.items() if name in rule}
    of_calls = {name: sql for name, sql in _OF_CALLS.items() if name in rule}
    in_period, instants = period(rule.get("from"), rule.get("to")).holds("started_at")
    conditions = ["customer_id IS NULL", in_period, *of_calls.values()]
    conditions += ["map_extract_value(tags, ?) = ?"] * len(tags)
    return Choice(
        customer="CAST(? AS VARCHAR)",
        of_entries=" AND ".join(of_entries.values()),
        of_calls=" AND ".join(conditions),
        parameters=[
            customer,
            *(text_of(rule, name) for name in of_entries),
            *instants,
            *(text_of(rule, name) for name in of_calls),
            *(part for name in tags for part in (name, text_of(tags, name))),
        ],
    )


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a decision says of the calls it moved."""
    return {name: found[name] for name in ("calls", "entries", "tokens", "cost", "first", "last")}
