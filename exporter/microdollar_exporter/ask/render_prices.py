# SPDX-License-Identifier: Apache-2.0
"""Price books, their differences and the stories of costs as text for people."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any, Final

import tabulate

from microdollar_exporter.ask.charge import Charge
from microdollar_exporter.ask.explain import CallStory, EntryStory
from microdollar_exporter.ask.tables import cut, table
from microdollar_exporter.ask.unpriced import Unpriced
from microdollar_exporter.price import Book, PriceRow
from microdollar_exporter.price.book import ANY
from microdollar_exporter.price.decimals import decimal
from microdollar_exporter.price.difference import Difference, Move
from microdollar_exporter.price.words import moment, rate, reach
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = [
    "render_book",
    "render_difference",
    "render_overridden",
    "render_rows_of",
    "render_stories",
    "render_unpriced",
    "stories_json",
    "unpriced_csv",
]

_ID: Final = 16
_PICO: Final = 6


def render_difference(found: Difference, since: int, limit: int) -> str:
    """The three lists of a difference, `limit` lines of each, and how much moved.

    `since` is what parted the lists, in microseconds since 1970 UTC.
    """
    if found.is_empty:
        return "The two books say the same.\n"
    day = moment(since - since % 86_400_000_000)
    lists = [
        ("New models", [_named(pair) for pair in found.new_models]),
        (f"Changes from {day} on", [_move(move) for move in found.later]),
        (f"Past rewritten, before {day}", [_move(move) for move in found.past]),
        ("Models no longer listed", [_named(pair) for pair in found.gone_models]),
        ("Names or adjustments otherwise", [" ".join(pair).strip() for pair in found.otherwise]),
    ]
    lines = []
    for number, (title, items) in enumerate(lists):
        if items or number < 3:
            lines += [f"{title}: {len(items):,}", *_first(items, limit), ""]
    lines.append(f"{found.moved_rates:,} of {found.known_rates:,} known rates moved.")
    return "\n".join(lines) + "\n"


def render_overridden(answer: Mapping[str, Any], limit: int) -> str:
    """What the overrides say otherwise, as the act `use-prices` answered; nothing if they do not.

    `limit` lines of each list are shown.
    """
    lines = []
    if answer["factors"]:
        factors = [
            f"{each['name']}: times {each['old'] or 'nothing'} → {each['new'] or 'nothing'}"
            for each in answer["factors"]
        ]
        lines += [f"Multipliers otherwise: {len(factors):,}", *_first(factors, limit), ""]
    if answer["overridden"]:
        found = Difference.from_json(answer["overridden"])
        if not found.is_empty:
            lines += ["By the overrides, beside the list prices:", ""]
            lines.append(render_difference(found, answer["since"], limit))
    return "\n".join(lines)


def _first(items: Sequence[str], limit: int) -> Iterator[str]:
    for item in islice(items, limit):
        yield f"  {item}"
    if len(items) > limit:
        yield f"  … and {len(items) - limit:,} more: see --limit"


def _move(move: Move) -> str:
    old = "no rate" if move.old is None else rate(move.rate, move.old)
    new = "no rate" if move.new is None else rate(move.rate, move.new)
    weekdays = () if move.weekday is None else (move.weekday,)
    where = reach(move.since, move.until, move.over_input_tokens, move.time_of_day, weekdays)
    return f"{_key(move)}: {move.rate} {old} → {new}{', ' + where if where else ''}"


def _key(of: Move | PriceRow) -> str:
    name = _named((of.provider, of.model))
    return name + ("" if of.context == "std" else f" ({of.context})")


def _named(pair: tuple[str, str]) -> str:
    """A provider and a model, or what the overrides call the rate for all others."""
    return "[default]" if pair == (ANY, ANY) else " ".join(pair)


def render_book(book: Book, known_at: int) -> str:
    """The providers of a book, with how much it says of each."""
    rows: dict[str, int] = {}
    for row in book.rows:
        rows[row.provider] = rows.get(row.provider, 0) + 1
    body = [
        (p.id, len(p.models), rows.get(p.id, 0), ", ".join(p.fallbacks))
        for p in book.providers.values()
    ]
    body += [(name, 0, n, "") for name, n in rows.items() if name not in book.providers]
    headers = ("provider", "models", "price rows", "and the models of")
    return f"{_headline(book, known_at)}\n\n{tabulate.tabulate(body, headers, 'simple')}\n"


def render_rows_of(book: Book, known_at: int, rows: Iterable[PriceRow]) -> str:
    """Price rows, one after the other, with when and for what they hold."""
    lines = [_headline(book, known_at), ""]
    for row in rows:
        lines += _row_lines(row)
    return "\n".join(lines) + "\n"


def _headline(book: Book, known_at: int) -> str:
    over = f", over book {book.base[:_ID]}" if book.base else ""
    day = moment(known_at - known_at % 86_400_000_000)
    return f"Book {book.id[:_ID]} of {book.source} {book.source_version}{over}, as of {day}."


def _row_lines(row: PriceRow) -> Iterator[str]:
    said = [_reach(row) or "always", f"row {row.price_row}"]
    if row.layer:
        said.append(f"by override ({row.layer}){': ' + row.reason if row.reason else ''}")
    for each in row.adjustments:
        said.append(
            f"times {each.multiply}{' of tokens' if each.tokens_only else ''} by {each.name}"
        )
    yield f"{_key(row)}: {'; '.join(said)}"
    for name, value in row.rates.items():
        yield f"  {name:<18} {rate(name, value * row.multiplier)}"
    for name, value in row.unit_rates.items():
        yield f"  {name:<18} {rate(name, value * row.unit_multiplier)}"


def _reach(row: PriceRow) -> str:
    return reach(
        row.effective_from,
        row.effective_to,
        row.over_input_tokens,
        row.time_of_day,
        row.weekdays or (),
    )


def render_unpriced(found: Sequence[Unpriced]) -> str:
    """What has no cost: a table, and then what is known of each and what would help."""
    if not found:
        return "Every call in the ledger has a cost, as far as its usage was reported.\n"
    headers = ("provider", "model", "first seen", "last seen", "calls", "tokens", "customers")
    body = [
        (
            *(cut(one.provider or ""), cut(one.model or "")),
            *(f"{one.first_seen:%Y-%m-%d %H:%M}", f"{one.last_seen:%Y-%m-%d %H:%M}"),
            *(f"{one.calls:,}", f"{one.tokens:,}", f"{one.customers:,}"),
        )
        for one in found
    ]
    lines = [table(body, headers, (False,) * 4 + (True,) * 3)]
    for one in found:
        lines += ["", f"{one.provider or 'no provider'} {one.model or 'no model'}: {one.why}"]
        if one.toml:
            lines += ["", one.toml.rstrip("\n")]
    return "\n".join(lines) + "\n"


def unpriced_csv(found: Iterable[Unpriced]) -> str:
    """The same as CSV, with the advice in columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Unpriced._fields)
    writer.writerows(found)
    return out.getvalue()


