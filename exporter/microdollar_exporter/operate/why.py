# SPDX-License-Identifier: Apache-2.0
"""Why a call has another price: every layer of its old and its new price row that differs.

A row that multipliers made stands on another one, its base. Layers are compared by what they say
and not by ids, for a row has another id for every time that it is divided into.
"""

from typing import Final

__all__ = ["PRICE_LAYERS", "WHY"]

PRICE_LAYERS: Final = """
    SELECT own.book_id, own.price_row, own.model, CAST(own.rates AS VARCHAR) AS rates,
        if(own.layer = 'adjust', base.layer, own.layer) AS layer,
        CASE WHEN own.layer = 'adjust'
            THEN concat_ws(' ', own.multiplier, own.unit_multiplier) END AS multiplied
    FROM price_row own LEFT JOIN price_row base
        ON own.layer = 'adjust' AND base.book_id = own.book_id AND base.price_row = own.base_row"""
"""SQL for the price rows by their layers: `layer` is that of the rates, NULL for the source's, and
`multiplied` what was put on them, NULL for nothing. An adjusted row has the rates of its base."""

_ANOTHER_RATE: Final = "(o.rates, o.layer) IS DISTINCT FROM (n.rates, n.layer)"
_ANOTHER_FACTOR: Final = "o.multiplied IS DISTINCT FROM n.multiplied"
_GIVEN: Final = f"""nullif(concat_ws(', ',
    CASE WHEN {_ANOTHER_RATE} THEN n.layer END,
    CASE WHEN {_ANOTHER_FACTOR} AND n.multiplied IS NOT NULL THEN 'adjust' END), '')"""
_TAKEN: Final = f"""nullif(concat_ws(', ',
    CASE WHEN n.layer IS NULL AND o.layer <> 'default' THEN o.layer END,
    CASE WHEN n.multiplied IS NULL AND {_ANOTHER_FACTOR} THEN 'adjust' END), '')"""
_OF_SOURCE: Final = f"""CASE
    WHEN n.layer IS NOT NULL OR o.layer <> 'default' THEN NULL
    WHEN c.cost IS NULL THEN 'new rate'
    WHEN c.price_status = 'partial' AND p.price_status <> 'partial' THEN 'missing rate'
    WHEN c.price_status = 'fallback' AND p.price_status IN ('priced', 'free') THEN 'doubt settled'
    WHEN {_ANOTHER_RATE} THEN 'corrected rate' END"""
_ALIAS: Final = """CASE
    WHEN (lower(trim(coalesce(c.response_model, c.request_model))), n.model)
            IN (SELECT (model, to_model) FROM alias)
        AND (o.model IS DISTINCT FROM n.model OR c.price_status <> p.price_status)
    THEN 'alias' END"""

WHY: Final = f"""coalesce(nullif(concat_ws(', ',
    coalesce({_ALIAS}, {_OF_SOURCE}),
    'override (' || {_GIVEN} || ')',
    'override (' || {_TAKEN} || ') removed'), ''), 'corrected rate')"""
"""SQL for the reason why `p` costs something else than `c`, whose price rows are `n` and `o`, in a
query that knows the aliases of the book as `alias`."""
