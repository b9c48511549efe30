# SPDX-License-Identifier: Apache-2.0
"""When something of a book holds: from a moment on until just before another.

Moments are microseconds since 1970 UTC. None as a beginning is before every moment, and as an end
after every one.
"""

__all__ = ["common", "holds_at", "holds_throughout"]

_Moment = int | None


def holds_at(since: _Moment, until: _Moment, moment: _Moment) -> bool:
    """Whether what holds from `since` until `until` does at a moment; None is before all others."""
    if moment is None:
        return since is None
    return (since is None or since <= moment) and (until is None or moment < until)


def holds_throughout(since: _Moment, until: _Moment, start: _Moment, end: _Moment) -> bool:
    """Whether what holds from `since` until `until` does over the whole of a time."""
    begun = since is None or (start is not None and since <= start)
    return begun and (until is None or (end is not None and end <= until))


def common(
    since: _Moment, until: _Moment, start: _Moment, end: _Moment
) -> tuple[_Moment, _Moment] | None:
    """The time that two have in common; None where they have no moment."""
    first = max((at for at in (since, start) if at is not None), default=None)
    last = min((at for at in (until, end) if at is not None), default=None)
    return (first, last) if first is None or last is None or first < last else None
