# SPDX-License-Identifier: Apache-2.0
"""Reach a ledger from any process: through the exporter that serves it, else in its file.

DuckDB lets no second process open a file that is being written. A running exporter therefore
leaves an address card beside the file (`meter.duckdb.server`, readable by its owner only), and
answers queries over HTTP as an Arrow stream.
"""

import http.client
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import duckdb
import pyarrow as pa

from microdollar_exporter.ask.readonly import check_select
from microdollar_exporter.errors import QueryFailed, QueryRefused, StoreError, UsageError
from microdollar_exporter.store.store import open_file

__all__ = ["Card", "Connection", "connect"]

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Card:
    """How to ask a running exporter: where it listens and the token it expects."""

    host: str
    port: int
    token: str

    @staticmethod
    def path(db: Path) -> Path:
        """Where the card of a ledger file lies."""
        return db.with_name(db.name + ".server")

    def write(self, db: Path) -> None:
        """Leave the card beside the file, readable by its owner only."""
        path = self.path(db)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, db: Path) -> Self | None:
        """The card of a ledger file, or None when no exporter serves it."""
        try:
            return cls(**json.loads(cls.path(db).read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


class _Source(Protocol):
    def query(self, sql: str, parameters: Sequence[Any]) -> pa.Table: ...

    def close(self) -> None: ...


class Connection:
    """A read-only view of a ledger. Use it as a context manager, or call `close`."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer one SELECT as an Arrow table; call `.to_pandas()` on it for a DataFrame.

        The tables are `ledger` and `spans`, and `price_book` and `price_row`; times are UTC and
        `cost` is microdollars. `?` in the query stands for the next parameter.

        Raises:
            QueryRefused: it is not one plain SELECT.
            QueryFailed: DuckDB could not answer it.
        """
        return self._source.query(query, parameters)

    def close(self) -> None:
        """Let the file or the exporter go."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(db: str | Path = "meter.duckdb") -> Connection:
    """Connect to the ledger in `db`, whether or not an exporter is writing it just now.

    Raises:
        UsageError: there is no such file.
        StoreLocked: a process other than an exporter holds the file.
        StoreError: the file is not a ledger.
    """
    path = Path(db)
    card = Card.read(path)
    if card is not None:
        served = _Served(card)
        if served.answers():
            return Connection(served)
    if not path.exists():
        raise UsageError(f"there is no ledger {path}: name one with --db, or start one with serve")
    return Connection(_File(path))


class _File:
    """The file itself, when nothing serves it."""

    def __init__(self, path: Path) -> None:
        self._con = open_file(path, read_only=True)
        tables = {name for (name,) in self._con.execute("SHOW TABLES").fetchall()}
        if "ledger" not in tables:
            self._con.close()
            raise StoreError(f"{path} is a DuckDB file without a ledger: name another with --db")

    def query(self, sql: str, parameters: Sequence[Any]) -> pa.Table:
        check_select(self._con, sql)
        try:
            return self._con.sql(sql, params=list(parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise QueryFailed(str(error)) from error

    def close(self) -> None:
        self._con.close()


class _Served:
    """The exporter that is writing the file."""

    def __init__(self, card: Card) -> None:
        self._card = card

    def answers(self) -> bool:
        """Whether the exporter is there; a card outlives an exporter that was killed."""
        connection = http.client.HTTPConnection(
            self._card.host, self._card.port, timeout=_CONNECT_SECONDS
        )
        try:
            connection.request("GET", "/v1/status", headers=self._headers())
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def query(self, sql: str, parameters: Sequence[Any]) -> pa.Table:
        connection = http.client.HTTPConnection(self._card.host, self._card.port)
        try:
            body = json.dumps({"sql": sql, "parameters": list(parameters)})
            connection.request("POST", "/v1/sql", body, self._headers())
            response = connection.getresponse()
            if response.status == http.HTTPStatus.OK:
                with pa.ipc.open_stream(response) as reader:
                    return reader.read_all()
            message = json.loads(response.read())["error"]
            if response.status == http.HTTPStatus.FORBIDDEN:
                raise QueryRefused(message)
            raise QueryFailed(message)
        except (OSError, http.client.HTTPException, pa.ArrowException) as error:
            raise QueryFailed(f"the exporter broke off its answer: {error}") from error
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing is held open between queries."""

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._card.token}", "content-type": "application/json"}
