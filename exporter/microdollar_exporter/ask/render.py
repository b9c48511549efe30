# SPDX-License-Identifier: Apache-2.0
"""A report as a table for people, as CSV for spreadsheets, or as JSON for programs."""

import csv
import io
import json
from dataclasses import asdict, astuple, fields
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import tabulate

from microdollar_exporter.ask.completeness import Completeness, Gap
from microdollar_exporter.ask.report import Report
from microdollar_exporter.errors import UsageError
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = ["render", "render_completeness", "render_rows"]

# Two blanks on either side of every header would push a report off most screens.
tabulate.MIN_PADDING = 0

FORMATS = ("table", "csv", "json")


def render(report: Report, form: str) -> str:
    """The report as text, ending with a line break.

    Costs are written exactly, with all their decimals. An absent figure is empty in a table and
    in CSV and null in JSON: it is not zero.
    """
    records = _records(report.rows)
    if form == "csv":
        return _csv(list(report.rows.columns), [list(record.values()) for record in records])
    if form == "json":
        document = {
            "by": list(report.by),
            "rows": records,
            "total": report.total,
            "unassigned_calls": report.unassigned_calls,
            "unassigned_tokens": report.unassigned_tokens,
            **_absent(report.completeness),
            "unbooked_calls": report.unbooked,
            "honesty": report.honesty,
        }
        return _dumps(document, 2) + "\n"
    return f"{_report_table(report, records)}\n{report.honesty}\n"


def render_rows(table: pa.Table, form: str) -> str:
    """The answer of a query as text, ending with a line break."""
    names = table.column_names
    columns = [column.to_pylist(maps_as_pydicts="strict") for column in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    if form == "json":
        if len(set(names)) < len(names):
            raise UsageError("two columns have one name, which JSON cannot hold: name them with AS")
        return _dumps([dict(zip(names, row, strict=True)) for row in rows], 2) + "\n"
    if form == "csv":
        return _csv(names, rows)
    body = [[_plain(value) for value in row] for row in rows]
    return tabulate.tabulate(body, names, "simple", disable_numparse=True) + "\n"


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
    align = ["right" if name in _NUMBERS else "left" for name in names]
    table = tabulate.tabulate(body, headers, "simple", disable_numparse=True, colalign=align)
    return f"{table}\n\n{completeness.summary}\n"


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
    doubts = [name for name in _DOUBTS if report.total[name]]
    measures = ["calls", *shown, "cost", "cost_usd", *doubts]
    lines = [*records, dict.fromkeys(report.by, "") | report.total]
    body = [[_plain(line[name]) for name in report.by] for line in lines]
    body[-1][0] = "TOTAL"
    for name in measures:
        for cells, text in zip(body, _aligned([line[name] for line in lines]), strict=True):
            cells.append(text)
    headers = [*report.by, *(_HEADERS.get(name, name) for name in measures)]
    align = ["left"] * len(report.by) + ["right"] * len(measures)
    return tabulate.tabulate(body, headers, "simple", disable_numparse=True, colalign=align) + "\n"


_DOUBTS = ("unpriced", "missing", "estimated", "partial", "fallback", "late")
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
}


def _aligned(values: list[int | Decimal | None]) -> list[str]:
    """A column of figures: thousands set apart, and no more decimals than one of them needs."""
    fractions = [f"{v:f}".partition(".")[2].rstrip("0") for v in values if isinstance(v, Decimal)]
    decimals = max(map(len, fractions), default=0)
    # An integer goes without a precision, which would make a float of it.
    return [
        "" if v is None else f"{v:,.{decimals}f}" if isinstance(v, Decimal) else f"{v:,}"
        for v in values
    ]


def _csv(names: list[str], rows: list[list[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue()


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in record.items()}
        for record in frame.to_dict("records")
    ]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return _dumps(value)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _dumps(value: Any, indent: int | None = None) -> str:
    """JSON with money and times as text: a JSON number is a float to most readers."""
    return json.dumps(value, indent=indent, default=_plain)
