# SPDX-License-Identifier: Apache-2.0
"""The attribute registry, and what is generated from it."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from microdollar_semconv import attributes, gen_ai

SEMCONV = Path(__file__).parents[2] / "semconv"
REGISTRY: dict[str, Any] = yaml.safe_load((SEMCONV / "registry/attributes.yaml").read_text("utf-8"))
KEYS = [attribute["key"] for attribute in REGISTRY["attributes"]]


def test_generated_files_are_what_the_registry_says() -> None:
    """`make semconv` writes them."""
    subprocess.run([sys.executable, SEMCONV / "generate.py", "--check"], check=True)


def test_a_generated_file_that_differs_is_named(tmp_path: Path) -> None:
    """So that an edit by hand cannot stay."""
    for path in ("generate.py", "README.md", "registry/attributes.yaml"):
        target = tmp_path / "semconv" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((SEMCONV / path).read_text("utf-8"), "utf-8")
    module = tmp_path / "semconv/microdollar_semconv/attributes.py"
    module.parent.mkdir()
    module.write_text("edited = True\n", "utf-8")
    result = subprocess.run(
        [sys.executable, tmp_path / "semconv/generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "semconv/microdollar_semconv/attributes.py" in result.stderr


def test_every_attribute_is_in_our_namespace_and_named_once() -> None:
    """OpenTelemetry's names are used as they are, and never defined again."""
    assert all(key.startswith("microdollar.") for key in KEYS)
    assert len(set(KEYS)) == len(KEYS)
    assert not any(
        value.startswith("microdollar.")
        for value in vars(gen_ai).values()
        if isinstance(value, str) and value.count(".") > 1
    )


@pytest.mark.parametrize("attribute", REGISTRY["attributes"], ids=KEYS)
def test_an_attribute_says_what_a_reader_needs(attribute: dict[str, Any]) -> None:
    """Weaver requires type, brief and stability; a plain value has an example."""
    assert {"key", "type", "brief", "stability"} <= set(attribute)
    assert attribute["brief"].endswith(".")
    if isinstance(attribute["type"], str):
        assert attribute["examples"]


def test_groups_refer_to_attributes_and_spans_to_groups_that_exist() -> None:
    """And every attribute is in one group."""
    groups = {group["id"]: group for group in REGISTRY["attribute_groups"]}
    referred = [ref["ref"] for group in groups.values() for ref in group["attributes"]]
    assert sorted(referred) == sorted(KEYS)
    for span in REGISTRY["spans"]:
        assert {ref["ref_group"] for ref in span["attributes"]} == set(groups)


def test_constants_are_the_registry_s_keys() -> None:
    """A template's constant is its prefix, with the dot."""
    constants = {value for name, value in vars(attributes).items() if name.isupper()}
    for attribute in REGISTRY["attributes"]:
        dot = "." if str(attribute["type"]).startswith("template") else ""
        assert attribute["key"] + dot in constants


def test_the_package_depends_on_nothing() -> None:
    """It is installed into other people's apps."""
    project = tomllib.loads((SEMCONV / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dependencies"] == []
