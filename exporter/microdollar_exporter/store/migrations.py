# SPDX-License-Identifier: Apache-2.0
"""The schema, as numbered steps that are each applied once and never edited."""

from collections.abc import Callable, Iterable

import duckdb

from microdollar_exporter.errors import StoreError

__all__ = ["MIGRATIONS", "migrate"]


def m001_evidence_ledger_and_prices(con: duckdb.DuckDBPyConnection) -> None:
    """The tables of version 0.1.

    There is no key and no index: a key makes inserts ten times slower at 20 million rows. Times
    are UTC. Ids are hexadecimal text and money is DECIMAL(18,6) microdollars, which every reader
    of Parquet takes.
    """
    con.execute("""
        CREATE TABLE spans (
            trace_id VARCHAR NOT NULL,
            span_id VARCHAR NOT NULL,
            parent_span_id VARCHAR,
            started_at TIMESTAMP NOT NULL,
            ended_at TIMESTAMP NOT NULL,
            received_at TIMESTAMP NOT NULL,
            service VARCHAR,
            environment VARCHAR,
            scope VARCHAR,
            scope_version VARCHAR,
            rule VARCHAR NOT NULL,
            status VARCHAR,
            boot_id VARCHAR,
            call_sequence BIGINT,
            attributes MAP(VARCHAR, VARCHAR) NOT NULL,
            usage MAP(VARCHAR, BIGINT) NOT NULL
        )""")
    con.execute("""
        CREATE TABLE ledger (
            entry_id VARCHAR NOT NULL,
            kind VARCHAR NOT NULL,
            recorded_at TIMESTAMP NOT NULL,
            started_at TIMESTAMP NOT NULL,
            trace_id VARCHAR NOT NULL,
            span_id VARCHAR NOT NULL,
            customer_id VARCHAR,
            user_id VARCHAR,
            tags MAP(VARCHAR, VARCHAR) NOT NULL,
            service VARCHAR,
            environment VARCHAR,
            provider VARCHAR,
            operation VARCHAR,
            request_model VARCHAR,
            response_model VARCHAR,
            response_id VARCHAR,
            service_tier VARCHAR,
            calls BIGINT NOT NULL,
            input_uncached BIGINT,
            cache_read BIGINT,
            cache_write_5m BIGINT,
            cache_write_1h BIGINT,
            cache_write BIGINT,
            input_tool BIGINT,
            output BIGINT,
            reasoning BIGINT,
            audio_in BIGINT,
            audio_out BIGINT,
            image_in BIGINT,
            image_out BIGINT,
            units MAP(VARCHAR, BIGINT) NOT NULL,
            usage_source VARCHAR NOT NULL,
            cost DECIMAL(18, 6),
            price_status VARCHAR NOT NULL,
            price_row VARCHAR,
            reason VARCHAR NOT NULL
        )""")
    con.execute("""
        CREATE TABLE price_book (
            book_id VARCHAR NOT NULL,
            source VARCHAR NOT NULL,
            source_version VARCHAR NOT NULL,
            imported_at TIMESTAMP NOT NULL,
            content VARCHAR NOT NULL
        )""")
    con.execute("""
        CREATE TABLE price_book_in_force (
            book_id VARCHAR NOT NULL,
            in_force_from TIMESTAMP NOT NULL
        )""")
    con.execute("""
        CREATE TABLE price_row (
            book_id VARCHAR NOT NULL,
            price_row VARCHAR NOT NULL,
            provider VARCHAR NOT NULL,
            model VARCHAR NOT NULL,
            context VARCHAR NOT NULL,
            effective_from TIMESTAMP,
            effective_to TIMESTAMP,
            time_of_day_from TIME,
            time_of_day_to TIME,
            over_input_tokens BIGINT NOT NULL,
            rates MAP(VARCHAR, DECIMAL(38, 18)) NOT NULL
        )""")


