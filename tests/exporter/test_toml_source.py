# SPDX-License-Identifier: Apache-2.0
"""TOML that people write: every value exact, and every complaint with its line."""

import tomllib
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdollar_exporter import toml_source
from microdollar_exporter.errors import UsageError

TEXT = (
    '''\
schema = 1
[providers]
"azure.ai.openai" = "azure"  # a [comment] = with "signs"
deep.er = 3

[[rate]]
note = """
not = a key
[nor.a.table] \\""" still """""
prices = { input = 0.12, "out.put" = [1,
  # between
  { far = 2 } ] }
 [[rate.part]]
  x = 1979-05-27T07:32:00Z
 [[rate.part]]
 [rate.part.inner]
'''
    """\
  'y' = '''
x'''
[[rate]]
z = 1
"""
)


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    """As some editors write it; the lines are counted as ever."""
    file = tmp_path / "own.toml"
    file.write_bytes(b"\xef\xbb\xbfschema = 1\n[a]\n")
    document = toml_source.read(file)
    assert document.values == {"schema": 1, "a": {}}
    with pytest.raises(UsageError, match=r"own\.toml:1: schema is not known"):
        document.only(["a"])


@pytest.mark.parametrize("kind", ["number", "whole"])
def test_a_number_in_quotes_is_to_be_written_without(kind: str) -> None:
    document = toml_source.parse('multiply = "0.88"', "own.toml")
    with pytest.raises(UsageError) as refused:
        getattr(document, kind)("multiply", "write a number")
    assert str(refused.value) == (
        'own.toml:1: multiply of the file is "0.88": write a number, without quotes'
    )


def test_a_table_without_a_head_has_the_line_of_its_first_part() -> None:
    """And its own once it has one."""
    assert toml_source.lines_of("\n[a.b]\n[a.c]")["a",] == 2
    assert toml_source.lines_of("\n[a.b]\n[a]")["a",] == 3


def test_every_key_and_table_has_its_line() -> None:
    """Within texts of several lines, inline tables and arrays of tables, too."""
    assert toml_source.lines_of(TEXT) == {
        ("schema",): 1,
        ("providers",): 2,
        ("providers", "azure.ai.openai"): 3,
        ("providers", "deep"): 4,
        ("providers", "deep", "er"): 4,
        ("rate",): 6,
        ("rate", 0): 6,
        ("rate", 0, "note"): 7,
        ("rate", 0, "prices"): 10,
        ("rate", 0, "prices", "input"): 10,
        ("rate", 0, "prices", "out.put"): 10,
        ("rate", 0, "prices", "out.put", 0): 10,
        ("rate", 0, "prices", "out.put", 1): 12,
        ("rate", 0, "prices", "out.put", 1, "far"): 12,
        ("rate", 0, "part"): 13,
        ("rate", 0, "part", 0): 13,
        ("rate", 0, "part", 0, "x"): 14,
        ("rate", 0, "part", 1): 15,
        ("rate", 0, "part", 1, "inner"): 16,
        ("rate", 0, "part", 1, "inner", "y"): 17,
        ("rate", 1): 19,
        ("rate", 1, "z"): 20,
    }


NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True),
    st.sampled_from(['"a.b"', "'c\"d'", '"]="', '"#"', '"\\""', '" "']),
)
VALUES = st.recursive(
    st.sampled_from(
        [
            *(
                "1",
                "-0.5e3",
                "true",
                "inf",
                "2026-11-21",
                "07:32:00",
                "1979-05-27 07:32:00.5+01:00",
            ),
            *('"a # b"', "'[x]'", '"\\" ]"', '"""x"""""'),
            *('"""\na\n[b]\n"""', "'''\nc = \"\n'''"),
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda many: "[" + ",\n # x ]\n".join([*many, ""]) + "]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda many: "{ " + ", ".join(f"{k} = {v}" for k, v in many.items()) + " }"
        ),
    ),
    max_leaves=6,
)
LINES = st.one_of(
    st.tuples(NAMES, VALUES).map(" = ".join),
    st.lists(NAMES, min_size=1, max_size=3).map(lambda names: f"[{' . '.join(names)}]"),
    st.lists(NAMES, min_size=1, max_size=2).map(lambda names: f"[[{'.'.join(names)}]] # x"),
    st.sampled_from(["", "# a = 1", "\t"]),
)


@given(st.lists(LINES, max_size=8))
def test_the_walk_finds_what_the_parser_finds(lines: list[str]) -> None:
    """Every key and table of any valid document, on the line where it is written."""
    kept: list[str] = []
    for line in lines:
        try:
            tomllib.loads("\n".join([*kept, line]))
        except tomllib.TOMLDecodeError:
            continue
        kept.append(line)
    text = "\n".join(kept)
    found = toml_source.lines_of(text)
    assert found.keys() == _keys(tomllib.loads(text), ())
    begins = [sum(part.count("\n") + 1 for part in kept[:n]) + 1 for n in range(len(kept))]
    written = text.split("\n")
    for key, number in found.items():
        name = key[-1]
        if len(key) == 1 and isinstance(name, str):
            assert number in begins
            head = written[number - 1].replace('\\"', "").replace('"', "")
            assert name.replace('"', "") in head


def _keys(value: Any, at: toml_source.Key) -> set[toml_source.Key]:
    found = {at} if at else set()
    if isinstance(value, dict):
        found |= {key for name, inner in value.items() for key in _keys(inner, (*at, name))}
    if isinstance(value, list):
        found |= {key for n, inner in enumerate(value) for key in _keys(inner, (*at, n))}
    return found


