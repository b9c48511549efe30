# SPDX-License-Identifier: Apache-2.0
"""A model name of which an operator said by whose price it is charged, and since when."""

from dataclasses import astuple, dataclass
from typing import Any

from microdollar_exporter.price.validity import holds_at

__all__ = ["Alias"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Calls of `model` at `provider` have the price of `to_model` at `to_provider`.

    `provider`, `to_provider` and `to_model` are the book's own ids; `model` is a name in lower
    case. `context` are facts that every such call has beside its own, as `key=value`. It holds from
    `effective_from` until just before `effective_to`, microseconds since 1970 UTC, None being
    unbounded.
    """

    provider: str
    model: str
    to_provider: str
    to_model: str
    context: tuple[str, ...] = ()
    effective_from: int | None = None
    effective_to: int | None = None
    reason: str | None = None

    def holds(self, at: int | None) -> bool:
        """Whether it holds at a moment; None is before every other."""
        return holds_at(self.effective_from, self.effective_to, at)

    def canonical(self) -> list[Any]:
        """The content in lists, strings and integers."""
        return list(astuple(self))
