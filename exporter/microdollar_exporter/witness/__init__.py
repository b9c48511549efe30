# SPDX-License-Identifier: Apache-2.0
"""The witness stage: which of the spans that describe a call is billed for it.

    keys, times          response ids, and when spans are near enough
    claim                what a span says that matters here
    forest               which spans are inside which
    relations, alone     which spans have to be decided together, within traces and across
    sweep, sets          how these are found without comparing all with all
    calls                claims gathered into calls, and which claim of a call is believed
    nesting, layers      spans inside spans: which layer is billed
    pairing, under_way   spans beside each other: which of them are the same
    choose               the verdict on each span

It is a function of a set of spans and nothing else: in whatever order they came, and whatever
unrelated spans are decided with them, the verdicts are the same.
"""

from microdollar_exporter.witness.alone import NEAR, same_alone
from microdollar_exporter.witness.choose import Verdict, choose
from microdollar_exporter.witness.claim import Claim, claim
from microdollar_exporter.witness.keys import ANTHROPIC_REQUEST_ID, Key, request_key, response_key
from microdollar_exporter.witness.relations import (
    components,
    same_moment,
    same_response,
    same_span,
)

__all__ = [
    "ANTHROPIC_REQUEST_ID",
    "NEAR",
    "Claim",
    "Key",
    "Verdict",
    "choose",
    "claim",
    "components",
    "request_key",
    "response_key",
    "same_alone",
    "same_moment",
    "same_response",
    "same_span",
]
