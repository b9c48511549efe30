# SPDX-License-Identifier: Apache-2.0
"""The acts that leave a day's evidence to the archive alone, and those that bring it back.

The entries stay. Spans that are related to evidence that stays in the file, stay with it: nothing
that still can change is decided on by halves.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from microdollar_exporter.errors import ActFailed, UsageError
from microdollar_exporter.operate.arguments import known_only, text_of, who_of
from microdollar_exporter.operate.sealed import parts_of, put_back
from microdollar_exporter.store import Store
from microdollar_exporter.store.known import WINDOW
from microdollar_exporter.store.removed import (
    FINGERPRINT,
    REMOVE_ARCHIVED,
    RETURN_ARCHIVED,
    archived_days,
)
from microdollar_semconv import attributes as md

__all__ = ["archive_remove", "archive_return", "archive_return_part"]

_DROPPED: Final = f"TRY_CAST(attributes['{md.BOOT_DROPPED_CALLS}'] AS BIGINT)"


def archive_remove(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Remove sealed evidence from the file: that of the first `hours` of `day` and of earlier days.

    `by` and `reason` say who decides and why. Says how many spans were `removed`, by the day, and
    how many sealed ones were `kept` since spans that stay are related to them. Nothing is taken in
    meanwhile, so it is asked for in parts.

    Raises:
        ActFailed: nothing of the day is sealed.
    """
    known_only(arguments, ("day", "hours", "by", "reason"))
    day, who = _day_of(arguments), who_of(arguments)
    end = datetime(day.year, day.month, day.day) + timedelta(hours=_hours_of(arguments))
    with store.change() as change:
        con = change.con
        if not parts_of(con, day):
            raise ActFailed(f"no evidence of {day} is sealed: seal it first")
        con.execute(f"""
            CREATE TEMP TABLE leaving AS
            SELECT trace_id, span_id, started_at, response_id, profile_id, boot_id, call_sequence
            FROM span JOIN (
                SELECT day, max(received_until) AS until FROM archive_part GROUP BY day
            ) ON day = CAST(started_at AS DATE)
            WHERE started_at < TIMESTAMP '{end}' AND received_at <= until""")
        [(sealed,)] = con.execute("SELECT count(*) FROM leaving").fetchall()
        _leave_out_related(con)
        removed = {
            on.isoformat(): spans
            for on, spans in con.execute("""
                SELECT CAST(started_at AS DATE) AS on_day, count(*) FROM leaving
                GROUP BY on_day ORDER BY on_day""").fetchall()
        }
        if removed:
            _remember(con)
            con.execute(f"""
                DELETE FROM span WHERE started_at < TIMESTAMP '{end}'
                AND (trace_id, span_id, started_at) IN (
                    SELECT (trace_id, span_id, started_at) FROM leaving)""")
        before = {of.isoformat() for of in archived_days(store.decisions)}
        for on in removed.keys() - before:
            change.decide(kind=REMOVE_ARCHIVED, content={"day": on}, **who._asdict())
        con.execute("DROP TABLE leaving")
    return {"removed": removed, "kept": sealed - sum(removed.values())}


