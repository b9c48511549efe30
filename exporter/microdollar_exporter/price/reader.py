# SPDX-License-Identifier: Apache-2.0
"""Read a price book back from its canonical content, which a ledger keeps whole."""

import json
from dataclasses import fields
from typing import Any, Final

from microdollar_exporter.price.adjustment import Adjustment
from microdollar_exporter.price.alias import Alias
from microdollar_exporter.price.book import Book, Model, Origin, PriceRow, Provider
from microdollar_exporter.price.rules import Rule

__all__ = ["read_book"]


_ROW: Final = (
    *("provider", "model", "context", "effective_from", "effective_to", "time_of_day"),
    *("over_input_tokens", "rates", "unit_rates"),
)
"""What a row's canonical content says, in its order."""


def read_book(content: str, *, source: str = "", source_version: str = "") -> Book:
    """The book whose `canonical_json` is `content`, and so the one with the same `id`.

    Where it came from can be said beside the content, as in the file of the shipped book.

    Raises:
        ValueError: it is not the content of a book.
    """
    try:
        said = json.loads(content)
        return Book(
            source=source or said.get("source", ""),
            source_version=source_version or said.get("source_version", ""),
            providers=[_provider(*provider) for provider in said["providers"]],
            rows=[_row(row) for row in said["rows"]],
            base=said.get("base"),
            aliases=[_alias(alias) for alias in said.get("aliases", ())],
            provider_names=said.get("provider_names"),
            lent=[_row(row) for row in said.get("lent", ())],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the content of a price book: {error}") from error


def _provider(name: str, models: list[Any], fallbacks: list[str]) -> Provider:
    return Provider(
        id=name,
        models=tuple(Model(id=model, rule=_rule(*rule)) for model, rule in models),
        fallbacks=tuple(fallbacks),
    )


def _rule(op: Any, test: str | list[Any]) -> Rule:
    if isinstance(test, str):
        return Rule(op, test)
    return Rule(op, rules=tuple(_rule(*rule) for rule in test))


def _row(content: list[Any]) -> PriceRow:
    said = dict(zip(_ROW, content, strict=False))
    said |= content[len(_ROW)] if len(content) > len(_ROW) else {}
    for name in ("time_of_day", "weekdays"):
        said[name] = tuple(said[name]) if said.get(name) else None
    said["adjustments"] = tuple(Adjustment(*one) for one in said.get("adjustments", ()))
    said["origin"] = Origin(*said["origin"]) if said.get("origin") else None
    return PriceRow(**said)


def _alias(content: list[Any]) -> Alias:
    said = dict(zip((field.name for field in fields(Alias)), content, strict=True))
    return Alias(**{**said, "context": tuple(said["context"])})
