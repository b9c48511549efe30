# SPDX-License-Identifier: Apache-2.0
"""A report as a table for people, as CSV for spreadsheets, or as JSON for programs."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa

from microdollar_exporter.ask.completeness import Completeness, Gap
from microdollar_exporter.ask.report import Report
from microdollar_exporter.ask.tables import cut, table
from microdollar_exporter.errors import UsageError
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = ["render", "render_completeness", "render_rows"]

FORMATS = ("table", "csv", "json")


def render(report: Report, form: str) -> str:
    """The report as text, ending with a line break.

    Money is written with all its decimals. An absent figure is empty in a table and in CSV and
    null in JSON: it is not zero.
    """
    records = _records(report.rows)
    if form == "csv":
        return _csv(list(report.rows.columns), [list(record.values()) for record in records])
    if form == "json":
        document = {
            "by": list(report.by),
            "rows": records,
            "total": report.total,
            **({} if report.exact is None else {"exact_total": report.exact}),
            "unassigned_calls": report.unassigned_calls,
            "unassigned_tokens": report.unassigned_tokens,
            **_absent(report.completeness),
            "unbooked_calls": report.unbooked,
            "honesty": report.honesty,
        }
        return _dumps(document, 2) + "\n"
    return f"{_report_table(report, records)}\n{report.honesty}\n"


def render_rows(found: pa.Table, form: str, headers: Sequence[str] | None = None) -> str:
    """The answer of a query as text, ending with a line break; in a table with these `headers`."""
    names = found.column_names
    columns = [column.to_pylist(maps_as_pydicts="strict") for column in found.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    if form == "json":
        if len(set(names)) < len(names):
            raise UsageError("two columns have one name, which JSON cannot hold: name them with AS")
        return _dumps([dict(zip(names, row, strict=True)) for row in rows], 2) + "\n"
    if form == "csv":
        return _csv(names, rows)
    body = [[_plain(value) for value in row] for row in rows]
    return table(body, headers or names, [_is_number(kind) for kind in found.schema.types]) + "\n"


def render_completeness(completeness: Completeness, form: str) -> str:
    """The gaps as text, ending with a line break; costs in microdollars, times UTC."""
    names = [field.name for field in fields(Gap)]
    if form == "csv":
        return _csv(names, [list(astuple(gap)) for gap in completeness.gaps])
    if form == "json":
        document = {
            "gaps": [asdict(gap) for gap in completeness.gaps],
            "missing_calls": completeness.missing,
            "dropped_calls": completeness.dropped,
            "likely_cost": completeness.likely_cost,
            "calls_without_likely_cost": completeness.unestimated,
            "processes": completeness.processes,
            "unnumbered_calls": completeness.unnumbered,
            "summary": completeness.summary,
        }
        return _dumps(document, 2) + "\n"
    if not completeness.gaps:
        return f"No gaps.\n\n{completeness.summary}\n"
    body = [[_plain(value) for value in astuple(gap)] for gap in completeness.gaps]
    cells = _aligned([gap.likely_cost for gap in completeness.gaps])
    for line, cell in zip(body, cells, strict=True):
        line[-1] = cell
    headers = [*names[:-1], "likely cost\nµ$"]
    gaps = table(body, headers, [name in _NUMBERS for name in names])
    return f"{gaps}\n\n{completeness.summary}\n"


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return any(is_one(kind) for is_one in (types.is_integer, types.is_floating, types.is_decimal))


_NUMBERS = ("first", "last", "calls", "likely_cost")


def _absent(completeness: Completeness | None) -> dict[str, Any]:
    """What a report says of calls that have not arrived; nothing is known of one customer's."""
    if completeness is None:
        return {"absent_calls": None, "dropped_calls": None, "absent_likely_cost": None}
    return {
        "absent_calls": completeness.missing,
        "dropped_calls": completeness.dropped,
        "absent_likely_cost": completeness.likely_cost,
    }


