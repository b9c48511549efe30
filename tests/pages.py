# SPDX-License-Identifier: Apache-2.0
"""Read what stands on a page of the documentation, for tests that hold it to its word."""

import re
import shlex
from fractions import Fraction
from pathlib import Path

__all__ = ["Page"]

_ROOT = Path(__file__).parents[1]


class Page:
    """A page in Markdown, by its path in the repository; `text` is all of it."""

    def __init__(self, path: str) -> None:
        self.text = (_ROOT / path).read_text("utf-8")

    def blocks(self, language: str) -> list[str]:
        """The code blocks of a language, in order."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL)

    def commands(self) -> list[list[str]]:
        """The lines of all its shell blocks, each as a list of arguments."""
        return [shlex.split(line) for block in self.blocks("sh") for line in block.splitlines()]

    def table(self, *first: str) -> list[dict[str, str]]:
        """The rows of the table that has these columns first.

        Cells are without the marks of bold print, and numbers without thousands set apart.
        """
        lines = self.text.splitlines()
        begin = next(n for n, at in enumerate(lines) if at.startswith(f"| {' | '.join(first)} |"))
        names = [name.strip() for name in lines[begin].split("|")[1:-1]]
        rows = []
        for line in lines[begin + 2 :]:
            if not line.startswith("|"):
                break
            cells = [cell.strip(" *") for cell in line.split("|")[1:-1]]
            plain = [re.sub(r"(?<=\d),(?=\d)", "", cell) for cell in cells]
            rows.append(dict(zip(names, plain, strict=True)))
        return rows

    def check_arithmetic(self, number_of_blocks: int) -> None:
        """Assert that each `term = result` of its text blocks holds, to the last digit written."""
        blocks = self.blocks("text")
        assert len(blocks) == number_of_blocks
        for line in "".join(blocks).splitlines():
            term, result = line.split(" = ")
            exact = re.sub(r"[\d.]+", lambda found: f"Fraction('{found[0]}')", term)
            value = eval(exact, {"Fraction": Fraction})  # noqa: S307 - our own page
            assert round(value, len(result.partition(".")[2])) == Fraction(result), line
