# SPDX-License-Identifier: Apache-2.0
"""What a verification finds: how much of each kind is wrong, and the first of each by name."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import duckdb

__all__ = ["Difference", "Findings"]


class Difference(NamedTuple):
    """Something that is not as it ought to be: of what kind, where, and what is there instead."""

    kind: str
    where: str
    what: str


class Findings:
    """Counts differences by kind, and keeps the first `limit` of each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.counts: Counter[str] = Counter()
        self.examples: list[Difference] = []

    def add(self, kind: str, where: str, what: str) -> None:
        """One difference."""
        self.counts[kind] += 1
        if self.counts[kind] <= self._limit:
            self.examples.append(Difference(kind, where, what))

    def query(
        self,
        con: duckdb.DuckDBPyConnection,
        kind: str,
        query: str,
        where: Callable[[Sequence[Any]], str],
        what: str | Callable[[Sequence[Any]], str],
    ) -> None:
        """Every row of a query is a difference."""
        left = max(0, self._limit - self.counts[kind])
        relation = con.sql(query)
        [(count,)] = relation.count("*").fetchall()
        self.counts[kind] += count
        if count and left:
            self.examples += [
                Difference(kind, where(row), what if isinstance(what, str) else what(row))
                for row in relation.order("ALL").limit(left).fetchall()
            ]
        if not self.counts[kind]:
            del self.counts[kind]
