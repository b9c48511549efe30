# SPDX-License-Identifier: Apache-2.0
"""The markup file: what may stand in it, and what is said of anything else."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from microdollar_exporter.errors import UsageError
from microdollar_exporter.markup import beside, parse, read
from microdollar_exporter.markup.periods import Per
from microdollar_exporter.markup.rules import Allowance, Counted, Markup, Minimum, Rate, Winners

WHOLE = """\
schema = 1

[[markup]]
name = "standard"
percent = 17.5

[[markup]]
name = "luna for two"
customer = ["acme", "globex"]
provider = "openai"
model = "gpt-6-luna"
from = 2026-10-01
to = 2027-01-01T00:00:00+01:00
per_mtok = { input = 1.5, cache_read = 0.15, cache_write = 2, cache_write_1h = 3, output = 9 }
per_call = 0.001
per_unit = { web_search = 0.02 }

[[allowance]]
name = "a little for all"
tokens = 1_000_000

[[allowance]]
name = "calls"
customer = "acme"
calls = 10
per = "day"
from = 2026-10-05

[[allowance]]
name = "dollars"
customer = "globex"
usd = 5.25
to = 2027-01-01

[[minimum]]
name = "at least"
customer = "acme"
usd = 100
from = 2026-01-01
per = "year"

