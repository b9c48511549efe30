# SPDX-License-Identifier: Apache-2.0
"""An overrides file as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from microdollar_exporter import toml_source
from microdollar_exporter.price.book import Book
from microdollar_exporter.price.overrides.conflicts import refuse_conflicts
from microdollar_exporter.price.overrides.layer import Layer
from microdollar_exporter.price.overrides.rules import Adjust, Aliased, Free, Rate, SameAs
from microdollar_exporter.price.overrides.schema import Reader
from microdollar_exporter.toml_source import Table

__all__ = ["Overrides", "parse", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The rules of a file, each of which is sound in itself and contradicts no other."""

    document: Table
    provider_names: Mapping[str, str]
    rates: tuple[Rate, ...]
    same_as: tuple[SameAs, ...]
    free: tuple[Free, ...]
    aliases: tuple[Aliased, ...]
    adjusts: tuple[Adjust, ...]
    default: Rate | None

    def over(self, book: Book) -> Book:
        """The book with these rules over it: another book, with an id of its own.

        The same book where there are no rules.

        Raises:
            UsageError: a rule names a provider or a model that there is not, or one that it cannot
                be sure of, or the multipliers of one price have too many decimals together.
            ValueError: there are overrides in the book already.
        """
        if book.base is not None:
            raise ValueError("the book has overrides already: lay them over the one it was made of")
        if not (self.provider_names or self.default or self.adjusts or self._of_models()):
            return book
        layer = Layer(book)
        layer.add_providers(self.document, self.provider_names, self._of_models())
        # Rates for all hours go first: those for some hours are laid over them.
        for rate in sorted(self.rates, key=lambda rate: bool(rate.windows)):
            layer.place(rate)
        layer.require_standard(self.rates)
        for free in self.free:
            layer.make_free(free)
        layer.repeat_all(self.same_as)
        for alias in self.aliases:
            layer.add_alias(alias)
        layer.adjust(self.adjusts)
        if self.default is not None:
            layer.place_default(self.default)
        return layer.book(self.provider_names)

    def _of_models(self) -> tuple[Rate | SameAs | Free | Aliased, ...]:
        return (*self.rates, *self.same_as, *self.free, *self.aliases)


def read(path: Path) -> Overrides:
    """The rules of a file.

    Raises:
        UsageError: the file cannot be read, or is not a sound one; the message names the line, the
            field, the value and the way out.
    """
    return _overrides(toml_source.read(path))


def parse(text: str, name: str) -> Overrides:
    """The rules in a text, as `read`; `name` says in errors which file it is."""
    return _overrides(toml_source.parse(text, name))


def _overrides(document: Table) -> Overrides:
    reader = Reader(document)
    overrides = Overrides(
        document=document,
        provider_names=reader.provider_names,
        rates=tuple(reader.rates()),
        same_as=tuple(reader.same_as()),
        free=tuple(reader.free()),
        aliases=tuple(reader.aliases()),
        adjusts=tuple(reader.adjusts()),
        default=reader.default(),
    )
    refuse_conflicts([*overrides.rates, *overrides.same_as, *overrides.free, *overrides.aliases])
    return overrides