def m002_witnesses_and_reversals(con: duckdb.DuckDBPyConnection) -> None:
    """The spans of any emitter, entries that can be taken back, and an operator's decisions.

    What many spans share is kept once, in `profile`; the view `spans` shows them whole. `direct`
    marks a call seen on the wire to a provider's own host, with its usage: nothing can know
    better. `role` says what a span can stand for. Spans of other emitters that a file of version 1
    holds had lost most of their attributes, and stay unbooked.
    """
    con.execute("""
        CREATE TABLE profile (
            profile_id BIGINT NOT NULL,
            fingerprint VARCHAR NOT NULL,
            service VARCHAR,
            environment VARCHAR,
            scope VARCHAR,
            scope_version VARCHAR,
            kind VARCHAR,
            status VARCHAR,
            rule VARCHAR NOT NULL,
            role VARCHAR NOT NULL,
            direct BOOLEAN NOT NULL,
            attributes MAP(VARCHAR, VARCHAR) NOT NULL,
            detail_names VARCHAR[] NOT NULL,
            usage_names VARCHAR[] NOT NULL
        )""")
    con.execute("""
        CREATE TABLE span (
            trace_id VARCHAR NOT NULL,
            span_id VARCHAR NOT NULL,
            parent_span_id VARCHAR,
            started_at TIMESTAMP NOT NULL,
            ended_at TIMESTAMP NOT NULL,
            received_at TIMESTAMP NOT NULL,
            profile_id BIGINT NOT NULL,
            boot_id VARCHAR,
            call_sequence BIGINT,
            response_id VARCHAR,
            details VARCHAR[] NOT NULL,
            usage BIGINT[] NOT NULL
        )""")
    _carry_spans_over(con)
    con.execute("DROP TABLE spans")
    con.execute("""
        CREATE VIEW spans AS SELECT
            trace_id, span_id, parent_span_id, started_at, ended_at, received_at,
            service, environment, scope, scope_version, kind, status, rule, role, direct,
            boot_id, call_sequence, response_id, attributes,
            map(detail_names, details) AS details,
            map(usage_names, usage) AS usage
        FROM span JOIN profile USING (profile_id)""")
    con.execute("""
        CREATE TABLE ledger_2 AS SELECT
            entry_id, kind, recorded_at, started_at, trace_id, span_id,
            row_number() OVER (
                PARTITION BY trace_id, span_id, started_at ORDER BY number
            ) - 1 AS position,
            CAST(0 AS BIGINT) AS revision,
            * EXCLUDE (entry_id, kind, recorded_at, started_at, trace_id, span_id,
                cost, price_status, price_row, reason, book_id, in_force_from, number),
            'microdollar/1' AS rule,
            cost, price_status, price_row,
            book_id AS price_book,
            CAST(NULL AS VARCHAR) AS reverses,
            CAST(NULL AS VARCHAR) AS decision,
            reason
        FROM (SELECT *, rowid AS number FROM ledger) ASOF LEFT JOIN price_book_in_force
            ON recorded_at >= in_force_from
        ORDER BY number""")
    con.execute("DROP TABLE ledger")
    con.execute("ALTER TABLE ledger_2 RENAME TO ledger")
    _require(con, "ledger", _ALWAYS_SAID)
    con.execute("""
        CREATE TABLE decision (
            decision_id VARCHAR NOT NULL,
            kind VARCHAR NOT NULL,
            made_at TIMESTAMP NOT NULL,
            made_by VARCHAR NOT NULL,
            reason VARCHAR NOT NULL,
            content VARCHAR NOT NULL,
            undoes VARCHAR
        )""")


