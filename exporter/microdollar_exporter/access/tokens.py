# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens, kept as hashes in a file of their own.

A token is 256 random bits, so nobody can guess one or search for the hash of one, and a plain
SHA-256 keeps it as safe as a slow hash would; slow hashes are for secrets that people choose.

The file is JSON beside the ledger (`meter.duckdb.tokens`) and not a table in it: a token is made
and revoked while an exporter holds the ledger and while none does, one file can serve several
exporters or come from a secret store, and no backup of a ledger carries who may enter. It is
looked at on every request, so that a revoked token is refused from the next one on.
"""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from microdollar_exporter.access.scopes import Grant, check_scope
from microdollar_exporter.errors import TokensUnreadable, Unauthenticated, UsageError

__all__ = ["Token", "TokenFile", "expiry"]

log = logging.getLogger(__name__)

_PREFIX = "mdt_"
"""Lets people and secret scanners see what they have in front of them."""
_SECRET_BYTES = 32
_VERSION = 1

_Look = tuple[int, int, int] | str | None
"""What a file looks like from outside: its version; or why there is none, if there ever was one."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: whoever reads it cannot use it.

    `sha256` is of the token's text, in hexadecimal. Times are UTC; `expires_at` None is never.
    """

    id: str
    name: str | None
    sha256: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


class TokenFile:
    """The tokens in a file, as they are at each question."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._look: _Look = None
        self._found: tuple[Token, ...] | str = ()

    @classmethod
    def beside(cls, db: Path) -> Self:
        """The token file of a ledger, unless another is named."""
        return cls(db.with_name(db.name + ".tokens"))

    def in_force(self) -> bool:
        """Whether there is a token file, or was one: taking it away opens no door."""
        self._refresh()
        return self._look is not None

    def grant(self, secret: str) -> Grant:
        """What the holder of a token may do.

        Raises:
            Unauthenticated: it is not known, or its time is over.
            TokensUnreadable: the file cannot be read.
        """
        digest = _sha256(secret)
        found = None
        # To the end, and each comparison in constant time: how long it took tells nothing.
        for token in self.read():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is None:
            raise Unauthenticated("this token is not known, or was revoked")
        if found.expired(datetime.now(UTC)):
            raise Unauthenticated(f"the time of the token {found.id} is over: ask for another")
        return Grant(found.id, frozenset(found.scopes))

    def read(self) -> Sequence[Token]:
        """The tokens; none when there never was a file.

        Raises:
            TokensUnreadable: it is not a token file, or is gone, or others may write it.
        """
        self._refresh()
        if isinstance(self._found, str):
            raise TokensUnreadable(f"cannot use the token file {self.path}: {self._found}")
        return self._found

    def create(
        self, scopes: Sequence[str], *, name: str | None = None, expires_at: datetime | None = None
    ) -> tuple[str, Token]:
        """Make a token; the text is given here, once, and is nowhere else.

        Raises:
            UsageError: a scope or the name is not possible.
            TokensUnreadable: the file cannot be read or written.
        """
        if not scopes:
            raise UsageError("a token without a scope may do nothing: name one with --scope")
        secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        token = Token(
            id=secrets.token_hex(4),
            name=name,
            sha256=_sha256(secret),
            scopes=tuple(dict.fromkeys(map(check_scope, scopes))),
            created_at=datetime.now(UTC).replace(microsecond=0),
            expires_at=expires_at,
        )
        with self._changing() as tokens:
            if name is not None and any(name in (other.name, other.id) for other in tokens):
                raise UsageError(
                    f"there is a token called {name!r}: revoke it, or take another name"
                )
            tokens.append(token)
        return secret, token

    def revoke(self, name: str) -> Token:
        """Take away the token of this id or name.

        Raises:
            UsageError: there is none.
            TokensUnreadable: the file cannot be read or written.
        """
        with self._changing() as tokens:
            for token in tokens:
                if name in (token.id, token.name):
                    tokens.remove(token)
                    return token
            raise UsageError(f"no token is called {name!r}: `microdollar token list` names them")

    def _refresh(self) -> None:
        look = self._glance()
        if look != self._look:
            self._look = look
            self._found = look if isinstance(look, str) else self._load()
            if isinstance(self._found, str):
                log.error("nobody is let in: the token file %s: %s", self.path, self._found)

    def _glance(self) -> _Look:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None if self._look is None else "it is gone"
        except OSError as error:
            return str(error.strerror)
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others may write it: chmod 600"
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> tuple[Token, ...] | str:
        try:
            document = json.loads(self.path.read_text("utf-8"))
            if document["version"] != _VERSION:
                return f"it has version {document['version']!r}, and {_VERSION} is read"
            return tuple(_token(item) for item in document["tokens"])
        except OSError as error:
            return str(error.strerror)
        except (ValueError, KeyError, TypeError, AttributeError, UsageError):
            return "it is not what `microdollar token` writes"

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """The tokens to change, one command at a time: two could undo a revocation."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise TokensUnreadable(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            tokens = list(self.read())
            yield tokens
            self._write(tokens)
        finally:
            os.close(folder)

    def _write(self, tokens: Sequence[Token]) -> None:
        document = {"version": _VERSION, "tokens": [_plain(token) for token in tokens]}
        draft = self.path.with_name(self.path.name + ".new")
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise TokensUnreadable(f"cannot write {self.path}: {error.strerror}") from error


def expiry(text: str) -> datetime:
    """The end of a token's time: a day, a UTC time, or `90d` for so many days from now.

    Raises:
        UsageError: it is none of these, or past.
    """
    days = text.removesuffix("d")
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        end = now + timedelta(days=int(days)) if days != text else _instant(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--expires is {text!r}: write a day like 2027-01-01, a UTC time, or 90d"
        ) from error
    if end <= now:
        raise UsageError(f"--expires is {text!r}, which is past")
    return end


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _plain(token: Token) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(token).items()
    }


def _token(item: dict[str, Any]) -> Token:
    expires_at = item["expires_at"]
    return Token(
        id=str(item["id"]),
        name=item["name"],
        sha256=str(item["sha256"]),
        scopes=tuple(check_scope(str(scope)) for scope in item["scopes"]),
        created_at=_instant(item["created_at"]),
        expires_at=None if expires_at is None else _instant(expires_at),
    )


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
