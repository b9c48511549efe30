# SPDX-License-Identifier: Apache-2.0
"""The demo's app, its replies and its hand-computed figures agree with each other."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from tests.e2e.demo_expected import CALLS, GRAND_TOTAL, TOTALS, Call, Total
from tests.fakes.provider import PROVIDERS, FakeProvider, Received, Replies, Reply

DEMO = Path(__file__).parents[2] / "docs" / "demo"
COUNTS = [f.name for f in fields(Total) if f.name in {g.name for g in fields(Call)} - {"cost"}]
ANSWERED = [call for call in CALLS if call.outcome != "refused"]
PRICED = [call for call in CALLS if call.outcome == "priced"]
OUTCOMES = ("unpriced", "missing", "refused")


def request_key(request: Received) -> tuple[str, str, bool]:
    """Provider, model and stream flag, for Gemini from the path."""
    path = re.fullmatch(r"/v1/models/(.+):(stream)?[gG]enerateContent.*", request.path)
    if path is not None:
        return request.provider, path[1], path[2] is not None
    return request.provider, request.json["model"], request.json.get("stream", False)


def payloads(reply: Reply) -> list[dict[str, Any]]:
    """The JSON objects of an answer, one or one per event, in order."""
    if reply.headers["content-type"] == "application/json":
        return [json.loads(reply.body)]
    data = re.findall(rb"^data: (\{.*\})$", reply.body, re.MULTILINE)
    return [json.loads(item) for item in data]


def reported(reply: Reply) -> tuple[str | None, dict[str, int | None]]:
    """Response id and buckets of an answer, read the shortest way: later events win."""
    response_id = None
    usage: dict[str, Any] = {}
    for payload in payloads(reply):
        item = payload.get("response") or payload.get("message") or payload
        response_id = response_id or item.get("id") or item.get("responseId")
        usage |= item.get("usage") or item.get("usageMetadata") or {}
    if "promptTokenCount" in usage:
        thoughts, cached = usage["thoughtsTokenCount"], usage["cachedContentTokenCount"]
        return response_id, {
            "input_uncached": usage["promptTokenCount"] - cached,
            "cache_read": cached,
            "output": usage["candidatesTokenCount"] + thoughts,
            "reasoning": thoughts,
        }
    if "cache_creation" in usage:
        return response_id, {
            "input_uncached": usage["input_tokens"],
            "cache_read": usage["cache_read_input_tokens"],
            "cache_write_5m": usage["cache_creation"]["ephemeral_5m_input_tokens"],
            "cache_write_1h": usage["cache_creation"]["ephemeral_1h_input_tokens"],
            "cache_write": 0,
            "output": usage["output_tokens"],
            "reasoning": usage["output_tokens_details"]["thinking_tokens"],
        }
    if not usage:
        return response_id, {}
    total_in = usage.get("prompt_tokens", usage.get("input_tokens"))
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if details is None:
        return response_id, {"input_uncached": total_in, "output": 0}
    parts = usage.get("completion_tokens_details") or usage["output_tokens_details"]
    return response_id, {
        "input_uncached": total_in - details["cached_tokens"] - details["cache_write_tokens"],
        "cache_read": details["cached_tokens"],
        "cache_write_5m": 0,
        "cache_write_1h": 0,
        "cache_write": details["cache_write_tokens"],
        "output": usage.get("completion_tokens", usage.get("output_tokens")),
        "reasoning": parts["reasoning_tokens"],
    }


def test_the_app_makes_the_expected_calls_and_gets_the_expected_figures() -> None:
    seen: list[tuple[tuple[str, str, bool], Reply]] = []
    replies = Replies(DEMO / "replies")

    def answer(request: Received) -> Reply:
        reply = replies(request)
        seen.append((request_key(request), reply))
        return reply

    with FakeProvider() as fake:
        for name in PROVIDERS:
            fake.respond(name, answer)
        environment = {
            **os.environ,
            "MICRODOLLAR_ENABLED": "false",
            "OPENAI_BASE_URL": fake.url("openai") + "/v1",
            "ANTHROPIC_BASE_URL": fake.url("anthropic"),
            "GOOGLE_GEMINI_BASE_URL": fake.url("gemini"),
            **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "none"),
        }
        app = subprocess.run(
            [sys.executable, DEMO / "app.py"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (app.returncode, app.stderr) == (0, "")

    made = Counter((key, reply.status) for key, reply in seen)
    assert made == Counter(((c.provider, c.model, c.stream), c.status) for c in CALLS)
    figures = {
        (key, response_id): buckets
        for key, reply in seen
        if reply.status == 200
        for response_id, buckets in [reported(reply)]
    }
    assert figures == {
        ((c.provider, c.model, c.stream), c.response_id): {
            name: value for name in COUNTS if (value := getattr(c, name)) is not None
        }
        for c in ANSWERED
    }


def oracle(call: Call, when: datetime) -> Decimal:
    """The cost of a call in microdollars by genai-prices' own calculator."""
    writes = [call.cache_write_5m, call.cache_write_1h, call.cache_write]
    known = [n for n in (call.input_uncached, call.cache_read, *writes) if n is not None]
    usage: dict[str, int | None] = {
        "input_tokens": sum(known),
        "output_tokens": call.output,
        "cache_read_tokens": call.cache_read,
        "cache_write_tokens": sum(n for n in writes if n is not None) or None,
        "cache_write_1h_tokens": call.cache_write_1h or None,
    }
    price = genai_prices.calc_price(
        genai_prices.Usage(**{name: n for name, n in usage.items() if n is not None}),
        call.model,
        provider_id={"gemini": "google"}.get(call.provider, call.provider),
        genai_request_timestamp=when,
    )
    return Decimal(str(price.total_price)) * 1_000_000


@pytest.mark.parametrize("call", PRICED, ids=lambda c: c.response_id or c.model)
def test_a_hand_computed_cost_is_that_of_the_oracle_today_and_ever_after(call: Call) -> None:
    for when in (datetime.now(tz=UTC), datetime(2099, 1, 1, tzinfo=UTC)):
        assert call.cost == oracle(call, when)


def test_a_call_without_a_known_cost_has_none() -> None:
    assert [c.cost for c in CALLS if c.outcome != "priced"] == [None] * 4
    (unpriced,) = (c for c in CALLS if c.outcome == "unpriced")
    with pytest.raises(LookupError):
        oracle(unpriced, datetime.now(tz=UTC))


def summed(calls: list[Call]) -> Total:
    """The total of some calls."""
    counts = {name: sum(getattr(call, name) or 0 for call in calls) for name in COUNTS}
    outcomes = Counter[str](call.outcome for call in calls)
    return Total(
        calls=len(calls),
        cost=sum((call.cost for call in calls if call.cost is not None), Decimal(0)),
        **counts,
        **{name: outcomes[name] for name in OUTCOMES},
    )


def test_the_totals_are_the_sums_of_the_calls() -> None:
    customers = {call.customer for call in CALLS}
    assert {name: summed([c for c in CALLS if c.customer == name]) for name in customers} == TOTALS
    assert summed(list(CALLS)) == GRAND_TOTAL
