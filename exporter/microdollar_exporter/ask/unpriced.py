# SPDX-License-Identifier: Apache-2.0
"""The models whose calls have no cost: since when, how much, why, and what to write about it."""

import difflib
from datetime import datetime
from typing import Any, Final, NamedTuple

from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.ask.honesty import TOKENS
from microdollar_exporter.price import Book, Engine
from microdollar_exporter.price.names import Names
from microdollar_exporter.usage import Usage, UsageRow
from microdollar_semconv import attributes as md

__all__ = ["Unpriced", "unpriced_in"]

_QUERY: Final = f"""
    SELECT
        provider, coalesce(response_model, request_model) AS model,
        min(started_at) AS first_seen, max(started_at) AS last_seen,
        epoch_us(max(started_at)) AS last_us,
        sum(calls)::BIGINT AS calls, sum({TOKENS})::BIGINT AS tokens,
        count(DISTINCT customer_id) AS customers,
        arg_max(price_status, started_at) AS status,
        arg_max(coalesce(price_note, reason), started_at) AS note
    FROM ledger ANTI JOIN (
        SELECT reverses AS entry_id FROM ledger WHERE kind = 'reversal'
    ) USING (entry_id)
    WHERE kind <> 'reversal' AND cost IS NULL AND usage_source <> 'missing'
    GROUP BY ALL ORDER BY tokens DESC, provider NULLS LAST, model NULLS LAST"""  # noqa: S608 - our words
_ALIKE: Final = 0.8


class Unpriced(NamedTuple):
    """A model whose calls have no cost, by the names that its calls gave.

    `calls`, `tokens` and `customers` (with a name) count what stands in the ledger without a cost.
    `why` says what the book in force makes of it today, and `toml` what would give it a price:
    lines for the overrides, with words in capitals for what only an operator can know.
    """

    provider: str | None
    model: str | None
    first_seen: datetime
    last_seen: datetime
    calls: int
    tokens: int
    customers: int
    why: str
    toml: str


def unpriced_in(ledger: Answers, book: Book) -> list[Unpriced]:
    """What has no cost in a ledger, seen by a book; most tokens first."""
    engine = Engine(book)
    return [_unpriced(row, engine) for row in ledger.sql(_QUERY).to_pylist()]


def _unpriced(row: dict[str, Any], engine: Engine) -> Unpriced:
    why, toml = _advice(row, engine)
    return Unpriced(
        row["provider"],
        row["model"],
        row["first_seen"],
        row["last_seen"],
        row["calls"],
        row["tokens"],
        row["customers"],
        why,
        toml,
    )


def _advice(row: dict[str, Any], engine: Engine) -> tuple[str, str]:
    provider, model = row["provider"], row["model"]
    if row["status"] == "bad_usage":
        return f"its usage cannot be true: {row['note']}", ""
    if not provider:
        return "its spans name no provider; nothing can be priced without", ""
    if not model:
        return "its spans name no model; nothing can be priced without", ""
    now = engine.price(_probe(provider, model, row["last_us"]))
    if now.cost is not None:
        return "the book in force has a price: see `microdollar reprice`", ""
    why = now.note or now.status
    if now.status == "unpriced_provider":
        return why, _either(_provider_line(provider, engine.book), _rate(row))
    if "without a price" in why:
        free = f"[[free]]\nprovider = {_text(provider)}\nmodel = {_text(model)}\n"
        return why, f"# if it costs nothing:\n{free}# or, if it does:\n{_rate(row)}"
    return why, _either(_alias(provider, model, engine), _rate(row))


def _probe(provider: str, model: str, started_at: int) -> UsageRow:
    """A call of one token each way."""
    return UsageRow(
        position=0,
        calls=1,
        started_at=started_at,
        provider=provider,
        operation=None,
        request_model=model,
        response_model=model,
        service_tier=None,
        speed=None,
        inference_geo=None,
        source=md.USAGE_SOURCE_PROVIDER,
        usage=Usage(input_uncached=1, output=1),
    )


def _either(guess: str, rate: str) -> str:
    return f"# if it is this one:\n{guess}# or, at a rate of its own:\n{rate}" if guess else rate


def _provider_line(provider: str, book: Book) -> str:
    found = _closest(provider, list(book.providers))
    return f"[providers]\n{_text(provider)} = {_text(found)}\n" if found else ""


def _alias(provider: str, model: str, engine: Engine) -> str:
    """The model of the same provider whose name is most alike: a proposal, never applied."""
    known = Names(engine.book).provider(provider)
    if known is None:
        return ""
    found = _closest(model, [each.id for each in engine.book.providers[known].models])
    if not found:
        return ""
    target = f"{{ provider = {_text(known)}, model = {_text(found)} }}"
    return (
        f"[[alias]]\nprovider = {_text(provider)}\nmodel = {_text(model)}\nis = {target}\n"
        'reason = "WHY"\n'
    )


def _closest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_ALIKE)
    return found[0] if found else ""


def _rate(row: dict[str, Any]) -> str:
    return (
        f"[[rate]]\nprovider = {_text(row['provider'])}\nmodel = {_text(row['model'])}\n"
        f"from = {row['first_seen']:%Y-%m-%d}T00:00:00Z\n"
        "per_mtok = { input = USD, output = USD }\n"
        'reason = "WHY"\n'
    )


def _text(value: str) -> str:
    """A basic string of TOML."""
    escaped = "".join(
        f"\\u{ord(letter):04x}" if ord(letter) < 0x20 or letter == "\x7f" else letter
        for letter in value.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