def _carry_spans_over(con: duckdb.DuckDBPyConnection) -> None:
    """The spans of version 1, divided into what they share and what they do not."""
    con.execute("""
        CREATE TEMP TABLE old AS SELECT
            *,
            list_filter(map_keys(attributes), lambda name: name IN (
                'microdollar.customer.id', 'microdollar.user.id', 'unread.usage',
                'gen_ai.response.time_to_first_chunk', 'microdollar.usage.additional'
            )) AS detail_names,
            map_keys(usage) AS usage_names,
            map_from_entries(list_filter(map_entries(attributes), lambda entry:
                entry.key <> 'gen_ai.response.id' AND NOT list_contains([
                'microdollar.customer.id', 'microdollar.user.id', 'unread.usage',
                'gen_ai.response.time_to_first_chunk', 'microdollar.usage.additional'
            ], entry.key))) AS shared,
            dense_rank() OVER (ORDER BY service, environment, scope, scope_version, rule, status,
                map_entries(shared), detail_names, usage_names) AS profile_id
        FROM spans""")
    con.execute("""
        INSERT INTO profile BY NAME SELECT DISTINCT ON (profile_id)
            profile_id, 'version 1, ' || profile_id AS fingerprint,
            service, environment, scope, scope_version, status, rule,
            if(rule = 'microdollar/1', 'call', 'other') AS role,
            rule = 'microdollar/1' AND coalesce(
                shared['microdollar.usage.source'] IN ('provider', 'none'), false) AS direct,
            shared AS attributes, detail_names, usage_names
        FROM old""")
    con.execute("""
        INSERT INTO span BY NAME SELECT
            trace_id, span_id, parent_span_id, started_at, ended_at, received_at, profile_id,
            boot_id, call_sequence, attributes['gen_ai.response.id'] AS response_id,
            list_transform(detail_names, lambda name: attributes[name]) AS details,
            map_values(usage) AS usage
        FROM old ORDER BY started_at""")
    con.execute("DROP TABLE old")


def m003_removed_evidence(con: duckdb.DuckDBPyConnection) -> None:
    """What stays of evidence that was erased, or removed for its age: nothing of its content.

    `removed_span` has a hash of what each erased span was known by, so that it is not taken for a
    new one when it is sent again. `removed_calls` has the numbers of removed calls, run by run, so
    that they are not taken for missing ones.
    """
    con.execute("""
        CREATE TABLE removed_span (
            started_on DATE NOT NULL,
            fingerprint UBIGINT NOT NULL
        )""")
    con.execute("""
        CREATE TABLE removed_calls (
            service VARCHAR,
            environment VARCHAR,
            boot_id VARCHAR NOT NULL,
            first_sequence BIGINT NOT NULL,
            last_sequence BIGINT NOT NULL,
            first_at TIMESTAMP NOT NULL,
            last_at TIMESTAMP NOT NULL,
            dropped BIGINT NOT NULL
        )""")


def m004_archived_evidence(con: duckdb.DuckDBPyConnection) -> None:
    """Which evidence lies sealed in files outside, part by part, and what that leaves undecided.

    A part holds the spans of a day that were received after the one moment and until the other.
    `archived_span` has, of what lies there only, the spans that others may be about the same call
    as; `held_span` the spans that came since and cannot be decided on without these.
    """
    con.execute("""
        CREATE TABLE archive_part (
            day DATE NOT NULL,
            file VARCHAR NOT NULL,
            folder VARCHAR NOT NULL,
            rows BIGINT NOT NULL,
            bytes BIGINT NOT NULL,
            sha256 VARCHAR NOT NULL,
            received_after TIMESTAMP,
            received_until TIMESTAMP NOT NULL,
            sealed_at TIMESTAMP NOT NULL
        )""")
    con.execute("""
        CREATE TABLE archived_span (
            trace_id VARCHAR NOT NULL,
            span_id VARCHAR NOT NULL,
            started_at TIMESTAMP NOT NULL,
            response_id VARCHAR
        )""")
    con.execute("""
        CREATE TABLE held_span (
            trace_id VARCHAR NOT NULL,
            span_id VARCHAR NOT NULL,
            parent_span_id VARCHAR,
            started_at TIMESTAMP NOT NULL,
            ended_at TIMESTAMP NOT NULL,
            received_at TIMESTAMP NOT NULL,
            profile_id BIGINT NOT NULL,
            boot_id VARCHAR,
            call_sequence BIGINT,
            response_id VARCHAR,
            details VARCHAR[] NOT NULL,
            usage BIGINT[] NOT NULL
        )""")


