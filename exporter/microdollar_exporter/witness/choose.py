# SPDX-License-Identifier: Apache-2.0
"""Choose, among spans that may be about the same calls, those that are billed."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from microdollar_exporter.evidence import Identity
from microdollar_exporter.witness.calls import Calls
from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.forest import Forest
from microdollar_exporter.witness.nesting import Nesting
from microdollar_exporter.witness.pairing import pair
from microdollar_exporter.witness.relations import (
    components,
    keys,
    same_span,
    united_by_key,
)

__all__ = ["Verdict", "choose"]

NOT_A_CALL: Final = "not a call"
AGENT_WITHOUT_USAGE: Final = "agent without usage"
SAME_SPAN: Final = "superseded by another report of the span"
SAME_RESPONSE: Final = "superseded by a span with the same response id"
NESTED: Final = "superseded by a span around or inside it"
BESIDE: Final = "superseded by a span beside it"
COVERED: Final = "inside a span that is billed for all"


class Verdict(NamedTuple):
    """Whether a span is billed.

    `note` says why not, or what is particular about it: a short phrase that stays the same. A
    billed span may fill in what it does not say itself, except counts, from those that it
    `stands_for`, the most believed first.
    """

    billed: bool
    note: str | None = None
    stands_for: tuple[Identity, ...] = ()


def choose(claims: Collection[Claim]) -> dict[Identity, Verdict]:
    """The verdict on each span, which depends only on which claims there are.

    Spans that no relation connects do not change each other's verdicts.
    """
    verdicts = {claim.identity: _alone(claim) for claim in claims}
    for component in components(claims):
        if len(component) > 1:
            verdicts.update(_decide(component))
    return verdicts


def _alone(claim: Claim) -> Verdict:
    if claim.billable:
        return Verdict(billed=True)
    return Verdict(billed=False, note=AGENT_WITHOUT_USAGE if claim.role == "agent" else NOT_A_CALL)


def _decide(component: Sequence[Claim]) -> dict[Identity, Verdict]:
    """The verdicts on what can be billed in a component, which is in the order of identities."""
    forest = Forest(component)
    calls = Calls(component, forest.depth)
    _unite_by_ids(calls, forest)
    nesting = Nesting(calls, forest)
    pair(calls, nesting.standing, forest)
    return _Verdicts(calls, forest, nesting).all()


def _unite_by_ids(calls: Calls, forest: Forest) -> None:
    """Take claims for one call whose ids say so, wherever they are."""
    billable = [i for i, claim in enumerate(calls.claims) if claim.billable]
    for one, other in united_by_key(calls.claims, billable):
        calls.unite(one, other)
    for i in billable:
        above = forest.above[i]
        key = calls.claims[i].response_key
        if above >= 0 and key is not None and key == calls.claims[above].response_key:
            calls.unite(i, above)


class _Verdicts:
    """The verdicts on the claims of a component whose calls are known."""

    def __init__(self, calls: Calls, forest: Forest, nesting: Nesting) -> None:
        self._calls = calls
        self._forest = forest
        of = calls.of
        self._billed = {calls.best(of(call)): of(call) for call in nesting.standing}
        self._covered = {of(call): of(by) for call, by in nesting.covered.items()}
        self._notes = {of(call): note for call, note in nesting.notes.items()}
        self._cover_what_is_inside()

    def _cover_what_is_inside(self) -> None:
        """Bill nothing inside a billed span, whatever made it a call of its own."""
        path: list[int] = []
        for i in self._forest.outermost_first:
            while path and not self._forest.contains(path[-1], i):
                path.pop()
            if i not in self._billed:
                continue
            if path:
                self._covered[self._billed.pop(i)] = self._billed[path[-1]]
            else:
                path.append(i)

    def all(self) -> dict[Identity, Verdict]:
        """The verdict on each claim that can be billed."""
        claims, calls = self._calls.claims, self._calls
        inside: dict[int, list[int]] = {}
        for call in self._covered:
            inside.setdefault(self._outermost(call), []).extend(calls.members(call))
        found: dict[Identity, Verdict] = {}
        for best, call in self._billed.items():
            losers = [i for i in calls.members(call) if i != best]
            stands_for = calls.by_belief(losers) + calls.by_belief(inside.get(call, []))
            note = self._notes.get(call)
            found[claims[best].identity] = Verdict(
                billed=True, note=note, stands_for=tuple(claims[i].identity for i in stands_for)
            )
            for i in losers:
                found[claims[i].identity] = Verdict(billed=False, note=self._why(i, best))
        for i, claim in enumerate(claims):
            if claim.billable and claim.identity not in found:
                call = calls.of(i)
                note = COVERED if call in self._covered else self._notes[call]
                found[claim.identity] = Verdict(billed=False, note=note)
        return found

    def _outermost(self, call: int) -> int:
        """The billed call that a covered one is inside."""
        while call in self._covered:
            call = self._covered[call]
        return call

    def _why(self, i: int, best: int) -> str:
        """Why one claim about a call is not billed and another is."""
        one, other = self._calls.claims[i], self._calls.claims[best]
        if same_span(one, other):
            return SAME_SPAN
        if keys(one) & keys(other):
            return SAME_RESPONSE
        if self._forest.contains(i, best) or self._forest.contains(best, i):
            return NESTED
        return BESIDE