[[minimum]]
name = "whoever calls"
usd = 0.5
"""


def test_a_whole_file(tmp_path: Path) -> None:
    """Every number is the decimal that is written; times are UTC; the line is that of the head."""
    path = tmp_path / "m.toml"
    path.write_text(WHOLE, "utf-8")
    acme, globex = frozenset({"acme"}), frozenset({"globex"})
    assert read(path) == Markup(
        rates=[
            Rate(name="standard", line=3, percent=Decimal("17.5")),
            Rate(
                name="luna for two",
                line=7,
                customers=acme | globex,
                providers=frozenset({"openai"}),
                models=frozenset({"gpt-6-luna"}),
                from_=datetime(2026, 10, 1),
                to=datetime(2026, 12, 31, 23),
                per_mtok={
                    "input_uncached": Decimal("1.5"),
                    "cache_read": Decimal("0.15"),
                    "cache_write_5m": Decimal(2),
                    "cache_write_1h": Decimal(3),
                    "cache_write": Decimal(2),
                    "input_tool": Decimal("1.5"),
                    "output": Decimal(9),
                },
                per_call=Decimal("0.001"),
                per_unit={"web_search": Decimal("0.02")},
            ),
        ],
        allowances=[
            Allowance(
                name="a little for all",
                line=18,
                counted=Counted.TOKENS,
                amount=Decimal(1_000_000),
                per=Per.MONTH,
            ),
            Allowance(
                name="calls",
                line=22,
                customers=acme,
                from_=datetime(2026, 10, 5),
                counted=Counted.CALLS,
                amount=Decimal(10),
                per=Per.DAY,
            ),
            Allowance(
                name="dollars",
                line=29,
                customers=globex,
                to=datetime(2027, 1, 1),
                counted=Counted.USD,
                amount=Decimal("5.25"),
                per=Per.MONTH,
            ),
        ],
        minimums=[
            Minimum(
                name="at least",
                line=35,
                customers=acme,
                from_=datetime(2026, 1, 1),
                usd=Decimal(100),
                per=Per.YEAR,
            ),
            Minimum(name="whoever calls", line=42, usd=Decimal("0.5"), per=Per.MONTH),
        ],
    )


def test_the_file_lies_beside_the_ledger() -> None:
    """Under its name."""
    assert beside(Path("/var/meter.duckdb")) == Path("/var/meter.markup.toml")


def test_a_file_without_rules_is_one() -> None:
    """Nothing has an amount by it, which its report says."""
    assert parse("schema = 1") == Markup([], [], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.toml:1: schema of the file is missing: write schema = 1"),
        ("\nschema = 2", "m.toml:2: schema of the file is 2: write schema = 1"),
        (
            "schema = 1\n[[markups]]",
            "m.toml:2: markups is not known in the file: do you mean markup? choose from schema, "
            "markup, allowance, minimum",
        ),
        (
            "schema = 1\nmarkup = 3",
            "m.toml:2: markup of the file is 3: write a table under [[markup]]",
        ),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str) -> None:
    """With the line and the way out."""
    with pytest.raises(UsageError) as caught:
        parse(text, "m.toml")
    assert str(caught.value) == message


PER_MTOK = "per_mtok = { input = 1, output = 1"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("markup", "percent = 1", "2: name of [[markup]] is missing: write one, by which"),
        (
            "markup",
            'name = "a"',
            "2: [[markup]] has no price: write one or more of percent, per_mtok, per_call, ",
        ),
        (
            "markup",
            'name = "a"\npercentage = 1',
            "4: percentage is not known in [[markup]]: do you mean percent? choose from name, ",
        ),
        ("markup", 'name = "a"\npercent = "1%"', '4: percent of [[markup]] is "1%": write a numb'),
        (
            "markup",
            'name = "a"\npercent = -100.000001',
            "4: percent of [[markup]] is -100.000001: write -100 or more",
        ),
        (
            "markup",
            'name = "a"\nper_call = -0.1',
            "4: per_call of [[markup]] is -0.1: write US dollars like 0.25, not below 0",
        ),
        (
            "markup",
            'name = "a"\nper_unit = { web_search = -1 }',
            "4: web_search of markup.per_unit is -1: write US dollars like 0.25, not below 0",
        ),
        (
            "markup",
            'name = "a"\nper_unit = { web_serach = 1 }',
            "4: web_serach of markup.per_unit is 1: do you mean web_search? known are web_search, ",
        ),
        (
            "markup",
            'name = "a"\nper_unit = { web_search = 1, search_queries = 1 }',
            "4: search_queries of markup.per_unit is 1: it is another name for web_search, which",
        ),
        (
            "markup",
            'name = "a"\nper_unit = { audio_hours = 1 }',
            "4: audio_hours of markup.per_unit is 1: write audio_seconds, the price of a second",
        ),
        (
            "markup",
            f'name = "a"\n{PER_MTOK}, reasoning = 1 }}',
            "4: reasoning is not known in markup.per_mtok: choose from input, input_uncached, ",
        ),
        (
            "markup",
            'name = "a"\nper_mtok = { input = 1 }',
            "4: output of markup.per_mtok is missing: write its price, or 0: without it output",
        ),
        (
            "markup",
            'name = "a"\nper_mtok = { input_uncached = 1, output = 1 }',
            "4: input of markup.per_mtok is missing: write its price, or 0: without it cache_read",
        ),
        (
            "markup",
            'name = "a"\npercent = 1\ncustomer = []',
            "5: customer of [[markup]] is an array: write a text in quotes, or several in brac",
        ),
        (
            "markup",
            'name = "a"\npercent = 1\nfrom = 2026-10-02\nto = 2026-10-02',
            "6: to of [[markup]] is 2026-10-02: write a time after 2026-10-02T00:00:00, when",
        ),
        (
            "markup",
            'name = "a"\npercent = 1\nfrom = 2026',
            "5: from of [[markup]] is 2026: write a",
        ),
        (
            "allowance",
            'name = "a"\nper = "month"',
            "2: [[allowance]] says nothing of what is included: exactly one of tokens, calls, usd",
        ),
        (
            "allowance",
            'name = "a"\ncalls = 1\nusd = 1',
            "2: [[allowance]] says calls and usd of what is included: exactly one of tokens, ",
        ),
        (
            "allowance",
            'name = "a"\ntokens = 1.5',
            "4: tokens of [[allowance]] is 1.5: write a whole",
        ),
        ("allowance", 'name = "a"\ncalls = -1', "4: calls of [[allowance]] is -1: write a whole"),
        ("allowance", 'name = "a"\nusd = -1', "4: usd of [[allowance]] is -1: write US dollars"),
        (
            "allowance",
            'name = "a"\nusd = 1\nper = "week"',
            '5: per of [[allowance]] is "week": choose from day, month, year',
        ),
        (
            "allowance",
            'name = "a"\nusd = 1\nfrom = 2026-10-02',
            "5: from of [[allowance]] is 2026-10-02: write the first day of a month, like 2026-10",
        ),
        (
            "allowance",
            'name = "a"\nusd = 1\nper = "day"\nto = 2026-10-02T00:00:01',
            "6: to of [[allowance]] is 2026-10-02T00:00:01: write the first day of a day, like",
        ),
        ("minimum", 'name = "a"', "2: usd of [[minimum]] is missing: write US dollars like 100"),
        (
            "minimum",
            'name = "a"\nusd = 1\nmodel = "m"',
            "5: model is not known in [[minimum]]: choose from name, customer, from, to, per, usd",
        ),
        (
            "minimum",
            'name = "a"\nusd = 1\ncustomer = "acme"',
            "2: from of [[minimum]] is missing: write its first period: it is owed without any",
        ),
        (
            "minimum",
            'name = "a"\nusd = 1\nper = "year"\nfrom = 2026-07-01',
            "6: from of [[minimum]] is 2026-07-01: write the first day of a year, like 2026-01-01",
        ),
    ],
)
def test_a_wrong_rule_is_refused(kind: str, text: str, message: str) -> None:
    """With the line, the key, its value and the way out."""
    with pytest.raises(UsageError) as caught:
        parse(f"schema = 1\n[[{kind}]]\n{text}", "m.toml")
    assert str(caught.value).startswith(f"m.toml:{message}")


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        *(("web_search", "web_search"), ("search_queries", "web_search")),
        *(("audio_seconds", "audio_seconds"), ("compute_units", "compute_units")),
    ],
)
def test_a_unit_has_one_name_however_it_is_spelled(written: str, unit: str) -> None:
    """A unit that nobody knows may come to be reported."""
    [rule] = parse(f'schema = 1\n[[markup]]\nname = "a"\nper_unit = {{ {written} = 2 }}\n').rates
    assert rule.per_unit == {unit: Decimal(2)}


def test_a_name_is_given_once() -> None:
    """In the whole file: reports say by it which rule it was."""
    text = 'schema = 1\n[[markup]]\nname="a"\npercent=1\n[[minimum]]\nname="a"\nusd=1'
    with pytest.raises(UsageError) as caught:
        parse(text, "m.toml")
    assert str(caught.value) == (
        'm.toml:6: name of [[minimum]] is "a": write another: that of line 2 has it already'
    )


def two(kind: str, first: str, second: str) -> str:
    """A file with two rules of a kind."""
    return f'schema = 1\n[[{kind}]]\nname = "a"\n{first}\n[[{kind}]]\nname = "b"\n{second}'


OVERLAPS = [
    ("", ""),
    ('customer = "acme"', 'customer = ["globex", "acme"]'),
    ('model = "m"', 'model = ["n", "m"]'),
    ('provider = "openai"', 'provider = "openai"'),
    ("from = 2026-10-01", "to = 2026-10-02T00:00:00.000001"),
    ("to = 2026-10-02", "from = 2026-10-01T23:59:59.999999"),
]


@pytest.mark.parametrize(("first", "second"), OVERLAPS)
def test_two_rules_of_which_neither_wins_are_refused(first: str, second: str) -> None:
    """Naming both, with their lines."""
    text = two("markup", f"percent = 1\n{first}", f"percent = 2\n{second}")
    with pytest.raises(UsageError) as caught:
        parse(text, "m.toml")
    assert str(caught.value) == (
        'm.toml:6: [[markup]] "b" overlaps "a" of line 2: end one before the other begins, or let '
        "only one of them name the customer, the model or the provider"
    )


def test_allowances_and_minimums_overlap_as_rates_do() -> None:
    """Of one call one allowance holds, and one minimum of a customer."""
    with pytest.raises(UsageError, match=r'\[\[allowance\]\] "b" overlaps "a" of line 2'):
        parse(two("allowance", "usd = 1", "calls = 1"))
    with pytest.raises(UsageError, match=r'\[\[minimum\]\] "b" overlaps "a" of line 2'):
        parse(two("minimum", "usd = 1", 'usd = 1\nper = "year"'))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('customer = "acme"', 'customer = "globex"'),
        ('customer = "acme"', ""),
        ('model = "m"', 'provider = "openai"'),
        ('model = "m"', 'model = "m"\nprovider = "openai"'),
        ("to = 2026-10-02", "from = 2026-10-02"),
        ("from = 2026-10-02", "to = 2026-10-02T02:00:00+02:00"),
    ],
)
def test_rules_that_cannot_meet_or_of_which_one_wins_stand_together(
    first: str, second: str
) -> None:
    """The end of one may be the beginning of the other."""
    made = parse(two("markup", f"percent = 1\n{first}", f"percent = 2\n{second}"))
    assert len(made.rates) == 2


def test_an_allowance_is_not_of_a_longer_period_than_a_minimum() -> None:
    """What a month lacks cannot wait for what the year includes."""
    text = (
        'schema = 1\n[[allowance]]\nname="y"\nusd=1\nper="{}"\ncustomer="acme"\n'
        '[[minimum]]\nname="m"\nusd=1\nper="{}"\n'
    )
    with pytest.raises(UsageError) as caught:
        parse(text.format("year", "month"), "m.toml")
    assert str(caught.value) == (
        'm.toml:5: per of [[allowance]] is "year": "m" of line 7 is a minimum per month: write '
        "that here, or a longer period there"
    )
    assert parse(text.format("month", "year")).finest is Per.MONTH
    assert parse(text.format("month", "month")).finest is Per.MONTH
    apart = text.format("year", "month") + 'customer="globex"\nfrom=2026-01-01'
    assert parse(apart).finest is Per.MONTH


RULES = parse(
    """\
