# SPDX-License-Identifier: Apache-2.0
"""The book that ships with the package, so that prices are there from the first minute.

It is a file of ours, and not the data of whichever genai-prices happens to be installed: what a
release charges is then decided when it is made, upgrading a dependency moves no price, and a start
takes a third of the time, without pydantic. `exporter/generate_book.py` writes it.
"""

import functools
import json
from importlib.resources import files

from microdollar_exporter.price.book import Book
from microdollar_exporter.price.reader import read_book

__all__ = ["FILE", "shipped", "shipped_id"]

FILE = files("microdollar_exporter.price") / "shipped_book.json"
"""One provider and one row a line, so that a new release of the data can be read as a diff."""


@functools.cache
def shipped() -> Book:
    """The book."""
    return read_book(FILE.read_text("utf-8"))


@functools.cache
def shipped_id() -> str:
    """Its id, without reading all of it."""
    with FILE.open(encoding="utf-8") as file:
        file.readline()
        said = file.readline().strip().removesuffix(",")
    return str(json.loads(f"{{{said}}}")["book_id"])
