# SPDX-License-Identifier: Apache-2.0
"""The sums from which a report's amounts are computed, asked of the ledger."""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from itertools import chain
from typing import Any, Final, NamedTuple

from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.markup import Markup, Piece
from microdollar_exporter.price.units import spellings
from microdollar_exporter.usage import BUCKETS

__all__ = ["Chosen", "pieces"]

MODEL = "coalesce(response_model, request_model)"
"""A call's model, as reports and rules name it."""
_COUNT: Final = "coalesce(sum(map_extract_value(units, ?)), 0)"


class Chosen(NamedTuple):
    """The entries of a report, as SQL with its parameters; `keys` are the columns of its rows."""

    sql: str
    parameters: Sequence[str]
    keys: Sequence[str]


def pieces(connection: Answers, chosen: Chosen, markup: Markup) -> list[Piece]:
    """The entries summed up as far as no rule tells them apart."""
    edges = markup.edges
    segment = "".join(
        f" WHEN started_at < CAST(? AS TIMESTAMP) THEN {position}" for position in range(len(edges))
    )
    units = sorted({unit for rate in markup.rates for unit in rate.per_unit})
    names = [spellings(unit) for unit in units]
    counted = [
        f"({' + '.join([_COUNT] * len(of_unit))})::BIGINT AS unit_{position}"
        for position, of_unit in enumerate(names)
    ]
    tokens = [f"coalesce(sum({bucket}), 0)::BIGINT AS {bucket}" for bucket in BUCKETS]
    columns = [
        *chosen.keys,
        "customer_id",
        "provider",
        f"{MODEL} AS model",
        f"{f'CASE{segment} ELSE {len(edges)} END' if edges else 0} AS segment",
        f"strftime(started_at, '{markup.finest.value}') AS period",
        "usage_source <> 'missing' AND price_status <> 'bad_usage' AS measured",
        "usage_source <> 'none' AS accepted",
        "cost IS NULL AS costless",
        "coalesce(sum(calls), 0)::BIGINT AS calls",
        *tokens,
        *counted,
        "sum(cost) AS summed_cost",
    ]
    parameters = [edge.isoformat(" ", "microseconds") for edge in edges]
    query = f"SELECT {', '.join(columns)} FROM ({chosen.sql}) GROUP BY ALL"  # noqa: S608 - our words
    found = connection.sql(query, [*parameters, *chain(*names), *chosen.parameters]).to_pylist()
    begins = [datetime.min, *edges]
    return [_piece(row, chosen.keys, begins, units) for row in found]


def _piece(
    row: dict[str, Any], keys: Sequence[str], begins: Sequence[datetime], units: Sequence[str]
) -> Piece:
    return Piece(
        names=tuple(row[key] for key in keys),
        customer=row["customer_id"],
        provider=row["provider"],
        model=row["model"],
        since=begins[row["segment"]],
        period=row["period"],
        measured=row["measured"],
        accepted=row["accepted"],
        calls=row["calls"],
        tokens=tuple(row[bucket] for bucket in BUCKETS),
        units={unit: row[f"unit_{position}"] for position, unit in enumerate(units)},
        cost=None if row["costless"] else int(Fraction(row["summed_cost"]) * 10**6),
    )
