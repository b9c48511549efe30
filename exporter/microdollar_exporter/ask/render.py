# SPDX-License-Identifier: Apache-2.0
"""A report as a table for people, as CSV for spreadsheets, or as JSON for programs."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
from tabulate import tabulate

from microdollar_exporter.ask.report import Report
from microdollar_exporter.usage import BUCKETS, PARTS

__all__ = ["FORMATS", "render", "render_rows"]

FORMATS = ("table", "csv", "json")


def render(report: Report, form: str) -> str:
    """The report as text, ending with a line break.

    Costs are written exactly, with all their decimals. An absent figure is empty in a table and
    in CSV and null in JSON: it is not zero.
    """
    records = _records(report.rows)
    if form == "csv":
        return _csv(list(report.rows.columns), records)
    if form == "json":
        document = {
            "by": list(report.by),
            "rows": records,
            "total": report.total,
            "unassigned_calls": report.unassigned_calls,
            "unbooked_spans": report.unbooked,
            "honesty": report.honesty,
        }
        return _dumps(document, 2) + "\n"
    return f"{_report_table(report, records)}\n{report.honesty}\n"


def render_rows(table: pa.Table, form: str) -> str:
    """The answer of a query as text, ending with a line break."""
    records = table.to_pylist(maps_as_pydicts="strict")
    if form == "csv":
        return _csv(table.column_names, records)
    if form == "json":
        return _dumps(records, 2) + "\n"
    body = [[_plain(value) for value in record.values()] for record in records]
    return tabulate(body, table.column_names, "simple", disable_numparse=True) + "\n"


def _report_table(report: Report, records: list[dict[str, Any]]) -> str:
    if not records:
        return "No calls.\n"
    # A column in which no row has anything would only push the others off the screen.
    shown = [name for name in (*BUCKETS, *PARTS) if any(record[name] for record in records)]
    measures = ["calls", *shown, "cost", "cost_usd"]
    body = [
        [_plain(record[name]) for name in report.by] + [_grouped(record[name]) for name in measures]
        for record in records
    ]
    label = ["TOTAL", *[""] * (len(report.by) - 1)]
    body.append(label + [_grouped(report.total[name]) for name in measures])
    headers = [*report.by, "calls", *shown, "cost (µ$)", "cost ($)"]
    align = ["left"] * len(report.by) + ["right"] * len(measures)
    return tabulate(body, headers, "simple", disable_numparse=True, colalign=align) + "\n"


def _csv(columns: list[str], records: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(record[name]) for name in columns] for record in records)
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


def _grouped(value: Any) -> str:
    """A figure with its thousands set apart, for people."""
    if value is None:
        return ""
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
