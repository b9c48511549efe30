# SPDX-License-Identifier: Apache-2.0
"""Spans about one call that begin a trace each.

An app without a span of its own around its calls, as a script, has a trace for every call. Where
two instrumentations there do not nest, as around streams, it has one for each of them. Of such
spans only those are related that could be the same in everything they report: service, model,
counts, and when they began and ended, to a tenth of a second.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from microdollar_exporter.witness.claim import Claim
from microdollar_exporter.witness.times import end, is_moment

__all__ = ["NEAR", "model_in_service", "related", "same_alone"]

_CELL: Final = 10_000
"""Times are compared in hundredths of a second, so that calls which look the same are one shape
however many there are."""
_CELLS: Final = 10
NEAR: Final = (_CELLS + 1) * _CELL
"""Spans that begin or end farther apart than this are certainly not related, in microseconds."""


class _Shape(NamedTuple):
    """What is compared of a span."""

    scope: str
    began: int
    ended: int
    is_moment: bool
    input: int | None
    output: int | None
    overcount: int
    has_usage: bool
    failed: bool


def _shape(claim: Claim) -> _Shape:
    return _Shape(
        claim.scope,
        claim.started_at // _CELL,
        end(claim) // _CELL,
        is_moment(claim),
        claim.input,
        claim.output,
        claim.overcount,
        claim.has_usage,
        claim.failed,
    )


def model_in_service(claim: Claim) -> tuple[str, str] | None:
    """The model of a call and its service; None for what is no call, or where one is unknown."""
    if claim.role != "call" or claim.model is None or claim.service is None:
        return None
    return claim.service, claim.model


def same_alone(one: Claim, other: Claim) -> bool:
    """Whether two spans could be the same call; both are the only call in a trace they begin."""
    return (
        model_in_service(one) is not None
        and model_in_service(one) == model_in_service(other)
        and _alike(_shape(one), _shape(other))
    )


def related(every: Sequence[Claim], alone: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Pairs that connect the spans of which `same_alone` is true."""
    places: dict[Hashable, dict[_Shape, list[int]]] = {}
    for i in alone:
        at = model_in_service(every[i])
        if at is not None:
            places.setdefault(at, {}).setdefault(_shape(every[i]), []).append(i)
    for shapes in places.values():
        if len({shape.scope for shape in shapes}) > 1:
            for one, other in _alike_shapes(shapes):
                yield from ((i, shapes[other][0]) for i in shapes[one])
                yield from ((i, shapes[one][0]) for i in shapes[other])


def _alike_shapes(shapes: Iterable[_Shape]) -> Iterator[tuple[_Shape, _Shape]]:
    """The pairs of shapes that could be the same call, each at least once.

    Two with counts must have the same input, so only one without counts is compared with all.
    """
    by_end: dict[int, list[_Shape]] = {}
    by_input: dict[tuple[int, int | None], list[_Shape]] = {}
    for shape in shapes:
        by_end.setdefault(shape.ended, []).append(shape)
        by_input.setdefault((shape.ended, shape.input), []).append(shape)
    for shape in shapes:
        for ended in range(shape.ended - _CELLS, shape.ended + _CELLS + 1):
            if shape.has_usage:
                near = by_input.get((ended, shape.input), ())
            else:
                near = by_end.get(ended, ())
            yield from ((shape, other) for other in near if _alike(shape, other))


def _alike(one: _Shape, other: _Shape) -> bool:
    if one.scope == other.scope or one.failed != other.failed:
        return False
    if one.has_usage and other.has_usage and not _counts_agree(one, other):
        return False
    if abs(one.ended - other.ended) > _CELLS:
        return False
    if one.is_moment or other.is_moment:
        return True
    return abs(one.began - other.began) <= _CELLS and max(one.began, other.began) <= min(
        one.ended, other.ended
    )


def _counts_agree(one: _Shape, other: _Shape) -> bool:
    more = (one.output or 0) - (other.output or 0)
    return one.input == other.input and -other.overcount <= more <= one.overcount
