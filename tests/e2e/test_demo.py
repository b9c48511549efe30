# SPDX-License-Identifier: Apache-2.0
"""`make demo`, as a newcomer runs it."""

import csv
import re
import subprocess
from decimal import Decimal
from pathlib import Path

from tests.e2e.demo_expected import GRAND_TOTAL, TOTALS, Total

ROOT = Path(__file__).parents[2]
COUNTS = [
    *("calls", "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "cache_write"),
    *("output", "reasoning", "unpriced", "missing", "refused"),
]


def figures(total: Total) -> dict[str, int | Decimal]:
    """The hand-computed figures by the names of the CSV's columns."""
    return {**{name: getattr(total, name) for name in COUNTS}, "cost": total.cost}


def test_the_demo_ends_with_the_table_and_the_csv_of_the_hand_computed_figures(
    otelcol: Path,
) -> None:
    """Through a real Collector, to the picodollar."""
    demo = subprocess.run(
        ["make", "demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "OpenTelemetry Collector with otel-collector-config.yaml" in demo.stdout
    assert "none to be had" not in demo.stdout
    assert re.search(r"^TOTAL +16 ", demo.stdout, re.MULTILINE)
    assert (
        "Of 16 calls: 1 unpriced (100 tokens), 1 with usage missing, "
        "1 with a price or count in doubt, 2 refused or never sent (free), "
        "1 unassigned (83 tokens)."
    ) in demo.stdout

    with (ROOT / "demo-output" / "usage.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["customer"]: row for row in csv.DictReader(file)}
    found: dict[str, dict[str, int | Decimal]] = {
        customer: {**{name: int(row[name] or 0) for name in COUNTS}, "cost": Decimal(row["cost"])}
        for customer, row in rows.items()
    }
    assert found == {customer: figures(total) for customer, total in TOTALS.items()}
    sums = {name: sum(row[name] for row in found.values()) for name in [*COUNTS, "cost"]}
    assert sums == figures(GRAND_TOTAL)
    for row in rows.values():
        assert Decimal(row["cost_usd"]) * 1_000_000 == Decimal(row["cost"])