def _report_table(report: Report, records: list[dict[str, Any]]) -> str:
    if not records:
        return "No calls.\n"
    # A column in which no row has anything would only push the others off the screen.
    shown = [name for name in (*BUCKETS, *PARTS) if any(record[name] for record in records)]
    parts = [name for name in _ADJUSTED if report.total.get(name) is not None]
    adjusted = [] if parts == ["charge"] else [n for part in parts for n in (part, f"{part}_usd")]
    amounts = [name for name in (*adjusted, *_PAID) if name in report.rows]
    doubts = [name for name in _DOUBTS if report.total.get(name)]
    measures = ["calls", *shown, "cost", "cost_usd", *amounts, *doubts]
    lines = [*records, dict.fromkeys(report.by, "") | report.total]
    kinds = ["line"] if any(line.get("line", "usage") != "usage" for line in records) else []
    named = [*report.by, *kinds]
    body = [[cut(_plain(line[name])) for name in named] for line in lines]
    body[-1][0] = "TOTAL"
    for name in measures:
        texts = _aligned([line[name] for line in lines], as_rounded=report.exact is not None)
        for cells, text in zip(body, texts, strict=True):
            cells.append(text)
    rules = [name for name in ("rules",) if name in report.rows]
    for cells, line in zip(body, lines, strict=True):
        cells += [_plain(line[name]) for name in rules]
    headers = [*named, *(_HEADERS.get(name, name) for name in measures), *rules]
    figures = [False] * len(named) + [True] * len(measures) + [False] * len(rules)
    return table(body, headers, figures) + "\n"


_ADJUSTED = ("charge", "allowance", "minimum")
"""What an amount is made of, where there is more to it than the charge."""
_PAID = ("amount", "amount_usd", "margin", "margin_usd", "allocated", "allocated_usd")

_DOUBTS = ("unpriced", "unbilled", "missing", "estimated", "partial", "fallback", "late")
"""What a reader of one row's cost has to know."""

_HEADERS = {
    "input_uncached": "input\nuncached",
    "cache_read": "cache\nread",
    "cache_write_5m": "cache\nwrite 5m",
    "cache_write_1h": "cache\nwrite 1h",
    "cache_write": "cache\nwrite",
    "input_tool": "input\ntool",
    "reasoning": "of it\nreasoning",
    "audio_in": "of it\naudio in",
    "audio_out": "of it\naudio out",
    "image_in": "of it\nimage in",
    "image_out": "of it\nimage out",
    "cost": "cost\nµ$",
    "cost_usd": "cost\n$",
    "charge": "charge\nµ$",
    "charge_usd": "charge\n$",
    "allowance": "allowance\nµ$",
    "allowance_usd": "allowance\n$",
    "minimum": "minimum\nµ$",
    "minimum_usd": "minimum\n$",
    "amount": "amount\nµ$",
    "amount_usd": "amount\n$",
    "margin": "margin\nµ$",
    "margin_usd": "margin\n$",
    "allocated": "allocated\nµ$",
    "allocated_usd": "allocated\n$",
}


def _aligned(values: list[int | Decimal | None], *, as_rounded: bool = False) -> list[str]:
    """A column of figures: thousands set apart, and no more decimals than one of them needs.

    What was rounded to a unit keeps all decimals of the unit.
    """
    fractions = [f"{v:f}".partition(".")[2] for v in values if isinstance(v, Decimal)]
    if not as_rounded:
        fractions = [fraction.rstrip("0") for fraction in fractions]
    decimals = max(map(len, fractions), default=0)
    # An integer goes without a precision, which would make a float of it.
    return [
        "" if v is None else f"{v:,.{decimals}f}" if isinstance(v, Decimal) else f"{v:,}"
        for v in values
    ]


def _csv(names: list[str], rows: list[list[Any]]) -> str:
    return "".join(_csv_line(row) for row in (names, *rows))


def _csv_line(values: Sequence[Any]) -> str:
    out = io.StringIO()
    # With another line terminator, a carriage return in a text would go without quotes.
    csv.writer(out, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return out.getvalue().removesuffix("\r\n") + "\n"


_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "'")


def _cell(value: Any) -> str:
    """A value in CSV, where no text can be taken for a formula by a spreadsheet.

    A text that begins like one has an apostrophe put before it, and so has a text that begins
    with an apostrophe: whoever takes one away from each text that begins with it has all texts
    back. Numbers are left as they are.
    """
    text = _plain(value)
    return f"'{text}" if isinstance(value, str | tuple) and text.startswith(_FORMULAS) else text


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            str(name): value if isinstance(value, tuple) or not pd.isna(value) else None
            for name, value in record.items()
        }
        for record in frame.to_dict("records")
    ]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return _dumps(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _dumps(value: Any, indent: int | None = None) -> str:
    """JSON with money and times as text: a JSON number is a float to most readers."""
    return json.dumps(value, indent=indent, default=_plain)
