# SPDX-License-Identifier: Apache-2.0
"""What many spans share, kept once in the file under a number."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields

import duckdb

from microdollar_exporter.evidence import Profile
from microdollar_exporter.store.batches import profiles_batch
from microdollar_exporter.store.registered import registered

__all__ = ["Profiles"]

_MAX_CACHED = 50_000


class Profiles:
    """Numbers profiles. What is cached was committed, so a failed transaction leaves no trace."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._committed: dict[Profile, int] = {}
        self._pending: dict[Profile, int] = {}

    def numbers(self, profiles: Iterable[Profile]) -> Mapping[Profile, int]:
        """The numbers of profiles, inserting those that the file does not know."""
        wanted = set(profiles)
        # What a transaction that failed had numbered was never recorded.
        self._pending = {}
        if wanted <= self._committed.keys():
            return self._committed
        unmet = {p: _fingerprint(p) for p in wanted if p not in self._committed}
        found = self._con.execute(
            """
            SELECT fingerprint, profile_id FROM profile WHERE list_contains(?, fingerprint)
            UNION ALL SELECT NULL, coalesce(max(profile_id), 0) FROM profile""",
            [list(set(unmet.values()))],
        ).fetchall()
        recorded = dict(found)
        last = recorded.pop(None)
        new: dict[Profile, tuple[int, str]] = {}
        for profile, fingerprint in unmet.items():
            if fingerprint not in recorded:
                last += 1
                recorded[fingerprint] = last
                new[profile] = last, fingerprint
        if new:
            with registered(self._con, "batch", profiles_batch(new)):
                self._con.execute("INSERT INTO profile BY NAME FROM batch")
        self._pending = {profile: recorded[print_] for profile, print_ in unmet.items()}
        return {**self._pending, **{p: self._committed[p] for p in wanted - unmet.keys()}}

    def commit(self) -> None:
        """Remember the numbers given since the last commit: they are on disk."""
        if len(self._committed) + len(self._pending) > _MAX_CACHED:
            self._committed.clear()
        self._committed.update(self._pending)
        self._pending = {}


def _fingerprint(profile: Profile) -> str:
    """A hash of all that a profile says."""
    said = [
        sorted(value.items()) if isinstance(value := getattr(profile, f.name), Mapping) else value
        for f in fields(profile)
    ]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()
