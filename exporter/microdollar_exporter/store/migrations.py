# SPDX-License-Identifier: Apache-2.0
"""The schema, as numbered steps that are each applied once and never edited."""

from collections.abc import Callable

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


MIGRATIONS: tuple[Callable[[duckdb.DuckDBPyConnection], None], ...] = (
    m001_evidence_ledger_and_prices,
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
