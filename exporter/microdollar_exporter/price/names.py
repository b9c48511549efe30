# SPDX-License-Identifier: Apache-2.0
"""From the names on a span to a provider and a model of the book. No part of a name is guessed."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from microdollar_exporter.price.alias import Alias
from microdollar_exporter.price.book import Book, Model, Provider
from microdollar_exporter.price.rules import without_version

__all__ = ["ALIASES", "Match", "Names"]

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # OpenTelemetry's registry, where it differs from the book.
        "aws.bedrock": "aws",
        "azure.ai.inference": "azure",
        "azure.ai.openai": "azure",
        "gcp.gemini": "google",
        "gcp.gen_ai": "google",
        "gcp.vertex_ai": "google",
        "mistral_ai": "mistral",
        "moonshot_ai": "moonshotai",
        "x_ai": "x-ai",
        # Other emitters.
        "amazon_bedrock": "aws",
        "anthropic.messages": "anthropic",
        "aws.anthropic": "aws",
        "az.ai.openai": "azure",
        "azure.openai": "azure",
        "azure_openai": "azure",
        "bedrock": "aws",
        "bedrock_converse": "aws",
        "fireworks_ai": "fireworks",
        "gcp.anthropic": "google",
        "gcp.vertex.agent": "google",
        "gemini": "google",
        "google.generative-ai.chat": "google",
        "google_genai": "google",
        "moonshot": "moonshotai",
        "openai.chat": "openai",
        "openai.responses": "openai",
        "together_ai": "together",
        "vertex_ai": "google",
        "vertex_ai_beta": "google",
        "xai": "x-ai",
    }
)
"""Exact provider names, in lower case, and what they are called in the book. A name that is not
here must be one of the book's own ids."""

_RESOURCE_PREFIXES: Final = {"google": ("models/", "publishers/google/models/")}
"""What the Gemini and Vertex APIs put in front of a model's id in a resource name."""

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)", re.ASCII)


class Match(NamedTuple):
    """A model of the book, and why it may not be the one meant; None when it certainly is.

    `lent` marks one whose price another provider lends. `context` are facts that an alias adds to
    those of the call.
    """

    provider: str
    model: str
    doubt: str | None = None
    lent: bool = False
    context: tuple[str, ...] = ()


class Names:
    """Looks up providers and models of one book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._exact: dict[str, dict[str, str]] = {}
        self._aliases: dict[tuple[str, str], list[Alias]] = {}
        for alias in book.aliases:
            self._aliases.setdefault((alias.provider, alias.model), []).append(alias)

    def provider(self, name: str | None) -> str | None:
        """The book's id of a provider; None when unknown.

        By the operator's names first, then by the alias table, then by the ids themselves.
        """
        if name is None:
            return None
        key = name.strip().lower()
        key = self._book.provider_names.get(key) or ALIASES.get(key, key)
        return key if key in self._book.providers else None

    def alias(self, provider: str, name: str | None, at: int | None = None) -> Match | None:
        """What an operator's alias says that a name means at a moment; None is before all time."""
        for alias in self._aliases.get((provider, _key(name)), ()):
            if alias.holds(at):
                return Match(alias.to_provider, alias.to_model, context=alias.context)
        return None

    def edges(self, provider: str, *names: str | None) -> list[int]:
        """The moments at which one of these names begins or ceases to be an alias."""
        if not self._aliases:
            return []
        keys = {_key(name) for name in names}
        keys |= {_key(found.model) for name in names if (found := self._listed(provider, name))}
        moments = {
            edge
            for key in keys
            for alias in self._aliases.get((provider, key), ())
            for edge in (alias.effective_from, alias.effective_to)
        }
        return sorted(edge for edge in moments if edge is not None)

    def model(self, provider: str, name: str | None, at: int | None = None) -> Match | None:
        """The model that a name means at a provider of the book; None when unknown.

        In order: an operator's alias, of the name or of the model that another provider would
        lend; what the book lists.
        """
        if found := self.alias(provider, name, at):
            return found
        found = self._listed(provider, name)
        if found and found.lent and (own := self.alias(provider, found.model, at)):
            return own
        return found

    def _listed(self, provider: str, name: str | None) -> Match | None:
        """The model that a name means by the book's own rules; None when unknown.

        In order: an exact id; a name that a rule spells out; a loose rule. A loose match counts
        as exact when the name is one of these with only a date or version behind it. Then the
        providers that the source falls back to, then all again with a compact date
        (`-20251211`) written as `-2025-12-11`, which the source does too.
        """
        if not name:
            return None
        key = _key(name)
        for prefix in _RESOURCE_PREFIXES.get(provider, ()):
            key = key.removeprefix(prefix)
        found = self._find(provider, key)
        if found is None:
            dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", key)
            found = self._find(provider, dashed) if dashed != key else None
        return found

    def _find(self, provider: str, key: str) -> Match | None:
        entry = self._book.providers[provider]
        if found := self._find_own(entry, key):
            return found
        for lender in entry.fallbacks:
            if lender not in self._book.providers:
                continue
            if found := self._find_own(self._book.providers[lender], key):
                doubt = f"{provider} has no price of its own, that of {lender} {found.model} used"
                if found.doubt:
                    doubt = f"{found.doubt}; {doubt}"
                return found._replace(doubt=doubt, lent=True)
        return None

    def _find_own(self, provider: Provider, key: str) -> Match | None:
        exact = self._exact.get(provider.id)
        if exact is None:
            exact = self._exact[provider.id] = _exact_names(provider)
        if key in exact:
            return Match(provider.id, exact[key])
        for model in provider.models:
            if model.rule.matches(key):
                if _is_version(key, model):
                    return Match(provider.id, model.id)
                return Match(provider.id, model.id, f"model matched loosely as {model.id}")
        return None


def _key(name: str | None) -> str:
    return name.strip().lower() if name else ""


def _exact_names(provider: Provider) -> dict[str, str]:
    names = {model.id.lower(): model.id for model in provider.models}
    for model in provider.models:
        for name in model.rule.names():
            names.setdefault(name, model.id)
    return names


def _is_version(key: str, model: Model) -> bool:
    stem = without_version(key)
    return stem == model.id.lower() or stem in model.rule.names() or stem in model.rule.stems()
