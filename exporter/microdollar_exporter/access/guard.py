# SPDX-License-Identifier: Apache-2.0
"""The guard at the doors: from an `Authorization` header to what its sender may do."""

import hmac
import secrets

from microdollar_exporter.access.scopes import ADMIN, INGEST, METRICS, READ, Grant
from microdollar_exporter.access.tokens import TokenFile
from microdollar_exporter.errors import Unauthenticated

__all__ = ["Guard"]

_ANYONE = Grant("anyone", frozenset({INGEST, METRICS}))
_READER = Grant("reader", frozenset({READ, METRICS}))
_OPERATOR = Grant("operator", frozenset({ADMIN}))


class Guard:
    """Knows the tokens of the token file, and two of its own for the address cards.

    Without a token file anyone may send spans and read the counters; `serve` then listens on the
    loopback alone, or behind client certificates. Once there is a token file, everything wants a
    token, unless `insecure` leaves sending open by decision.
    """

    def __init__(self, tokens: TokenFile, *, insecure: bool = False) -> None:
        self._tokens = tokens
        self._insecure = insecure
        self.reader_token = secrets.token_urlsafe(32)
        self.operator_token = secrets.token_urlsafe(32)

    def check(self, authorization: str | None, scope: str) -> Grant:
        """What the sender of this header may do, which includes `scope`.

        Raises:
            Unauthenticated: the header holds no token that is known.
            Forbidden: its token lacks the scope.
            TokensUnreadable: the token file cannot be read.
        """
        if scope == INGEST and self._insecure:
            return _ANYONE
        if scope in _ANYONE.scopes and not self._tokens.in_force():
            return _ANYONE
        grant = self.grant(authorization)
        grant.require(scope)
        return grant

    def grant(self, authorization: str | None) -> Grant:
        """What the sender of this header may do, whatever that is.

        Raises:
            Unauthenticated: the header holds no token that is known.
            TokensUnreadable: the token file cannot be read.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send a token, as Authorization: Bearer TOKEN")
        given = token.encode("utf-8", "replace")
        for own, grant in ((self.reader_token, _READER), (self.operator_token, _OPERATOR)):
            if hmac.compare_digest(given, own.encode()):
                return grant
        return self._tokens.grant(token)
