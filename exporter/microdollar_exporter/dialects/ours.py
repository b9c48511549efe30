# SPDX-License-Identifier: Apache-2.0
"""Our own instrumentation: one span for each physical call, by the conventions in `semconv/`."""

from typing import Final

from microdollar_exporter.dialects.conventions import Cache, Rank
from microdollar_exporter.dialects.dialect import Dialect, Spans
from microdollar_exporter.dialects.usage_names import OURS
from microdollar_semconv import SCOPE_NAME

__all__ = ["DIALECTS"]

DIALECTS: Final = (
    Dialect(
        rule="microdollar/1",
        source="semconv/registry",
        rank=Rank.OURS,
        spans=Spans(scopes=(SCOPE_NAME,)),
        families=(OURS,),
        cache=Cache.DEFINED,
        is_ours=True,
    ),
)