DOCUMENT = toml_source.parse(
    """\
text = "a"
texts = ["a", "b"]
number = 0.1
whole = 1_000
day = 2026-10-01
time = 2026-10-01T02:00:00+02:00
[one]
[[many]]
[[many]]
""",
    "f.toml",
)


def test_values_are_read_by_type_and_exactly() -> None:
    """A number is the decimal that is written, a moment is UTC; what is absent is None."""
    assert DOCUMENT.text("text") == "a"
    assert (DOCUMENT.texts("text"), DOCUMENT.texts("texts")) == (("a",), ("a", "b"))
    assert (DOCUMENT.number("number"), DOCUMENT.number("whole")) == (Decimal("0.1"), Decimal(1000))
    assert DOCUMENT.whole("whole") == 1000
    assert DOCUMENT.instant("day") == DOCUMENT.instant("time") == datetime(2026, 10, 1)
    assert DOCUMENT.choice("text", ("a", "b")) == "a"
    assert [table.line for table in DOCUMENT.tables("many")] == [8, 9]
    one = DOCUMENT.table("one")
    assert one is not None
    assert (one.line, one.head, one.line_of("nothing")) == (7, "[one]", 7)
    assert (DOCUMENT.text("no"), DOCUMENT.texts("no"), DOCUMENT.number("no")) == (None,) * 3
    assert (DOCUMENT.whole("no"), DOCUMENT.instant("no"), DOCUMENT.table("no")) == (None,) * 3
    assert (DOCUMENT.choice("no", ("a",), "a"), DOCUMENT.tables("no")) == ("a", [])


@pytest.mark.parametrize(
    ("value", "reader", "message"),
    [
        ("1", "text", "is 1: write a text in quotes"),
        ('" "', "text", 'is " ": write a text in quotes'),
        ("[]", "texts", "is an array: write a text in quotes, or several in brackets"),
        ('["a", 1]', "texts", "is an array: write a text in quotes"),
        ('["a", "a"]', "texts", "is an array: write each text once"),
        ('"0.1"', "number", 'is "0.1": write a number like 0.25'),
        ("true", "number", "is true: write a number like 0.25"),
        ("nan", "number", "is NaN: write a number like 0.25"),
        ("-inf", "number", "is -Infinity: write a number like 0.25"),
        ("1e-31", "number", "is 1E-31: write at most 30 digits"),
        ("1e99999999999999999999", "number", "is NaN: write a number like 0.25"),
        ("1" * 31, "number", f"is {'1' * 31}: write at most 30 digits"),
        ("1" * 31, "whole", f"is {'1' * 31}: write at most 30 digits"),
        ("-1", "whole", "is -1: write a whole number like 1000"),
        ("1.0", "whole", "is 1.0: write a whole number like 1000"),
        ("true", "whole", "is true: write a whole number"),
        ('"2026-10-01"', "instant", 'is "2026-10-01": write a day like 2026-10-01 or a time'),
        ("07:32:00", "instant", "is 07:32:00: write a day like"),
        ("0001-01-01T00:00:00+05:00", "instant", "write a time between the years 1 and 9999"),
        ("1", "table", "is 1: write a table: key = { … }"),
        ("[1]", "tables", "is an array: write a table under [[key]]"),
        ("{}", "tables", "is a table: write a table under [[key]]"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line_and_the_way_out(
    value: str, reader: str, message: str
) -> None:
    """The file and the line come first."""
    table = toml_source.parse(f"\n[[rate]]\n# x\nkey = {value}", "f.toml").tables("rate")[0]
    with pytest.raises(UsageError) as caught:
        getattr(table, reader)("key")
    assert str(caught.value).startswith("f.toml:4: key of [[rate]] is ")
    assert message in str(caught.value)


def test_numbers_of_thirty_digits_are_taken() -> None:
    """To the last one."""
    table = toml_source.parse(f"a = {'9' * 30}\nb = 0.{'3' * 30}", "f")
    assert table.number("a") == Decimal("9" * 30)
    assert table.number("b") == Decimal("0." + "3" * 30)


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    """Or with all there are, when none is near."""
    with pytest.raises(UsageError) as caught:
        DOCUMENT.only(["texts", "number", "whole", "day", "time", "one", "many"])
    assert str(caught.value) == (
        "f.toml:1: text is not known in the file: do you mean texts? choose from texts, number, "
        "whole, day, time, one, many"
    )
    with pytest.raises(UsageError, match=r"^f\.toml:1: text is not known in the file: choose"):
        DOCUMENT.only(["zzz"])


def test_a_choice_and_a_missing_key_are_refused_with_what_is_accepted() -> None:
    """A missing key has the line of its table."""
    with pytest.raises(UsageError, match=r'f\.toml:1: text of the file is "a": choose from b, c'):
        DOCUMENT.choice("text", ("b", "c"))
    with pytest.raises(UsageError, match=r"f\.toml:9: name of \[\[many\]\] is missing: write one"):
        DOCUMENT.tables("many")[1].refuse("name", "write one")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = \n", r"not TOML: Invalid value \(at line 2, column 5\)"),
        (b"a = 1\nb = '\xff'", r":2: not UTF-8: save the file in that encoding"),
        (b"a = " + b"[" * 5000, r"a value is too long or nested too deeply"),
        (b"a = " + b"1" * 5000, r"a value is too long or nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With its name, and with the line where there is one."""
    path = tmp_path / "f.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        toml_source.read(path)
    assert str(caught.value).startswith(f"{path}:")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(UsageError, match=r"cannot read .*/none.toml: No such file"):
        toml_source.read(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        toml_source.read(tmp_path)
