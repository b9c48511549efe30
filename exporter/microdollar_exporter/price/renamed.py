# SPDX-License-Identifier: Apache-2.0
"""The names that are sure of their model in one price book and lead to another one in the next."""

from collections.abc import Iterator
from typing import NamedTuple

from microdollar_exporter.price.book import Book
from microdollar_exporter.price.names import Names

__all__ = ["Way", "renamed"]


class Way(NamedTuple):
    """A `name` at a `provider`, and the provider and model that it meant and that it means now.

    `means` is None where the name is not known any more.
    """

    provider: str
    name: str
    meant: tuple[str, str]
    means: tuple[str, str] | None


def renamed(old: Book, new: Book) -> Iterator[Way]:
    """The names that either book spells out, as far as they lead elsewhere than they surely did."""
    before, after = Names(old), Names(new)
    for provider in sorted(old.providers.keys() & new.providers.keys()):
        for name in sorted({*_spelt_out(old, provider), *_spelt_out(new, provider)}):
            meant = before.model(provider, name)
            if meant is None or meant.doubt:
                continue
            means = after.model(provider, name)
            if means is None or means[:2] != meant[:2]:
                place = means and (means.provider, means.model)
                yield Way(provider, name, (meant.provider, meant.model), place)


def _spelt_out(book: Book, provider: str) -> Iterator[str]:
    for model in book.providers[provider].models:
        yield model.id.lower()
        yield from model.rule.names()
        yield from model.rule.stems()
