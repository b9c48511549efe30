# SPDX-License-Identifier: Apache-2.0
"""Read the feed that genai-prices publishes, in its second form: a JSON list of providers.

The feed carries no version and no signature, and a reader that is older than what it reads drops
what it does not know. Nothing is dropped in silence here: what is not known is named, and what
could change a price is refused. Importing this module costs what `price.importer` costs.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

import pydantic
from genai_prices import types as source
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.update_prices import DEFAULT_UPDATE_URL

from microdollar_exporter.errors import UsageError
from microdollar_exporter.price.importer import Imported, import_snapshot

__all__ = ["FEED_URL", "Feed", "read_feed"]

FEED_URL: Final = DEFAULT_UPDATE_URL
"""Where genai-prices publishes the feed, by its own word."""

_FIRST_FORM: Final = frozenset(
    {
        *("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"),
        *("input_audio_mtok", "output_audio_mtok", "cache_audio_read_mtok", "requests_kcount"),
    }
)
"""The only units of the feed's first form, which has not been updated since July 2026. The second
form has had 1-hour cache writes and web searches from its first day."""

_CONSTRAINTS: Final = frozenset({"start_date", "start_time", "end_time"})
_CLAUSES: Final = frozenset(
    {"starts_with", "ends_with", "contains", "regex", "equals", "or", "and"}
)


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed holds; `ignored` counts fields that say nothing of prices and are not read."""

    imported: Imported
    ignored: Mapping[str, int]


def read_feed(content: bytes) -> Feed:
    """The book in the text of a feed, exactly: no number of it passes through a float.

    Raises:
        UsageError: it is no feed of the second form, or says something that could change a price
            and cannot be read.
    """
    raw = _json(content)
    if isinstance(raw, dict) and {"units", "providers"} <= raw.keys():
        raise UsageError(
            "this is the third form of the genai-prices feed, an object with units and providers: "
            "take the second form, which is a list"
        )
    if not isinstance(raw, list) or not raw or not all(isinstance(each, dict) for each in raw):
        raise UsageError(
            "this is no genai-prices feed: its second form is a JSON list of providers, each with "
            "id and models"
        )
    ignored, strange = _unread_fields(raw)
    if strange:
        named = ", ".join(f"{name} ({count:,} times)" for name, count in sorted(strange.items()))
        raise UsageError(
            f"the feed decides prices by what this version cannot read: {named}. Upgrade "
            "microdollar-exporter and genai-prices, or import an older feed"
        )
    try:
        # The package's own reading of its feed, which it has under no public name.
        providers = source._providers_from_raw(raw)
    except (pydantic.ValidationError, ValueError, TypeError) as error:
        raise UsageError(f"this is no genai-prices feed: {_first(error)}") from error
    keys = {key for provider in providers for model in provider.models for key in _keys(model)}
    if keys <= _FIRST_FORM:
        raise UsageError(
            "this has only the units of the first form of the genai-prices feed, which has stood "
            "still since July 2026 while prices moved on: take the second form, or upgrade "
            "genai-prices and import without a FILE; rates of your own belong in the overrides"
        )
    digest = hashlib.sha256(content).hexdigest()[:12]
    snapshot = DataSnapshot(providers=providers, from_auto_update=False)
    return Feed(import_snapshot(snapshot, f"feed {digest}"), ignored)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_float=Decimal, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no genai-prices feed: it is no JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, if no key of it is there twice: readers take the last one in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise UsageError(
            f"the feed has {twice!r} twice in one object, and nobody can say which is meant: take "
            "another edition of it"
        )
    return found


def _keys(model: source.ModelInfo) -> Iterator[str]:
    prices = model.prices
    groups = [prices] if isinstance(prices, source.ModelPrice) else [c.prices for c in prices]
    for price in (*groups, *(variant.prices for variant in model.price_variants or ())):
        yield from vars(price)


def _unread_fields(raw: list[Any]) -> tuple[Counter[str], Counter[str]]:
    """The fields that are not read: those that say nothing of prices, and those that may."""
    ignored: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    for provider in raw:
        ignored.update(f"provider {name}" for name in _others(provider, source.Provider))
        for model in _objects(provider.get("models")):
            ignored.update(f"model {name}" for name in _others(model, source.ModelInfo))
            strange.update(f"match {name}" for name in _clauses(model.get("match")))
            for kind, name in (("price", "prices"), ("price variant", "price_variants")):
                known = source.ConditionalPrice if name == "prices" else source.PriceVariant
                found = model.get(name)
                for price in _objects(found) if isinstance(found, list) else ():
                    strange.update(f"{kind} {field}" for field in _others(price, known))
                    constraint = price.get("constraint") or {}
                    if isinstance(constraint, dict):
                        strange.update(f"constraint {f}" for f in constraint.keys() - _CONSTRAINTS)
    return ignored, strange


def _objects(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _others(found: Mapping[str, Any], known: type) -> set[str]:
    return found.keys() - {field.name for field in fields(known)}


def _clauses(rule: Any) -> Iterator[str]:
    if isinstance(rule, dict):
        yield from rule.keys() - _CLAUSES
        for part in (*_objects(rule.get("or")), *_objects(rule.get("and"))):
            yield from _clauses(part)


def _first(error: Exception) -> str:
    """The first fault in one line."""
    if isinstance(error, pydantic.ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return str(error).splitlines()[0]
