# SPDX-License-Identifier: Apache-2.0
"""An operator's act is the same on a ledger at rest and on one that an exporter is writing."""

import asyncio
import json
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from microdollar_exporter.access.guard import Guard
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.ask.connect import Card, Role
from microdollar_exporter.ask.http import Queries, ask_routes
from microdollar_exporter.errors import (
    ActFailed,
    MicrodollarError,
    QueryFailed,
    StoreLocked,
    StoreUnavailable,
    UsageError,
)
from microdollar_exporter.listen import LOOPBACK, HttpDoor, bind
from microdollar_exporter.operate import Act, door
from microdollar_exporter.operate.door import act_routes, perform
from microdollar_exporter.store import Store, Writer
from tests.exporter.ledgers import entries


def count(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Says how many spans there are, what it was told, and where it ran."""
    [(spans,)] = store.cursor().execute("SELECT count(*) FROM spans").fetchall()
    return {"spans": spans, "told": dict(arguments), "thread": threading.current_thread().name}


def fail(_: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Raises what it is told to."""
    known = {
        "usage": UsageError("customer is 5: name one"),
        "query": QueryFailed("a table is not there"),
        "store": StoreUnavailable("the disk is full"),
        "fault": KeyError("secret-customer"),
    }
    raise known[arguments["how"]]


ACTS: Mapping[str, Act] = {"count": count, "fail": fail}


@pytest.fixture(autouse=True)
def acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two acts, also for who acts on the file itself."""
    monkeypatch.setattr(door, "ACTS", ACTS)


class Serving:
    """A writer and its doors for questions and acts, in a thread of this process."""

    def __init__(self, db: Path) -> None:
        self.guard = Guard(TokenFile.beside(db))
        self.address = LOOPBACK
        self._store = Store(db)
        self._writer = Writer(self._store, entries)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=[self._run(ready)]
        )
        self._thread.start()
        ready.wait(30)
        for role, token in (
            (Role.OPERATOR, self.guard.operator_token),
            (Role.READER, self.guard.reader_token),
        ):
            Card(self.address.host, self.address.port, token).write(db, role)

    async def _run(self, ready: threading.Event) -> None:
        queries = Queries(self._store.cursor)
        routes = [
            *ask_routes(queries, self.guard, dict, Path("none.markup.toml")),
            *act_routes(self._writer.run, self.guard, ACTS),
        ]
        with bind("--http", LOOPBACK) as listener:
            doors = HttpDoor(listener, routes, 5)
            self.address = doors.address
            ready.set()
            await self._stop.wait()
            await doors.stop()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
        self._writer.close()
        self._store.close()


@contextmanager
def serving(db: Path) -> Iterator[Serving]:
    """While an exporter holds the ledger."""
    running = Serving(db)
    try:
        yield running
    finally:
        running.close()
        for role in Role:
            Card.path(db, role).unlink()


@pytest.fixture(params=["file", "exporter"])
def db(request: pytest.FixtureRequest, ledger: Path) -> Iterator[Path]:
    """A ledger at rest, and one in the hands of an exporter."""
    if request.param == "file":
        yield ledger
    else:
        with serving(ledger):
            yield ledger


def test_an_act_is_done_and_answers_either_way(db: Path) -> None:
    """With arguments and an answer in JSON; in an exporter by the one thread that writes."""
    done = perform(db, "count", {"customer": "acme", "by": ["day", None]})
    assert done.pop("thread") == (
        "microdollar-writer" if Card.path(db).exists() else threading.current_thread().name
    )
    assert done == {"spans": 7, "told": {"customer": "acme", "by": ["day", None]}}


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("usage", UsageError, "customer is 5: name one"),
        ("query", MicrodollarError, "a table is not there"),
        ("store", StoreUnavailable, "the disk is full"),
    ],
)
def test_an_act_that_cannot_be_done_says_why_either_way(
    db: Path, how: str, kind: type[Exception], message: str
) -> None:
    """A wrong argument is told apart, and so is what may pass."""
    with pytest.raises(kind, match=message):
        perform(db, "fail", {"how": how})


def test_an_act_that_is_not_known_is_said_with_those_that_are(db: Path) -> None:
    """Either way."""
    with pytest.raises(UsageError, match="there is no act 'erase all': choose from count, fail"):
        perform(db, "erase all", {})
    for odd in ("../sql", ""):
        with pytest.raises(UsageError, match=f"no act '{odd}'"):
            perform(db, odd, {})


def test_a_fault_in_an_act_is_told_without_its_words(ledger: Path) -> None:
    """They could quote what is in the ledger."""
    with serving(ledger), pytest.raises(ActFailed, match="a fault in the exporter") as caught:
        perform(ledger, "fail", {"how": "fault"})
    assert "secret-customer" not in str(caught.value)


@pytest.mark.parametrize(
    ("ledgers", "readers", "operators"),
    [
        (0o600, 0o600, 0o600),
        (0o640, 0o640, 0o600),
        (0o664, 0o664, 0o640),
        (0o644, 0o644, 0o600),
        (0o666, 0o666, 0o644),
    ],
)
def test_who_may_read_the_ledger_may_ask_and_who_may_write_it_may_act(
    ledger: Path, ledgers: int, readers: int, operators: int
) -> None:
    """By the permissions of the cards, as if each opened the file."""
    ledger.chmod(ledgers)
    with serving(ledger) as running:
        for role, mode in ((Role.READER, readers), (Role.OPERATOR, operators)):
            assert stat.S_IMODE(Card.path(ledger, role).stat().st_mode) == mode
        reader = Card.read(ledger)
        assert reader is not None
        assert reader.token == running.guard.reader_token
        reader.write(ledger, Role.OPERATOR)
        with pytest.raises(ActFailed, match="lacks the scope admin"):
            perform(ledger, "count", {})


def test_a_card_that_outlived_its_exporter_is_passed_over(ledger: Path) -> None:
    """After a kill the act is done on the file itself."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    Card("127.0.0.1", port, "token").write(ledger, Role.OPERATOR)
    assert perform(ledger, "count", {})["spans"] == 7


def test_a_card_that_leads_to_another_exporter_is_passed_over(ledger: Path, tmp_path: Path) -> None:
    """It has another token: nothing is done to somebody else's ledger."""
    other = tmp_path / "other.duckdb"
    Store(other).close()
    with serving(other) as running:
        Card(running.address.host, running.address.port, "token").write(ledger, Role.OPERATOR)
        assert perform(ledger, "count", {})["spans"] == 7


def test_an_answer_that_breaks_off_is_not_asked_for_again(ledger: Path) -> None:
    """The act may have been done, and must not be done twice."""
    asked: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            asked.append(connection.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        Card("127.0.0.1", listener.getsockname()[1], "token").write(ledger, Role.OPERATOR)
        with pytest.raises(ActFailed, match="may have acted: look before you repeat it"):
            perform(ledger, "count", {})
        thread.join(30)
    assert [request.split(b" HTTP")[0] for request in asked] == [
        b"GET /v1/status",
        b"POST /v1/acts/count",
    ]


def test_a_ledger_that_another_process_holds_is_waited_for_and_then_said(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that is starting has no card yet."""
    tries: list[Path] = []

    def locked(path: Path, *_: str) -> dict[str, Any]:
        tries.append(path)
        raise StoreLocked("it is open in process 1")

    monkeypatch.setattr(door, "_do_on_file", locked)
    monkeypatch.setattr(door, "_PATIENCE_SECONDS", 0.3)
    with pytest.raises(StoreLocked):
        perform(ledger, "count", {})
    assert len(tries) > 1


@pytest.mark.parametrize(
    ("scope", "body", "status"),
    [
        (None, "{}", 401),
        ("read", "{}", 403),
        ("admin", "{}", 200),
        ("admin", "[]", 400),
        ("admin", "{", 400),
        ("admin", "", 400),
        ("admin", '"' + "x" * (16 << 20) + '"', 413),
    ],
)
def test_the_door_wants_a_token_for_it_and_an_object(
    ledger: Path, scope: str | None, body: str, status: int
) -> None:
    """Whoever may act may do everything to a ledger."""
    with serving(ledger) as running:
        token = TokenFile.beside(ledger).create([scope])[0] if scope else ""
        connection = Card(running.address.host, running.address.port, token).dial()
        headers = {"authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/acts/count", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
    assert response.status == status
    assert ("error" in answer) == (status != 200)
