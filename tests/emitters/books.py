# SPDX-License-Identifier: Apache-2.0
"""What a ledger says of the sample apps' calls."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple, Self

from microdollar_exporter import connect
from microdollar_exporter.usage import BUCKETS, Usage

__all__ = ["Booked", "Call", "standing"]


class Call(NamedTuple):
    """A call that stands in the books, as far as it can be told from others."""

    model: str
    source: str
    buckets: tuple[int | None, ...]

    @classmethod
    def of(cls, model: str, usage: Usage, source: str = "provider") -> Self:
        """The call that an emitter reports."""
        return cls(model, source, tuple(getattr(usage, bucket) for bucket in BUCKETS))


Booked = dict[str, Counter[Call]]
"""How often each call of a service stands in the books."""


def standing(db: Path) -> Booked:
    """The calls of each service that are booked and not reversed. All of it is sums."""
    found: Booked = defaultdict(Counter)
    for row in connect(db).sql(_STANDING).to_pylist():
        service, calls, model, source, *buckets = row.values()
        counts = tuple(None if count is None else int(count) for count in buckets)
        found[service][Call(model, source, counts)] += int(calls)
    return found


_STANDING = f"""
    SELECT service, sum(calls), model, usage_source, {", ".join(BUCKETS)}
    FROM (
        SELECT
            service, trace_id, span_id, position, usage_source,
            coalesce(response_model, request_model) AS model,
            sum(calls) AS calls,
            {", ".join(f"sum({bucket}) AS {bucket}" for bucket in BUCKETS)}
        FROM ledger GROUP BY ALL
    )
    WHERE calls <> 0
    GROUP BY ALL
"""
