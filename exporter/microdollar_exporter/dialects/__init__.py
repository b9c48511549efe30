# SPDX-License-Identifier: Apache-2.0
"""How each emitter of GenAI spans spells provider, model, ids and tokens.

    conventions, operations, usage_names   the words of the tables
    dialect                                one row: how to know spans, and how to read them
    ours, vendors, otel, …                 the rows, a module for each group of emitters
    recognise                              from a span to its row
    reading, buckets                       from a span's counts to disjoint buckets
    providers, models                      one name for each provider and model

A rule that has been released is never edited: evidence names it, and the ledger must come out the
same when it is computed again. A changed rule gets the next number, and the old one stays.
"""

from microdollar_exporter.dialects.dialect import Dialect
from microdollar_exporter.dialects.models import plain_model
from microdollar_exporter.dialects.providers import family
from microdollar_exporter.dialects.recognise import (
    DIALECTS,
    MARKS,
    UnknownRule,
    by_rule,
    recognise,
)

__all__ = [
    "DIALECTS",
    "MARKS",
    "Dialect",
    "UnknownRule",
    "by_rule",
    "family",
    "plain_model",
    "recognise",
]
