# SPDX-License-Identifier: Apache-2.0
"""Which file of overrides a ledger is kept by, as the last decision on its prices says."""

from pathlib import Path
from typing import Final, Literal

from microdollar_exporter.errors import UsageError

__all__ = ["PRICES", "Named", "beside", "file_in_use", "named"]

PRICES: Final = "prices"
"""The kind of the decisions on prices: `book` is the id of the book of list prices, `in_force` that
of the same with the overrides over it, and `overrides` their file."""

Named = str | Literal[False] | None
"""How a decision names the file: by its name where it lies beside the ledger, and so may move with
it; None where there was none, and false where there shall be none."""


def beside(db: Path) -> Path:
    """The file of the overrides of a ledger, unless another is named."""
    return db.with_suffix(".prices.toml")


def named(db: Path, overrides: Path | Literal[False] | None) -> Named:
    """How a decision names a file of overrides of the ledger in `db`."""
    if overrides is None or overrides is False:
        return overrides
    path = overrides.absolute()
    return path.name if path.parent == db.absolute().parent else str(path)


def file_in_use(db: Path, decided: Named) -> Path | Literal[False] | None:
    """The file that was decided on last; the one beside the ledger, if there, where none was.

    Raises:
        UsageError: it is not there any more.
    """
    if decided is None:
        path = beside(db)
        return path if path.exists() else None
    if decided is False:
        return False
    path = db.parent / decided
    if not path.exists():
        raise UsageError(
            f"the overrides in use, {path}, are not there any more: put the file back, name "
            "another with --overrides, or go on without any with --no-overrides"
        )
    return path
