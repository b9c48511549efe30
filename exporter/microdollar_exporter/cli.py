# SPDX-License-Identifier: Apache-2.0
"""The `microdollar` command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from microdollar_exporter import cli_customers, cli_operate, cli_prices, cli_reprice
from microdollar_exporter.cli_shared import (
    db_option,
    form_option,
    overrides_asked,
    plain_errors,
    show,
)

if TYPE_CHECKING:
    from microdollar_exporter.access.tokens import TokenFile
    from microdollar_exporter.ask.connect import Answers
    from microdollar_exporter.telemetry.logs import LogFormat

__all__ = ["main"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="microdollar-exporter")
def main() -> None:
    """Meter what each customer's LLM calls consumed and what they cost, to the microdollar."""


for _command in (
    *cli_customers.COMMANDS,
    *cli_operate.COMMANDS,
    *cli_prices.COMMANDS,
    *cli_reprice.COMMANDS,
):
    main.add_command(_command)


class _Option(click.Option):
    """An option that stands under a heading."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class _Sections(click.Command):
    """A command whose help has a heading over each kind of option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = getattr(parameter, "section", "Options")
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def _setting(
    section: str, name: str, *, plural: str = "", **kwargs: Any
) -> Callable[[_Command], _Command]:
    """An option of `serve`, which `MICRODOLLAR_` and its name give as well.

    One that can be given several times has there the ending of a `plural`, and blanks between.
    """
    variable = "MICRODOLLAR_" + (name + plural).removeprefix("--").upper().replace("-", "_")
    return click.option(name, cls=_Option, section=section, envvar=variable, **kwargs)


_FILE = click.Path(path_type=Path, dir_okay=False)
_tokens = click.option(
    "--tokens",
    type=_FILE,
    envvar="MICRODOLLAR_TOKENS",
    show_envvar=True,
    help="The file of tokens; without it the ledger's name with .tokens added.",
)


