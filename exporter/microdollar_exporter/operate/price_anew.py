# SPDX-License-Identifier: Apache-2.0
"""Work out what entries of a ledger cost by another price book: all that a repricing has to know.

Nearly all entries say everything that decides their price, and most prices are tokens times rates:
these are worked out by columns, in SQL. The rest is booked afresh from its evidence.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from microdollar_exporter.money import microdollars
from microdollar_exporter.operate.moves import STANDING
from microdollar_exporter.operate.recompute import Recomputer
from microdollar_exporter.price import Book, Engine
from microdollar_exporter.store.decisions import closed_before, decisions_in
from microdollar_exporter.store.registered import registered
from microdollar_exporter.store.removed import archived_days
from microdollar_exporter.usage import BUCKETS, Usage, UsageRow
from microdollar_semconv import attributes as md

__all__ = ["choose", "price"]

_NAMES: Final = ("provider", "response_model", "request_model", "service_tier")
_IN_EVIDENCE: Final = {"speed": md.RESPONSE_SPEED, "inference_geo": md.RESPONSE_INFERENCE_GEO}
"""The facts that decide a price and that only the evidence says, by their attributes."""
_KEY: Final = (*_NAMES, *_IN_EVIDENCE)
_CALL: Final = "trace_id, span_id, started_at"
_PRICE: Final = ("cost", "list_cost", "price_status", "price_note", "price_row")
_AT_ONCE: Final = 50_000
"""How many calls are booked afresh together."""
_FOREVER: Final = 2**62
_DIGITS: Final = 9
"""Token counts and rates (in picodollars) with so many digits multiply within 64 bits."""

_NOTHING_PUT_RIGHT: Final = """
    (reason IN ('call', 'further model') OR regexp_full_match(reason,
        '((assigned|returned|repriced) by decision [^;]*; )+(call|further model)'))"""
_ORDINARY: Final = f"""
    {_NOTHING_PUT_RIGHT}
    AND usage_source = '{md.USAGE_SOURCE_PROVIDER}' AND cardinality(units) = 0
    AND input_uncached IS NOT NULL AND (output IS NOT NULL OR operation = 'embeddings')
    AND {" AND ".join(f"coalesce({bucket}, 0) >= 0" for bucket in BUCKETS)}
    AND coalesce(reasoning, 0) BETWEEN 0 AND coalesce(output, 0)
    AND coalesce(audio_in, 0) = 0 AND coalesce(audio_out, 0) = 0
    AND coalesce(image_in, 0) = 0 AND coalesce(image_out, 0) = 0"""


def choose(con: duckdb.DuckDBPyConnection, condition: str, parameters: Sequence[Any]) -> None:
    """Put the entries that stand and meet a condition into the temporary table `chosen`.

    It has their `place` in the ledger, what decides their price, and what they cost now. `plain`
    says that nothing else has to be known of one: what its own span says is all that is said of
    the call, nothing had to be put right, and the evidence is there.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE special AS " + _special())
    [(any_special,)] = con.execute("SELECT count(*) > 0 FROM special").fetchall()
    facts, joined, lone = "", "", "true"
    if any_special:
        facts = ", ".join(_IN_EVIDENCE)
        joined = f"LEFT JOIN ({_said_by_spans()}) USING ({_CALL})"
        lone = _without_doubt(con)
    else:
        facts = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in _IN_EVIDENCE)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE chosen AS SELECT
            ledger.rowid AS place, epoch_us(started_at) AS start, customer_id, calls,
            {", ".join(_NAMES)}, {facts}, {", ".join(BUCKETS)}, {", ".join(_PRICE)}, price_book,
            coalesce({_ORDINARY} AND {lone} AND {_evidence_is_there(con)}, false) AS plain
        FROM ledger {joined} WHERE {STANDING} AND {condition}""",
        list(parameters),
    )


def price(con: duckdb.DuckDBPyConnection, book: Book) -> None:
    """Put what the entries in `chosen` cost by a book into the temporary table `priced`.

    It has their `place` and the columns of a price. An entry that is not in it afterwards has no
    evidence in the file, without which it cannot be priced.
    """
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE priced AS
        SELECT place, {", ".join(_PRICE)} FROM chosen LIMIT 0""")
    _price_by_columns(con, Engine(book))
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE rest AS SELECT place, {_CALL}, position
        FROM ledger JOIN (FROM chosen ANTI JOIN priced USING (place)) ON ledger.rowid = place""")
    _price_from_evidence(con, book)


def _special() -> str:
    """The profiles whose spans say what no entry does."""
    said = [f"attributes['{attribute}'] AS {name}" for name, attribute in _IN_EVIDENCE.items()]
    some = " OR ".join(f"{name} IS NOT NULL" for name in _IN_EVIDENCE)
    return f"SELECT profile_id, role, {', '.join(said)} FROM profile WHERE {some}"


def _said_by_spans() -> str:
    return f"SELECT {_CALL}, {', '.join(_IN_EVIDENCE)} FROM span JOIN special USING (profile_id)"


def _without_doubt(con: duckdb.DuckDBPyConnection) -> str:
    """That no span which was not billed may have told an entry what its own span did not say."""
    days = con.execute(f"""
        SELECT DISTINCT CAST(started_at AS DATE) + unnest([-1, 0, 1])
        FROM span JOIN special USING (profile_id) ANTI JOIN ledger USING ({_CALL})
        WHERE role <> 'other'""").fetchall()
    return _not_on([day for (day,) in days])


def _evidence_is_there(con: duckdb.DuckDBPyConnection) -> str:
    """That the span of an entry is in the file, for sure."""
    decisions = decisions_in(con)
    there = _not_on(archived_days(decisions))
    closed = closed_before(decisions)
    return there if closed is None else f"{there} AND started_at >= make_timestamp({closed})"


def _not_on(days: Sequence[Any]) -> str:
    listed = ", ".join(f"DATE '{day:%Y-%m-%d}'" for day in days)
    return f"CAST(started_at AS DATE) NOT IN ({listed})" if listed else "true"


class _Stretch(NamedTuple):
    """From when until when (`until` excluded, microseconds) a key has these rates, or no price.

    `rates` and `list_rates` are picodollars per token in the order of `BUCKETS`. Without a
    `price_row` there is no price, whatever a call used.
    """

    since: int | None
    until: int | None
    most_input: int | None
    rates: Sequence[int | None]
    list_rates: Sequence[int | None]
    price_row: str | None


_NO_RATES: Final = (None,) * len(BUCKETS)


def _price_by_columns(con: duckdb.DuckDBPyConnection, engine: Engine) -> None:
    with registered(con, "rate", _rates(con, engine)):
        same = " AND ".join(f"c.{name} IS NOT DISTINCT FROM r.{name}" for name in _KEY)
        tokens = " + ".join(f"coalesce(c.{b}, 0)" for b in BUCKETS if b != "output")
        known = " AND ".join(
            f"(coalesce(c.{b}, 0) = 0 OR (r.at_{b} IS NOT NULL AND r.list_{b} IS NOT NULL))"
            for b in BUCKETS
        )
        con.execute(f"""
            INSERT INTO priced BY NAME
            SELECT place, cost, list_cost, price_row,
                if(price_row IS NULL, 'unpriced_model', 'priced') AS price_status
            FROM (
                SELECT c.place, r.price_row, {_sum("at")} AS cost, {_sum("list")} AS list_cost
                FROM chosen c JOIN rate r ON {same} AND c.start >= r.since AND c.start < r.until
                WHERE c.plain AND (r.price_row IS NULL OR ({tokens} <= r.most_input AND {known}))
            ) WHERE price_row IS NULL OR (cost IS NOT NULL AND list_cost IS NOT NULL)""")


def _sum(rates: str) -> str:
    """Tokens times rates; NULL where it is too much to be held."""
    terms = [
        f"TRY_CAST(coalesce(c.{b}, 0) AS DECIMAL({_DIGITS}, 0)) * coalesce(r.{rates}_{b}, 0)"
        for b in BUCKETS
    ]
    return (
        f"CASE WHEN r.price_row IS NOT NULL THEN TRY_CAST({' + '.join(terms)} AS DECIMAL(18, 6)) "
        "END"
    )


def _rates(con: duckdb.DuckDBPyConnection, engine: Engine) -> pa.Table:
    """The rates of all keys among the plain entries, by the stretches of time they hold for."""
    keys = con.execute(f"""
        SELECT {", ".join(_KEY)}, min(start), max(start) FROM chosen WHERE plain GROUP BY ALL
        """).fetchall()
    found = [
        (key, stretch)
        for *key, first, last in keys
        for stretch in _over_time(engine, key, first, last)
    ]
    columns: dict[str, pa.Array] = {
        name: pa.array([key[position] for key, _ in found], pa.string())
        for position, name in enumerate(_KEY)
    }
    for name, otherwise in (("since", -_FOREVER), ("until", _FOREVER), ("most_input", _FOREVER)):
        values = [getattr(stretch, name) for _, stretch in found]
        columns[name] = pa.array([otherwise if v is None else v for v in values], pa.int64())
    columns["price_row"] = pa.array([stretch.price_row for _, stretch in found], pa.string())
    kind = pa.decimal128(_DIGITS, 6)
    for position, bucket in enumerate(BUCKETS):
        rates = [_held(stretch.rates[position]) for _, stretch in found]
        list_rates = [_held(stretch.list_rates[position]) for _, stretch in found]
        columns[f"at_{bucket}"] = pa.array(rates, kind)
        columns[f"list_{bucket}"] = pa.array(list_rates, kind)
    return pa.table(columns)


def _held(rate: int | None) -> Any:
    """A rate in microdollars, if it is small enough to be multiplied by columns."""
    return None if rate is None or rate >= 10**_DIGITS else microdollars(rate)


def _over_time(engine: Engine, key: Sequence[Any], first: int, last: int) -> Iterator[_Stretch]:
    """What holds for a key between two moments: from the first one on and from the last one back.

    What is not tokens times rates lies between them, and is in no stretch.
    """
    at: int | None = first
    while at is not None and at <= last:
        stretch = _stretch_at(engine, key, at)
        if stretch is None:
            break
        yield stretch
        at = stretch.until
    else:
        return
    back: int | None = last
    while back is not None and (stretch := _stretch_at(engine, key, back)):
        yield stretch
        back = None if stretch.since is None else stretch.since - 1


def _stretch_at(engine: Engine, key: Sequence[Any], at: int) -> _Stretch | None:
    said = dict(zip(_KEY, key, strict=True))
    source = md.USAGE_SOURCE_PROVIDER
    row = UsageRow(
        position=0, calls=1, started_at=at, operation=None, source=source, usage=Usage(), **said
    )
    flat = engine.flat(row)
    if flat is not None:
        return _Stretch(
            flat.since, flat.until, flat.most_input, flat.rates, flat.list_rates, flat.price_row
        )
    unpriced = engine.unpriced(row)
    return unpriced and _Stretch(*unpriced, None, _NO_RATES, _NO_RATES, None)


def _price_from_evidence(con: duckdb.DuckDBPyConnection, book: Book) -> None:
    """Book the calls of `rest` afresh, and take over what their entries would cost."""
    starts = con.execute("SELECT epoch_us(started_at) FROM rest ORDER BY ALL").fetchall()
    if not starts:
        return
    moments = [start for (start,) in starts]
    edges = [*sorted(set(moments[::_AT_ONCE])), moments[-1] + 1]
    recomputer = Recomputer(con, {book.id: book})
    asked = f"({_CALL}) IN (SELECT ({_CALL}) FROM rest)"
    for first, last in pairwise(edges):
        for table in recomputer.entries(first, last, {}, book.id, asked):
            said = ", ".join(name for name in _PRICE if name in table.column_names)
            with registered(con, "batch", table):
                con.execute(f"""
                    INSERT INTO priced BY NAME SELECT place, {said}
                    FROM batch JOIN rest USING ({_CALL}, position)""")
