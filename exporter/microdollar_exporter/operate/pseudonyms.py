# SPDX-License-Identifier: Apache-2.0
"""Put keyed hashes in the place of whoever is named, before anything is stored.

The same name has the same pseudonym as long as the key is the same, so that reports group and
tables of users work as ever. Who has the key can compute the pseudonym of a name, and nobody can
turn it back. The key is in no ledger, and without it what is there is anonymous.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from microdollar_exporter.allow import WHOSE
from microdollar_exporter.batch import Batch
from microdollar_exporter.errors import UsageError
from microdollar_exporter.evidence import RESOURCE, Evidence, Profile
from microdollar_exporter.reduce import Reduced, Reducer
from microdollar_semconv import UNASSIGNED
from microdollar_semconv import attributes as md

__all__ = ["PseudonymReducer", "Pseudonyms"]

_PREFIX: Final = "p_"
_DIGITS: Final = 32
"""128 bits in hexadecimal."""
_SHORTEST_KEY: Final = 32
_MAX_REMEMBERED: Final = 50_000
_CHECK: Final = "microdollar pseudonyms"


class Pseudonyms:
    """Pseudonyms by one key: HMAC-SHA-256 of the name, cut to 128 bits.

    `check` is the pseudonym of a text that is no name: it tells two keys apart.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.of = lru_cache(_MAX_REMEMBERED)(self._of)
        self.check = self._of(_CHECK)

    @classmethod
    def read(cls, file: Path) -> Self:
        """With the key in a file; blanks and line breaks around it do not count.

        Raises:
            UsageError: it cannot be read, or is too short to be a secret.
        """
        try:
            key = file.read_bytes().strip()
        except OSError as error:
            raise UsageError(f"cannot read the key in {file}: {error.strerror}") from error
        if len(key) < _SHORTEST_KEY:
            raise UsageError(
                f"the key in {file} has {len(key)} characters: make one of {_SHORTEST_KEY} or more "
                f"with `openssl rand -hex 32 > {file}`"
            )
        return cls(key)

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._key,)

    def _of(self, name: str) -> str:
        """The pseudonym of a customer, a user or a session."""
        return _PREFIX + hmac.digest(self._key, name.encode(), "sha256").hex()[:_DIGITS]


class PseudonymReducer:
    """Reduces requests to evidence in which pseudonyms stand for whoever is named.

    `customer_keys` are the operator's attributes that name customers. For one thread at a time.
    """

    def __init__(self, pseudonyms: Pseudonyms, customer_keys: Iterable[str] = ()) -> None:
        chosen = tuple(customer_keys)
        self._reducer = Reducer(chosen)
        self._pseudonyms = pseudonyms
        of_span = (md.CUSTOMER_ID, md.USER_ID, *WHOSE)
        self._names = frozenset((*of_span, *(RESOURCE + name for name in of_span), *chosen))
        self._profiles: dict[Profile, Profile] = {}

    def reduce(self, body: bytes) -> Reduced:
        """As `Reducer.reduce`."""
        reduced = self._reducer.reduce(body)
        reduced.evidence = Batch.of([self._hide(item) for item in reduced.evidence])
        return reduced

    def _hide(self, item: Evidence) -> Evidence:
        profile = self._profiles.get(item.profile)
        if profile is None:
            if len(self._profiles) >= _MAX_REMEMBERED:
                self._profiles.clear()
            profile = replace(item.profile, attributes=self._hidden(item.profile.attributes))
            self._profiles[item.profile] = profile
        return item._replace(profile=profile, details=self._hidden(item.details))

    def _hidden(self, said: Mapping[str, str]) -> Mapping[str, str]:
        names = self._names
        if names.isdisjoint(said):
            return said
        return {
            name: self._pseudonyms.of(value) if name in names and value != UNASSIGNED else value
            for name, value in said.items()
        }
