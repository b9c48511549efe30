# SPDX-License-Identifier: Apache-2.0
"""Usage rows and instants in few words."""

from datetime import UTC, datetime, timedelta
from typing import Any

from microdollar_exporter.price import Price
from microdollar_exporter.usage import BUCKETS, PARTS, Usage, UsageRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRODOLLAR = 10**6
"""Picodollars in a microdollar. A price of p USD per million tokens is p microdollars a token."""


def at(text: str) -> int:
    """Microseconds since 1970 of an ISO time; UTC unless it says otherwise."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // timedelta(microseconds=1)


NOW = at("2026-11-21T12:00")


def row(provider: str | None, model: str | None, **facts: Any) -> UsageRow:
    """An ordinary chat call that `model` answered; counts and facts go by their field names."""
    counts = {name: facts.pop(name) for name in (*BUCKETS, *PARTS, "units") if name in facts}
    defaults: dict[str, Any] = {
        "position": 0,
        "calls": 1,
        "started_at": NOW,
        "operation": "chat",
        "request_model": model,
        "response_model": model,
        "service_tier": None,
        "speed": None,
        "inference_geo": None,
        "source": "provider",
    }
    return UsageRow(**(defaults | facts), provider=provider, usage=Usage(**counts))


def charged(price: Price) -> tuple[int | None, str]:
    """The cost and the status of a price that nobody adjusted."""
    assert price.list_cost == price.cost
    return price.cost, price.status
