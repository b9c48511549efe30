# SPDX-License-Identifier: Apache-2.0
"""What customers pay, computed for a report from usage, cost and a file of rules.

Nothing of it is in the ledger: that has what calls cost.
"""

from microdollar_exporter.markup.amounts import Bill, Key, Line, Part, Piece, Span, bill
from microdollar_exporter.markup.file import beside, parse, read
from microdollar_exporter.markup.rules import Markup

__all__ = [
    "Bill",
    "Key",
    "Line",
    "Markup",
    "Part",
    "Piece",
    "Span",
    "beside",
    "bill",
    "parse",
    "read",
]
