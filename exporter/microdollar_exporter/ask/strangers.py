# SPDX-License-Identifier: Apache-2.0
"""Names that somebody asked for or wrote a rule about and that no call in the ledger has.

They are likely slips: `acme` for `Acme`. What is said of them changes no figure.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from microdollar_exporter.ask.connect import Answers
from microdollar_exporter.ask.pieces import MODEL
from microdollar_exporter.markup import Markup
from microdollar_semconv import UNASSIGNED

__all__ = ["unknown_in", "unknown_names"]

_COLUMNS: Final = {"customer": "customer_id", "provider": "provider", "model": MODEL}
_SHOWN: Final = 5


def unknown_names(ledger: Answers, asked: Mapping[str, str | None]) -> Iterator[str]:
    """What to say of the `customer`, `provider` or `model` that was asked for; None is all."""
    for what, name in asked.items():
        if name is not None and name not in _known(ledger, what, {name}):
            yield f"There is no {what} {name!r} in the ledger."


def unknown_in(ledger: Answers, markup: Markup) -> Iterator[str]:
    """What to say of the names in a file of rules."""
    rules = (*markup.rates, *markup.allowances, *markup.minimums)
    named = {
        "customer": [(name, rule.name) for rule in rules for name in sorted(rule.customers)],
        "provider": [(name, rule.name) for rule in rules for name in sorted(rule.providers)],
        "model": [(name, rule.name) for rule in rules for name in sorted(rule.models)],
    }
    said = []
    for what, pairs in named.items():
        if pairs:
            known = _known(ledger, what, {name for name, _ in pairs})
            said += [f'{what} {name} of "{rule}"' for name, rule in pairs if name not in known]
    if said:
        more = f" and {len(said) - _SHOWN:,} more" if len(said) > _SHOWN else ""
        yield f"Rules are about names that are not in the ledger: {', '.join(said[:_SHOWN])}{more}."


def _known(ledger: Answers, what: str, names: set[str]) -> set[str]:
    """Those of the names that are in the ledger; that of calls of nobody always is."""
    marks = ", ".join("?" * len(names))
    query = f"SELECT DISTINCT {_COLUMNS[what]} AS name FROM ledger WHERE name IN ({marks})"  # noqa: S608 - our words
    found = ledger.sql(query, sorted(names)).to_pylist()
    known = {row["name"] for row in found}
    return known | {UNASSIGNED} if what == "customer" else known
