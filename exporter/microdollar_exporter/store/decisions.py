# SPDX-License-Identifier: Apache-2.0
"""What an operator has decided: who, when, why and what, kept beside the entries it called for."""

import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

__all__ = ["CLOSED_BEFORE", "Change", "Decision", "closed_before", "decisions_in"]

CLOSED_BEFORE = "closed_before"
"""The member of a decision's content by which `retain` closes the books to spans: microseconds
since 1970 UTC. Closing a period (`operate/close.py`) is another matter: it settles figures and
refuses nothing."""


class Decision(NamedTuple):
    """A row of the `decision` table. `made_at` is microseconds since 1970 UTC.

    `content` is plain JSON, by the kind of the decision; `undoes` is the id of an earlier one.
    """

    decision_id: str
    kind: str
    made_at: int
    made_by: str
    reason: str
    content: Mapping[str, Any]
    undoes: str | None


def decisions_in(con: duckdb.DuckDBPyConnection) -> tuple[Decision, ...]:
    """All decisions of a file, in the order they were made."""
    rows = con.execute("""
        SELECT decision_id, kind, epoch_us(made_at), made_by, reason, content, undoes
        FROM decision ORDER BY made_at, decision_id""").fetchall()
    return tuple(
        Decision(decision_id, kind, made_at, made_by, reason, json.loads(content), undoes)
        for decision_id, kind, made_at, made_by, reason, content, undoes in rows
    )


def closed_before(decisions: Iterable[Decision]) -> int | None:
    """Before which moment the books are closed; None when they never were.

    A call that began earlier could not be told from one whose evidence was removed for its age.
    """
    closed = (decision.content.get(CLOSED_BEFORE) for decision in decisions)
    return max((moment for moment in closed if moment is not None), default=None)


class Change(NamedTuple):
    """A transaction that an operator's act makes; all it records has the moment `at`."""

    con: duckdb.DuckDBPyConnection
    at: datetime

    def decide(
        self,
        *,
        kind: str,
        made_by: str,
        reason: str,
        content: Mapping[str, Any],
        decision_id: str | None = None,
        undoes: str | None = None,
    ) -> str:
        """Record a decision; returns its id."""
        decision_id = decision_id or self.new_id()
        self.con.execute(
            "INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)",
            [decision_id, kind, self.at, made_by, reason, json.dumps(content), undoes],
        )
        return decision_id

    @staticmethod
    def new_id() -> str:
        """An id for a decision, short enough to type."""
        return secrets.token_hex(6)
