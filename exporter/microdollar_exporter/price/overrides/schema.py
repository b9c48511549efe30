# SPDX-License-Identifier: Apache-2.0
"""Read the rules of an overrides file, and refuse what is not sure to be meant."""

from collections.abc import Mapping
from typing import Any, Final

from microdollar_exporter.price.book import ANY, STANDARD
from microdollar_exporter.price.names import ALIASES
from microdollar_exporter.price.overrides import values
from microdollar_exporter.price.overrides.rules import (
    Adjust,
    Aliased,
    Free,
    Rate,
    SameAs,
    Target,
)
from microdollar_exporter.toml_source import Table

__all__ = ["VERSION", "Reader"]

VERSION: Final = 1
"""The version of the schema, which a file has to name."""

_TABLES: Final = ("schema", "providers", "alias", "rate", "adjust", "free", "default")
_DATED: Final = ("from", "to", "reason")


class Reader:
    """Reads one file. `provider_names` are the operator's names of providers, in lower case."""

    def __init__(self, document: Table) -> None:
        document.only(_TABLES)
        if document.whole("schema", f"write schema = {VERSION}") != VERSION:
            document.refuse("schema", f"write schema = {VERSION}")
        self._document = document
        self.provider_names: Mapping[str, str] = self._provider_names()

    def _provider_names(self) -> dict[str, str]:
        table = self._document.table("providers")
        names: dict[str, str] = {}
        for name in table.values if table else ():
            key = name.strip().lower()
            if table is None or key in names:
                table.refuse(name, "it is there already, in other letters") if table else None
            else:
                names[key] = table.text(name).strip().lower()
        return names

    def rates(self) -> list[Rate]:
        """The rates of the file, but for those that are another model's."""
        return [self._rate(table) for table in self._rate_tables() if "same_as" not in table]

    def same_as(self) -> list[SameAs]:
        """The rates that are another model's."""
        return [self._same(table) for table in self._rate_tables() if "same_as" in table]

    def _rate_tables(self) -> list[Table]:
        return self._document.tables("rate")

    def _rate(self, table: Table) -> Rate:
        table.only(
            ("provider", "model", *values.RATE_KEYS, "context", "window", "same_as", *_DATED)
        )
        return Rate(
            **self._model(table),
            context=values.context(table),
            windows=values.windows(table),
            steps=values.steps(table),
        )

    def _same(self, table: Table) -> SameAs:
        for name in (*values.RATE_KEYS, "context", "window"):
            if name in table:
                table.refuse(name, "same_as takes all rates of the other model: leave one out")
        table.only(("provider", "model", "same_as", *_DATED))
        return SameAs(**self._model(table), target=self._target(table, "same_as"))

    def free(self) -> list[Free]:
        """The models that cost nothing."""
        tables = self._document.tables("free")
        for table in tables:
            table.only(("provider", "model", *_DATED))
        return [Free(**self._model(table)) for table in tables]

    def aliases(self) -> list[Aliased]:
        """The names that mean a model."""
        tables = self._document.tables("alias")
        for table in tables:
            table.only(("provider", "model", "is", "context", *_DATED))
        return [
            Aliased(
                **self._model(table),
                target=self._target(table, "is"),
                context=values.facts(table, "context"),
            )
            for table in tables
        ]

    def default(self) -> Rate | None:
        """The rate for whatever nobody lists."""
        table = self._document.table("default")
        if table is None:
            return None
        table.only((*values.RATE_KEYS, *_DATED))
        start, end = values.period(table)
        return Rate(
            at=table,
            provider=ANY,
            model=ANY,
            start=start,
            end=end,
            reason=table.text("reason"),
            context=STANDARD,
            windows=(),
            steps=values.steps(table),
        )

    def adjusts(self) -> list[Adjust]:
        """The multipliers, in their order."""
        named: dict[str, Table] = {}
        found = []
        for table in self._document.tables("adjust"):
            adjust = self._adjust(table)
            if adjust.name in named:
                line = named[adjust.name].line
                table.refuse("name", f"the rule of line {line} has it: give each a name of its own")
            named[adjust.name] = table
            found.append(adjust)
        return found

    def _adjust(self, table: Table) -> Adjust:
        table.only(("name", "provider", "model", "when", "multiply", "of", *_DATED))
        name = _required(table, "name", "write a name, by which the ledger knows the rule").strip()
        provider, model = table.text("provider"), table.text("model")
        if model and not provider:
            table.refuse("provider", "write whose model it is")
        start, end = values.period(table)
        return Adjust(
            at=table,
            name=name,
            provider=provider and self._provider(provider),
            model=model and model.strip().lower(),
            when=frozenset(values.facts(table, "when")),
            multiply=values.multiplier(table),
            tokens_only=table.choice("of", ("all", "tokens"), "all") == "tokens",
            start=start,
            end=end,
            reason=table.text("reason"),
        )

    def _model(self, table: Table) -> dict[str, Any]:
        """What every rule about a model has."""
        start, end = values.period(table)
        return {
            "at": table,
            "provider": self._provider(_required(table, "provider", "write whose model it is")),
            "model": _required(table, "model", "write its name as the calls have it")
            .strip()
            .lower(),
            "start": start,
            "end": end,
            "reason": table.text("reason"),
        }

    def _target(self, table: Table, name: str) -> Target:
        target = table.table(name)
        if target is None:
            table.refuse(name, f'write {name} = {{ provider = "…", model = "…" }}')
        target.only(("provider", "model"))
        provider = target.text("provider") or _required(
            table, "provider", "write whose model it is"
        )
        model = _required(target, "model", "write a model of the book")
        return Target(self._provider(provider), model.strip().lower(), target)

    def _provider(self, name: str) -> str:
        """The id of a provider, as `Names` will find it; a new one has its name for an id."""
        key = name.strip().lower()
        return self.provider_names.get(key) or ALIASES.get(key, key)


def _required(table: Table, name: str, way_out: str) -> str:
    text: str | None = table.text(name)
    if text is None:
        table.refuse(name, way_out)
    return text
