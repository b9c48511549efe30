# SPDX-License-Identifier: Apache-2.0
"""From the names on a span to a provider and a model of the book. No part of a name is guessed."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

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
    """A model of the book, and why it may not be the one meant; None when it certainly is."""

    provider: str
    model: str
    doubt: str | None = None


class Names:
    """Looks up providers and models of one book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._exact: dict[str, dict[str, str]] = {}

    def provider(self, name: str | None) -> str | None:
        """The book's id of a provider, by its own id or the alias table; None when unknown."""
        if name is None:
            return None
        key = name.strip().lower()
        key = ALIASES.get(key, key)
        return key if key in self._book.providers else None

    def model(self, provider: str, name: str | None) -> Match | None:
        """The model that a name means at a provider of the book; None when unknown.

        In order: an exact id; a name that a rule spells out; a loose rule. A loose match counts
        as exact when the name is one of these with only a date or version behind it. Then the
        providers that the source falls back to, then all again with a compact date
        (`-20251211`) written as `-2025-12-11`, which the source does too.
        """
        if not name:
            return None
        key = name.strip().lower()
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
                return found._replace(doubt=doubt)
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


def _exact_names(provider: Provider) -> dict[str, str]:
    names = {model.id.lower(): model.id for model in provider.models}
    for model in provider.models:
        for name in model.rule.names():
            names.setdefault(name, model.id)
    return names


def _is_version(key: str, model: Model) -> bool:
    stem = without_version(key)
    return stem == model.id.lower() or stem in model.rule.names() or stem in set(model.rule.stems())
