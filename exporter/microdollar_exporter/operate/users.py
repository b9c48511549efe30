# SPDX-License-Identifier: Apache-2.0
"""The act `map-users`: say whose users they are, for spans that name a user and no customer."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from microdollar_exporter.ask.connect import Answers
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
from microdollar_exporter.operate.moves import Choice, move
from microdollar_exporter.store import Change, Decision, Store

__all__ = ["MOST_USERS", "MappedUser", "map_users", "mapped_users", "read_users"]

MOST_USERS: Final = 50_000
"""How many users one decision may be about."""


def map_users(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """From now on, calls of these `users` without a better word are of these customers.

    `users` maps each to a customer, or to null: then it is nobody's again, which changes no call
    of the past. With `past` the calls of these users that have no customer are given as well, now
    and when their spans come late; `unassign` undoes that. What is decided already is not decided
    again. `by` and `reason` say who decides and why.
    """
    known_only(arguments, ("users", "past", "by", "reason"))
    users = _users(mapping_of(arguments, "users"))
    past = flag_of(arguments, "past")
    if past and None in users.values():
        raise UsageError("past is true: calls of the past are taken back by `assign --undo`")
    who = who_of(arguments)
    if not past:
        users = _changed(users, store.decisions)
    choice = Choice(
        customer="owner",
        joined="JOIN (SELECT unnest(?) AS user_id, unnest(?) AS owner) USING (user_id)",
        of_calls="customer_id IS NULL" if past else "false",
        parameters=[list(users), list(users.values())],
    )

    def decide(change: Change, found: Mapping[str, Any]) -> str | None:
        if not users:
            return None
        content = {"users": users, "past": past, "calls": found["calls"], "cost": found["cost"]}
        return change.decide(kind=USERS_DECISION, content=content, **who._asdict())

    return {"users": len(users), **move(store, choice, decide, "assigned")}


def _users(given: Mapping[str, Any]) -> dict[str, str | None]:
    if len(given) > MOST_USERS:
        raise UsageError(f"these are {len(given)} users: map up to {MOST_USERS} at a time")
    return {
        text_of({"user": user}, "user"): customer and customer_of({"customer": customer})
        for user, customer in given.items()
    }


def _changed(
    users: Mapping[str, str | None], decisions: Iterable[Decision]
) -> dict[str, str | None]:
    """Those of the users for which something else is in force."""
    now: dict[str, str | None] = {}
    for decision in decisions:
        if decision.kind == USERS_DECISION:
            now.update(decision.content["users"])
    return {user: customer for user, customer in users.items() if now.get(user) != customer}


class MappedUser(NamedTuple):
    """A user, the customer it is of, since when (UTC), and by which decision."""

    user: str
    customer: str
    since: str
    decision: str
    made_by: str
    reason: str


def mapped_users(connection: Answers) -> Sequence[MappedUser]:
    """The map in force, by the names of the users."""
    now: dict[str, MappedUser | None] = {}
    for row in connection.sql(
        """
        SELECT content, CAST(made_at AS VARCHAR) AS since, decision_id, made_by, reason
        FROM decision WHERE kind = ? ORDER BY made_at, decision_id""",
        [USERS_DECISION],
    ).to_pylist():
        said = row["since"], row["decision_id"], row["made_by"], row["reason"]
        for user, customer in json.loads(row["content"])["users"].items():
            now[user] = customer and MappedUser(user, customer, *said)
    return [found for _, found in sorted(now.items()) if found]


def read_users(file: Path) -> Iterator[dict[str, str]]:
    """The users of a CSV file with the columns `user` and `customer`, as many as one act takes.

    Raises:
        UsageError: it is not such a file.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if not {"user", "customer"} <= set(reader.fieldnames or ()):
                raise UsageError(f"{file} has no columns named user and customer in its first line")
            users: dict[str, str] = {}
            for row in reader:
                user, customer = row["user"], row["customer"]
                if not user or not customer:
                    raise UsageError(f"line {reader.line_num} of {file} lacks a user or a customer")
                if users.setdefault(user, customer) != customer:
                    raise UsageError(
                        f"line {reader.line_num} of {file} gives {user!r} to a second customer"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    names = list(users)
    for first in range(0, len(names), MOST_USERS):
        yield {name: users[name] for name in names[first : first + MOST_USERS]}