schema = 1
[[markup]]
name = "all"
percent = 0
[[markup]]
name = "provider"
provider = "openai"
percent = 0
[[markup]]
name = "model"
model = "m"
percent = 0
[[markup]]
name = "other model"
model = "k"
percent = 0
[[markup]]
name = "model of provider"
provider = "openai"
model = "m"
percent = 0
[[markup]]
name = "customer"
customer = "acme"
percent = 0
[[markup]]
name = "customer and model, in October"
customer = "acme"
model = "m"
from = 2026-10-01
to = 2026-11-01
percent = 0
[[markup]]
name = "nobody"
customer = "unassigned"
percent = 0
""",
).rates


@pytest.mark.parametrize(
    ("customer", "provider", "model", "moment", "name"),
    [
        ("globex", "azure", "n", "2026-10-01", "all"),
        ("globex", None, None, "2026-10-01", "all"),
        ("globex", "openai", "n", "2026-10-01", "provider"),
        ("globex", "azure", "m", "2026-10-01", "model"),
        ("globex", "openai", "k", "2026-10-01", "other model"),
        ("globex", "openai", "m", "2026-10-01", "model of provider"),
        ("acme", "openai", "m", "2026-09-30T23:59:59.999999", "customer"),
        ("acme", "openai", "m", "2026-10-01", "customer and model, in October"),
        ("acme", "openai", "m", "2026-10-31T23:59:59.999999", "customer and model, in October"),
        ("acme", "openai", "m", "2026-11-01", "customer"),
        (None, "openai", "m", "2026-10-01", "nobody"),
    ],
)
def test_the_rule_that_says_most_of_whom_wins(
    customer: str | None, provider: str | None, model: str | None, moment: str, name: str
) -> None:
    """The customer counts for more than the model, and the model for more than the provider."""
    found = Winners(RULES).of(customer, provider, model, datetime.fromisoformat(moment))
    assert found is not None
    assert found.name == name


def test_calls_of_nobody_are_only_those_of_a_rule_that_names_them() -> None:
    """Nobody pays for them."""
    assert Winners(RULES[:-1]).of(None, "openai", "m", datetime(2026, 10, 1)) is None


@pytest.mark.parametrize(
    ("per", "label", "end"),
    [
        (Per.DAY, "2026-12-31", "2027-01-01"),
        (Per.DAY, "2028-02-28", "2028-02-29"),
        (Per.MONTH, "2026-11", "2026-12-01"),
        (Per.MONTH, "2026-12", "2027-01-01"),
        (Per.YEAR, "2026", "2027-01-01"),
    ],
)
def test_a_period_ends_where_the_next_begins(per: Per, label: str, end: str) -> None:
    """Its last moment is a microsecond before."""
    assert per.end(label) == datetime.fromisoformat(end)
    assert per.label(per.begin(label)) == label
    assert per.begin(label) < per.end(label)


def test_the_last_period_of_the_calendar_has_no_next() -> None:
    """It ends with it."""
    assert [per.end(per.label(datetime.max)) for per in Per] == [datetime.max] * 3
