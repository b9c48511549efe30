# SPDX-License-Identifier: Apache-2.0
"""Read the price data of the installed genai-prices package into a book.

Only its data and `ModelInfo.get_prices` are used, never its calculator. Importing this module
costs some tenths of a second and pydantic; the book it makes needs neither.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from itertools import pairwise
from typing import Final

from genai_prices import types as source
from genai_prices.data import providers as bundled
from genai_prices.data_snapshot import DataSnapshot

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price.book import STANDARD, Book, Model, PriceRow, Provider
from microdollar_exporter.price.deepseek import with_dates
from microdollar_exporter.price.rules import Op, Rule

__all__ = ["SOURCE", "Imported", "import_genai_prices", "import_installed", "import_snapshot"]

SOURCE: Final = "genai-prices"
"""What the books made here name as their source."""

_RATES: Final = {
    "input_mtok": "input_uncached",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_tool_mtok": "input_tool",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_in",
    "output_audio_mtok": "audio_out",
    "input_image_mtok": "image_in",
    "output_image_mtok": "image_out",
    "input_video_mtok": "video_in",
    "output_video_mtok": "video_out",
    "cache_audio_read_mtok": "audio_cache_read",
    "cache_image_read_mtok": "image_cache_read",
}
"""The source's price keys per million tokens, and the rates they become."""

_UNIT_RATES: Final = {
    "web_searches_kcount": ("web_search", 1_000),
    "storage_searches_kcount": ("file_search", 1_000),
    "social_searches_kcount": ("x_search", 1_000),
    "code_executions_kcount": ("code_interpreter", 1_000),
    "rerank_searches_kcount": ("search_units", 1_000),
    "requests_kcount": ("requests", 1_000),
    "input_document_kpages": ("pages", 1_000),
    "input_annotated_document_kpages": ("annotated_pages", 1_000),
    "input_text_messages_kcount": ("messages", 1_000),
    "input_mchars": ("characters", 1_000_000),
    # Kept per hour: a rate per second would never terminate.
    "audio_hours": ("audio_hours", 1),
}
"""The source's other price keys: the unit each becomes and how many of it the price is for.

Whatever is in none of the three tables is unknown."""

_SET_ASIDE: Final = {
    "input_audio_hours": "repeats audio_hours",
    "output_citation_mtok": "a part of the output that no usage tells apart",
}
"""Price keys that are left out on purpose, and why no cost can be wrong or missing for it."""

_MOST_DIGITS: Final = 30
_EXACT_DECIMALS: Final = 12
_LIST_DECIMALS: Final = 6

_NAMED: Final = 3
"""How many faults of one kind are named."""

_DAY: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Imported:
    """A book, and what of its source could not be taken as it stands.

    `rounded` counts the distinct prices that were the residue of a float; `set_aside` counts price
    keys that are left out on purpose. `unknown` names price keys that this version cannot read,
    each with the models that have it: what they are charged for would have no price.
    """

    book: Book
    rounded: int
    set_aside: Mapping[str, int]
    unknown: Mapping[str, tuple[str, ...]]


def import_genai_prices() -> Book:
    """The book of the installed genai-prices package."""
    return import_installed().book


def import_installed() -> Imported:
    """The same, with what could not be taken as it stands."""
    return import_snapshot(DataSnapshot(providers=bundled, from_auto_update=False))


def import_snapshot(snapshot: DataSnapshot, source_version: str | None = None) -> Imported:
    """The book of a genai-prices snapshot, which is that of the installed version unless said.

    Starts of prices are midnight UTC of their date, as in the source. A price of 12 decimals or
    fewer is taken exactly; one of more is the residue of a float in the source's own data, and
    is rounded half-even to the 6 decimals that list prices have.

    Raises:
        UsageError: a price is negative or no number, or two of the source contradict each other.
    """
    _refuse_repeated([provider.id for provider in snapshot.providers])
    for provider in snapshot.providers:
        _refuse_repeated([f"{provider.id} {model.id}" for model in provider.models])
    reader = _Reader()
    book = Book(
        source=SOURCE,
        source_version=source_version or version(SOURCE),
        providers=[_provider(provider) for provider in snapshot.providers],
        rows=[
            row
            for provider in snapshot.providers
            for model in provider.models
            for row in with_dates(reader.rows(provider.id, model))
        ],
    )
    unread = sorted(reader.unread.items())
    return Imported(
        book,
        len(reader.rounded),
        {key: len(models) for key, models in unread if key in _SET_ASIDE},
        {key: tuple(sorted(models)) for key, models in unread if key not in _SET_ASIDE},
    )