def m005_list_cost_and_layers(con: duckdb.DuckDBPyConnection) -> None:
    """What a call would cost before an operator's adjustments, and what a price could not say.

    `list_cost` is signed as `cost` is; before there were adjustments both were the same.
    `price_note` says why an entry is not `priced`; in earlier entries `reason` says it.

    In `price_row`, `layer` says which override made a row, none for a row of the source. A row
    with a `base_row` has the rates of that one; its multipliers apply to what these come to, the
    one to tokens and the other to units. `weekdays` are those of the UTC day on which a row with
    a time of day holds; NULL is all of them.
    """
    con.execute("""
        CREATE TABLE ledger_5 AS SELECT
            * EXCLUDE (price_status, price_row, price_book, reverses, decision, reason),
            cost AS list_cost,
            price_status,
            CAST(NULL AS VARCHAR) AS price_note,
            price_row, price_book, reverses, decision, reason
        FROM ledger""")
    con.execute("DROP TABLE ledger")
    con.execute("ALTER TABLE ledger_5 RENAME TO ledger")
    _require(con, "ledger", _ALWAYS_SAID)
    for column in (
        *("layer VARCHAR", "base_row VARCHAR", "weekdays VARCHAR", "reason VARCHAR"),
        *("multiplier DECIMAL(38, 18)", "unit_multiplier DECIMAL(38, 18)"),
    ):
        con.execute(f"ALTER TABLE price_row ADD COLUMN {column}")


def m006_who_assigned(con: duckdb.DuckDBPyConnection) -> None:
    """By which decision a call is its customer's, apart from the one that called for the entry.

    Until then the only decisions that called for the entries of calls were such.
    """
    con.execute("ALTER TABLE ledger ADD COLUMN assigned_by VARCHAR")
    con.execute("""
        UPDATE ledger SET assigned_by = decision
        WHERE kind = 'usage' AND decision IS NOT NULL AND trace_id <> ''""")
    con.execute("""
        UPDATE ledger SET assigned_by = taken_back.decision FROM ledger AS taken_back
        WHERE ledger.reverses = taken_back.entry_id AND taken_back.decision IS NOT NULL""")


_ALWAYS_SAID = (
    *("entry_id", "kind", "recorded_at", "started_at", "trace_id", "span_id", "position"),
    *("revision", "tags", "calls", "units", "usage_source", "rule", "price_status", "reason"),
)
"""The columns of the ledger that are never NULL, since version 2."""


def _require(con: duckdb.DuckDBPyConnection, table: str, columns: Iterable[str]) -> None:
    for column in columns:
        con.execute(f"ALTER TABLE {table} ALTER {column} SET NOT NULL")


MIGRATIONS: tuple[Callable[[duckdb.DuckDBPyConnection], None], ...] = (
    m001_evidence_ledger_and_prices,
    m002_witnesses_and_reversals,
    m003_removed_evidence,
    m004_archived_evidence,
    m005_list_cost_and_layers,
    m006_who_assigned,
)


def migrate(con: duckdb.DuckDBPyConnection) -> None:
    """Bring an open database to the newest schema; each step is one transaction.

    Raises:
        StoreError: the file holds something else, or was written by a newer version.
    """
    tables = {name for (name,) in con.execute("SHOW TABLES").fetchall()}
    if tables and "schema_version" not in tables:
        raise StoreError(
            "the file is a DuckDB database of something else, and is left as it is: choose another "
            "file with --db"
        )
    con.execute("""
        CREATE TABLE IF NOT EXISTS schema_version (
            version INTEGER NOT NULL,
            name VARCHAR NOT NULL,
            applied_at TIMESTAMP NOT NULL
        )""")
    applied = "SELECT coalesce(max(version), 0) FROM schema_version"
    [(version,)] = con.execute(applied).fetchall()
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the file has schema version {version}, and this microdollar-exporter knows versions "
            f"up to {len(MIGRATIONS)}: upgrade microdollar-exporter"
        )
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        con.begin()
        try:
            step(con)
            con.execute(
                "INSERT INTO schema_version VALUES (?, ?, now() AT TIME ZONE 'UTC')",
                [number, step.__name__],
            )
            con.commit()
        except BaseException:
            con.rollback()
            raise
