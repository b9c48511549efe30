# SPDX-License-Identifier: Apache-2.0
"""The book stage: which spans stand for calls, and the entries they call for.

It is a pure function of the evidence, the price book and the operator's decisions, worked out anew
for whatever a batch touches: a better witness that comes late takes earlier entries back.
"""

from microdollar_exporter.book.bookkeeper import Bookkeeper
from microdollar_exporter.book.entries import Pricer

__all__ = ["Bookkeeper", "Pricer"]
