# SPDX-License-Identifier: Apache-2.0
"""Reach a ledger from any process: through the exporter that serves it, else in its file.

DuckDB lets no second process open a file that is being written. A running exporter therefore
leaves address cards beside the file and answers over HTTP, queries as an Arrow stream. Who may read
the ledger may read `meter.duckdb.server` and ask; who may write it may read `meter.duckdb.operator`
and act on it.
"""

import http
import http.client
import json
import stat
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, Self

import duckdb
import pyarrow as pa

from microdollar_exporter.ask.readonly import check_select
from microdollar_exporter.errors import (
    QueryFailed,
    QueryRefused,
    StoreError,
    StoreLocked,
    UsageError,
)
from microdollar_exporter.store.file import open_file

__all__ = ["Answers", "Card", "Connection", "NotServed", "Role", "connect", "ledger_file"]

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 75.0
"""An exporter interrupts a query after a minute; one that says nothing for longer is stuck."""
_PATIENCE_SECONDS = 5.0
_TURN_SECONDS = 0.1


class Role(Enum):
    """What a card is for, as it stands in the card's name."""

    READER = "server"
    """Asking."""
    OPERATOR = "operator"
    """Asking and acting."""


@dataclass(frozen=True, slots=True)
class Card:
    """How to reach a running exporter: where it listens and the token it expects."""

    host: str
    port: int
    token: str

    @staticmethod
    def path(db: Path, role: Role = Role.READER) -> Path:
        """Where the card of a ledger file lies."""
        return db.with_name(f"{db.name}.{role.value}")

    def write(self, db: Path, role: Role = Role.READER) -> None:
        """Leave the card beside the file, for those whom the file's permissions name.

        Raises:
            StoreError: it cannot be written there.
        """
        path = self.path(db, role)
        try:
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(json.dumps(asdict(self)), "utf-8")
            mode = stat.S_IMODE(db.stat().st_mode)
            if role is Role.OPERATOR:
                # Whoever may write the ledger may read this.
                mode = 0o600 | (mode & 0o022) << 1
            path.chmod(mode)
        except OSError as error:
            raise StoreError(
                f"cannot write {path}, where commands find the exporter: {error}"
            ) from error

    @classmethod
    def read(cls, db: Path, role: Role = Role.READER) -> Self | None:
        """The card of a ledger file, or None when no exporter serves it.

        Raises:
            StoreError: this user may not read it.
        """
        path = cls.path(db, role)
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except PermissionError as error:
            raise StoreError(
                f"an exporter serves this ledger, and this user may not read {path}, which says "
                "how to ask it: it goes by the permissions that the ledger had at the start"
            ) from error
        except (FileNotFoundError, ValueError, TypeError):
            return None

    @property
    def headers(self) -> dict[str, str]:
        """What every question to the exporter carries."""
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}

    def dial(self) -> http.client.HTTPConnection:
        """An open connection to the exporter, over which an answer may take its time.

        Raises:
            NotServed: nobody is there.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise NotServed from error
        connection.sock.settimeout(None)
        return connection


class Answers(Protocol):
    """What answers SQL: a `Connection`, or an exporter within its own process."""

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT as an Arrow table."""


class Connection:
    """A read-only view of a ledger.

    Nothing is held open between queries: an exporter may start, stop and start again meanwhile.
    """

    def __init__(self, db: Path) -> None:
        self._db = db

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT as an Arrow table; call `.to_pandas()` on it for a DataFrame.

        The tables are `ledger` and `spans`, and `price_book` and `price_row`; times are UTC and
        `cost` is microdollars. `?` in the query stands for the next parameter.

        Raises:
            QueryRefused: it is not one plain SELECT.
            QueryFailed: DuckDB could not answer it.
            StoreError: the ledger cannot be reached; the message says why.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            card = Card.read(self._db)
            if card is not None:
                try:
                    return _ask_exporter(card, query, parameters)
                except NotServed:
                    pass
            try:
                return _ask_file(self._db, query, parameters)
            except StoreLocked:
                # An exporter that is starting has the file and no card yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_TURN_SECONDS)


def connect(db: str | Path = "meter.duckdb") -> Connection:
    """Connect to the ledger in `db`, whether or not an exporter is writing it just now.

    Raises:
        UsageError: there is no such file.
    """
    return Connection(ledger_file(db))


def ledger_file(db: str | Path) -> Path:
    """The ledger's file by its own name, beside which its card lies.

    Raises:
        UsageError: there is no such file.
    """
    path = Path(db).resolve()
    if not path.exists():
        raise UsageError(f"there is no ledger {db}: name one with --db, or start one with serve")
    return path


class NotServed(Exception):
    """The card's exporter is not there; a card outlives an exporter that was killed."""


def _ask_exporter(card: Card, sql: str, parameters: Sequence[Any]) -> pa.Table:
    connection = card.dial()
    connection.sock.settimeout(_ANSWER_SECONDS)
    try:
        asked = json.dumps({"sql": sql, "parameters": list(parameters)})
        connection.request("POST", "/v1/sql", asked, card.headers)
        response = connection.getresponse()
    except TimeoutError as error:
        connection.close()
        raise QueryFailed(
            f"the exporter on {card.host}:{card.port} has not answered within "
            f"{_ANSWER_SECONDS:.0f} s: see whether it is stopped or overloaded, and restart it"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise NotServed from error
    try:
        if response.status == http.HTTPStatus.OK:
            with pa.ipc.open_stream(response) as reader:
                return reader.read_all()
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            raise NotServed
        message = json.loads(response.read())["error"]
    except (OSError, ValueError, KeyError, http.client.HTTPException, pa.ArrowException) as error:
        raise QueryFailed(f"the exporter broke off its answer: {error}") from error
    finally:
        connection.close()
    if response.status == http.HTTPStatus.FORBIDDEN:
        raise QueryRefused(message)
    raise QueryFailed(message)


def _ask_file(db: Path, sql: str, parameters: Sequence[Any]) -> pa.Table:
    con = open_file(db, read_only=True)
    try:
        tables = {name for (name,) in con.execute("SHOW TABLES").fetchall()}
        if "schema_version" not in tables:
            raise StoreError(f"{db} is a DuckDB file without a ledger: name another with --db")
        check_select(con, sql)
        return con.sql(sql, params=list(parameters)).to_arrow_table()
    except duckdb.Error as error:
        raise QueryFailed(str(error)) from error
    finally:
        con.close()