@main.command(cls=_Sections)
@_setting(
    "Where",
    "--db",
    type=_FILE,
    default=Path("meter.duckdb"),
    show_default=True,
    help="The ledger's DuckDB file.",
)
@_setting(
    "Where",
    "--grpc",
    metavar="HOST:PORT",
    default="127.0.0.1:4317",
    show_default=True,
    help="OTLP/gRPC.",
)
@_setting(
    "Where",
    "--http",
    metavar="HOST:PORT",
    default="127.0.0.1:4318",
    show_default=True,
    help="OTLP/HTTP, questions and metrics.",
)
@_setting("Who may enter", "--tokens", type=_FILE, help="The file of tokens.  [default: DB.tokens]")
@_setting(
    "Who may enter",
    "--insecure-no-auth",
    is_flag=True,
    help="Let whoever reaches a door send spans.",
)
@_setting("Who may enter", "--tls-cert", type=_FILE, help="Certificate chain in PEM: turns on TLS.")
@_setting("Who may enter", "--tls-key", type=_FILE, help="Its private key in PEM.")
@_setting(
    "Who may enter",
    "--tls-client-ca",
    type=_FILE,
    help="Let in only clients with a certificate of this authority, in PEM.",
)
@_setting(
    "How much at once",
    "--max-request-mib",
    metavar="MIB",
    type=click.IntRange(min=1, max=1024),
    default=64,
    show_default=True,
    help="Refuse larger requests.",
)
@_setting(
    "How much at once",
    "--max-waiting-mib",
    metavar="MIB",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Ask senders to come back later while this much is not yet written.",
)
@_setting(
    "How much at once",
    "--max-requests",
    metavar="N",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="The same, in requests.",
)
@_setting(
    "How much at once",
    "--max-spans-per-second",
    metavar="N",
    type=click.IntRange(min=1),
    help="What each token may send on average.  [default: no limit]",
)
@_setting(
    "Whose calls they are",
    "--customer-key",
    plural="s",
    metavar="ATTRIBUTE",
    multiple=True,
    help="Attribute by which other emitters name a customer, with resource. before one of the "
    "resource; several by repeating it, the most trusted first.  [default: tenant.id, "
    "customer.id, customer_id, app.tenant.id]",
)
@_setting(
    "Whose calls they are",
    "--pseudonyms",
    type=_FILE,
    metavar="KEYFILE",
    help="Keep hashes of customers, users and sessions for their names, by the key in this file.",
)
@_setting(
    "What calls cost",
    "--overrides",
    type=_FILE,
    help="Prices of your own, in TOML.  [default: those in use; the ledger's name with "
    ".prices.toml at first]",
)
@_setting(
    "What calls cost",
    "--no-overrides",
    is_flag=True,
    help="No prices of your own, though some are in use.",
)
@_setting(
    "What it says of itself",
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or a JSON object a line.",
)
@_setting(
    "What it says of itself",
    "--otlp-metrics",
    is_flag=True,
    help="Send its own metrics to OTEL_EXPORTER_OTLP_METRICS_ENDPOINT.",
)
@plain_errors
def serve(
    *,
    db: Path,
    grpc: str,
    http: str,
    tokens: Path | None,
    insecure_no_auth: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    max_request_mib: int,
    max_waiting_mib: int,
    max_requests: int,
    max_spans_per_second: int | None,
    customer_key: tuple[str, ...],
    pseudonyms: Path | None,
    overrides: Path | None,
    no_overrides: bool,
    log_format: "LogFormat",
    otlp_metrics: bool,
) -> None:
    """Receive OTLP spans, price them and keep the ledger, until SIGTERM.

    An export is acknowledged once it is on disk. Port 0 takes a free port. Every option can be
    given in the environment too: --tls-cert as MICRODOLLAR_TLS_CERT.
    """
    from microdollar_exporter.access.tls import Tls  # noqa: PLC0415 - only this command
    from microdollar_exporter.customer import (  # noqa: PLC0415 - only this command
        CUSTOMER_KEYS,
        check_keys,
    )
    from microdollar_exporter.listen import Address  # noqa: PLC0415 - only this command
    from microdollar_exporter.receive.limits import (  # noqa: PLC0415 - only this command
        MEBIBYTE,
        Bounds,
    )
    from microdollar_exporter.serve import Settings, serve  # noqa: PLC0415 - only this command
    from microdollar_exporter.telemetry.logs import (  # noqa: PLC0415 - only this command
        configure_logging,
    )

    configure_logging(log_format)
    serve(
        Settings(
            db=db,
            grpc=Address.parse("--grpc", grpc),
            http=Address.parse("--http", http),
            tokens=tokens,
            insecure=insecure_no_auth,
            tls=Tls.of(tls_cert, tls_key, tls_client_ca),
            bounds=Bounds(
                request_bytes=max_request_mib * MEBIBYTE,
                bytes=max_waiting_mib * MEBIBYTE,
                requests=max_requests,
                spans_per_second=max_spans_per_second,
            ),
            otlp_metrics=otlp_metrics,
            customer_keys=check_keys(customer_key) or CUSTOMER_KEYS,
            pseudonyms=pseudonyms,
            overrides=overrides_asked(overrides, no_overrides),
        )
    )


@main.group()
def token() -> None:
    """Make, list and revoke the tokens that let senders and readers in.

    A running exporter knows of a change from the next request on. Once there is a token file,
    everything wants a token.
    """


