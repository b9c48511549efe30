# SPDX-License-Identifier: Apache-2.0
"""When spans are near enough in time to be about the same call."""

from collections.abc import Callable
from typing import Final

from microdollar_exporter.witness.claim import Claim

__all__ = [
    "DAY",
    "SECOND",
    "Time",
    "begun_together",
    "end",
    "ended_together",
    "is_moment",
    "meet",
    "soon",
    "start",
]

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND

Time = Callable[[Claim], int]
"""Some moment of a span, in microseconds since 1970 UTC."""


def start(claim: Claim) -> int:
    """The first moment of a span."""
    return claim.started_at


def end(claim: Claim) -> int:
    """The last moment of a span, which is not before its first whatever its clock says."""
    return max(claim.ended_at, claim.started_at)


def soon(claim: Claim) -> int:
    """Until when another witness of the same call would have begun."""
    return min(end(claim), claim.started_at + SECOND)


def is_moment(claim: Claim) -> bool:
    """Whether a span has no length, as one by which Logfire reports a stream that is over."""
    return end(claim) == claim.started_at


def meet(one: Claim, other: Claim, until: Time) -> bool:
    """Whether the span that begins later does so before `until` of the other."""
    first, second = sorted((one, other), key=start)
    return second.started_at <= until(first)


def begun_together(one: Claim, other: Claim) -> bool:
    """Whether two spans overlap and began within a second of each other."""
    return meet(one, other, soon)


def ended_together(one: Claim, other: Claim) -> bool:
    """Whether two spans ended within a second of each other."""
    return abs(end(one) - end(other)) <= SECOND
