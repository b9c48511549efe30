# SPDX-License-Identifier: Apache-2.0
"""Feeds as genai-prices publishes them: JSON whose numbers are the exact ones of the data."""

import copy
import json
import re
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from functools import cache
from typing import Any

from genai_prices import types as source
from genai_prices.data import providers

__all__ = ["feed", "installed_feed", "price_keys"]


def feed(raw: Any) -> bytes:
    """JSON in which a `Decimal` is a number with all its digits."""
    text = json.dumps(raw, default=lambda number: f"@{number}@")
    return re.sub(r'"@([^"]+)@"', r"\1", text).encode()


def installed_feed() -> Any:
    """What the feed would say if it held the data of the installed package; yours to change."""
    return copy.deepcopy(_installed())


def price_keys(prices: Any) -> Iterator[dict[str, Any]]:
    """The mappings of price keys in a model's `prices`."""
    if isinstance(prices, dict):
        yield prices
    else:
        yield from (conditional["prices"] for conditional in prices)


@cache
def _installed() -> list[dict[str, Any]]:
    return [
        _said(
            id=provider.id,
            name=provider.name,
            api_pattern=provider.api_pattern,
            pricing_urls=provider.pricing_urls,
            fallback_model_providers=provider.fallback_model_providers,
            models=[
                _said(
                    id=model.id,
                    match=_clause(model.match),
                    name=model.name,
                    context_window=model.context_window,
                    prices=_prices(model.prices),
                    price_variants=[
                        _said(
                            when=variant.when,
                            prices=_price(variant.prices),
                            constraint=_constraint(variant.constraint),
                        )
                        for variant in model.price_variants or ()
                    ]
                    or None,
                )
                for model in provider.models
            ],
        )
        for provider in providers
    ]


def _said(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _prices(prices: Any) -> Any:
    if isinstance(prices, source.ModelPrice):
        return _price(prices)
    return [
        _said(constraint=_constraint(each.constraint), prices=_price(each.prices))
        for each in prices
    ]


def _price(price: source.ModelPrice) -> dict[str, Any]:
    return {key: _rate(value) for key, value in vars(price).items() if value is not None}


def _rate(value: Decimal | source.TieredPrices) -> Any:
    if isinstance(value, Decimal):
        return value
    tiers = [{"start": tier.start, "price": tier.price} for tier in value.tiers]
    return {"base": value.base, "tiers": tiers}


def _constraint(constraint: Any) -> Any:
    match constraint:
        case source.StartDateConstraint(start_date=date() as day):
            return {"start_date": day.isoformat()}
        case source.TimeOfDateConstraint(start_time=time() as start, end_time=time() as end):
            return {"start_time": start.isoformat(), "end_time": end.isoformat()}
    return None


def _clause(clause: Any) -> Any:
    match clause:
        case source.ClauseOr():
            return {"or": [_clause(part) for part in clause.or_]}
        case source.ClauseAnd():
            return {"and": [_clause(part) for part in clause.and_]}
    return dict(vars(clause))
