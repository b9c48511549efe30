# SPDX-License-Identifier: Apache-2.0
"""What the ledger must hold after one run of `docs/demo/app.py`, computed by hand.

Tokens are those of `docs/demo/replies/`, in disjoint buckets. Rates are the list prices of
genai-prices 0.2.3 in USD per million tokens, which is microdollars per token; none of these
models has a change of price ahead. Costs are exact, in microdollars.

| model                  | input | cache read | 5 m write | 1 h write | other write | output |
|------------------------|-------|------------|-----------|-----------|-------------|--------|
| gpt-5.6-sol            | 4     | 0.4        |           |           | 5           | 20     |
| gpt-6.1-terra          | 1     | 0.05       |           |           | 1.25        | 5      |
| gpt-6-luna             | 0.1   | 0.01       |           |           | 0.125       | 0.5    |
| text-embedding-3-small | 0.02  |            |           |           |             |        |
| claude-sonnet-5-5      | 2     | 0.1        | 2.5       | 4         |             | 10     |
| claude-haiku-5-5       | 0.1   | 0.01       | 0.125     | 0.2       |             | 0.5    |
| gemini-3.5-flash       | 1.5   | 0.15       |           |           |             | 9      |
| gemini-3.5-flash-lite  | 0.3   | 0.03       |           |           |             | 2.5    |
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

UNASSIGNED: Final = "unassigned"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One physical call. A count of None was not reported; `cost` of None is not known.

    Outcomes: `priced`; `unpriced`, a model without a price; `missing`, an answer without usage;
    `refused`, an HTTP error. `provider` is the fake provider's name, `status` the HTTP status.
    """

    customer: str
    user: str | None
    feature: str | None
    provider: Literal["openai", "anthropic", "gemini"]
    model: str
    stream: bool = False
    status: int = 200
    response_id: str | None = None
    outcome: Literal["priced", "unpriced", "missing", "refused"] = "priced"
    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cost: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Total:
    """One line of the report by customer: sums over the calls, what is not reported left out."""

    calls: int
    input_uncached: int
    cache_read: int
    output: int
    reasoning: int
    cost: Decimal
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_write: int = 0
    unpriced: int = 0
    missing: int = 0
    refused: int = 0


CALLS: Final = (
    Call(
        customer="acme",
        user="u1",
        feature="assistant",
        provider="openai",
        model="gpt-5.6-sol",
        response_id="chatcmpl-Demo01",
        input_uncached=352,  # 2400 - 1536 - 512
        cache_read=1536,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=512,
        output=310,
        reasoning=192,
        # 352 * 4 + 1536 * 0.4 + 512 * 5 + 310 * 20
        # = 1408  + 614.4      + 2560    + 6200
        cost=Decimal("10782.4"),
    ),
    Call(
        customer="acme",
        user="u2",
        feature="assistant",
        provider="anthropic",
        model="claude-sonnet-5-5",
        response_id="msg_Demo01",
        input_uncached=118,
        cache_read=9000,
        cache_write_5m=640,
        cache_write_1h=1024,
        cache_write=0,
        output=402,
        reasoning=210,
        # 118 * 2 + 9000 * 0.1 + 640 * 2.5 + 1024 * 4 + 402 * 10
        # = 236   + 900        + 1600      + 4096     + 4020
        cost=Decimal(10852),
    ),
    Call(
        customer="acme",
        user=None,
        feature="summary",
        provider="openai",
        model="gpt-6-luna",
        stream=True,
        response_id="resp_demo02",
        input_uncached=1104,  # 5200 - 4096
        cache_read=4096,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=733,
        reasoning=500,
        # 1104 * 0.1 + 4096 * 0.01 + 733 * 0.5
        # = 110.4    + 40.96       + 366.5
        cost=Decimal("517.86"),
    ),
    Call(
        customer="globex",
        user="u3",
        feature="search",
        provider="openai",
        model="text-embedding-3-small",
        input_uncached=37,
        output=0,
        cost=Decimal("0.74"),  # 37 * 0.02
    ),
    Call(
        customer="globex",
        user="u3",
        feature="search",
        provider="openai",
        model="gpt-6-luna",
        stream=True,
        response_id="chatcmpl-Demo05",
        input_uncached=787,  # 1811 - 1024
        cache_read=1024,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=95,
        reasoning=0,
        # 787 * 0.1 + 1024 * 0.01 + 95 * 0.5
        # = 78.7    + 10.24       + 47.5
        cost=Decimal("136.44"),
    ),
    Call(
        customer="globex",
        user="u3",
        feature="translate",
        provider="gemini",
        model="gemini-3.5-flash",
        response_id="GmDemo01",
        input_uncached=396,  # 1420 - 1024
        cache_read=1024,
        output=453,  # 120 candidates + 333 thoughts
        reasoning=333,
        # 396 * 1.5 + 1024 * 0.15 + 453 * 9
        # = 594     + 153.6       + 4077
        cost=Decimal("4824.6"),
    ),
    Call(
        customer="globex",
        user="u4",
        feature="inbox",
        provider="anthropic",
        model="claude-haiku-5-5",
        stream=True,
        response_id="msg_Demo03",
        input_uncached=902,
        cache_read=2048,
        cache_write_5m=300,
        cache_write_1h=0,
        cache_write=0,
        output=177,
        reasoning=0,
        # 902 * 0.1 + 2048 * 0.01 + 300 * 0.125 + 177 * 0.5
        # = 90.2    + 20.48       + 37.5        + 88.5
        cost=Decimal("236.68"),
    ),
    Call(
        customer="initech",
        user=None,
        feature=None,
        provider="openai",
        model="gpt-6-luna",
        response_id="chatcmpl-Demo03",
        input_uncached=333,
        cache_read=0,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=41,
        reasoning=0,
        # 333 * 0.1 + 41 * 0.5
        # = 33.3    + 20.5
        cost=Decimal("53.8"),
    ),
    Call(
        customer="initech",
        user=None,
        feature="classify",
        provider="openai",
        model="gpt-6.1-terra",
        status=429,
        outcome="refused",
    ),
    Call(
        customer="initech",
        user=None,
        feature="classify",
        provider="openai",
        model="gpt-6.1-terra",
        response_id="chatcmpl-Demo02",
        input_uncached=250,
        cache_read=0,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=12,
        reasoning=0,
        # 250 * 1 + 12 * 5
        # = 250   + 60
        cost=Decimal(310),
    ),
    Call(
        customer="initech",
        user="u5",
        feature="plan",
        provider="openai",
        model="gpt-5.6-sol",
        response_id="resp_demo01",
        input_uncached=641,
        cache_read=0,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=1204,
        reasoning=1024,
        # 641 * 4 + 1204 * 20
        # = 2564  + 24080
        cost=Decimal(26644),
    ),
    Call(
        customer="umbrella",
        user=None,
        feature="notes",
        provider="openai",
        model="gpt-5.6-sol",
        stream=True,
        response_id="chatcmpl-Demo06",
        outcome="missing",
    ),
    Call(
        customer="umbrella",
        user=None,
        feature="archive",
        provider="anthropic",
        model="claude-opus-5-5",
        status=400,
        outcome="refused",
    ),
    Call(
        customer="umbrella",
        user=None,
        feature="lab",
        provider="openai",
        model="nebula-1",
        response_id="chatcmpl-Demo04",
        outcome="unpriced",
        input_uncached=77,
        cache_read=0,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=23,
        reasoning=0,
    ),
    Call(
        customer="umbrella",
        user=None,
        feature="report",
        provider="gemini",
        model="gemini-3.5-flash-lite",
        stream=True,
        response_id="GmDemo02",
        input_uncached=2489,  # 3001 - 512
        cache_read=512,
        output=145,  # 84 candidates + 61 thoughts
        reasoning=61,
        # 2489 * 0.3 + 512 * 0.03 + 145 * 2.5
        # = 746.7    + 15.36      + 362.5
        cost=Decimal("1124.56"),
    ),
    Call(
        customer=UNASSIGNED,
        user=None,
        feature=None,
        provider="anthropic",
        model="claude-haiku-5-5",
        response_id="msg_Demo02",
        input_uncached=64,
        cache_read=0,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write=0,
        output=19,
        reasoning=0,
        # 64 * 0.1 + 19 * 0.5
        # = 6.4    + 9.5
        cost=Decimal("15.9"),
    ),
)
"""Every call of the app. Where `response_id` is None the answer has none."""