def archive_return_part(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put the spans of one `file` of `day` back; the archive lies in `folder` unless null.

    Says how many were `returned`.

    Raises:
        UsageError: there is no such file.
        StoreError: it is not there, or not what was sealed; nothing was changed.
    """
    known_only(arguments, ("day", "file", "folder"))
    day, file = _day_of(arguments), text_of(arguments, "file")
    archive = None
    if arguments.get("folder") is not None:
        archive = Path(text_of(arguments, "folder", 4096))
    with store.change() as change:
        part = next((part for part in parts_of(change.con, day) if part.file == file), None)
        if part is None:
            raise UsageError(f"file is {file!r}: no such file of {day} was sealed")
        returned = put_back(change.con, part.read(archive))
    store.read_links()
    return {"returned": returned}


def archive_return(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Record that the evidence of `day` is back, when it is, and forget that it was not there.

    `by` and `reason` say who decides and why. Spans that were held back are taken in after this.

    Raises:
        UsageError: the evidence of the day was not removed.
        ActFailed: some of it is not back.
    """
    known_only(arguments, ("day", "by", "reason"))
    day, who = _day_of(arguments), who_of(arguments)
    undone = {decision.undoes for decision in store.decisions}
    removals = [
        decision
        for decision in store.decisions
        if decision.kind == REMOVE_ARCHIVED
        and decision.content["day"] == day.isoformat()
        and decision.decision_id not in undone
    ]
    if not removals:
        raise UsageError(f"day is {day}, whose evidence was not removed")
    of_day = f"started_at >= TIMESTAMP '{day}' AND started_at < TIMESTAMP '{day + _A_DAY}'"
    with store.change() as change:
        con = change.con
        [(missing,)] = con.execute(f"""
            SELECT count(*) FROM (
                SELECT trace_id, span_id, started_at FROM ledger
                WHERE {of_day} AND trace_id <> ''
                UNION
                SELECT trace_id, span_id, started_at FROM archived_span WHERE {of_day}
            ) ANTI JOIN (FROM span WHERE {of_day}) USING (trace_id, span_id, started_at)
            """).fetchall()
        if missing:
            raise ActFailed(f"{missing} spans of {day} are not back yet: return its files first")
        con.execute(f"DELETE FROM archived_span WHERE {of_day}")
        con.execute(f"""
            DELETE FROM removed_span WHERE started_on = DATE '{day}' AND fingerprint IN (
                SELECT {FINGERPRINT} FROM span WHERE {of_day})""")
        for removal in removals:
            change.decide(
                kind=RETURN_ARCHIVED,
                content={"day": day.isoformat()},
                undoes=removal.decision_id,
                **who._asdict(),
            )
    return {}


_A_DAY: Final = timedelta(days=1)


def _day_of(arguments: Mapping[str, Any]) -> date:
    try:
        return date.fromisoformat(str(arguments.get("day")))
    except ValueError as error:
        raise UsageError(f"day is {arguments.get('day')!r}: write one like 2026-11-01") from error


def _hours_of(arguments: Mapping[str, Any]) -> int:
    hours = arguments.get("hours", 24)
    if not isinstance(hours, int) or not 0 < hours <= 24:
        raise UsageError(f"hours is {hours!r}: write a number from 1 to 24")
    return hours


def _leave_out_related(con: duckdb.DuckDBPyConnection) -> None:
    """Take out of `leaving` what shares a trace or a response with what stays, however far off."""
    con.execute(f"""
        CREATE TEMP TABLE staying AS
        SELECT trace_id, response_id
        FROM span ANTI JOIN leaving USING (trace_id, span_id, started_at)
        WHERE epoch_us(started_at) BETWEEN
            (SELECT epoch_us(min(started_at)) - {WINDOW} FROM leaving)
            AND (SELECT epoch_us(max(started_at)) + {WINDOW} FROM leaving)""")
    while True:
        related = """
            FROM leaving WHERE trace_id IN (SELECT trace_id FROM staying)
            OR response_id IN (SELECT response_id FROM staying WHERE response_id IS NOT NULL)"""
        [(more,)] = con.execute(f"SELECT count(*) {related}").fetchall()
        if not more:
            break
        con.execute(f"INSERT INTO staying SELECT trace_id, response_id {related}")
        con.execute(f"DELETE {related}")
    con.execute("DROP TABLE staying")


def _remember(con: duckdb.DuckDBPyConnection) -> None:
    """Keep of `leaving` what has to be known of it later."""
    con.execute(f"""
        INSERT INTO removed_span BY NAME
        SELECT CAST(started_at AS DATE) AS started_on, {FINGERPRINT} AS fingerprint FROM leaving""")
    con.execute("""
        INSERT INTO archived_span BY NAME
        SELECT trace_id, span_id, started_at, response_id
        FROM leaving JOIN profile USING (profile_id) WHERE NOT direct
        UNION ALL
        SELECT trace_id, span_id, started_at, response_id
        FROM leaving JOIN profile USING (profile_id)
        ANTI JOIN ledger USING (trace_id, span_id, started_at) WHERE direct""")
    con.execute(f"""
        INSERT INTO removed_calls BY NAME
        SELECT min(service) AS service, min(environment) AS environment, boot_id,
            min(call_sequence) AS first_sequence, max(call_sequence) AS last_sequence,
            min_by(started_at, call_sequence) AS first_at,
            max_by(started_at, call_sequence) AS last_at,
            coalesce(max({_DROPPED}), 0) AS dropped
        FROM (
            SELECT *, call_sequence - row_number() OVER (
                PARTITION BY boot_id ORDER BY call_sequence) AS run
            FROM (
                SELECT DISTINCT ON (boot_id, call_sequence) * FROM leaving
                WHERE boot_id IS NOT NULL AND call_sequence > 0
            )
        ) JOIN profile USING (profile_id)
        GROUP BY boot_id, run""")