def _refuse_repeated(named: Sequence[str]) -> None:
    """Refuse what is there twice: which of both is meant, nobody can say."""
    repeated = [name for name, times in Counter(named).items() if times > 1]
    if repeated:
        names = f"{', '.join(repeated[:_NAMED])}{' …' if repeated[_NAMED:] else ''}"
        raise UsageError(f"listed twice: {names}; take another edition of the feed")


def _provider(provider: source.Provider) -> Provider:
    return Provider(
        id=provider.id,
        models=tuple(Model(id=model.id, rule=_rule(model.match)) for model in provider.models),
        fallbacks=tuple(provider.fallback_model_providers or ()),
    )


def _rule(clause: source.MatchLogic) -> Rule:
    op: Op
    match clause:
        case source.ClauseOr():
            return Rule("or", rules=tuple(_rule(part) for part in clause.or_))
        case source.ClauseAnd():
            return Rule("and", rules=tuple(_rule(part) for part in clause.and_))
        case source.ClauseRegex():
            try:
                re.compile(clause.regex)
            except re.error as error:
                raise UsageError(f"the regex {clause.regex!r} cannot be read: {error}") from error
            return Rule("regex", clause.regex)
        case source.ClauseEquals():
            op, text = "equals", clause.equals
        case source.ClauseStartsWith():
            op, text = "starts_with", clause.starts_with
        case source.ClauseEndsWith():
            op, text = "ends_with", clause.ends_with
        case source.ClauseContains():
            op, text = "contains", clause.contains
        case _:
            raise TypeError(f"unknown match clause {type(clause).__name__}")
    return Rule(op, text.lower())


@dataclass(slots=True)
class _Reader:
    """Turns models into rows, and remembers what could not be taken as it stands.

    `rounded` names each price value once, however many rows it is in; `unread` names the models
    that have a price key which is not read.
    """

    rounded: set[tuple[str, str, str, Decimal]] = field(default_factory=set)
    unread: dict[str, set[str]] = field(default_factory=dict)

    def rows(self, provider: str, model: source.ModelInfo) -> Iterator[PriceRow]:
        """The rows of one model: standard ones, then those of each request variant."""
        yield from self._context_rows(provider, model, {})
        seen = []
        for variant in model.price_variants or ():
            if variant.when not in seen and _names_a_price(variant):
                seen.append(variant.when)
                yield from self._context_rows(provider, model, variant.when)

    def _context_rows(
        self, provider: str, model: source.ModelInfo, when: dict[str, str]
    ) -> Iterator[PriceRow]:
        prices = model.prices if isinstance(model.prices, list) else []
        variants = [
            variant
            for variant in model.price_variants or ()
            if variant.when.items() <= when.items() and _names_a_price(variant)
        ]
        for group in (prices, [variant for variant in variants if variant.when == when]):
            _refuse_repeated([f"{provider} {model.id} {_when(c.constraint)}" for c in group])
        constraints = [c.constraint for c in prices] + [v.constraint for v in variants]
        starts = sorted(
            {c.start_date for c in constraints if isinstance(c, source.StartDateConstraint)}
        )
        windows = [c for c in constraints if isinstance(c, source.TimeOfDateConstraint)]
        for start, end in pairwise([None, *starts, None]):
            day = start or (starts[0] if starts else _EPOCH) - timedelta(days=1)
            for span, instant in _spans(day, windows):
                if when and not any(_active(v.constraint, instant) for v in variants):
                    continue
                price = model.get_prices(instant, when or None)
                for over, rates, unit_rates in self._tiers(provider, model.id, price):
                    yield PriceRow(
                        provider=provider,
                        model=model.id,
                        context=",".join(f"{k}={when[k]}" for k in sorted(when)) or STANDARD,
                        effective_from=_midnight(start),
                        effective_to=_midnight(end),
                        time_of_day=span,
                        over_input_tokens=over,
                        rates=rates,
                        unit_rates=unit_rates,
                    )

    def _tiers(
        self, provider: str, model: str, price: source.ModelPrice
    ) -> Iterator[tuple[int, dict[str, int], dict[str, int]]]:
        """Each threshold of a price with the rates above it; nothing for an empty price."""
        values = {key: value for key, value in vars(price).items() if value is not None}
        starts = {
            key: [tier.start for tier in value.tiers]
            for key, value in values.items()
            if isinstance(value, source.TieredPrices)
        }
        for key, all_of_key in starts.items():
            _refuse_repeated([f"{provider} {model} {key} above {start}" for start in all_of_key])
        for over in sorted({0, *(start for each in starts.values() for start in each)}):
            rates: dict[str, int] = {}
            unit_rates: dict[str, int] = {}
            for key, value in values.items():
                usd = _at(value, over)
                if key in _RATES:
                    rates[_RATES[key]] = self._rate(provider, model, key, usd, 1_000_000)
                elif key in _UNIT_RATES:
                    unit, per = _UNIT_RATES[key]
                    unit_rates[unit] = self._rate(provider, model, key, usd, per)
                else:
                    self.unread.setdefault(key, set()).add(f"{provider} {model}")
            if rates or unit_rates:
                yield over, rates, unit_rates

    def _rate(self, provider: str, model: str, key: str, usd: Decimal, per: int) -> int:
        """A price for `per` units as 10⁻¹⁸ USD for one; no decimal context can round it."""
        if not usd.is_finite() or usd < 0 or not -_MOST_DIGITS < usd.adjusted() < _MOST_DIGITS:
            raise UsageError(
                f"{key} of {provider} {model} is {usd}: a price is zero or more, and of less than "
                f"{_MOST_DIGITS} digits"
            )
        price = Fraction(usd)
        if (price * 10**_EXACT_DECIMALS).denominator != 1:
            price = Fraction(round(price * 10**_LIST_DECIMALS), 10**_LIST_DECIMALS)
            self.rounded.add((provider, model, key, usd))
        return round(price * 10**18 / per)  # whole already: no `per` is above a million


