# SPDX-License-Identifier: Apache-2.0
"""Find the dialect of a span: by its scope, else by its attributes, else as OpenTelemetry's."""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from microdollar_exporter.dialects import (
    ai_sdk,
    coding_agents,
    frameworks,
    gateways,
    openinference,
    openlit,
    openllmetry,
    otel,
    ours,
    pydantic,
    vendors,
    wrappers,
)
from microdollar_exporter.dialects.dialect import Dialect
from microdollar_exporter.dialects.unknown import GEN_AI_1
from microdollar_semconv import attributes as md
from microdollar_semconv import gen_ai as ga

__all__ = ["DIALECTS", "MARKS", "UnknownRule", "by_rule", "recognise"]

DIALECTS: Final = (
    *ours.DIALECTS,
    *vendors.DIALECTS,
    *coding_agents.DIALECTS,
    *otel.DIALECTS,
    *openinference.DIALECTS,
    *wrappers.DIALECTS,
    *ai_sdk.DIALECTS,
    *gateways.DIALECTS,
    *openllmetry.DIALECTS,
    *frameworks.DIALECTS,
    *pydantic.DIALECTS,
    *openlit.DIALECTS,
    GEN_AI_1,
)
"""Every rule. Where several fit a span in the same way, the first is taken."""

MARKS: Final = frozenset(
    {
        ga.OPERATION_NAME,
        ga.PROVIDER_NAME,
        ga.SYSTEM,
        ga.REQUEST_MODEL,
        ga.RESPONSE_MODEL,
        ga.USAGE_INPUT_TOKENS,
        ga.USAGE_OUTPUT_TOKENS,
        md.USAGE_SOURCE,
        # Spans that call no model but say whom the calls beneath them are for.
        md.CUSTOMER_ID,
        "openinference.span.kind",
        "llm.model_name",
        "llm.request.type",
        "ai.operationId",
        "traceloop.span.kind",
        "langfuse.observation.type",
        "langsmith.span.kind",
    }
)
"""The attributes that make a span evidence. A span with none of them is ignored."""

_BY_RULE: Final[Mapping[str, Dialect]] = MappingProxyType({d.rule: d for d in DIALECTS})

_SHARED_SCOPE: Final = "opentelemetry.util.genai.handler"
"""What several packages call themselves, among them some that mean something of their own."""

_NUMBERS = re.compile(r"\d+(?:\.\d+)*", re.ASCII)


class UnknownRule(LookupError):
    """Evidence names a dialect rule that this version does not have."""


def recognise(
    scope: str | None,
    scope_version: str | None,
    names: Collection[str],
    attributes: Mapping[str, str],  # noqa: ARG001 - the texts may decide in a later rule
) -> Dialect:
    """The dialect of a span, from its instrumentation scope and all its allowed names.

    The first that fits: an exact scope; the beginning of a scope; an attribute that only one
    emitter writes; else `gen_ai/1`. A scope without a version counts as the newest.
    """
    if scope:
        for dialect in DIALECTS:
            if scope in dialect.spans.scopes and _fits(dialect, scope_version, names):
                return dialect
        for dialect in DIALECTS:
            spans = dialect.spans
            begins = bool(spans.prefixes) and scope.startswith(spans.prefixes)
            if begins and _fits(dialect, scope_version, names):
                return dialect
    for dialect in DIALECTS:
        marked = any(_is_marked(names, mark) for mark in dialect.spans.marks)
        if marked and _fits(dialect, None, names):
            return dialect
    return otel.UTIL_GENAI if scope == _SHARED_SCOPE else GEN_AI_1


def by_rule(rule: str) -> Dialect:
    """The dialect of a rule that evidence names.

    Raises:
        UnknownRule: a later version of the exporter wrote that evidence.
    """
    try:
        return _BY_RULE[rule]
    except KeyError:
        raise UnknownRule(
            f"evidence names the dialect rule {rule!r}, which this version does not have; "
            "use the version of the exporter that wrote it, or a later one"
        ) from None


def _fits(dialect: Dialect, scope_version: str | None, names: Collection[str]) -> bool:
    """Whether the scope's version and the names are those of a dialect."""
    spans = dialect.spans
    if spans.having is not None and spans.having not in names:
        return False
    if spans.lacking is not None and spans.lacking in names:
        return False
    version = _numbers(scope_version)
    if version is None:
        return spans.before is None
    since, before = _numbers(spans.since), _numbers(spans.before)
    return (since is None or version >= since) and (before is None or version < before)


def _is_marked(names: Collection[str], mark: str) -> bool:
    if mark.endswith("."):
        return any(name.startswith(mark) for name in names)
    return mark in names


def _numbers(version: str | None) -> tuple[int, ...] | None:
    """The release of a version (`0.62.4`, `1.3b0` is 1.3), to compare; None where there is none."""
    found = _NUMBERS.match(version or "")
    return tuple(int(part) for part in found[0].split(".")) if found else None
