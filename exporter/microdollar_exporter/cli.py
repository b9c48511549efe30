# SPDX-License-Identifier: Apache-2.0
"""The `microdollar` command."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from microdollar_exporter.errors import MicrodollarError

__all__ = ["main"]

_db = click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("meter.duckdb"),
    show_default=True,
    envvar="MICRODOLLAR_DB",
    show_envvar=True,
    help="The ledger's DuckDB file.",
)
_form = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)


def _plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Say an expected error in one line, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MicrodollarError as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="microdollar-exporter")
def main() -> None:
    """Meter what each customer's LLM calls consumed and what they cost, to the microdollar."""


@main.command()
@_db
@click.option(
    "--grpc",
    default="127.0.0.1:4317",
    show_default=True,
    envvar="MICRODOLLAR_GRPC",
    show_envvar=True,
    help="OTLP/gRPC: HOST:PORT.",
)
@click.option(
    "--http",
    default="127.0.0.1:4318",
    show_default=True,
    envvar="MICRODOLLAR_HTTP",
    show_envvar=True,
    help="OTLP/HTTP, and queries while the file is being written: HOST:PORT.",
)
@_plain_errors
def serve(db: Path, grpc: str, http: str) -> None:
    """Receive OTLP spans, price them and keep the ledger, until SIGTERM.

    An export is acknowledged once it is on disk. Port 0 takes a free port.
    """
    from microdollar_exporter.serve import Address, serve  # noqa: PLC0415 - only this command

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    serve(db, Address.parse("--grpc", grpc), Address.parse("--http", http))


@main.command()
@_db
@click.option(
    "--by",
    default="customer",
    show_default=True,
    help="Group by customer, user, model, provider, operation, service, environment, day, month, "
    "feature or tag:NAME; several with commas.",
)
@click.option("--from", "from_", metavar="TIME", help="First instant: 2026-11-01, or a UTC time.")
@click.option("--to", metavar="TIME", help="The instant after the last, in the same forms.")
@click.option("--customer", help='Only this customer; "unassigned" for calls without one.')
@_form
@_plain_errors
def report(
    *, db: Path, by: str, from_: str | None, to: str | None, customer: str | None, form: str
) -> None:
    """Calls, tokens and cost per group, and what they leave out.

    Works while an exporter is writing the file. Costs are exact.
    """
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.ask.render import render  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.ask.report import report_on  # noqa: PLC0415 - loads pandas

    made = report_on(connect(db), by, from_=from_, to=to, customer=customer)
    _print(render(made, form), form)
    if form == "csv":
        click.echo(made.honesty, err=True)


@main.command()
@_db
@_form
@click.argument("query")
@_plain_errors
def sql(db: Path, form: str, query: str) -> None:
    """Answer one SELECT over the ledger.

    The tables are ledger, spans, price_book and price_row; times are UTC, cost is microdollars.
    Works while an exporter is writing the file.
    """
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render import render_rows  # noqa: PLC0415 - loads pandas

    _print(render_rows(connect(db).sql(query), form), form)


def _print(text: str, form: str) -> None:
    """Files for programs are UTF-8 whatever the locale; a table loses what a terminal lacks."""
    if form == "table":
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        click.echo(text, nl=False)
    else:
        click.echo(text.encode(), nl=False)
