# SPDX-License-Identifier: Apache-2.0
"""The rules by which a book's source recognises a model's name, as plain data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Op", "Rule", "without_version"]

Op = Literal["equals", "starts_with", "ends_with", "contains", "regex", "or", "and"]

_VERSION = re.compile(
    r"""(?: [-@]\d{4}-\d{2}-\d{2}   # gpt-5.4-2026-03-05
          | [-@:]\d{8}              # claude-haiku-4-5-20251001, claude-sonnet-4@20250514
          | -00\d                   # gemini-2.0-flash-001
        )?
        (?: -v\d+ (?: :\d+ )? )?    # amazon.nova-lite-v1:0, gpt-3.5-turbo-instruct:20230824-v2
        $""",
    re.VERBOSE | re.ASCII,
)


def without_version(name: str) -> str:
    """The name without a trailing date or version; the name itself when it has none."""
    return _VERSION.sub("", name, count=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One test of a model's name, or several joined by `or` / `and`; case is ignored."""

    op: Op
    text: str = ""
    rules: tuple["Rule", ...] = ()

    def matches(self, name: str) -> bool:
        """Whether the rule accepts the name, which must be in lower case."""
        match self.op:
            case "equals":
                return name == self.text
            case "starts_with":
                return name.startswith(self.text)
            case "ends_with":
                return name.endswith(self.text)
            case "contains":
                return self.text in name
            case "regex":
                return re.search(self.text, name) is not None
            case "or":
                return any(rule.matches(name) for rule in self.rules)
            case "and":
                return all(rule.matches(name) for rule in self.rules)

    def names(self) -> Iterator[str]:
        """The names that the rule accepts because it spells them out in full."""
        return self._texts("equals")

    def stems(self) -> Iterator[str]:
        """The names that the rule accepts followed by anything, a version included."""
        return (text.rstrip("-@") for text in self._texts("starts_with"))

    def canonical(self) -> list[Any]:
        """The rule in lists and strings, for a book's canonical content."""
        if self.rules:
            return [self.op, [rule.canonical() for rule in self.rules]]
        return [self.op, self.text]

    def _texts(self, op: Op) -> Iterator[str]:
        if self.op == op:
            yield self.text
        elif self.op == "or":
            for rule in self.rules:
                yield from rule._texts(op)