def _names_a_price(variant: source.PriceVariant) -> bool:
    """False for a variant that only says that the standard price applies."""
    return any(value is not None for value in vars(variant.prices).values())


def _when(
    constraint: source.StartDateConstraint | source.TimeOfDateConstraint | None,
) -> str:
    match constraint:
        case source.StartDateConstraint():
            return f"from {constraint.start_date}"
        case source.TimeOfDateConstraint():
            return f"from {constraint.start_time} to {constraint.end_time}"
        case _:
            return "without a date"


def _active(
    constraint: source.StartDateConstraint | source.TimeOfDateConstraint | None, instant: datetime
) -> bool:
    return constraint is None or constraint.active(instant)


def _at(value: Decimal | source.TieredPrices, over: int) -> Decimal:
    """The price of a request of just over `over` input tokens: the highest tier reached."""
    if isinstance(value, source.TieredPrices):
        reached = [tier for tier in value.tiers if tier.start <= over]
        highest = max(reached, key=lambda tier: tier.start, default=None)
        return value.base if highest is None else highest.price
    return value


def _midnight(day: date | None) -> int | None:
    return None if day is None else (day.toordinal() - _EPOCH.toordinal()) * _DAY


def _spans(
    day: date, windows: list[source.TimeOfDateConstraint]
) -> Iterator[tuple[tuple[int, int] | None, datetime]]:
    """The parts of a day that can differ in price, each with an instant inside it.

    A part that a window covers is a span of microseconds since midnight UTC. All others have
    the price of the date: they are one part, None.
    """
    midnight = datetime.combine(day, time(), tzinfo=UTC)
    edges = {0, _DAY}
    for window in windows:
        edges |= {_of_day(window.start_time), _of_day(window.end_time)}
    plain = False
    for start, end in pairwise(sorted(edges)):
        instant = midnight + timedelta(microseconds=(start + end) // 2)
        if any(window.active(instant) for window in windows):
            yield (start, end), instant
        elif not plain:
            plain = True
            yield None, instant


def _of_day(at: time) -> int:
    """Microseconds from midnight UTC to a time of day; naive times are UTC, as in the source."""
    offset = at.utcoffset() or timedelta()
    since = timedelta(
        hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond
    )
    return (since - offset) // timedelta(microseconds=1) % _DAY
