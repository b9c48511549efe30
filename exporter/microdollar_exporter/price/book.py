# SPDX-License-Identifier: Apache-2.0
"""A price book: an immutable, hashed set of dated rates. Rates are integers of 10⁻¹⁸ USD."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from microdollar_exporter.price.adjustment import Adjustment, product
from microdollar_exporter.price.alias import Alias
from microdollar_exporter.price.decimals import decimal, decimal_text
from microdollar_exporter.price.disjoint import contradictions
from microdollar_exporter.price.rules import Rule
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = [
    "ANY",
    "RATES",
    "STANDARD",
    "WEEKDAYS",
    "Book",
    "Model",
    "Origin",
    "PriceRow",
    "Provider",
]

STANDARD: Final = "std"
"""The context of an ordinary request. Other contexts are `key=value`, joined by commas: the
facts of a request that select another rate (`processing=batch`, `service_tier=flex`, …)."""

ANY: Final = "*"
"""The provider and the model of the rate for whatever a book does not list."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

RATES: Final = (*BUCKETS, *PARTS, "audio_cache_read", "image_cache_read", "video_in", "video_out")
"""The names a rate per token can have: the buckets, their parts, parts of `cache_read`, and two
parts that `Usage` does not tell apart."""

_DAY: Final = 86_400_000_000


class Origin(NamedTuple):
    """The model by whose rules a row is billed, and whether its rates are the source's.

    A source's rates come with all that a source leaves out; an operator's are meant as they are.
    """

    provider: str
    model: str
    is_listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """One set of rates and when it holds.

    `rates` are per token, by the names of `RATES`; `unit_rates` per unit (`web_search`,
    `audio_hours`, …); both in 10⁻¹⁸ USD, and a name without a rate is absent: no price, never
    zero. The row holds from `effective_from` until just before `effective_to`, microseconds
    since 1970 UTC, None being unbounded, and within `time_of_day`, a half-open span of
    microseconds since midnight UTC, when there is one, and then only on the `weekdays` of UTC,
    0 being Monday, unless these are None. It prices a request whole if the request
    has strictly more than `over_input_tokens` input tokens, cached ones included, and no row
    with a higher threshold applies; a boundary that is itself dearer is stored as one less.

    `layer` says by which kind of override the rates came to be (`rate`, `same_as`, `free`,
    `default`), None for those of the source, and `reason` what the operator said.
    `base_row` is the row that this one repeats: for another time, another model, or with
    `adjustments`, which multiply what its rates come to. `origin` is the model that it is billed
    as, None being itself: whoever sells another's model bills it by the other's rules.

    `price_row` is the first 16 hexadecimal digits of the SHA-256 of the content: the same
    content has the same id in every book.
    """

    provider: str
    model: str
    context: str = STANDARD
    effective_from: int | None = None
    effective_to: int | None = None
    time_of_day: tuple[int, int] | None = None
    over_input_tokens: int = 0
    rates: Mapping[str, int]
    unit_rates: Mapping[str, int] = field(default_factory=dict)
    weekdays: tuple[int, ...] | None = None
    layer: str | None = None
    reason: str | None = None
    base_row: str | None = None
    adjustments: tuple[Adjustment, ...] = ()
    origin: Origin | None = None
    multiplier: Fraction = field(init=False)
    unit_multiplier: Fraction = field(init=False)
    price_row: str = field(init=False)

    def __post_init__(self) -> None:
        unknown = self.rates.keys() - set(RATES)
        if unknown:
            raise ValueError(f"unknown rates: {', '.join(sorted(unknown))}")
        for name in ("rates", "unit_rates"):
            mapping = dict(sorted(getattr(self, name).items()))
            object.__setattr__(self, name, MappingProxyType(mapping))
        for name, of_units in (("multiplier", False), ("unit_multiplier", True)):
            object.__setattr__(self, name, product(self.adjustments, of_units=of_units))
        digest = hashlib.sha256(_canonical_json(self.canonical())).hexdigest()
        object.__setattr__(self, "price_row", digest[:16])

    @property
    def billed_as(self) -> Origin:
        """The model by whose rules this row is billed: its own, or another that is sold by it."""
        is_listed = self.layer in (None, "same_as")
        return self.origin or Origin(self.provider, self.model, is_listed)

    def canonical(self) -> list[Any]:
        """The content in lists, dicts, strings and integers, without the id."""
        further = {name: getattr(self, name) for name in _FURTHER if getattr(self, name)}
        return [
            self.provider,
            self.model,
            self.context,
            self.effective_from,
            self.effective_to,
            self.time_of_day,
            self.over_input_tokens,
            dict(self.rates),
            dict(self.unit_rates),
            *([further] if further else []),
        ]


