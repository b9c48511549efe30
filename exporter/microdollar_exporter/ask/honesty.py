# SPDX-License-Identifier: Apache-2.0
"""What stands beside every sum of costs: what is not in it, and where it is not exact."""

from collections.abc import Mapping
from typing import Final

from microdollar_exporter.usage import BUCKETS

__all__ = ["IN_DOUBT", "TOKENS", "UNASSIGNED_SUMS", "honesty", "plural"]

TOKENS: Final = " + ".join(f"coalesce({bucket}, 0)" for bucket in BUCKETS)
"""All tokens of an entry, as SQL."""

# Sums of signed columns like all others, so that what was taken back is in none of them.
IN_DOUBT: Final = {
    "unpriced": "sum(calls) FILTER (cost IS NULL AND usage_source <> 'missing')",
    "unpriced_tokens": f"sum({TOKENS}) FILTER (cost IS NULL)",
    "missing": "sum(calls) FILTER (usage_source = 'missing')",
    "estimated": "sum(calls) FILTER (usage_source = 'estimated')",
    "partial": "sum(calls) FILTER (price_status = 'partial')",
    "fallback": "sum(calls) FILTER (price_status = 'fallback')",
    "refused": "sum(calls) FILTER (usage_source = 'none')",
}
"""What a cost leaves out or where it is in doubt, as sums in SQL over the ledger."""

UNASSIGNED_SUMS: Final = {
    "unassigned": "sum(calls) FILTER (customer_id IS NULL)",
    "unassigned_tokens": f"sum({TOKENS}) FILTER (customer_id IS NULL)",
}
"""What no customer is known of, in the same way."""


def honesty(sums: Mapping[str, int]) -> str:
    """One sentence about so many `calls`, by these sums; `late` may be among them, or not known."""
    tokens = sums["unpriced_tokens"]
    found = {
        f"unpriced ({plural(tokens, 'token')})": sums["unpriced"],
        "with usage missing": sums["missing"],
        "estimated": sums["estimated"],
        "priced in part": sums["partial"],
        "with a price or count in doubt": sums["fallback"],
        "refused or never sent (free)": sums["refused"],
        "recorded late": sums.get("late", 0),
        f"unassigned ({plural(sums['unassigned_tokens'], 'token')})": sums["unassigned"],
    }
    parts = [f"{count:,} {what}" for what, count in found.items() if count]
    if tokens and not sums["unpriced"]:
        # A further model inside a call has tokens and is no call.
        parts.insert(0, f"{plural(tokens, 'token')} unpriced")
    nothing = "each priced from reported usage, and assigned"
    return f"Of {plural(sums['calls'], 'call')}: {', '.join(parts) or nothing}."


def plural(count: int, one: str) -> str:
    """A count and what it counts, in the plural but for one."""
    return f"{count:,} {one if count == 1 else one + 's'}"
