# SPDX-License-Identifier: Apache-2.0
"""A book ships with the package: prices are there from the first minute, offline."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from microdollar_exporter.price import Book
from microdollar_exporter.price.shipped import FILE, shipped, shipped_id

GENERATOR = Path(__file__).parents[3] / "exporter" / "generate_book.py"


def test_the_shipped_book_is_that_of_the_locked_genai_prices(book: Book) -> None:
    """By its content; and `make lint` fails when it is not."""
    assert shipped().id == book.id
    assert (shipped().source, shipped().source_version) == ("genai-prices", version("genai-prices"))
    subprocess.run([sys.executable, str(GENERATOR), "--check"], check=True)


def test_the_id_that_stands_in_the_file_is_the_hash_of_what_stands_there() -> None:
    assert shipped_id() == shipped().id


def test_a_changed_price_is_a_changed_line() -> None:
    """So that who reviews a new release of the data reads a diff, and no blob."""
    lines = FILE.read_text("utf-8").splitlines()
    assert len(lines) == 4 + 1 + 47 + 2 + 2875 + 2
    assert max(len(line) for line in lines[56:]) < 600


def test_reading_it_needs_neither_genai_prices_nor_pydantic() -> None:
    code = (
        "import sys; from microdollar_exporter.price.shipped import shipped; shipped();"
        "print(sorted({'genai_prices', 'pydantic', 'httpx2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
