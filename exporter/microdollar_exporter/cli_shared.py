# SPDX-License-Identifier: Apache-2.0
"""What the commands of `microdollar` have in common: options, errors, and how they print."""

import getpass
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click

from microdollar_exporter.errors import MicrodollarError, UsageError

__all__ = [
    "by_option",
    "db_option",
    "exact_number",
    "form_option",
    "overrides_asked",
    "plain_errors",
    "reason_option",
    "show",
    "who_decides",
]

db_option = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("meter.duckdb"),
    show_default=True,
    envvar="MICRODOLLAR_DB",
    show_envvar=True,
    help="The ledger's DuckDB file.",
)
form_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
reason_option = click.option("--reason", help="Why, for whoever reads the books later.")
by_option = click.option("--by", help="Who decides.  [default: the user who runs this]")


def exact_number(least: int, most: int | None = None) -> Callable[[str], Fraction]:
    """The type of an option that is a number in plain digits; it never is a float."""

    def read(value: str) -> Fraction:
        plain = re.fullmatch(r"\d{1,9}(\.\d{1,18})?", value, re.ASCII)
        number = Fraction(value) if plain else None
        if number is None or number < least or (most is not None and number > most):
            until = "" if most is None else f" to {most}"
            raise click.BadParameter(f"{value!r}: write a number like 12.5, from {least}{until}")
        return number

    return read


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Say an expected error in one line, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MicrodollarError as error:
            raise click.ClickException(str(error)) from error

    return run


def overrides_asked(file: Path | None, none: bool) -> Path | Literal[False] | None:
    """The overrides that `--overrides` and `--no-overrides` ask for; None for those in use.

    Raises:
        UsageError: both are given.
    """
    if file and none:
        raise UsageError("--overrides and --no-overrides say two things: choose one")
    return False if none else file


def who_decides(by: str | None, reason: str | None) -> dict[str, str]:
    """Who does an act, and why.

    Raises:
        UsageError: it is not said.
    """
    if not reason:
        raise UsageError("say why with --reason: the ledger keeps it")
    try:
        return {"by": by or getpass.getuser(), "reason": reason}
    except (KeyError, OSError) as error:
        raise UsageError("this user has no name: say with --by who decides") from error


def show(text: str, form: str) -> None:
    """Files for programs are UTF-8 whatever the locale; a table loses what a terminal lacks."""
    if form == "table":
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        click.echo(text, nl=False)
    else:
        click.echo(text.encode(), nl=False)
