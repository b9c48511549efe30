# SPDX-License-Identifier: Apache-2.0
"""Read a price book back from its canonical content, which a ledger keeps whole."""

import json
from typing import Any, Final

from microdollar_exporter.price.book import Book, Model, PriceRow, Provider
from microdollar_exporter.price.rules import Rule

__all__ = ["read_book"]


_ROW: Final = (
    *("provider", "model", "context", "effective_from", "effective_to", "time_of_day"),
    *("over_input_tokens", "rates", "unit_rates"),
)
"""What a row's canonical content says, in its order."""


def read_book(content: str, *, source: str = "", source_version: str = "") -> Book:
    """The book whose `canonical_json` is `content`, and so the one with the same `id`.

    Raises:
        ValueError: it is not the content of a book.
    """
    try:
        said = json.loads(content)
        return Book(
            source=source,
            source_version=source_version,
            providers=[_provider(*provider) for provider in said["providers"]],
            rows=[_row(row) for row in said["rows"]],
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
    said = dict(zip(_ROW, content, strict=True))
    span = said["time_of_day"]
    return PriceRow(**{**said, "time_of_day": tuple(span) if span else None})
