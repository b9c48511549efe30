# SPDX-License-Identifier: Apache-2.0
"""Find what meets in time across scopes, by going through time once."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.times import Time

__all__ = ["meeting_across_scopes"]


class _Block(NamedTuple):
    """Claims already connected: one of them, and until when they last.

    `until` is the end of the one of them that lasts longest, of scope `scope`; `other_until` that
    of the one of `other_scope` that lasts longest among those of any other scope.
    """

    i: int
    scope: str
    until: int
    other_scope: str = ""
    other_until: int = -1

    def until_but(self, scope: str) -> int:
        """How long those last that are not of a scope."""
        return self.until if scope != self.scope else self.other_until

    def joined(self, other: "_Block") -> "_Block":
        """Both as one."""
        first, *rest = sorted(
            (
                (self.until, self.scope),
                (self.other_until, self.other_scope),
                (other.until, other.scope),
                (other.other_until, other.other_scope),
            ),
            reverse=True,
        )
        until, scope = first
        other_until, other_scope = next(end for end in rest if end[1] != scope)
        return _Block(self.i, scope, until, other_scope, other_until)


def meeting_across_scopes(
    every: Sequence[Claim], there: Iterable[int], since: Time, until: Time
) -> Iterator[tuple[int, int]]:
    """Pairs that connect the claims that meet, between `since` and `until`, and differ in scope.

    As soon as claims under way at one moment are of two scopes, all of them are connected. So there
    is either one block, or several of which all that is still under way is of one scope.
    """
    blocks: list[_Block] = []
    for i in sorted(there, key=lambda i: since(every[i])):
        claim = every[i]
        now, scope = since(claim), claim.scope
        new = _Block(i, scope, until(claim))
        if len(blocks) > 1 and blocks[-1].scope == scope:
            blocks.append(new)
            continue
        met = [block for block in blocks if block.until_but(scope) >= now]
        if not met:
            blocks = [block for block in blocks if block.until >= now]
            blocks.append(new)
            continue
        for block in met:
            yield i, block.i
            new = new.joined(block)
        blocks = [new]
