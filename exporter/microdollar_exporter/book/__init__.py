# SPDX-License-Identifier: Apache-2.0
"""The book stage: which spans stand for calls, and the entries they call for.

It is a pure function of the evidence, the price books and the operator's decisions, worked out anew
for whatever a batch touches: a better witness that comes late takes earlier entries back. It leaves
the call to the book that it was priced by.
"""

from microdollar_exporter.book.bookkeeper import Bookkeeper
from microdollar_exporter.book.entries import BEYOND, Pricer

__all__ = ["BEYOND", "Bookkeeper", "Pricer"]
