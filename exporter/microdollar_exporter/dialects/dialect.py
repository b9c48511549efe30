# SPDX-License-Identifier: Apache-2.0
"""One row of the tables: how to know the spans of an emitter, and how to read them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from microdollar_exporter.dialects.conventions import Agents, Cache, Output, Rank
from microdollar_exporter.dialects.operations import (
    AGENT,
    NOT_CALL_NAMES,
    NOT_CALLS,
    OPERATIONS,
    SPAN_KINDS,
)
from microdollar_exporter.dialects.usage_names import GEN_AI, Family, has_sums, has_usage
from microdollar_exporter.evidence import SPAN_NAME, Role
from microdollar_semconv import gen_ai as ga

__all__ = ["Dialect", "Spans"]

Attributes = Mapping[str, str]

_MODELS: Final = frozenset({ga.REQUEST_MODEL, ga.RESPONSE_MODEL, "llm.model_name", "model"})
_OPERATION_NAMES: Final = (ga.OPERATION_NAME, "llm.request.type")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spans:
    """Which spans are of a dialect.

    By the instrumentation scope: one of `scopes`, or a name that begins with one of `prefixes`, of
    a version from `since` on and before `before`. By attributes where the scope says nothing: a
    name that is one of `marks`, or begins with one that ends with a dot. In both cases `having`
    must be among the names and `lacking` must not.
    """

    scopes: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    since: str | None = None
    before: str | None = None
    marks: tuple[str, ...] = ()
    having: str | None = None
    lacking: str | None = None


def _never(_: Attributes) -> bool:
    return False


def _never_by_names(_: Attributes, __: Collection[str]) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """How one emitter, in some of its versions, spells its spans.

    `rule` is what evidence names; a rule that has been released is never edited, a changed one
    gets the next number and the old one stays. `source` says where the facts were read.

    `families` are read in this order, and only one of them. `cache` is the meaning of the input
    count, `cache_at` that for some providers. `total_proves` is false where the total holds more
    than the sum of the others, or is computed by the emitter. `hides_cache`: a call without cache
    counts may still have read a cache. `is_ours`: every span is a call and says itself where its
    counts come from, and its provider is the one that was called.

    `operations` are the operations and request types that are model calls, `call_names` the span
    names, `span_kinds` the attributes that tell calls from chains; `is_not_a_call` has the last
    word. `takes_any_usage`: a span of unknown purpose is a call if it has a model and usage.
    `is_estimate` tells counts that no provider reported.
    """

    rule: str
    source: str
    rank: Rank
    spans: Spans = field(default_factory=Spans)
    families: tuple[Family, ...] = (GEN_AI,)
    cache: Cache = Cache.INCLUDED
    cache_at: Mapping[str, Cache] = field(default_factory=dict)
    total_proves: bool = True
    hides_cache: bool = False
    is_ours: bool = False
    output: Output = Output.ALL
    agents: Agents = Agents.REMOTE_IF_CLIENT
    operations: Mapping[str, str] = field(default_factory=lambda: OPERATIONS)
    call_names: Mapping[str, str] = field(default_factory=dict)
    span_kinds: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: SPAN_KINDS)
    is_not_a_call: Callable[[Attributes, Collection[str]], bool] = _never_by_names
    is_estimate: Callable[[Attributes], bool] = _never
    takes_any_usage: bool = False

    def role(self, kind: str | None, attributes: Attributes, names: Collection[str]) -> Role:
        """What a span of this dialect can stand for: what says no goes before what says yes.

        `kind` is its span kind, `attributes` its texts and `names` all its allowed names. An agent
        is billed only if nothing beneath it is; that the whole trace decides.
        """
        if self.is_ours:
            return "call"
        said = attributes.get(ga.OPERATION_NAME)
        if said == AGENT:
            return "agent" if self._is_remote(kind) and has_usage(names) else "other"
        if said in NOT_CALLS or self._is_around_calls(attributes, names):
            return "other"
        if self.operation(attributes) is not None:
            return "call"
        if self.takes_any_usage and has_usage(names) and not _MODELS.isdisjoint(names):
            return "call" if said is None or kind == "client" else "other"
        return "other"

    def operation(self, attributes: Attributes) -> str | None:
        """What a call does, in OpenTelemetry's word; None when nothing says that it is a call."""
        words = [(name, self.operations) for name in _OPERATION_NAMES]
        for name, calls in (*words, *self.span_kinds.items(), (SPAN_NAME, self.call_names)):
            if found := calls.get(attributes.get(name, "")):
                return found
        return None

    def _is_remote(self, kind: str | None) -> bool:
        """Whether an agent ran elsewhere, so that its calls have no spans here."""
        return self.agents is Agents.REMOTE or (
            self.agents is Agents.REMOTE_IF_CLIENT and kind == "client"
        )

    def _is_around_calls(self, attributes: Attributes, names: Collection[str]) -> bool:
        """Whether something on a span says that it is not itself a call."""
        return (
            attributes.get("logfire.span_type") == "pending_span"
            or attributes.get(SPAN_NAME) in NOT_CALL_NAMES
            or any(
                name in attributes and attributes[name] not in calls
                for name, calls in self.span_kinds.items()
            )
            or (has_sums(names) and not has_usage(names))
            or self.is_not_a_call(attributes, names)
        )