def stories_json(stories: Iterable[CallStory]) -> str:
    """Stories as JSON: money and times are text, rates decimal text of USD per token or unit."""
    said = [
        {
            "trace_id": story.trace_id,
            "span_id": story.span_id,
            "started_at": story.started_at,
            "calls": story.calls,
            "cost": story.cost,
            "evidence": story.evidence,
            "entries": [_entry_json(entry) for entry in story.entries],
        }
        for story in stories
    ]
    return json.dumps(said, indent=2, default=_plain) + "\n"


def _entry_json(story: EntryStory) -> dict[str, Any]:
    row, book, charged = story.row, story.book, story.charge
    said: dict[str, Any] = {**story.entry, "decision": story.decision, "price": None}
    if row is not None and book is not None:
        said["price"] = {
            "row": row.price_row,
            "book": book.id,
            "source": book.source,
            "source_version": book.source_version,
            "layer": row.layer,
            "reason": row.reason,
            "base_row": row.base_row,
            "adjustments": [adjustment._asdict() for adjustment in row.adjustments],
        }
    if charged is not None:
        said["charge"] = {
            "lines": [
                {
                    "name": line.name,
                    "count": line.count,
                    "rate": line.rate,
                    "microdollars": _micro(line.amount),
                    "why": line.why,
                }
                for line in charged.lines
            ],
            "list": _micro(charged.listed),
            "adjusted": _micro(charged.adjusted),
            "rounded": decimal(charged.rounded, _PICO),
            "adds_up": story.adds_up,
        }
    return said


