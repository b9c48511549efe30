# SPDX-License-Identifier: Apache-2.0
"""Write the price book that ships, from the installed genai-prices.

`python exporter/generate_book.py` writes it; `--check` fails when it is not what that package
says. Read `microdollar prices diff shipped installed` before: it names what changes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from microdollar_exporter.price import Book
from microdollar_exporter.price.importer import import_genai_prices
from microdollar_exporter.price.shipped import FILE

_SHIPPED = Path(__file__).parent / "microdollar_exporter" / "price" / FILE.name
"""The file in this clone, wherever the package is installed."""


def text(book: Book) -> str:
    """A book as JSON with one provider and one row a line."""
    said = json.loads(book.canonical_json())
    head = {"book_id": book.id, "source": book.source, "source_version": book.source_version}
    lines = [f'"{name}": {json.dumps(value)},' for name, value in head.items()]
    return "\n".join(
        [
            "{",
            *lines,
            *('"providers": [', _lines(said["providers"]), "],"),
            *('"rows": [', _lines(said["rows"]), "]"),
            "}\n",
        ]
    )


def _lines(items: list[Any]) -> str:
    return ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items)


def main() -> int:
    """Write or check the file; the exit status is 1 when the check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    wanted = text(import_genai_prices())
    is_there = _SHIPPED.is_file() and _SHIPPED.read_text("utf-8") == wanted
    if check and not is_there:
        sys.stderr.write("not what genai-prices says: shipped_book.json; run `make prices`\n")
        return 1
    if not is_there:
        _SHIPPED.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