TOTALS: Final = {
    "acme": Total(
        calls=3,
        input_uncached=1574,  # 352 + 118 + 1104
        cache_read=14632,  # 1536 + 9000 + 4096
        cache_write_5m=640,
        cache_write_1h=1024,
        cache_write=512,
        output=1445,  # 310 + 402 + 733
        reasoning=902,  # 192 + 210 + 500
        cost=Decimal("22152.26"),  # 10782.4 + 10852 + 517.86
    ),
    "globex": Total(
        calls=4,
        input_uncached=2122,  # 37 + 787 + 396 + 902
        cache_read=4096,  # 1024 + 1024 + 2048
        cache_write_5m=300,
        output=725,  # 0 + 95 + 453 + 177
        reasoning=333,
        cost=Decimal("5198.46"),  # 0.74 + 136.44 + 4824.6 + 236.68
    ),
    "initech": Total(
        calls=4,
        input_uncached=1224,  # 333 + 250 + 641
        cache_read=0,
        output=1257,  # 41 + 12 + 1204
        reasoning=1024,
        cost=Decimal("27007.8"),  # 53.8 + 310 + 26644
        refused=1,
    ),
    "umbrella": Total(
        calls=4,
        input_uncached=2566,  # 77 + 2489
        cache_read=512,
        output=168,  # 23 + 145
        reasoning=61,
        cost=Decimal("1124.56"),
        unpriced=1,
        missing=1,
        refused=1,
    ),
    UNASSIGNED: Total(
        calls=1,
        input_uncached=64,
        cache_read=0,
        output=19,
        reasoning=0,
        cost=Decimal("15.9"),
    ),
}
"""By customer, the unassigned call as a line of its own."""

GRAND_TOTAL: Final = Total(
    calls=16,
    input_uncached=7550,  # 1574 + 2122 + 1224 + 2566 + 64
    cache_read=19240,  # 14632 + 4096 + 512
    cache_write_5m=940,  # 640 + 300
    cache_write_1h=1024,
    cache_write=512,
    output=3614,  # 1445 + 725 + 1257 + 168 + 19
    reasoning=2320,  # 902 + 333 + 1024 + 61
    cost=Decimal("55498.98"),  # 22152.26 + 5198.46 + 27007.8 + 1124.56 + 15.9
    unpriced=1,
    missing=1,
    refused=2,
)
