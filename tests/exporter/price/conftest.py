# SPDX-License-Identifier: Apache-2.0
"""One import of the installed price data for all tests."""

import pytest

from microdollar_exporter.price import Book, Engine
from microdollar_exporter.price.importer import import_genai_prices


@pytest.fixture(scope="session")
def book() -> Book:
    """The book of the installed genai-prices."""
    return import_genai_prices()


@pytest.fixture(scope="session")
def engine(book: Book) -> Engine:
    """An engine on that book."""
    return Engine(book)
