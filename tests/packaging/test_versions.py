# SPDX-License-Identifier: Apache-2.0
"""Three distributions, one version."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def project(folder: str) -> dict[str, Any]:
    """The `[project]` table of a distribution."""
    text = (ROOT / folder / "pyproject.toml").read_text("utf-8")
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def test_the_three_distributions_have_one_version_and_ask_for_each_other_by_it() -> None:
    """A mixed installation could spell attributes in two ways."""
    semconv, app, exporter = map(project, ("semconv", "instrumentation", "exporter"))
    assert semconv["version"] == app["version"] == exporter["version"]
    pinned = f"microdollar-semconv=={semconv['version']}"
    assert pinned in app["dependencies"]
    assert pinned in exporter["dependencies"]


def test_the_changelog_begins_with_this_version() -> None:
    """What users get is what users can read about."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = [line for line in changelog.splitlines() if line.startswith("## ")]
    assert project("semconv")["version"] in versions[0]