@token.command()
@db_option
@_tokens
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="ingest, read, read:customer=NAME, metrics or admin; several by repeating it.",
)
@click.option("--name", help="What to call it; without one it has an id only.")
@click.option(
    "--expires", metavar="TIME", help="2027-01-01, a UTC time, or 90d from now; never by default."
)
@plain_errors
def create(
    *, db: Path, tokens: Path | None, scopes: tuple[str, ...], name: str | None, expires: str | None
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    from microdollar_exporter.access.tokens import expiry  # noqa: PLC0415 - only this command

    file = _token_file(db, tokens)
    first = not file.in_force()
    secret, made = file.create(scopes, name=name, expires_at=expiry(expires) if expires else None)
    click.echo(secret)
    click.echo(f"{made.id}: {', '.join(made.scopes)}, in {file.path}", err=True)
    if first:
        click.echo("It is the first: from now on, sending spans wants a token too.", err=True)


@token.command("list")
@db_option
@_tokens
@plain_errors
def list_tokens(db: Path, tokens: Path | None) -> None:
    """List the tokens, by what they may do and until when."""
    import tabulate  # noqa: PLC0415 - only this command

    rows = [
        (
            made.id,
            made.name or "",
            ", ".join(made.scopes),
            f"{made.created_at:%Y-%m-%d}",
            f"{made.expires_at:%Y-%m-%d %H:%M}" if made.expires_at else "never",
        )
        for made in _token_file(db, tokens).read()
    ]
    headers = ("id", "name", "scopes", "created", "expires")
    show(tabulate.tabulate(rows, headers, "simple", disable_numparse=True) + "\n", "table")


@token.command()
@db_option
@_tokens
@click.argument("name")
@plain_errors
def revoke(db: Path, tokens: Path | None, name: str) -> None:
    """Revoke the token of this name or id; it is refused from the next request on."""
    gone = _token_file(db, tokens).revoke(name)
    click.echo(f"revoked {gone.id}: {', '.join(gone.scopes)}", err=True)


def _token_file(db: Path, tokens: Path | None) -> "TokenFile":
    from microdollar_exporter.access.tokens import TokenFile  # noqa: PLC0415 - only `token`

    return TokenFile(tokens) if tokens else TokenFile.beside(db.resolve())


_as_of = click.option(
    "--as-of",
    metavar="TIME",
    help="The books as they stood at this UTC time, that of a closed period's closing for one.",
)


@main.command()
@db_option
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
@click.option("--provider", help="Only calls to this provider.")
@click.option(
    "--markup",
    type=_FILE,
    help="The file that says what customers pay.  [default: the ledger's name with .markup.toml, "
    "if it is there]",
)
@click.option("--no-markup", is_flag=True, help="Costs alone, though there is such a file.")
@click.option(
    "--round",
    "round_to",
    type=click.Choice(["microdollar", "cent"]),
    help="Round, each customer's total once, so that its lines add up to it.  [default: exact]",
)
@click.option(
    "--allocate-bill",
    "bill",
    metavar="USD",
    help="Share out a provider's bill over the rows by their cost, to the cent or as --round says.",
)
@_as_of
@form_option
@plain_errors
def report(
    *,
    db: Path,
    by: str,
    from_: str | None,
    to: str | None,
    customer: str | None,
    provider: str | None,
    markup: Path | None,
    no_markup: bool,
    round_to: str | None,
    bill: str | None,
    as_of: str | None,
    form: str,
) -> None:
    """Calls, tokens and cost per group, and what they leave out.

    Works while an exporter is writing the file. Costs are exact unless they are to be rounded.
    With a markup file, what customers pay stands beside them.
    """
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.ask.render import render  # noqa: PLC0415 - loads pandas
    from microdollar_exporter.ask.report import report_on, unit_named  # noqa: PLC0415 - pandas
    from microdollar_exporter.markup import beside, read  # noqa: PLC0415 - only this command

    if markup is None and bill is None and not no_markup and beside(db.resolve()).exists():
        markup = beside(db.resolve())
    made = report_on(
        connect(db),
        by,
        from_=from_,
        to=to,
        customer=customer,
        provider=provider,
        markup=None if markup is None or no_markup else read(markup),
        unit=None if round_to is None else unit_named(round_to),
        allocate=bill,
        as_of=as_of,
    )
    show(render(made, form), form)
    if form == "csv":
        click.echo(made.honesty, err=True)


@main.command()
@db_option
@_as_of
@form_option
@click.argument("query")
@plain_errors
def sql(db: Path, as_of: str | None, form: str, query: str) -> None:
    """Answer one SELECT over the ledger.

    The tables are ledger (the money), spans (the evidence), decision, price_book, price_row and
    price_book_in_force; and what the file is kept by: span, profile, held_span, archived_span,
    archive_part, removed_calls, removed_span and schema_version. DESCRIBE is no SELECT: ask for one
    row with LIMIT 1 to see the columns. Times are UTC, cost is microdollars.

    Works while an exporter is writing the file.
    """
    from microdollar_exporter.ask.as_of import (  # noqa: PLC0415 - loads pyarrow
        AsOf,
        moment_of_books,
    )
    from microdollar_exporter.ask.connect import connect  # noqa: PLC0415 - loads pyarrow
    from microdollar_exporter.ask.render import render_rows  # noqa: PLC0415 - loads pandas

    connection: Answers = connect(db)
    if as_of is not None:
        connection = AsOf(connection, moment_of_books(connection, as_of))
    show(render_rows(connection.sql(query), form), form)