def _plain(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def render_stories(stories: Iterable[CallStory]) -> str:
    """Each call from its evidence to what it stands at."""
    return "\n\n".join("\n".join(_story(story)) for story in stories) + "\n"


def _story(story: CallStory) -> Iterator[str]:
    first = story.entries[0].entry
    whom = first["customer_id"] or "nobody"
    yield f"Call {story.trace_id}/{story.span_id} at {story.started_at} UTC, for {whom}"
    span = story.evidence
    if span is None:
        yield "  evidence: not in the ledger's file any more; it was archived or removed"
    else:
        scope = " ".join(part for part in (span["scope"], span["scope_version"]) if part)
        where = ", ".join(part for part in (span["service"], span["environment"]) if part)
        yield (
            f"  evidence: a span of {scope or 'no scope'}{' in ' + where if where else ''}, "
            f"received {span['received_at']}"
        )
    yield f"  usage: {_source(first)}, read by rule {first['rule']}"
    for number, entry in enumerate(story.entries, start=1):
        yield ""
        yield from (f"  {line}" for line in _entry(number, entry, story.entries))
    yield ""
    standing = "no cost is known" if story.cost is None else f"{story.cost:f} µ$"
    yield f"  It stands at {story.calls} call{'' if story.calls == 1 else 's'}, {standing}."


def _source(entry: Mapping[str, Any]) -> str:
    words = {
        "provider": "counted by the provider",
        "provider_partial": "counted by the provider until the call broke off",
        "estimated": "estimated, not counted by the provider",
        "missing": "reported by nobody",
        "none": "none, nothing was consumed",
    }
    return words.get(entry["usage_source"], str(entry["usage_source"]))


def _entry(number: int, story: EntryStory, all_of_call: Sequence[EntryStory]) -> Iterator[str]:
    entry = story.entry
    cost = "cost unknown" if entry["cost"] is None else f"{entry['cost']:f} µ$"
    yield (
        f"{number}. {entry['kind']} {entry['entry_id']}, booked {entry['recorded_at']}: "
        f"{entry['calls']:+d} call, {cost}, {entry['price_status']}"
    )
    note = entry["price_note"]
    # The reason has it already, but for entries whose price changed since.
    yield f"   {entry['reason']}{'' if note is None or note in entry['reason'] else f'; {note}'}"
    if entry["reverses"]:
        taken = [s.entry["entry_id"] for s in all_of_call]
        which = taken.index(entry["reverses"]) + 1 if entry["reverses"] in taken else None
        yield f"   takes back entry {which or entry['reverses']}"
    if story.decision:
        by = story.decision
        yield (
            f"   decided by {by['made_by']} at {by['made_at']} ({by['kind']} {by['decision_id']}): "
            f"{by['reason']}"
        )
    if story.charge is None:
        counts = _counts(entry)
        if counts and not entry["reverses"]:
            yield f"   {counts}"
    if story.row is not None and story.book is not None and not entry["reverses"]:
        yield from _priced(story, story.row, story.book)


def _counts(entry: Mapping[str, Any]) -> str:
    counts = {name: entry[name] for name in (*BUCKETS, *PARTS)} | dict(entry["units"])
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def _priced(story: EntryStory, row: PriceRow, book: Book) -> Iterator[str]:
    where = _reach(row)
    yield (
        f"   price row {row.price_row} of book {book.id[:_ID]} ({book.source} "
        f"{book.source_version}): {_key(row)}{', ' + where if where else ''}"
    )
    if row.layer:
        yield f"   which an override makes ({row.layer}): {row.reason or 'no reason given'}"
    if story.charge is None:
        return
    yield from _sum(story.charge, row, story.entry["cost"])
    if not story.adds_up:
        yield "   THIS IS NOT THE COST IN THE LEDGER: run `microdollar verify`"


def _sum(charge: Charge, row: PriceRow, cost: Decimal | None) -> Iterator[str]:
    for line in charge.lines:
        made = f"{line.count:>12,} x {line.rate} = {_micro(line.amount)} µ$"
        yield f"     {line.name:<16} {made if line.rate else f'{line.count:>12,}'}" + (
            f"  ({line.why})" if line.why else ""
        )
    if row.adjustments:
        yield f"     {'at list price':<16} {_micro(charge.listed)} µ$"
        for adjustment in row.adjustments:
            of = " of tokens" if adjustment.tokens_only else ""
            yield f"     {'times':<16} {adjustment.multiply}{of} by {adjustment.name}"
    exact = "" if charge.adjusted.denominator == 1 else f" of {_micro(charge.adjusted)} µ$, rounded"
    if cost is not None:
        yield f"     {'cost':<16} {decimal(charge.rounded, _PICO)} µ${exact}"


def _micro(picodollars: Fraction) -> str:
    """Picodollars as microdollars: exactly where that ends within 24 decimals, else with dots."""
    scaled = picodollars * 10**18
    text = decimal(scaled.numerator // scaled.denominator, 18 + _PICO)
    return text if scaled.denominator == 1 else f"{text}…"