_FURTHER: Final = ("weekdays", "layer", "reason", "base_row", "adjustments", "origin")
"""What a row's content only has where there is something to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of a provider, and the rule by which the source recognises its names."""

    id: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider's models in the source's order, the first match winning.

    `fallbacks` are the providers whose models and prices the source lends to this one.
    """

    id: str
    models: tuple[Model, ...]
    fallbacks: tuple[str, ...] = ()


class Book:
    """An immutable set of price rows, and the names of the models they price.

    `id` is the SHA-256 of the canonical content. Source and version are not part of it: two
    releases that say the same are one book. A book with overrides names the `base` it was made
    from, and has beside it the operator's `aliases` and names of providers, and the rows that are
    only `lent` any more: at the provider itself an operator's price has taken their place.

    Raises:
        ValueError: the rows of one key overlap, or begin above a threshold of 0.
    """

    def __init__(
        self,
        *,
        source: str,
        source_version: str,
        providers: Iterable[Provider],
        rows: Iterable[PriceRow],
        base: str | None = None,
        aliases: Iterable[Alias] = (),
        provider_names: Mapping[str, str] | None = None,
        lent: Iterable[PriceRow] = (),
    ) -> None:
        self.source: Final = source
        self.source_version: Final = source_version
        self.base: Final = base
        self.aliases: Final = tuple(aliases)
        self.provider_names: Final = MappingProxyType(dict(provider_names or {}))
        self.providers: Final = MappingProxyType({p.id: p for p in providers})
        by_key: dict[tuple[str, str, str], list[PriceRow]] = {}
        adjusted: dict[tuple[str, str], list[PriceRow]] = {}
        for row in rows:
            if row.adjustments and row.base_row:
                adjusted.setdefault((row.provider, row.base_row), []).append(row)
            else:
                by_key.setdefault((row.provider, row.model, row.context), []).append(row)
        self.only_lent: Final = tuple(lent)
        self._rows: Final = {key: tuple(rows) for key, rows in by_key.items()}
        self._adjusted: Final = {key: tuple(rows) for key, rows in adjusted.items()}
        for same_key in self._rows.values():
            for what in contradictions(same_key):
                raise ValueError(what)
        self.id: Final = hashlib.sha256(self.canonical_json()).hexdigest()

    @property
    def rows(self) -> Iterator[PriceRow]:
        """Every price row, grouped by provider, model and context; adjusted ones come last.

        Those that are only lent are not among them.
        """
        for rows in (self._rows, self._adjusted):
            for group in rows.values():
                yield from group

    def lookup(self, provider: str, model: str, context: str = STANDARD) -> tuple[PriceRow, ...]:
        """The rows of one key, of every date and size; empty when there is no price.

        All three are the book's own ids, matched exactly. Adjusted rows are not among them.
        """
        return self._rows.get((provider, model, context), ())

    def lent(self, provider: str, model: str) -> tuple[PriceRow, ...]:
        """The rows by which other providers are lent the price of a model: those of the source.

        What an operator agreed with a provider is for calls at that provider alone.
        """
        cut = (row for row in self.only_lent if (row.provider, row.model) == (provider, model))
        own = self.lookup(provider, model)
        return *(row for row in own if row.layer is None and row.base_row is None), *cut

    def adjusted(self, provider: str, base_row: str) -> tuple[PriceRow, ...]:
        """The rows made from another by an operator's adjustments, for calls at a provider.

        The `context` of each has the facts of a request that it asks for.
        """
        return self._adjusted.get((provider, base_row), ())

    def canonical_json(self) -> bytes:
        """The whole content, rules included, in one form: what `id` is the hash of."""
        providers = [
            [p.id, [[m.id, m.rule.canonical()] for m in p.models], p.fallbacks]
            for p in self.providers.values()
        ]
        rows = sorted((row.canonical() for row in self.rows), key=_canonical_json)
        content: dict[str, Any] = {"providers": providers, "rows": rows}
        if self.base is not None:
            content["base"] = self.base
            content["aliases"] = [alias.canonical() for alias in self.aliases]
            content["provider_names"] = dict(self.provider_names)
        if self.only_lent:
            content["lent"] = sorted(
                (row.canonical() for row in self.only_lent), key=_canonical_json
            )
        return _canonical_json(content)

    def table_rows(self) -> list[dict[str, Any]]:
        """The rows for a table: JSON-able, `rates` as exact decimal strings of USD per unit.

        An adjusted row has the rates of its `base_row`, and multipliers beside them. Rows that are
        only lent are there too: calls are priced by them.

        `time_of_day_from` and `time_of_day_to` are microseconds since midnight UTC; None is a
        bound that is midnight itself, or no bound.
        """
        return [
            {
                "price_row": row.price_row,
                "provider": row.provider,
                "model": row.model,
                "context": row.context,
                "effective_from": row.effective_from,
                "effective_to": row.effective_to,
                "time_of_day_from": row.time_of_day and row.time_of_day[0],
                "time_of_day_to": row.time_of_day and (row.time_of_day[1] % _DAY or None),
                "weekdays": row.weekdays and ",".join(WEEKDAYS[day] for day in row.weekdays),
                "over_input_tokens": row.over_input_tokens,
                "rates": {
                    name: decimal(rate, 18)
                    for name, rate in {**row.rates, **row.unit_rates}.items()
                },
                "layer": "adjust" if row.adjustments else row.layer,
                "reason": row.reason,
                "base_row": row.base_row,
                "multiplier": decimal_text(row.multiplier) if row.adjustments else None,
                "unit_multiplier": decimal_text(row.unit_multiplier) if row.adjustments else None,
            }
            for row in (*self.rows, *self.only_lent)
        ]


def _canonical_json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
