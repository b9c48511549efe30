# SPDX-License-Identifier: Apache-2.0
"""The price stage: from a usage row to an exact cost, with the reason when it is not exact.

A `Book` holds dated prices as data. An `Engine` answers from it in integers; nothing here
imports the source of a book but `price.importer`.
"""

from microdollar_exporter.price.book import Book, PriceRow
from microdollar_exporter.price.engine import Engine, Flat
from microdollar_exporter.price.tariff import Price, Status

__all__ = ["Book", "Engine", "Flat", "Price", "PriceRow", "Status"]
