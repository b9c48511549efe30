# SPDX-License-Identifier: Apache-2.0
"""Claims gathered into calls: sets of claims about one call, and the one that is believed."""

from collections.abc import Iterable, Sequence
from typing import Final

from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.sets import DisjointSets
from microdollar_semconv import attributes as md

__all__ = ["Calls"]

_SOURCES: Final = {
    md.USAGE_SOURCE_PROVIDER: 0,
    md.USAGE_SOURCE_PROVIDER_PARTIAL: 1,
    md.USAGE_SOURCE_ESTIMATED: 2,
}
"""How far a source of usage is believed, the lowest most."""
_OTHER_SOURCE: Final = 3
_NO_USAGE: Final = 4


class Calls:
    """A sequence of claims, and which of them are about the same call.

    Claims and calls are numbers: positions in the sequence, and the smallest position in a call.
    At first every claim is a call of its own.
    """

    def __init__(self, claims: Sequence[Claim], depth: Sequence[int]) -> None:
        self.claims = claims
        self._belief = [_belief(claim, deep) for claim, deep in zip(claims, depth, strict=True)]
        self._sets = DisjointSets(len(claims))
        self._members = [[i] for i in range(len(claims))]
        self._best = list(range(len(claims)))
        self._scopes = [frozenset((claim.scope,)) for claim in claims]
        self._ids = [_ids(claim) for claim in claims]
        self._outputs = [_outputs(claim) for claim in claims]

    def of(self, i: int) -> int:
        """The call that a claim or an earlier call is now part of."""
        return self._sets.find(i)

    def unite(self, one: int, other: int) -> int:
        """Take two calls for the same one."""
        one, other = self.of(one), self.of(other)
        if one == other:
            return one
        call = self._sets.unite(one, other)
        best = min(self._best[one], self._best[other], key=self._belief.__getitem__)
        small, large = sorted((self._members[one], self._members[other]), key=len)
        large.extend(small)
        self._members[call], self._members[one + other - call] = large, []
        self._best[call] = best
        self._scopes[call] = self._scopes[one] | self._scopes[other]
        self._ids[call] = {**self._ids[other], **self._ids[one]}
        self._outputs[call] = self._outputs[one] | self._outputs[other]
        return call

    def members(self, call: int) -> list[int]:
        """The claims about a call."""
        return self._members[call]

    def best(self, call: int) -> int:
        """The claim that is believed.

        One that knows of a gateway's cache before one that does not; then a provider's counts
        before partial ones, estimates and none; then more of the cache told apart; then no output
        counted twice; then the rank of the dialect; then the innermost; then the earliest.
        """
        return self._best[call]

    def by_belief(self, claims: Iterable[int]) -> list[int]:
        """The claims, those first that are believed most."""
        return sorted(claims, key=self._belief.__getitem__)

    def witness(self, call: int) -> Claim:
        """The claim that is believed, itself."""
        return self.claims[self._best[call]]

    def scopes(self, call: int) -> frozenset[str]:
        """The scopes that report the call."""
        return self._scopes[call]

    def may_be_one(self, one: int, other: int) -> bool:
        """Whether nothing says that two calls are different.

        A scope reports a call once. Two strong response ids of one form belong to two responses.
        And where both have usage, some claims must agree on the output.
        """
        if self._scopes[one] & self._scopes[other]:
            return False
        first, second = self._outputs[one], self._outputs[other]
        if first and second and first.isdisjoint(second):
            return False
        ids = self._ids[other]
        return all(ids.get(form, text) == text for form, text in self._ids[one].items())


def _belief(claim: Claim, depth: int) -> tuple[bool, int, int, int, int, int, int, str, str]:
    source = md.USAGE_SOURCE_ESTIMATED if claim.guessed else claim.source
    usage = _SOURCES.get(source, _OTHER_SOURCE) if claim.has_usage else _NO_USAGE
    return (
        not claim.from_cache,
        usage,
        -claim.cache_split,
        claim.overcount,
        claim.rank,
        -depth,
        claim.started_at,
        claim.trace_id,
        claim.span_id,
    )


def _outputs(claim: Claim) -> frozenset[int]:
    """The output of a claim with usage, and what it may be without what was counted twice."""
    output = claim.output or 0
    least = max(output - claim.overcount, 0)
    return frozenset(range(least, output + 1)) if claim.has_usage else frozenset()


def _ids(claim: Claim) -> dict[str, str]:
    key = claim.response_key
    return {key.form: key.text} if key is not None and key.strong else {}
