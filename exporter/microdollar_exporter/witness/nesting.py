# SPDX-License-Identifier: Apache-2.0
"""Spans inside spans: which layer of them is billed.

A span inside another is a witness of the same call, or of a part of it: an outer span may sum up
several calls. The deepest layer that has usage is billed, each of its calls, unless it clearly
lacks something that the outer span has.

Two layers are one call, and the better witness stands for it, where the inner one is a single call
of about the same size. Attempts of one scope stay apart, however they are enclosed.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from microdollar_exporter.witness.calls import Calls
from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.forest import Forest
from microdollar_exporter.witness.layers import innermost_first
from microdollar_exporter.witness.pairing import pair
from microdollar_exporter.witness.times import end

__all__ = ["AGENT_ABOVE_CALLS", "COVERAGE_GAP", "ENCLOSES", "REPEATS", "Nesting"]

COVERAGE_GAP: Final = "coverage gap"
REPEATS: Final = "repeats its children"
ENCLOSES: Final = "superseded by the spans inside it"
AGENT_ABOVE_CALLS: Final = "agent with calls beneath"


class Nesting:
    """The calls that stand once layers have been compared.

    `standing` are the calls to bill. `covered` maps calls inside one that is billed in place of
    them all to that one. `notes` says why a call is not billed, or is though others are inside it.
    """

    def __init__(self, calls: Calls, forest: Forest) -> None:
        self._calls = calls
        self._forest = forest
        self.standing: set[int] = set()
        self.covered: dict[int, int] = {}
        self.notes: dict[int, str] = {}
        # The tokens of the calls that stand in or beneath each call, if any has usage.
        self._counted: dict[int, int] = {}
        # The calls in or beneath which only agents have usage.
        self._agents: set[int] = set()
        # The calls that are billed in place of all inside them, and those billed in no case.
        self._covering: set[int] = set()
        self._never: list[tuple[int, int]] = []
        self._inside, order = self._layers()
        for call in order:
            self._decide(call)
        self._cover(order)
        self.standing.difference_update(self.covered)

    def _layers(self) -> tuple[dict[int, set[int]], list[int]]:
        """What is directly inside each call, and all calls, each after what is inside it.

        What is inside one report of a call and around another of the same call is that call too.
        """
        while True:
            inside: dict[int, set[int]] = {}
            for outer, inner in self._enclosed():
                inside.setdefault(outer, set()).add(inner)
            of, claims = self._calls.of, self._calls.claims
            calls = sorted({of(i) for i, claim in enumerate(claims) if claim.billable})
            groups = list(innermost_first(calls, inside))
            if len(groups) == len(calls):
                return inside, [call for (call,) in groups]
            for first, *rest in groups:
                for call in rest:
                    self._calls.unite(first, call)

    def _enclosed(self) -> Iterator[tuple[int, int]]:
        """Each call around another, and that other.

        A claim can be inside a span that tells of a whole operation, while its own scope reports
        an attempt beside it as what that span is about. Then it is another attempt.
        """
        calls, claims, forest = self._calls, self._calls.claims, self._forest
        reports = Counter((calls.of(i), claim.scope) for i, claim in enumerate(claims))
        around: Counter[tuple[int, str]] = Counter()
        path: list[int] = []
        for i in forest.outermost_first:
            claim, call = claims[i], calls.of(i)
            if not claim.billable:
                continue
            while path and not forest.contains(path[-1], i):
                left = path.pop()
                around[calls.of(left), claims[left].scope] -= 1
            outer = calls.of(path[-1]) if path else call
            attempts = reports[outer, claim.scope] - around[outer, claim.scope]
            if outer != call and not attempts:
                yield outer, call
            around[call, claim.scope] += 1
            path.append(i)

    def _decide(self, call: int) -> None:
        """Decide between a call and those directly inside it, which are decided."""
        inner = self._pair({self._calls.of(i) for i in self._inside.get(call, ())} - {call})
        counted = [i for i in inner if i in self._counted]
        if self._is_agent(call):
            self._decide_agent(call, inner, counted)
        elif counted:
            self._decide_around(call, inner, counted)
        else:
            self._decide_deepest(call, inner)

    def _pair(self, inner: Collection[int]) -> list[int]:
        """The calls directly inside another, once those that are the same have been united."""
        pair(self._calls, self.standing.intersection(inner), self._forest)
        for i in self.standing.intersection(inner):
            call = self._calls.of(i)
            if call != i:
                self._replace(i, call)
        return sorted({self._calls.of(i) for i in inner})

    def _decide_agent(self, call: int, inner: list[int], counted: list[int]) -> None:
        """Decide on an agent elsewhere, which is billed if nothing beneath it has usage."""
        if counted:
            self._counted[call] = self._size(counted)
        else:
            self._agents.add(call)
        if counted or not self._agents.isdisjoint(inner):
            self.notes[call] = AGENT_ABOVE_CALLS
        else:
            self.standing.add(call)
            self._covering.update([call] if inner else [])

    def _decide_deepest(self, call: int, inner: list[int]) -> None:
        """Decide on a call that is the deepest to have usage, or has none beneath nor itself."""
        has_usage = self._calls.witness(call).has_usage
        single = self._single_call(inner)
        if has_usage:
            self._stand(call)
        if single is not None:
            self._unite(call, single)
        elif has_usage and inner:
            self._covering.add(call)
        elif inner:
            self.notes[call] = ENCLOSES
            if not self._agents.isdisjoint(inner):
                self._agents.add(call)
        elif not has_usage:
            self._stand(call)

    def _decide_around(self, call: int, inner: list[int], counted: list[int]) -> None:
        """Decide on a call inside which others have usage."""
        witness, size = self._calls.witness(call), self._size(counted)
        if witness.has_usage and _clearly_below(size, witness.size - witness.overcount):
            self._stand(call)
            self._covering.add(call)
            self.notes[call] = COVERAGE_GAP
            return
        single = self._single_call(counted)
        if single is None or (witness.has_usage and self._is_part_of(witness, single)):
            self._counted[call] = size
            self.notes[call] = REPEATS if witness.has_usage else ENCLOSES
        else:
            alike = [i for i in inner if i != single and self._saw_the_same(i, single)]
            call = self._unite(call, single)
            for i in alike:
                call = self._unite(call, i)
        if witness.has_usage:
            self._never += [(call, i) for i in inner if i in self._agents]

    def _single_call(self, inner: Collection[int]) -> int | None:
        """The one call that stands inside another, if it is the only one there."""
        (single, *more) = inner or (None,)
        if more or single not in self.standing or self._is_agent(single):
            return None
        return single

    def _is_part_of(self, witness: Claim, call: int) -> bool:
        inner = self._calls.witness(call)
        return _clearly_below(witness.size, inner.size - inner.overcount)

    def _saw_the_same(self, silent: int, single: int) -> bool:
        """Whether a call without usage is another view of the one that has some.

        Its scope must not report that one too, nor may it have failed or been at another time.
        """
        if silent not in self.standing or silent in self._agents or silent in self._counted:
            return False
        one, other = self._calls.witness(silent), self._calls.witness(single)
        return (
            not one.failed
            and self._calls.scopes(silent).isdisjoint(self._calls.scopes(single))
            and max(one.started_at, other.started_at) <= min(end(one), end(other))
        )

    def _stand(self, call: int) -> None:
        self.standing.add(call)
        witness = self._calls.witness(call)
        if witness.has_usage:
            self._counted[call] = witness.size

    def _unite(self, outer: int, inner: int) -> int:
        """Take two layers for one call, which stands."""
        call = self._calls.unite(outer, inner)
        self._replace(outer + inner - call, call)
        return call

    def _replace(self, gone: int, call: int) -> None:
        """Let a call stand for one that has become part of it."""
        self.standing.discard(gone)
        self._stand(call)

    def _is_agent(self, call: int) -> bool:
        return self._calls.witness(call).role == "agent"

    def _size(self, counted: Collection[int]) -> int:
        return sum(self._counted[call] for call in counted)

    def _cover(self, order: Sequence[int]) -> None:
        """Find what is inside calls that are billed in place of it."""
        of = self._calls.of
        inside: dict[int, set[int]] = {}
        for outer, inner in self._inside.items():
            inside.setdefault(of(outer), set()).update(map(of, inner))
        for i in reversed(order):
            if i in self._covering:
                self._cover_all(of(i), {of(j) for j in self._inside[i]}, inside)
        for i, agent in self._never:
            self._cover_all(of(i), {of(agent)}, inside)

    def _cover_all(self, call: int, first: Collection[int], inside: dict[int, set[int]]) -> None:
        waiting = sorted(first)
        while waiting:
            inner = waiting.pop()
            if inner != call and inner not in self.covered:
                self.covered[inner] = call
                waiting += inside.get(inner, ())


def _clearly_below(part: int, whole: int) -> bool:
    """Whether a sum is so much smaller that something must be missing in it."""
    return part * 10 < whole * 9
