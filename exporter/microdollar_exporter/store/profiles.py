# SPDX-License-Identifier: Apache-2.0
"""What many spans share, kept once in the file under a number."""

import hashlib
import json
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields

import duckdb

from microdollar_exporter.evidence import Profile
from microdollar_exporter.store.batches import profiles_batch
from microdollar_exporter.store.registered import registered

__all__ = ["Profiles", "read_profiles"]

_MAX_CACHED = 50_000


class Profiles:
    """Numbers profiles. What is cached was committed, so a failed transaction leaves no trace."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._committed: dict[Profile, int] = {}
        self._pending: dict[Profile, int] = {}
        self._read: dict[int, Profile] = {}
        self._read_now: dict[int, Profile] = {}

    def numbers(self, profiles: Iterable[Profile]) -> Mapping[Profile, int]:
        """The numbers of profiles, inserting those that the file does not know."""
        wanted = set(profiles)
        # What a transaction that failed had numbered was never recorded.
        self._pending, self._read_now = {}, {}
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

    def by_number(self, numbers: Collection[int]) -> Mapping[int, Profile]:
        """The profiles with these numbers, among others; those of this transaction as well."""
        unread = set(numbers).difference(self._read, self._read_now)
        if unread:
            self._read_now |= read_profiles(self._con, unread)
        return ChainMap(self._read_now, self._read)

    def commit(self) -> None:
        """Remember the numbers given or read since the last commit: they are on disk."""
        if len(self._committed) + len(self._pending) > _MAX_CACHED:
            self._committed.clear()
        if len(self._read) + len(self._read_now) > _MAX_CACHED:
            self._read.clear()
        self._committed.update(self._pending)
        self._read.update(self._read_now)
        self._pending, self._read_now = {}, {}


_FIELDS = tuple(field.name for field in fields(Profile))


def read_profiles(
    con: duckdb.DuckDBPyConnection, numbers: Collection[int] | None = None
) -> dict[int, Profile]:
    """The profiles of a file by their numbers; None: all."""
    asked = "true" if numbers is None else "profile_id IN (SELECT unnest(?))"
    rows = con.execute(
        f"SELECT profile_id, {', '.join(_FIELDS)} FROM profile WHERE {asked}",  # noqa: S608 - our words
        [] if numbers is None else [list(numbers)],
    ).fetchall()
    profiles = {}
    for number, *values in rows:
        said = dict(zip(_FIELDS, values, strict=True))
        for name in ("detail_names", "usage_names"):
            said[name] = tuple(said[name])
        profiles[number] = Profile(**said)
    return profiles


def _fingerprint(profile: Profile) -> str:
    """A hash of all that a profile says."""
    said = [
        sorted(value.items()) if isinstance(value := getattr(profile, f.name), Mapping) else value
        for f in fields(profile)
    ]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()
